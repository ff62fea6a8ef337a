from __future__ import annotations

from dataclasses import replace

import pytest

from bids_app.cohort.raw import needs_nothing, raw_sessions
from bids_app.errors import InputMissing
from bids_app.settings import Settings
from tests.learned.phantom_cohort import phantom_recipe
from tests.phantoms import tiny_dataset

RECIPE = phantom_recipe(("T1w", "FLAIR"))


def test_prepared_crops_need_nothing_and_images_with_a_bias_field_do():
    assert needs_nothing(RECIPE)
    biased = RECIPE.preprocessing.model_copy(update={"bias": True})
    assert not needs_nothing(RECIPE.model_copy(update={"preprocessing": biased}))


def test_a_session_without_what_the_recipe_requires_is_left_out_by_name(tmp_path):
    files = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    settings = Settings(bids_dir=tiny_dataset(tmp_path / "data", files), output_dir=tmp_path / "out")
    sessions, notes = raw_sessions(settings, RECIPE)
    assert [session.key for session in sessions] == ["sub-01"]
    assert set(sessions[0].images) == {"T1w", "FLAIR"}
    assert notes == ["sub-02 is left out: T1w is not there"]
    with pytest.raises(InputMissing, match="T1w is not there"):
        raw_sessions(replace(settings, participant_label=("02",)), RECIPE)
