"""The brain and its structures found in a whole head by one run of the network, however the image is stored."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from bids_app.errors import ImageError
from bids_app.imaging.head import template_brain
from bids_app.imaging.landmarks import MIDDLES
from bids_app.imaging.stacking import Grid, to_grid
from bids_app.imaging.templates import find_template
from bids_app.predict import anatomy
from bids_app.predict.anatomy import (
    AGREES_AT_LEAST,
    anatomy_bundle,
    doubt,
    find_anatomy,
    furrows_of,
    head_box,
    labels_on,
    likeliest,
    placed_by,
)
from tests.learned.small_bundle import write_small
from tests.learned.small_head import (
    AFFINE,
    LEFT,
    RIGHT,
    head_bundle,
    head_image,
    head_recipe,
    read_brightness,
)

BALL_ML = 4 / 3 * np.pi * 65**3 / 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return head_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def find(bundle, tmp_path, monkeypatch):
    """A function that saves an image and finds its anatomy by its brightness."""
    monkeypatch.setattr(anatomy, "predict", read_brightness)

    def found(image: nib.Nifti1Image):
        path = tmp_path / "head.nii"
        nib.save(image, path)
        return find_anatomy(bundle, path)

    return found


def world_x(found, index: int) -> float:
    """Mean position to the right, mm, of a label."""
    return float(
        (np.argwhere(found.labels == index) @ found.grid.affine[:3, :3].T + found.grid.affine[:3, 3])[:, 0].mean()
    )


@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSR", "LPS"])
def test_left_stays_left_and_the_mask_lies_on_the_brain_in_any_order_of_axes(find, axes):
    image = head_image()
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes)))
    stored = image.as_reoriented(turn)
    found = find(stored)
    assert found.labels.shape == found.brain.shape == stored.shape
    values = np.asarray(stored.dataobj)
    truth = np.isin(values, (LEFT, RIGHT))
    stray = np.linalg.norm(np.argwhere(truth) @ stored.affine[:3, :3].T + stored.affine[:3, 3], axis=1) > 70
    truth[tuple(np.argwhere(truth)[stray].T)] = False
    np.testing.assert_array_equal(found.brain, truth)
    assert world_x(found, 2) == pytest.approx(-24.4, abs=1)
    assert world_x(found, 41) == pytest.approx(24.4, abs=1)
    assert set(np.unique(found.labels)) == {0, 2, 24, 41}


def test_a_slanted_image_is_answered_on_its_own_voxels(find):
    angle = np.deg2rad(18)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine = turn @ np.diag([2.0, 4.0, 8.0, 1.0])
    shape = (96, 48, 24)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    found = find(head_image(affine, shape))
    assert found.seen.spacing == pytest.approx(4.0)
    np.testing.assert_allclose(found.seen.affine[:3, 0] / 4, affine[:3, 0] / 2)  # the image's own axes
    at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    truth = np.linalg.norm(at, axis=-1) < 65
    assert 2 * (truth & found.brain).sum() / (truth.sum() + found.brain.sum()) > 0.93
    right = found.labels == 41
    assert right.sum() > 0.8 * (truth & (at[..., 0] > 0)).sum()
    assert (at[..., 0][right] > -6).all()


def test_volumes_are_those_of_the_ball_and_what_lies_apart_does_not_count(find):
    rows = {row["name"]: row for row in find(head_image()).rows}
    assert rows["brain"]["soft_mm3"] / 1000 == pytest.approx(BALL_ML, rel=0.03)
    assert rows["left half"]["soft_mm3"] == pytest.approx(rows["brain"]["soft_mm3"] / 2, rel=0.06)
    assert rows["brain"]["index"] is None
    fluid = rows["cerebrospinal fluid"]["hard_mm3"]
    assert rows["total intracranial volume"]["hard_mm3"] == pytest.approx(rows["brain"]["hard_mm3"] + fluid)


def test_a_whole_brain_is_believed_and_half_a_one_is_not(find):
    image = head_image()
    assert find(image).trouble == ""
    assert "face" in find(image.slicer[:, :, 24:]).trouble
    small = AFFINE * [[0.7], [0.7], [0.7], [1]]
    shrunk = nib.Nifti1Image(np.asarray(image.dataobj), small)
    assert "ml" in find(shrunk).trouble


def test_fluid_in_a_furrow_counts_to_the_mask_and_fluid_around_it_does_not():
    grid = Grid((40, 40, 40), np.eye(4))
    brain = np.zeros(grid.shape, bool)
    brain[5:35, 5:35, 5:35] = True
    brain[18:22, 5:35, 15:35] = False  # 4 mm
    brain[5:35, 5:23, 15:35] &= ~(np.arange(5, 35) >= 23)[:, None, None]  # a corner that is missing: no furrow
    closed = furrows_of(brain, grid)
    assert closed[20, 30, 25]
    assert not closed[30, 10, 28]
    assert not closed[2].any()


def test_a_brain_in_pieces_is_doubted():
    brain = np.zeros((50, 50, 50), bool)
    brain[10:40, 10:40, 10:40] = True
    grid = Grid(brain.shape, np.diag([4.0, 4, 4, 1]))
    assert doubt(brain, grid, astray=0.02, agrees=None) == ""
    assert doubt(brain, grid, astray=0.4, agrees=0.9) == "40 % of it lies apart"


def test_a_brain_unlike_the_template_is_doubted():
    brain = np.zeros((50, 50, 50), bool)
    brain[10:40, 10:40, 10:40] = True
    grid = Grid(brain.shape, np.diag([4.0, 4, 4, 1]))
    assert doubt(brain, grid, 0.0, agrees=0.92) == ""
    assert "template's brain (Dice 0.60)" in doubt(brain, grid, 0.0, agrees=0.6)
    assert "do not lie as in a head" in doubt(brain, grid, 0.0, agrees=0.0)


def test_structures_place_the_template_on_itself_and_half_of_it_is_noticed():
    _, grid, inside = template_brain(find_template())
    rows = [{"index": number, "centre_mm": list(at)} for number, at in MIDDLES.items()]
    matrix, agrees = placed_by(rows, inside, grid)
    np.testing.assert_allclose(matrix, np.eye(4), atol=1e-6)
    assert agrees > 0.99
    half = inside & (np.arange(inside.shape[2]) > inside.shape[2] / 2)
    assert placed_by(rows, half, grid)[1] < AGREES_AT_LEAST
    wrong = [row | {"centre_mm": rows[i * 7 % len(rows)]["centre_mm"]} for i, row in enumerate(rows)]
    assert placed_by(wrong, inside, grid) == (None, 0.0)
    assert placed_by(rows[:5], inside, grid) == (None, None)


def test_an_image_without_a_head_is_an_error(find):
    image = nib.Nifti1Image(np.full((20, 20, 20), 5000, np.float32), AFFINE)
    with pytest.raises(ImageError, match="is it a head"):
        find(image)


def test_air_is_not_looked_at():
    image = np.random.default_rng(0).normal(0, 2, (60, 60, 60)).astype(np.float32)
    image[20:40, 25:45, 30:50] = 100
    box = head_box(image, Grid(image.shape, np.diag([2.0, 2, 2, 1])))
    assert box == (slice(16, 44), slice(21, 49), slice(26, 54))
    assert head_box(np.zeros((5, 5, 5)), Grid((5, 5, 5), np.eye(4))) == (slice(0, 5),) * 3


def test_the_likeliest_region_may_be_none():
    probability = np.zeros((3, 1, 1, 3), np.float32)
    probability[:, 0, 0, 0] = [0.3, 0.1, 0.1]  # none: 0.5
    probability[:, 0, 0, 1] = [0.3, 0.35, 0.1]  # none: 0.25
    probability[:, 0, 0, 2] = [0.1, 0.1, 0.2]
    assert likeliest(head_recipe(), probability)[0, 0].tolist() == [0, 24, 0]


def test_what_weighs_more_is_found_where_it_is_unlikely_and_on_another_grid_too():
    probability = np.zeros((3, 4, 4, 4), np.float32)
    probability[0], probability[1] = 0.6, 0.1
    recipe, grid = head_recipe(), Grid((4, 4, 4), np.eye(4))
    index = [region.index for region in recipe.regions]
    assert set(np.unique(likeliest(recipe, probability))) == {index[0]}
    weights = [1.0, 8.0, 1.0]
    labels = likeliest(recipe, probability, weights)
    assert set(np.unique(labels)) == {index[1]}
    finer = Grid((7, 7, 7), np.diag([0.5, 0.5, 0.5, 1]))
    assert labels_on(recipe, probability, labels, grid, finer, weights)[3, 3, 3] == index[1]


def test_labels_on_another_grid_are_the_likeliest_of_the_probabilities_there():
    rng = np.random.default_rng(1)
    probability = rng.dirichlet([0.3] * 4, (12, 12, 12)).transpose(3, 0, 1, 2)[:3].astype(np.float32)
    seen, native = Grid((12, 12, 12), np.eye(4)), Grid((9, 17, 5), np.diag([1.4, 0.7, 2.5, 1]))
    labels = likeliest(head_recipe(), probability)
    found = labels_on(head_recipe(), probability, labels, seen, native)
    expected = likeliest(head_recipe(), to_grid(probability, seen, native))
    inside = to_grid(np.ones(seen.shape), seen, native) > 0.99
    assert (found == expected)[inside].mean() > 0.99


def test_members_and_mirrors_go_through_the_real_network(tmp_path):
    two = write_small(tmp_path / "two", recipe=head_recipe(), members=2)
    nib.save(head_image(), tmp_path / "head.nii")
    once, mirrored = (find_anatomy(two, tmp_path / "head.nii", tta=tta) for tta in (False, True))
    assert once.labels.shape == (48, 48, 48)
    assert len(once.rows) == 5
    assert once.rows[3]["soft_mm3"] != mirrored.rows[3]["soft_mm3"]


def test_only_a_bundle_for_the_recipe_anatomy_finds_brains(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(anatomy, "shipped", list)
    assert anatomy_bundle(bundle.path).recipe.name == "anatomy"
    assert anatomy_bundle(write_small(tmp_path / "other").path) is None
    assert anatomy_bundle() is None


def test_nothing_is_labelled_apart_from_another_networks_labels(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(anatomy, "predict", read_brightness)
    image = head_image()
    values = np.asarray(image.dataobj).copy()
    values[38:44, 22:26, 24] = RIGHT  # a bridge through the fluid to the air
    nib.save(nib.Nifti1Image(values, image.affine), tmp_path / "head.nii")
    brain = np.isin(np.asarray(head_image().dataobj), (LEFT, RIGHT)).astype(np.uint8)
    nib.save(nib.Nifti1Image(brain, image.affine), tmp_path / "labels.nii")
    free = find_anatomy(bundle, tmp_path / "head.nii")
    held = find_anatomy(bundle, tmp_path / "head.nii", within=tmp_path / "labels.nii")
    place = slice(42, 44), slice(22, 26), 24
    assert (free.labels[place] > 0).any()
    assert not (held.labels[place] > 0).any()
    inside = brain[8:38, 8:40, 8:38] > 0
    np.testing.assert_array_equal(held.labels[8:38, 8:40, 8:38][inside], free.labels[8:38, 8:40, 8:38][inside])
