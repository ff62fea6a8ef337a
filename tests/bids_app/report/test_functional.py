"""What the page says of a resting-state series."""

from __future__ import annotations

from bids_app.bids.record import Images, Preprocessing
from bids_app.report.functional import course, functional_facts

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
    assert [f["title"] for f in found["figures"]] == ["Framewise displacement", "Change of the signal (DVARS)"]
    assert found["figures"][0]["lines"][0]["points"].count(",") == 3


def test_nothing_without_a_series():
    assert functional_facts(Images(reference="T1w")) is None
    assert course([0.0], "x", "mm") is None
