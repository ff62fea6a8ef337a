"""The session page: complete, self-contained, escaped, and there for failed sessions too."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from bids_app.errors import InputMissing
from bids_app.report.session import split_doi, write_session_report
from tests.bids_app.report.fake import change, write_failed, write_session


def test_page_lies_at_the_root_of_the_output_and_leaves_no_temporary_file(finished):
    root, record, _ = finished
    assert (root / f"{record['key']}.html").is_file()
    assert not list(root.glob(".*tmp*"))


@pytest.mark.parametrize(
    "text",
    ["Research use only: scores, not diagnoses", "Left habenula", "16.4", "radiological", "FLAIR", "contrast agent"],
)
def test_page_says(finished, text):
    assert text in finished[2]


def test_only_doi_links_leave_the_page(finished):
    page = finished[2]
    outside = set(re.findall(r"(?:https?:)?//[a-z][^\s\"'<>)]*", re.sub(r"data:image[^\"]*", "", page)))
    assert outside
    assert all(link.startswith("https://doi.org/") for link in outside)
    assert not re.findall(r"<(?:link|iframe|object|embed)|<script[^>]+src|<img[^>]+src=\"(?!data:)|@import|url\(", page)


def test_page_forbids_itself_the_network(finished):
    assert "default-src &#39;none&#39;" in finished[2] or "default-src 'none'" in finished[2]


def test_each_region_is_shown_plain_and_outlined_on_three_planes(finished):
    section = finished[2].split('id="regions-habenula"')[1].split("</section>")[0]
    panels = section.split('<figure class="panel"')[4:]  # after the three overview slices
    outlined = ["<path" in p.split("</figure>")[0] for p in panels]
    assert outlined == [False, True] * 6


def test_every_picture_has_orientation_marks(finished):
    page = finished[2]
    assert page.count('<figure class="panel"') == page.count('<i class="l">') == page.count('<i class="r">')


def test_zoomed_pictures_have_a_scale_bar(finished):
    assert finished[2].count('<i class="bar">') == 12


def test_page_stays_small(finished):
    assert len(finished[2]) < 3e6


def test_text_from_data_is_escaped(tmp_path):
    record = write_session(tmp_path)
    evil = "<script>alert(1)</script>"
    record["predictions"][0]["regions"][0].update(name=evil, color='red"><script>')
    change(tmp_path, record, participant=evil, warnings=[evil], reason=evil, version=evil, crash=evil)
    page = write_session_report(tmp_path, record["key"]).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("<script>") == 1


def test_failed_session_says_why_and_what_to_do(tmp_path):
    write_failed(tmp_path, "sub-02", reason="no T1w", crash="Traceback: here")
    page = write_session_report(tmp_path, "sub-02").read_text()
    assert "This session failed: no T1w" in page
    assert "What to do." in page
    assert "Add it to the dataset" in page
    assert "Traceback: here" in page


def test_killed_session_with_a_status_only_gets_a_page(tmp_path):
    (tmp_path / "logs" / "sub-03").mkdir(parents=True)
    (tmp_path / "logs" / "sub-03" / "status.json").write_text(
        '{"state": "failed", "reason": "killed", "exit_code": 137}'
    )
    page = write_session_report(tmp_path, "sub-03").read_text()
    assert "memory ran out" in page


def test_unknown_session_is_an_error(tmp_path):
    with pytest.raises(InputMissing, match="sub-09"):
        write_session_report(tmp_path, "sub-09")


@pytest.mark.parametrize("kind", ["brain_mask", "reference", "probseg", "dseg", "sequences"])
def test_missing_file_becomes_a_sentence(tmp_path, kind):
    record = write_session(tmp_path, sequences=("FLAIR",))
    named = record["files"][kind]
    for path in [named] if isinstance(named, str) else named.values():
        (tmp_path / path).unlink()
    page = write_session_report(tmp_path, record["key"]).read_text()
    expected = "There is no brain mask" if kind == "brain_mask" else "is not in the output folder"
    assert expected in page or kind == "dseg"  # labels are not needed where there are probabilities


def test_damaged_image_becomes_a_sentence(tmp_path):
    record = write_session(tmp_path)
    path = tmp_path / record["files"]["brain_mask"]
    path.write_bytes(path.read_bytes()[:60])
    assert "cannot be shown" in write_session_report(tmp_path, record["key"]).read_text()


def test_label_image_is_outlined_where_there_are_no_probabilities(tmp_path):
    record = write_session(tmp_path)
    files = {**record["files"], "probseg": {}}
    change(tmp_path, record, files=files)
    page = write_session_report(tmp_path, record["key"]).read_text()
    assert "<path" in page.split('id="regions-habenula"')[1].split("</section>")[0]


def test_region_that_was_not_found_is_said_so(tmp_path):
    record = write_session(tmp_path)
    record["predictions"][0]["regions"][0].update(found=False, centre_mm=None, soft_mm3=0.0)
    (tmp_path / record["files"]["probseg"]["habenula"]).unlink()
    change(tmp_path, record)
    page = write_session_report(tmp_path, record["key"]).read_text()
    assert "<b>not found</b>" in page


def test_absent_template_is_said_so(tmp_path):
    record = write_session(tmp_path, to_template=np.eye(4))
    record["preprocessing"]["template"]["name"] = "NoSuchTemplate"
    change(tmp_path, record)
    assert "outline" in write_session_report(tmp_path, record["key"]).read_text()


def test_empty_record_gives_a_page(tmp_path):
    record = {"key": "sub-05", "state": "failed", "reason": None, "participant": "05", "session": None, "methods": {}}
    change_root = tmp_path / "logs" / "sub-05"
    change_root.mkdir(parents=True)
    change(tmp_path, record)
    assert "This session failed" in write_session_report(tmp_path, "sub-05").read_text()


def test_doi_is_split_from_a_reference():
    assert split_doi("A title. doi:10.1/x") == ("A title.", "10.1/x")
    assert split_doi("A title.") == ("A title.", "")


def test_a_page_needs_no_heavy_library():
    heavy = {"torch", "monai", "ants", "nipype", "bids", "nilearn", "matplotlib", "pandas"}
    code = "import sys, bids_app.report.session, bids_app.report.group; print(*{n.split('.')[0] for n in sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(found)


def test_the_same_record_gives_the_same_page(tmp_path):
    key = write_session(tmp_path)["key"]
    first = write_session_report(tmp_path, key).read_bytes()
    assert write_session_report(tmp_path, key).read_bytes() == first


def test_pictures_can_be_reached_and_enlarged_by_keyboard(finished):
    page = finished[2]
    panels = page.count('<figure class="panel"')
    reachable = '<figure class="panel" tabindex="0" role="button" aria-expanded="false" aria-label="Enlarge'
    assert panels == page.count(reachable) > 0
    assert '"Enter"' in page
    assert ".panel:focus-visible" in page


def test_the_key_and_the_box_of_outlines_are_set_by_one_function(finished):
    script = finished[2].split("<script>")[1]
    assert script.count('root.classList.toggle("no-outlines"') == 1
    assert 'box.addEventListener("change", function () { outlines(box.checked); })' in script
    assert 'outlines(root.classList.contains("no-outlines"))' in script


def test_registration_flickers_between_the_image_and_what_it_was_registered_to(finished):
    page = finished[2]
    for name in ("registration", "sequences"):
        section = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert '<image class="other"' in section
    assert '<image class="other"' not in page.split('<section id="brain">')[1].split("</section>")[0]
    assert "data-flicker" in page


def test_every_recipe_can_be_rated_and_the_rating_saved(finished):
    section = finished[2].split('id="rating"')[1].split("</section>")[0]
    assert 'data-participant="sub-01" data-session="ses-01"' in section
    assert section.count('type="radio"') == 3
    assert 'data-recipe="habenula"' in section


def test_large_volumes_stand_in_ml(tmp_path):
    record = write_session(tmp_path, soft=(480_123.4, 12_000.0))
    page = write_session_report(tmp_path, record["key"]).read_text()
    assert "<b>480.12</b>" in page
    assert "Soft, ml" in page
