"""Which slice a flat recipe looks at, and what its network sees of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.errors import ImageError
from bids_app.recipes.grid import GridSpec
from bids_app.recipes.recipe import Recipe
from bids_app.scans.frames import channels_of
from bids_app.scans.lay import lay, lay_labels, place_level
from bids_app.scans.slices import as_channels, level_of, slice_facts, slice_words
from tests.phantoms import save

FINE = np.diag([2.0, 2.0, 1.0, 1.0])
THICK = np.diag([2.0, 2.0, 5.0, 1.0])


def recipe(network: dict | None = None, **grid) -> Recipe:
    plain = {
        "name": "flat",
        "title": "Flat",
        "sequences": [{"name": "T1w", "suffix": "T1w"}, {"name": "FLAIR", "suffix": "FLAIR", "required": False}],
        "grid": {"kind": "image", "spacing_mm": 2.0, "flat": True, **grid},
        "regions": [{"index": 1, "name": "one"}],
        "network": {"dimensions": 2, **(network or {})},
    }
    return Recipe.model_validate(plain)


def ramp(path, affine, shape):
    """An image that holds the number of its slice, from 1."""
    return save(path, np.zeros(shape, np.float32) + np.arange(1, shape[2] + 1), affine)


def test_a_thick_scan_gives_the_measured_slice_nearest_to_the_level(tmp_path):
    path = ramp(tmp_path / "t1.nii", THICK, (10, 12, 7))  # its middle is its slice number 4
    for level, number in ((None, 4), (2.0, 4), (3.0, 5), (-11.0, 2), (100.0, 7)):
        stack, _, grid = lay(recipe(level_mm=level), {"T1w": path}, {})
        assert set(np.unique(stack[0])) == {number}, level
        np.testing.assert_allclose(grid.spacing, [2, 2, 5])


def test_a_thin_scan_gives_the_slice_at_the_level(tmp_path):
    path = ramp(tmp_path / "t1.nii", FINE, (10, 12, 41))
    stack, _, grid = lay(recipe(spacing_mm=1.0, level_mm=3.0), {"T1w": path}, {})
    np.testing.assert_allclose(stack[0, 2:-2, 2:-2], 24, atol=0.01)
    assert grid.shape[2] == 1


def test_the_level_is_the_templates_where_there_is_one(tmp_path):
    path, mask = ramp(tmp_path / "t1.nii", THICK, (40, 40, 20)), np.ones((40, 40, 20), np.uint8)
    way = np.eye(4)
    way[2, 3] = -40  # the template's origin lies 40 mm above the scan's: its slice number 9
    inside = save(tmp_path / "mask.nii", mask, THICK)
    whole = recipe(kind="whole", centre_mm=[0, 0, 0])
    assert level_of(whole.needed_grid) == 0
    assert lay(whole, {"T1w": path}, {}, way, inside)[0].max() == 9
    assert lay(whole.at_level(10.0), {"T1w": path}, {}, way, inside)[0].max() == 11
    region = recipe(kind="region", centre_mm=[30, 30, 0], size_mm=20)
    assert lay(region, {"T1w": path}, {}, way)[0].max() == 9
    assert lay(region.at_level(-10.0), {"T1w": path}, {}, way)[0].max() == 7


def test_a_recipe_without_a_flat_grid_knows_no_level():
    with pytest.raises(ValueError, match="flat grid"):
        GridSpec(kind="image", spacing_mm=1.0, level_mm=3.0)
    solid = Recipe.model_validate({**recipe().model_dump(), "grid": {"kind": "image", "spacing_mm": 1}, "network": {}})
    assert solid.at_level(3.0) is solid


@pytest.mark.parametrize("slices", [2, 4])
def test_slices_are_odd(slices):
    with pytest.raises(ValueError, match="odd"):
        recipe({"slices": slices})


def test_neighbours_lie_at_the_grids_spacing(tmp_path):
    path = ramp(tmp_path / "t1.nii", FINE, (10, 12, 41))
    stack, _, _ = lay(recipe({"slices": 3}), {"T1w": path}, {})
    assert stack.shape == (2, 10, 12, 3)
    assert np.diff(stack[0, 5, 5]).tolist() == pytest.approx([2, 2], abs=0.01)
    assert not stack[1].any()


def test_neighbours_of_a_thick_slice_are_measured_slices_too(tmp_path):
    path = ramp(tmp_path / "t1.nii", THICK, (10, 12, 7))
    assert lay(recipe({"slices": 3}), {"T1w": path}, {})[0][0, 5, 5].tolist() == [4, 4, 4]
    assert lay(recipe({"slices": 3}, spacing_mm=4.0), {"T1w": path}, {})[0][0, 2, 2].tolist() == [3, 4, 5]
    assert lay(recipe({"slices": 3}, level_mm=40.0, spacing_mm=4.0), {"T1w": path}, {})[0][0, 2, 2, 2] == 7


def test_another_sequence_is_read_in_its_own_slices(tmp_path):
    t1 = ramp(tmp_path / "t1.nii", FINE, (10, 12, 31))  # its middle lies at 15 mm
    flair = ramp(tmp_path / "flair.nii", THICK, (10, 12, 9))
    stack, _, _ = lay(recipe(), {"T1w": t1, "FLAIR": flair}, {"FLAIR": np.eye(4)})
    assert set(np.unique(stack[1])) == {4}


@pytest.mark.parametrize(("affine", "offsets"), [(THICK, [0, -1, 1, -2, 2]), (FINE, list(range(-5, 6)))])
def test_the_range_is_all_slices_near_the_level(tmp_path, affine, offsets):
    path = ramp(tmp_path / "t1.nii", affine, (10, 12, 41))
    placed = place_level(recipe(range_mm=10.0), path, None, None)
    assert sorted(one.offset for one in placed) == sorted(offsets)
    assert placed[0].offset == 0
    assert max(abs(one.away_mm) for one in placed) <= 11  # the level lies between two voxels


def test_labels_lie_in_the_slice_that_was_taken(tmp_path):
    path = ramp(tmp_path / "t1.nii", THICK, (10, 12, 7))
    marked = np.zeros((10, 12, 7), np.uint8)
    marked[3:6, 3:6, 3] = 1
    labels = save(tmp_path / "labels.nii", marked, THICK)
    _, _, grid = lay(recipe(), {"T1w": path}, {})
    np.testing.assert_array_equal(lay_labels(labels, recipe(), grid)[..., 0], marked[..., 3])


def test_one_slice_that_lies_otherwise_is_refused(tmp_path):
    path = save(tmp_path / "t1.nii", np.ones((1, 12, 14), np.float32), FINE)
    with pytest.raises(ImageError, match="one sagittal slice"):
        lay(recipe(), {"T1w": path}, {})


def test_the_record_says_how_the_slice_was_chosen(tmp_path):
    for affine, depth, words in (
        (THICK, 7, "measured slice nearest to the middle"),
        (FINE, 41, "interpolated"),
        (THICK, 1, "the only slice"),
    ):
        path = ramp(tmp_path / f"{depth}.nii", affine, (10, 12, depth))
        placed = place_level(recipe(), path, None, None)
        about = slice_facts(recipe(), placed[0], placed[0].grid)
        assert words in slice_words(about)
        assert about["thickness_mm"] == placed[0].grid.spacing[2]


def test_slices_become_channels_of_their_sequence():
    stack = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    found = as_channels(stack)
    assert found.shape == (6, 4, 5, 1)
    np.testing.assert_array_equal(found[4, ..., 0], stack[1, ..., 1])
    np.testing.assert_array_equal(as_channels(torch.from_numpy(stack)).numpy(), found)
    assert channels_of([1], 2, 6, 3) == [3, 4, 5]


def test_a_recipe_for_one_slice_needs_no_whole_head():
    settled = recipe(kind="whole", level_mm=4.0).for_one_slice()
    assert (settled.needed_grid.kind, settled.needed_grid.level_mm) == ("image", None)
    assert not settled.preprocessing.bias
