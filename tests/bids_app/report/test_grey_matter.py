"""A session's page shows its map of grey matter."""

from __future__ import annotations

from bids_app.bids.record import ImageFiles, Images, Preprocessing
from bids_app.bids.record_file import read_session, write_record
from bids_app.report.grey_matter import grey_matter_facts
from bids_app.report.session import write_session_report
from tests.bids_app.group.atrophy_people import TEMPLATE
from tests.bids_app.report.fake import write_session

FACTS = {"template": TEMPLATE, "fwhm_mm": 8.0, "grey_ml": 700.0, "inside_ml": 1500.0}


def test_the_page_has_amounts_and_a_picture(tmp_path):
    write_session(tmp_path, "sub-01")
    record = read_session(tmp_path, "sub-01")
    images = record.images["T1w"]
    images.preprocessing.grey_matter, images.files.grey_matter = FACTS, images.files.brain_mask
    write_record(tmp_path, record)
    write_session_report(tmp_path, "sub-01")
    page = (tmp_path / "sub-01.html").read_text()
    assert "700 ml of 1500 ml within the skull" in page
    assert "Grey matter in the template" in page


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "m.nii.gz").write_bytes(b"nothing")
    problems: list[str] = []
    images = Images(
        reference="T1w", preprocessing=Preprocessing(grey_matter=FACTS), files=ImageFiles(grey_matter="m.nii.gz")
    )
    found = grey_matter_facts(tmp_path, images, problems)
    assert found is not None
    assert found["picture"] == ""
    assert "is not shown" in problems[0]
    assert grey_matter_facts(tmp_path, Images(reference="T1w"), problems) is None
