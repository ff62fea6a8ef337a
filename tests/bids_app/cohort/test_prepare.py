"""Images and labels on a recipe's grid, and scans that are only made again when something changed."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_app.cohort.cohort import load_cohort
from bids_app.cohort.prepare import prepare_cohort
from bids_app.errors import DataError, ImageError
from bids_app.imaging.stacking import Grid
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.scans.lay import MARGIN_MM, image_grid, lay, lay_labels
from bids_app.scans.scan import load_scan, load_scans
from tests.data import real
from tests.learned.finished import finish
from tests.phantoms import TINY_AFFINE, save, tiny_dataset, tiny_image


def recipe(grid: dict, **changes) -> Recipe:
    t1, flair = ({"name": n, "suffix": n, "required": n == "T1w"} for n in ("T1w", "FLAIR"))
    regions = [{"index": 5, "name": "five"}, {"index": 9, "name": "nine"}]
    plain = {"name": "tiny", "title": "Tiny", "sequences": [t1, flair], "grid": grid, "regions": regions}
    return Recipe.model_validate({**plain, **changes})


IMAGE = {"kind": "image", "spacing_mm": 5.0}
WHOLE = {"kind": "whole", "spacing_mm": 5.0}
REGION = {"kind": "region", "spacing_mm": 5.0, "size_mm": 40, "centre_mm": [0, 0, 0]}
ASIDE = {**REGION, "centre_mm": [-25, -40, -15]}
FLAT = {"dimensions": 2}


@pytest.fixture
def t1(tmp_path):
    return tiny_image(tmp_path / "t1.nii")


@pytest.fixture
def mask(tmp_path):
    inside = np.zeros((32, 32, 32), np.uint8)
    inside[8:24, 8:24, 8:24] = 1
    return save(tmp_path / "mask.nii", inside)


def voxels(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, np.float32)


def test_an_image_with_the_recipes_spacing_is_used_as_it_is(t1):
    stack, present, grid = lay(recipe({**IMAGE, "spacing_mm": 4.96}), {"T1w": t1}, {})
    np.testing.assert_array_equal(stack[0], voxels(t1))
    np.testing.assert_array_equal(grid.affine, TINY_AFFINE)
    assert present.tolist() == [1, 0]
    assert not stack[1].any()


def test_voxels_stored_in_another_order_give_the_same_stack(t1, tmp_path):
    image = nib.load(t1)
    turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nib.save(turned, tmp_path / "turned.nii")
    one, _, grid = lay(recipe(IMAGE), {"T1w": t1}, {})
    other, _, same = lay(recipe(IMAGE), {"T1w": tmp_path / "turned.nii"}, {})
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(grid.affine, same.affine)


def test_another_spacing_keeps_field_of_view_and_middle(t1):
    stack, _, grid = lay(recipe({**IMAGE, "spacing_mm": 2.5}), {"T1w": t1}, {})
    assert stack.shape == (2, 64, 64, 64)
    np.testing.assert_allclose(grid.centre, Grid.of(t1).centre)
    np.testing.assert_allclose(grid.spacing, 2.5)
    np.testing.assert_allclose(np.sort(grid.corners(), 0), np.sort(Grid.of(t1).corners(), 0))


def test_a_slanted_image_keeps_its_axes():
    turned = np.array([[0, -2.0, 0, 1], [0, 0, 3.0, 2], [1.0, 0, 0, 3], [0, 0, 0, 1]])
    grid = image_grid(Grid((30, 20, 10), turned), 1.0)
    assert grid.shape == (30, 40, 30)
    np.testing.assert_allclose(grid.affine[:3, :3], turned[:3, :3] / [1, 2, 3])


def test_a_whole_brain_is_zero_outside_its_mask(t1, mask):
    stack, _, grid = lay(recipe(WHOLE), {"T1w": t1}, {}, np.eye(4), mask)
    inside = lay_labels(mask, recipe(WHOLE, regions=[{"index": 1, "name": "brain"}]), grid) > 0
    assert stack[0][inside].min() > 0
    assert not stack[0][~inside].any()


def test_a_region_is_not_masked_and_may_have_a_margin(t1, mask):
    plain, _, small = lay(recipe(REGION), {"T1w": t1}, {}, np.eye(4), mask)
    wide, _, large = lay(recipe(REGION), {"T1w": t1}, {}, np.eye(4), mask, margin_mm=MARGIN_MM)
    assert (small.shape, large.shape) == ((8, 8, 8), (12, 12, 12))
    np.testing.assert_allclose(small.centre, [0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(wide[:, 2:-2, 2:-2, 2:-2], plain, atol=1e-3)


@pytest.mark.parametrize("grid", [IMAGE, WHOLE, REGION])
def test_a_flat_grid_is_one_slice_of_the_solid_one(tmp_path, mask, grid):
    fine = np.diag([2.0, 2.0, 2.0, 1.0])
    fine[:3, 3] = -79
    t1 = tiny_image(tmp_path / "fine.nii", shape=(80, 80, 80), affine=fine)
    centre = {} if grid is IMAGE else {"centre_mm": [0, 0, 0]}
    solid, _, where = lay(recipe(grid), {"T1w": t1}, {}, np.eye(4), mask)
    flat, _, slice_ = lay(recipe({**grid, **centre, "flat": True}, network=FLAT), {"T1w": t1}, {}, np.eye(4), mask)
    assert flat.shape == (*solid.shape[:3], 1)
    if grid is not REGION:  # whose solid cube has its middle between two slices
        index = round(float((np.linalg.inv(where.affine) @ slice_.affine)[2, 3]))
        np.testing.assert_allclose(flat[..., 0], solid[..., index], atol=1e-3)
    if grid is not IMAGE:
        assert abs(slice_.centre[2]) <= 2.5


def test_a_second_sequence_is_brought_over_by_its_matrix(t1, tmp_path):
    moved = TINY_AFFINE.copy()
    moved[0, 3] += 10
    save(tmp_path / "flair.nii", voxels(t1), moved)
    shift = np.eye(4)
    shift[0, 3] = 10  # reference world to FLAIR world
    stack, present, _ = lay(recipe(IMAGE), {"T1w": t1, "FLAIR": tmp_path / "flair.nii"}, {"FLAIR": shift})
    np.testing.assert_allclose(stack[1], stack[0], atol=1e-3)
    assert present.all()


def test_what_a_grid_needs_is_asked_for(t1):
    with pytest.raises(ImageError, match="needs the brain mask and the way to the template"):
        lay(recipe(WHOLE), {"T1w": t1}, {}, np.eye(4))
    with pytest.raises(ImageError, match="without its reference, T1w"):
        lay(recipe(IMAGE), {"FLAIR": t1}, {})


def test_labels_become_positions_and_follow_the_world(tmp_path):
    fine = np.zeros((64, 64, 64), np.int16)
    fine[20:24, 20:24, 20:24], fine[40:44, 20:24, 20:24] = 5, 9
    affine = TINY_AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] -= 1.25  # the same box of the world, voxels half the size
    labels = lay_labels(save(tmp_path / "dseg.nii", fine, affine), recipe(IMAGE), Grid((32, 32, 32), TINY_AFFINE))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(np.argwhere(labels == 1).min(0), [10, 10, 10])
    assert [(labels == value).sum() for value in (1, 2)] == [8, 8]


def test_a_mask_is_the_only_region_whatever_its_index(tmp_path):
    one = recipe(IMAGE, regions=[{"index": 3, "name": "three"}], labels={"suffix": "mask"})
    path = save(tmp_path / "mask.nii", np.ones((32, 32, 32), np.uint8))
    assert lay_labels(path, one, Grid((32, 32, 32), TINY_AFFINE)).all()


@pytest.fixture
def prepared(tmp_path):
    """A function that loads a cohort of two and prepares it; it returns what was told."""
    bids, out, manual = (tmp_path / name for name in ("bids", "out", "manual"))
    tiny_dataset(bids, [f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)])
    finish(out, bids, ["sub-01", "sub-02"], whole=True)

    def prepare(grid=IMAGE, labels=(10, 10), jobs=1, participants=None, before=lambda: None):
        for n, first in enumerate(labels, 1):
            array = np.zeros((32, 32, 32), np.int16)
            array[first : first + 3, 10:13, 10:13] = 5
            save(manual / f"sub-0{n}" / "anat" / f"sub-0{n}_dseg.nii.gz", array)
        cohort = load_cohort(recipe(grid), bids, {"manual": manual}, out, participants=participants)
        heard = []
        before()
        paths = prepare_cohort(cohort, recipe(grid), tmp_path / "scans", jobs=jobs, told=lambda *row: heard.append(row))
        return paths, heard

    return prepare


@pytest.mark.parametrize(("grid", "jobs"), [(IMAGE, 1), (WHOLE, 2), (ASIDE, 1)])
def test_every_session_becomes_a_scan(prepared, grid, jobs):
    paths, heard = prepared(grid, jobs=jobs)
    assert heard == [(1, 2, "sub-01"), (2, 2, "sub-02")]
    scans = [load_scan(path) for path in paths]
    assert [scan.participant for scan in scans] == ["01", "02"]
    assert all(scan.labels.shape == scan.stack.shape[1:] and scan.labels.max() == 1 for scan in scans)
    assert [scan.present.tolist() for scan in scans] == [[True, False]] * 2


def test_only_what_changed_is_prepared_again(prepared):
    before = {path: path.stat().st_mtime_ns for path in prepared()[0]}
    after = {path: path.stat().st_mtime_ns for path in prepared(labels=(10, 11))[0]}
    assert [before[path] == after[path] for path in before] == [True, False]
    assert load_scan(list(after)[1]).labels[13, 11, 11] == 1
    again = {path: path.stat().st_mtime_ns for path in prepared({**IMAGE, "spacing_mm": 4.0}, (10, 11))[0]}
    assert all(after[path] != again[path] for path in again)


def test_a_scan_of_a_session_that_left_is_gone(prepared):
    first, _ = prepared()[0]
    assert len(load_scans(first.parent)) == 2
    prepared(participants=["02"])
    assert [scan.key for scan in load_scans(first.parent)] == ["sub-02"]


def test_structures_outside_the_grid_are_listed_together(prepared):
    with pytest.raises(DataError) as error:
        prepared(REGION, (0, 0))
    assert "sub-01_dseg.nii.gz" in str(error.value)
    assert "sub-02_dseg.nii.gz" in str(error.value)


def test_an_image_that_was_damaged_since_is_named(prepared):
    paths, _ = prepared()
    image = paths[0].parents[1] / "out/sub-01/anat/sub-01_desc-preproc_T1w.nii"
    with pytest.raises(DataError, match="sub-01: cannot be laid on the grid"):
        prepared(before=lambda: image.write_bytes(image.read_bytes()[:5000]))


def test_real_crops_keep_every_labelled_voxel(tmp_path):
    data, asked = real("hippocampus"), load_recipe("hippocampus")
    out = finish(tmp_path / "out", data, sorted(path.name for path in data.glob("sub-*"))[:5])
    cohort = load_cohort(asked, data, {"manual": data / "derivatives" / "manual"}, out)
    for session, path in zip(cohort.sessions, prepare_cohort(cohort, asked, tmp_path / "scans"), strict=True):
        truth, scan = voxels(session.labels), load_scan(path)
        np.testing.assert_array_equal(scan.labels, truth)
        np.testing.assert_allclose(
            scan.stack[0], voxels(session.images["T1w"]), rtol=2e-3, atol=scan.stack.max() * 1e-3
        )
