"""Records of the first format as records of the second."""

from __future__ import annotations

import pytest

from bids_app.bids.record import CORRECTED, UNCORRECTED, SessionRecord
from bids_app.bids.record_old import converted, part


def test_what_named_one_file_for_every_recipe_goes_to_its_part():
    old = {
        "state": "done",
        "selection": {"reference": "T1w"},
        "preprocessing": {
            "bias": {"method": "N4"},
            "taken_as": ["hippocampus: a crop"],
            "located": {"hippocampus": {}},
        },
        "predictions": [{"recipe": "hippocampus", "title": "Hippocampus", "regions": []}],
        "scores": [{"recipe": "depression", "targets": {}}],
        "files": {
            "reference": "a.nii.gz",
            "dseg": {"hippocampus": "d.nii.gz"},
            "scores": {"depression": "s.json"},
            "template_space": {"reference": "t.nii.gz", "hippocampus": "h.nii.gz"},
        },
    }
    record = SessionRecord.model_validate(converted(old, "sub-01_ses-a"))
    assert (record.participant, record.session, record.state) == ("01", "a", "done")
    first, second = record.recipes["hippocampus"], record.recipes["depression"]
    assert (first.files.dseg, first.files.template_space, first.taken_as) == (
        "d.nii.gz",
        "h.nii.gz",
        "hippocampus: a crop",
    )
    assert (second.files.scores, second.prediction, second.state) == ("s.json", None, "done")
    assert record.images["T1w"].files.template_space == {CORRECTED: "t.nii.gz"}


def test_a_session_that_failed_before_its_files_were_chosen_has_no_part():
    record = SessionRecord.model_validate(converted({"state": "failed", "reason": "no T1w"}, "sub-01"))
    assert (record.images, record.recipes, record.reason) == ({}, {}, "no T1w")


def test_an_image_without_correction_is_told_apart():
    old = {"selection": {"reference": "T1w"}, "files": {"reference": "a.nii.gz"}}
    assert list(converted(old, "sub-01")["images"]["T1w"]["files"]["reference"]) == [UNCORRECTED]


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="files: must be an object, not 'all'"):
        part({"files": "all"}, "files")
