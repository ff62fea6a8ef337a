"""Windows of a series: what is taken, what votes, what is too short."""

from __future__ import annotations

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError, RecipeError
from bids_app.imaging.series import evenly_timed, in_one_spread, placed_frames, sample_series
from bids_app.imaging.stacking import Grid
from bids_app.recipes.recipe import load_recipe, parse_recipe
from bids_app.recipes.series import STEP_S, series_trouble
from bids_app.scans.frames import WINDOWS, channels_of, check_length, picture_of, spread_starts, taken, voting
from bids_app.scans.lay import lay
from bids_app.train.augment import Augmentation, apply, draw
from bids_app.train.batches import Patches
from bids_app.train.memory import step_gb
from tests.learned.small import small_scans

RECIPE = load_recipe("restingstate4d")


def numbered(frames: int) -> np.ndarray:
    """A still picture of 100, and frames of their own numbers."""
    return np.array([100, *range(frames)], float).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 2))


def test_windows_are_spread_from_the_first_frame_to_the_last():
    assert spread_starts(100, 20) == [0, 20, 40, 60, 80]
    assert spread_starts(20, 20) == [0] * WINDOWS
    found = voting(numbered(30), 1, 10)[:, 0, 0, 0]
    assert found[0] == 100
    assert found[1:11].tolist() == list(range(10))
    assert found[-10:].tolist() == list(range(20, 30))
    assert taken(numbered(30), 1, [4], 3)[:, 0, 0, 0].tolist() == [100, 4, 5, 6]


def test_a_series_shorter_than_a_window_is_refused():
    check_length(RECIPE, 20, "x")
    with pytest.raises(ImageError, match=r"x has 19 frames.*windows of 20: the series is too short"):
        check_length(RECIPE, 19, "x")


def test_the_last_sequence_has_the_channels_that_are_left():
    assert channels_of([0], 2, 21) == [0]
    assert channels_of([1], 2, 5) == [1, 2, 3, 4]
    assert channels_of([0, 2], 3, 3) == [0, 2]
    assert channels_of([1], 2, 6, 3) == [3, 4, 5]
    assert channels_of([0], 2, 6, 3) == [0, 1, 2]
    assert picture_of(RECIPE, numbered(4)).shape == (2, 2, 2, 2)
    assert picture_of(RECIPE, numbered(4))[1, 0, 0, 0] == pytest.approx(np.std([0, 1, 2, 3]))


def test_training_sees_one_window_at_a_place_drawn_and_prediction_those_that_vote():
    count = np.arange(9).reshape(-1, 1, 1, 1)
    scans = small_scans(2)
    scans = [dataclasses.replace(s, stack=np.concatenate([s.stack[:1], s.stack[1:] + count])) for s in scans]
    patches = Patches(scans, (16, 16, 16), 2, 1, regions=1, normalise=lambda stack: stack, frames=4)
    first = [patches.batch(step).images for step in range(12)]
    assert all(images.shape == (2, 5, 16, 16, 16) for images in first)
    begins = {round(float(images[0, 1].mean()) - float(images[0, 2].mean())) for images in first}
    assert begins == {-1}  # frames in their order
    assert len({round(float(one[0, 1].mean()), 1) for one in first}) > 2
    assert patches.collate([0]).images.shape == (1, 1 + WINDOWS * 4, 16, 16, 16)
    assert (patches.batch(3).images == patches.batch(3).images).all()


def test_all_frames_of_a_series_move_alike():
    scans = [dataclasses.replace(s, stack=np.concatenate([s.stack[:1], *[s.stack[1:]] * 4])) for s in small_scans(2)]
    patches = Patches(scans, (16, 16, 16), 2, 1, regions=1, normalise=lambda stack: stack, frames=4)
    import torch

    batch = patches.batch(0)
    how = Augmentation(p_rotation=1, p_elastic=1, p_noise=0, quantitative=(False, True))
    done = apply(batch, draw(batch, how, torch.Generator().manual_seed(1)))
    assert not torch.equal(done.images, batch.images)
    assert all(torch.equal(done.images[:, 1], done.images[:, k]) for k in (2, 3, 4))


def test_memory_grows_with_the_frames():
    how = {"sequences": 2, "classes": 2, "filters": 8, "blocks": (1, 1), "deep_supervision": 1, "fold": 2}
    one, many = (step_gb((32, 32, 32), 2, frames=frames, **how) for frames in (1, 20))
    assert 5 * one < many < 40 * one


def test_a_faster_series_is_brought_to_one_step():
    times = np.arange(200) * 0.8
    wave = np.sin(2 * np.pi * 0.05 * times)[None]
    slow = evenly_timed(wave, 0.8, STEP_S)
    np.testing.assert_allclose(slow[0], np.sin(2 * np.pi * 0.05 * np.arange(slow.shape[1]) * STEP_S), atol=1e-3)
    assert evenly_timed(wave, STEP_S, STEP_S) is wave


def test_what_a_place_has_above_another_stays():
    courses = np.random.default_rng(1).normal(5, 1, (30, 40)) * np.linspace(1, 3, 30)[:, None]
    one = in_one_spread(courses)
    assert one.std() == pytest.approx(1)
    np.testing.assert_allclose(in_one_spread(1000 * courses + 7), one, atol=1e-9)
    assert one[-1].std() > 2 * one[0].std()


def test_every_frame_is_laid_on_the_grid(tmp_path):
    mask = np.zeros((6, 6, 6), bool)
    mask[1:5, 1:5, 1:5] = True
    frames = placed_frames(np.arange(1, 23)[None] * np.ones((mask.sum(), 1)), mask)
    assert (frames[~mask] == 0).all()
    plain = RECIPE.model_dump()
    plain["grid"] = {"kind": "image", "spacing_mm": 4.0}
    recipe, affine = parse_recipe(plain, source="test"), np.diag([4.0, 4, 4, 1])
    nib.save(nib.Nifti1Image(frames, affine), tmp_path / "bold.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.float32), affine), tmp_path / "T1w.nii.gz")
    images = {"T1w": tmp_path / "T1w.nii.gz", "bold": tmp_path / "bold.nii.gz"}
    stack, present, grid = lay(recipe, images, {})
    assert stack.shape == (1 + 22, 6, 6, 6)
    np.testing.assert_allclose(stack[1:, 3, 3, 3], np.arange(1, 23))
    assert present.tolist() == [1, 1]
    shifted = sample_series(images["bold"], np.eye(4), Grid(grid.shape, grid.affine))
    np.testing.assert_allclose(shifted, stack[1:])
    nib.save(nib.Nifti1Image(frames[..., :19], affine), tmp_path / "bold.nii.gz")
    with pytest.raises(ImageError, match="19 frames"):
        lay(recipe, images, {})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": {"frames": 1}}, "network.frames"),
        ({"reference": "bold"}, "a series cannot be it"),
        ({"sequences": RECIPE.model_dump()["sequences"][::-1]}, "the last one"),
    ],
)
def test_what_does_not_go_with_a_series_is_said(change, told):
    assert series_trouble(RECIPE) is None
    with pytest.raises(RecipeError, match=told):
        parse_recipe(RECIPE.model_dump() | change, source="test")
