from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.cohort.labels import check_labels, find_labels
from bids_app.imaging.stacking import Grid
from bids_app.recipes.recipe import Recipe
from bids_app.scans.lay import lay_labels
from tests.learned.phantom_cohort import phantom_recipe
from tests.phantoms import save

RECIPE = phantom_recipe()
GRID = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))


def mask(path: Path, value: float = 1, shift_mm: float = 0.0) -> Path:
    array = np.zeros((20, 20, 20), np.float32)
    array[5:9, 5:9, 5:9] = value
    affine = GRID.affine.copy()
    affine[0, 3] = shift_mm
    return save(path, array, affine)


def test_the_one_file_of_a_session_is_found_and_none_of_another(tmp_path):
    path = mask(tmp_path / "sub-01" / "anat" / "sub-01_space-orig_label-L_mask.nii.gz")
    mask(tmp_path / "sub-01" / "anat" / "sub-01_space-orig_label-R_mask.nii.gz")
    assert find_labels(RECIPE, tmp_path, "01", None) == (path, None)
    assert find_labels(RECIPE, tmp_path, "02", None) == (None, None)


def test_two_files_that_fit_are_said(tmp_path):
    for run in (1, 2):
        mask(tmp_path / "sub-01" / "anat" / f"sub-01_run-{run}_space-orig_label-L_mask.nii.gz")
    found, trouble = find_labels(RECIPE, tmp_path, "01", None)
    assert found is None
    assert "several files fit" in trouble


def test_a_good_mask_has_nothing_wrong(tmp_path):
    assert check_labels(mask(tmp_path / "mask.nii.gz"), RECIPE, GRID) == ([], [], {1})


def test_a_mask_in_another_space_is_refused(tmp_path):
    wrong, _, _ = check_labels(mask(tmp_path / "mask.nii.gz", shift_mm=500.0), RECIPE, GRID)
    assert "outside the image" in wrong[0]


def test_a_mask_that_sticks_out_is_said(tmp_path):
    wrong, told, _ = check_labels(mask(tmp_path / "mask.nii.gz", shift_mm=-14.0), RECIPE, GRID)
    assert wrong == []
    assert "lie outside the image" in told[0]


def test_what_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(b"no image")
    wrong, _, labelled = check_labels(path, RECIPE, GRID)
    assert str(path) in wrong[0]
    assert labelled is None


@pytest.mark.parametrize("value", [0.4])
def test_a_probability_map_is_no_mask(tmp_path, value):
    array = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(array * value, GRID.affine), path)
    assert "probability map" in check_labels(path, RECIPE, GRID)[0][0]


def test_labels_of_structures_that_a_recipe_does_not_look_for_are_background_where_it_says_so(tmp_path):
    plain = RECIPE.model_dump()
    array = np.zeros((20, 20, 20), np.int16)
    array[5:9, 5:9, 5:9], array[12:15, 5:9, 5:9] = 1, 77
    path = save(tmp_path / "sub-01_dseg.nii.gz", array, GRID.affine)
    for others, wrong, there in (("refuse", 1, {1, 77}), ("background", 0, {1})):
        recipe = Recipe.model_validate({**plain, "labels": {"suffix": "dseg", "others": others}})
        found = check_labels(path, recipe, GRID)
        assert (len(found[0]), found[2]) == (wrong, there)
    assert set(np.unique(lay_labels(path, recipe, GRID))) == {0, 1}
