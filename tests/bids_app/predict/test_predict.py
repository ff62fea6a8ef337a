import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.bundle.trial import trial_bundle
from bids_app.errors import ImageError, UsageError
from bids_app.networks.multitask import Answer
from bids_app.predict.predict import locate_and_predict, predict, resolve_device
from bids_app.recipes.recipe import GridSpec, load_recipe
from bids_app.scans.tiles import corners

CALIBRATION = {"threshold": 0.5, "temperature": 1.0}


class Bright(torch.nn.Module):
    """Calls what is brighter than usual left or right, by where it lies relative to the tile's middle."""

    factor = 16

    def forward(self, x):
        half = torch.linspace(-1, 1, x.shape[2]).reshape(1, 1, -1, 1, 1)
        spot = (x > 2).float()
        left, right = spot * (half < 0), spot * (half > 0)
        return Answer([20 * torch.cat([0.5 - spot.amax(1, keepdim=True), left - 0.5, right - 0.5], 1)], {}, x)


class Sided(Bright):
    """Always says that the first half of the image is left: what a network does that looked at position alone."""

    def forward(self, x):
        half = torch.linspace(-1, 1, x.shape[2]).reshape(1, 1, -1, 1, 1).expand_as(x)
        return Answer([20 * torch.cat([torch.full_like(x, -1), -half, half], 1)], {}, x)


@pytest.fixture
def bundle():
    return trial_bundle(load_recipe("habenula"), Bright(), CALIBRATION)


def spots(shape, *places, radius=3) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    image = np.full(shape, 100, np.float32) + np.random.default_rng(0).normal(0, 5, shape).astype(np.float32)
    for place in places:
        image[np.linalg.norm(index - np.array(place), axis=-1) < radius] = 200
    return image


def test_probability_has_one_map_per_region(bundle):
    found = predict(bundle, spots((64, 64, 64), (25, 32, 32), (39, 32, 32))[None])
    assert found.shape == (2, 64, 64, 64)
    assert found.dtype == np.float32
    assert found[0, 25, 32, 32] > 0.9
    assert found[1, 39, 32, 32] > 0.9


def test_mirrored_pass_names_the_sides_back():
    bundle = trial_bundle(load_recipe("habenula"), Sided(), CALIBRATION)
    stacked = spots((64, 64, 64))[None]
    np.testing.assert_allclose(predict(bundle, stacked, tta=True), predict(bundle, stacked), atol=1e-5)


def test_low_mem_gives_the_same_answer(bundle):
    stacked = spots((64, 64, 64), (25, 32, 32))[None]
    np.testing.assert_allclose(predict(bundle, stacked, tta=True, low_mem=True), predict(bundle, stacked, tta=True))


def test_a_stack_that_is_no_multiple_of_the_factor_keeps_its_shape(bundle):
    assert predict(bundle, spots((50, 61, 33))[None]).shape == (2, 50, 61, 33)


def test_tiles_cover_everything_and_overlap():
    covered = np.zeros((100, 64, 70), int)
    for i, j, k in corners(covered.shape, [64, 64, 64]):
        covered[i : i + 64, j : j + 64, k : k + 64] += 1
    assert covered.min() >= 1
    assert list(corners((64, 64, 64), [64, 64, 64])) == [(0, 0, 0)]


def test_stack_with_another_number_of_sequences_is_an_error(bundle):
    with pytest.raises(ImageError, match="needs 1 sequences"):
        predict(bundle, np.zeros((2, 64, 64, 64), np.float32))


def test_missing_required_sequence_is_named(bundle):
    with pytest.raises(ImageError, match="T1w"):
        predict(bundle, np.zeros((1, 64, 64, 64), np.float32), np.zeros(1))


def test_second_look_is_centred_on_what_was_found(bundle, tmp_path):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-40, -63.5, -37.3)
    image = spots((80, 80, 80), (42, 44, 41), (50, 44, 41))  # middle: world (6, -19.5, 3.7)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "t1.nii")
    found = locate_and_predict(bundle, {"T1w": tmp_path / "t1.nii"}, {"T1w": np.eye(4)}, np.eye(4))
    assert np.linalg.norm(found.grid.centre - [6, -19.5, 3.7]) < 1.5
    assert found.probability.shape == (2, 64, 64, 64)
    assert found.shift_mm == pytest.approx(found.grid.centre - [0.1, -23.5, 2.7])


def test_nothing_found_says_so(bundle, tmp_path):
    even = np.broadcast_to(np.linspace(100, 200, 80, dtype=np.float32)[:, None, None], (80, 80, 80))
    nib.save(nib.Nifti1Image(even, np.eye(4)), tmp_path / "t1.nii")
    there = np.eye(4)
    there[:3, 3] = (-40, -63.5, -37.3)
    found = locate_and_predict(bundle, {"T1w": tmp_path / "t1.nii"}, {"T1w": np.eye(4)}, there)
    assert "nothing at the template's place" in found.warnings[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(UsageError, match="--device cpu"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_unknown_device_is_an_error():
    with pytest.raises(UsageError, match="none of auto, cpu, cuda"):
        resolve_device("tpu")


def test_an_image_that_is_prepared_already_is_predicted_on_its_own_grid(bundle, tmp_path):
    recipe = bundle.recipe.model_copy(update={"grid": GridSpec(kind="image", spacing_mm=1.0)})
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(spots((35, 51, 38), (10, 22, 20), (26, 22, 20)), affine), tmp_path / "t1.nii")
    crop = trial_bundle(recipe, bundle.network, CALIBRATION)
    found = locate_and_predict(crop, {"T1w": tmp_path / "t1.nii"}, {}, None)
    assert found.probability.shape == (2, 35, 51, 38)
    assert found.probability[0, 10, 22, 20] > 0.9
    assert found.probability[1, 26, 22, 20] > 0.9
    np.testing.assert_array_equal(found.grid.affine, affine)
