"""What the page says of a resting-state series."""

from __future__ import annotations

import pytest

from bids_app.bids.record import ImageFiles, Images, Preprocessing
from bids_app.report.functional import carpet_of, functional_facts, stack

MADE = {
    "series": "bold.nii.gz",
    "tr_s": 2.0,
    "volumes": 148,
    "dropped": 2,
    "slice_timing": True,
    "nuisance": 24,
    "mean_fd_mm": 0.13,
    "largest_fd_mm": 0.6,
    "mean_dvars": 1.1,
    "tsnr": 71.0,
    "fd_mm": [0.0, 0.1, 0.6],
    "dvars": [0.0, 1.0, 1.2],
}


def test_facts_and_courses():
    found = functional_facts(Images(reference="T1w", preprocessing=Preprocessing(functional=MADE)))
    facts = dict(found["facts"])
    assert facts["Computed from"] == "bold.nii.gz: 148 volumes of 2 s, 2 before the steady state dropped"
    assert facts["Motion"].startswith("0.13 mm")
    rows = found["stack"]["rows"]
    assert [row["title"] for row in rows] == ["Framewise displacement, mm", "Change of the signal (DVARS), %"]
    assert rows[0]["points"].count(",") == 3
    assert found["stack"]["carpet"] is None


def test_the_series_lies_below_its_courses_on_the_same_axis():
    found = stack([0.0, 0.2, 0.1], [0.0, 1.0, 2.0], "data:image/png;base64,AA==")
    assert found["carpet"]["top"] > found["rows"][1]["top"] > found["rows"][0]["top"]
    assert found["bottom"] == found["carpet"]["top"] + found["carpet"]["height"]
    first, last = (float(point.split(",")[0]) for point in found["rows"][0]["points"].split()[::2])
    column = (found["right"] - found["left"]) / 3
    assert [first - found["left"], found["right"] - last] == pytest.approx([column / 2, column / 2], abs=0.1)


def test_a_picture_that_is_gone_is_said(tmp_path):
    images, problems = Images(reference="T1w", files=ImageFiles(carpet="figures/x.png")), []
    assert carpet_of(tmp_path, images, problems) is None
    assert "figures/x.png cannot be shown" in problems[0]
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "x.png").write_bytes(b"abc")
    assert carpet_of(tmp_path, images, problems) == "data:image/png;base64,YWJj"
    assert carpet_of(tmp_path, Images(reference="T1w"), problems) is None
    assert len(problems) == 1


def test_nothing_without_a_series():
    assert functional_facts(Images(reference="T1w")) is None
    assert stack([0.0], [], None) is None
