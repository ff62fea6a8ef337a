"""Crops of both sides of a whole brain: places, mirroring, and answers that come back in place."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, ornt_transform

from bids_app.bundle.trial import trial_bundle
from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, to_grid, transform_points
from bids_app.networks.multitask import Answer
from bids_app.predict.locate import both_sides, lattice_of, place_of, predict_sides
from bids_app.predict.regions import label_map, measure_regions
from bids_app.recipes.recipe import parse_recipe

CALIBRATION = {"threshold": 0.5, "temperature": 1.0, "thresholds": {"near": 0.5, "far": 0.4}}
#: Middle of what is planted on either side, world mm: a ball of 5 mm.
PLACES = {"left": (-20.0, 3.0, -6.0), "right": (22.0, -1.0, -4.0)}
RADIUS = 5.0


class ReadsLeft(torch.nn.Module):
    """Learned the left side alone: what lies to the right in a ball, towards the middle of the head, is ``near``.

    It goes by the middle of what is bright and not by brightness: shown a right side as it is, it swaps the two.
    """

    factor = 4

    def forward(self, x):
        bright = (x > 2).float()
        across = torch.arange(x.shape[2]).reshape(1, 1, -1, 1, 1)
        middle = (bright * across).sum() / bright.sum().clamp_min(1)
        near, far = bright * (across > middle), bright * (across <= middle)
        return Answer([20 * torch.cat([0.5 - bright, near - 0.5, far - 0.5], 1)], {}, x)


@pytest.fixture
def bundle():
    recipe = parse_recipe(
        {
            "name": "halves",
            "title": "Halves of a ball",
            "sequences": [{"name": "T1w", "suffix": "T1w"}],
            "grid": {"kind": "image", "spacing_mm": 1.0},
            "locate": {"left": 17, "right": 53, "mirrored": "right", "size_mm": [18, 22, 16]},
            "regions": [{"index": 1, "name": "near"}, {"index": 2, "name": "far"}],
        },
        source="test",
    )
    return trial_bundle(recipe, ReadsLeft(), CALIBRATION)


def head(folder, axes="RAS", *, zooms=(1.0, 1.0, 1.0), labelled=("left", "right"), off=0.0):
    """A brain with a ball on either side and a label map that has it ``off`` mm too far to the front."""
    shape = tuple(int(90 / zoom) for zoom in zooms)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = (-45.0, -40.0, -43.5)
    at = transform_points(affine, np.moveaxis(np.indices(shape), 0, -1))
    image = 100 + np.random.default_rng(0).uniform(-3, 3, shape)  # never looks like a ball once standardised
    labels = np.zeros(shape, np.uint8)
    for side, label in (("left", 17), ("right", 53)):
        image[np.linalg.norm(at - PLACES[side], axis=-1) < RADIUS] = 200
        if side in labelled:
            labels[np.linalg.norm(at - PLACES[side] - np.array([0, off, 0]), axis=-1) < RADIUS] = label
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    paths = folder / "T1w.nii", folder / "labels.nii"
    for path, values in zip(paths, (image.astype(np.float32), labels), strict=True):
        nib.save(nib.Nifti1Image(values, affine).as_reoriented(turn), path)
    return paths


def run(bundle, paths):
    return predict_sides(bundle, {"T1w": paths[0]}, {"T1w": np.eye(4)}, paths[1], threads=1)


@pytest.mark.parametrize(("axes", "zooms"), [("RAS", (1, 1, 1)), ("LIA", (1, 1, 1)), ("PSR", (0.9, 1, 1.2))])
def test_what_is_planted_comes_back_in_place_on_both_sides(bundle, tmp_path, axes, zooms):
    paths = head(tmp_path, axes, zooms=zooms)
    found, facts = run(bundle, paths)
    image = nib.load(paths[0])
    native = Grid(image.shape, image.affine)
    labels = label_map(both_sides(bundle), to_grid(found.probability, found.grid, native))
    at = transform_points(native.affine, np.moveaxis(np.indices(native.shape), 0, -1))
    for side, (near, far) in (("left", (1, 2)), ("right", (3, 4))):
        ball = np.linalg.norm(at - PLACES[side], axis=-1) < RADIUS
        inside = (labels == near) | (labels == far)
        assert 2 * (ball & inside).sum() / (ball.sum() + inside.sum()) > 0.9
        assert abs(at[labels == near][:, 0].mean()) < abs(at[labels == far][:, 0].mean()) - 3
        assert facts[side]["dice"] > 0.9
    assert not found.warnings


def test_voxels_of_the_network_s_size_are_not_interpolated(bundle, tmp_path):
    paths = head(tmp_path)
    found, _ = run(bundle, paths)
    values = np.asarray(nib.load(paths[0]).dataobj)
    start = np.rint(transform_points(np.linalg.inv(nib.load(paths[0]).affine), found.grid.affine[:3, 3])).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, found.grid.shape, strict=True))
    seen = found.stack[0] != 0
    np.testing.assert_allclose(found.stack[0][seen], values[box][seen], rtol=1e-5)


def test_further_looks_are_centred_on_what_was_found(bundle, tmp_path):
    found, facts = run(bundle, head(tmp_path, off=9.0))
    assert facts["left"]["shift_mm"] == pytest.approx(9.0, abs=0.8)
    rows = measure_regions(both_sides(bundle), found.probability, found.grid).rows
    assert all(row["found"] for row in rows)
    assert not any("border" in text for text in found.warnings)
    assert sum("hardly overlaps" in text for text in found.warnings) == 2


def test_a_side_without_a_label_is_not_found_and_said_so(bundle, tmp_path):
    found, facts = run(bundle, head(tmp_path, labelled=("left",)))
    measured = measure_regions(both_sides(bundle), found.probability, found.grid)
    assert [row["found"] for row in measured.rows] == [True, True, False, False]
    assert facts["right"] is None
    assert found.warnings == ["Halves of a ball: no right one was looked for, because anatomy found none"]
    assert "right near was not found" in " ".join(measured.warnings)


def test_neither_side_found_leaves_rows_and_no_crash(bundle, tmp_path):
    paths = head(tmp_path, labelled=())
    found, facts = run(bundle, paths)
    assert found.probability.shape[0] == 4
    assert facts == {"left": None, "right": None}
    image = nib.load(paths[0])
    assert not to_grid(found.probability, found.grid, Grid(image.shape, image.affine)).any()


def test_nothing_where_the_label_is_is_said(bundle, tmp_path):
    paths = head(tmp_path, off=25.0)
    found, facts = run(bundle, paths)
    assert facts == {"left": None, "right": None}
    assert [text.split(": ")[1] for text in found.warnings] == ["nothing was found where anatomy has it"] * 2


def test_what_reaches_the_border_is_said(bundle, tmp_path):
    small = bundle.recipe.locate.model_copy(update={"size_mm": (18.0, 9.0, 18.0)})
    object.__setattr__(bundle, "recipe", bundle.recipe.model_copy(update={"locate": small}))
    assert sum("reaches the border" in text for text in run(bundle, head(tmp_path))[0].warnings) == 2


def test_a_small_stray_piece_does_not_move_the_place(tmp_path):
    _, path = head(tmp_path)
    image = nib.load(path)
    values = np.array(image.dataobj)
    values[2:5, 2:5, 2:5] = 17
    nib.save(nib.Nifti1Image(values, image.affine), path)
    np.testing.assert_allclose(place_of(path, 17), PLACES["left"], atol=0.6)


def test_a_label_map_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "labels.nii"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"labels\.nii"):
        place_of(path, 17)


def test_the_lattice_goes_along_the_image_s_own_axes(tmp_path):
    angle = np.deg2rad(20)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([-2, 2, 3])
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), affine), tmp_path / "turned.nii")
    np.testing.assert_allclose(lattice_of(tmp_path / "turned.nii", 1.5)[:3, :3], turned * 1.5, atol=1e-6)


def test_thresholds_of_one_side_hold_for_both(bundle):
    whole = both_sides(bundle)
    assert [region.name for region in whole.recipe.regions] == ["left near", "left far", "right near", "right far"]
    assert whole.calibration["thresholds"]["right far"] == 0.4
    assert whole.recipe.swap() == [2, 3, 0, 1]
