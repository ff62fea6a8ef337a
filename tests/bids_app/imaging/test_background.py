"""Images whose tissue is not brighter than their blank."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.imaging.background import background_of, faces_of, lifted
from bids_app.imaging.bias import correct_bias
from bids_app.imaging.brain import content_mask, detect_stripped
from bids_app.imaging.diffusion import check_pair
from bids_app.imaging.registration import Fit, Image, register, working_image
from tests.bids_app.imaging.heads import draw, grid_of, save


@pytest.fixture(scope="module")
def grid():
    return grid_of(2.5)


@pytest.fixture(scope="module")
def brain(grid):
    """Stripped, tissue above a blank of zero."""
    values = draw(grid)
    return np.where(values < 2, 0, values)


def z_scored(brain):
    inside = brain > 0
    return np.where(inside, (brain - brain[inside].mean()) / brain[inside].std(), 0).astype(np.float32)


def splined(brain):
    """As resampling by cubic splines leaves it: ripples on both sides of the edge."""
    return ndimage.shift(brain.astype(np.float64), (0.4, 0.3, 0.2), order=3).astype(np.float32)


FORMS = {
    "as scanned": (lambda b: b, "above"),
    "z-scored within the brain": (z_scored, "both"),
    "z-scored with its background": (lambda b: (b - b.mean()) / b.std(), "above"),
    "inverted on white": (lambda b: 255 - b, "below"),
    "negative": (lambda b: -b, "below"),
    "with an offset": (lambda b: b - 1024, "above"),
    "splined": (splined, "above"),
    "z-scored and splined": (lambda b: splined(z_scored(b)), "both"),
    "whole numbers": (lambda b: np.rint(b).astype(np.int16), "above"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_side_of_tissue_is_recognised(brain, form):
    make, side = FORMS[form]
    found = background_of(make(brain))
    assert found.side == side
    assert found.value == pytest.approx(float(np.median(make(brain)[:3])), abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_the_whole_brain_is_content_whatever_its_values(grid, brain, form):
    mask = content_mask(FORMS[form][0](brain), grid)
    truth = brain > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > (0.97 if "splined" not in form else 0.93)


@pytest.mark.parametrize("form", FORMS)
def test_a_stripped_brain_is_known_as_one_whatever_its_values(grid, brain, form):
    answer, why = detect_stripped(FORMS[form][0](brain), grid.affine)
    assert answer, why


def test_a_head_is_not_taken_for_a_stripped_brain(grid):
    head = draw(grid, skull=True)
    for values in (head, head - 1024, head + np.abs(np.random.default_rng(0).normal(0, 1, head.shape))):
        assert not detect_stripped(values, grid.affine)[0]


def test_an_ordinary_image_is_handed_on_as_it_is(brain):
    assert lifted(brain) is brain
    noisy = brain + np.abs(np.random.default_rng(0).normal(0, 2, brain.shape))
    assert lifted(noisy) is noisy


def test_a_crop_through_tissue_has_no_blank_to_lift():
    crop = np.random.default_rng(0).normal(0, 1, (20, 20, 20)).astype(np.float32)
    assert background_of(crop).side == "above"
    few = np.random.default_rng(0).integers(-3, 4, (20, 20, 20))
    assert background_of(few).side == "above"


def test_lifting_keeps_the_order_of_tissue_above_the_blank(brain):
    values = z_scored(brain)
    up = lifted(values)
    inside = brain > 0
    assert np.corrcoef(up[inside], values[inside])[0, 1] > 0.97
    assert (up[~inside] == 0).all()
    assert np.percentile(up[inside], 1) > 0.1 * up.max()


@pytest.mark.parametrize("form", ["z-scored within the brain", "inverted on white", "negative", "with an offset"])
def test_no_bias_field_is_divided_out_of_an_image_that_was_standardised(tmp_path, grid, brain, form):
    values = FORMS[form][0](brain).astype(np.float32)
    found = correct_bias(save(tmp_path / "a.nii", values, grid), tmp_path / "b.nii")
    assert found["skipped"]
    assert "was not corrected" in found["warnings"][0]
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "b.nii").dataobj), values)


def test_an_ordinary_brain_is_corrected(tmp_path, grid, brain):
    found = correct_bias(save(tmp_path / "a.nii", brain, grid), tmp_path / "b.nii", sloppy=True)
    assert "skipped" not in found


def test_a_z_scored_brain_is_registered_as_its_original_is(tmp_path, grid, brain):
    moved = np.eye(4)
    moved[:3, 3] = (6, -4, 3)
    other = draw(grid, moved)
    fixed = save(tmp_path / "fixed.nii", brain, grid)
    other = np.where(other < 2, 0, other)
    found = []
    for name, values in (("plain", other), ("scored", z_scored(other))):
        moving = save(tmp_path / f"{name}.nii", values, grid)
        found.append(register(Image(moving), Image(fixed), Fit("rigid", spacing=4.0), tmp_path / f"out_{name}").matrix)
    assert working_image(tmp_path / "scored.nii", 4.0).array.min() == 0
    assert np.linalg.norm(found[0][:3, 3] - found[1][:3, 3]) < 0.5


def whole_head_pair(seed=0, noise=12.0, side=56):
    """Trace and ADC of a head with fluid, skull and scalp in a box of air, from noisy magnitudes at two b-values."""
    draw_noise = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.arange(side) - side / 2 + 0.5] * 3, indexing="ij"))
    radius = np.linalg.norm(at * [[[[1]]], [[[1.2]]], [[[1.4]]]], axis=0) / side
    true = np.select([np.abs(radius - 0.12) < 0.05, radius < 0.3], [3.0, 0.8], 0.0)
    s0 = np.select([true == 3.0, radius < 0.3, (radius > 0.34) & (radius < 0.38)], [900, 450, 120], 0.0)
    first, second = (
        np.abs(s0 * np.exp(-b * true) + draw_noise.normal(0, noise, (*s0.shape, 2)) @ (1, 1j)) for b in (0.0, 1.0)
    )
    return second, np.maximum(np.log(first / second), 0)


@pytest.mark.parametrize("noise", [2.0, 12.0, 25.0])
def test_a_whole_head_pair_with_noise_in_its_air_is_a_pair(noise):
    trace, adc = whole_head_pair(noise=noise)
    facts, _ = check_pair(trace, np.eye(4), adc, np.eye(4))
    assert facts["correlation"] < -0.3
    assert facts["covered"] > 0.95


def test_two_whole_heads_that_are_no_pair_are_still_refused():
    from bids_app.errors import ImageError

    trace, adc = whole_head_pair()
    with pytest.raises(ImageError):
        check_pair(trace, np.eye(4), np.where(adc > 0, np.maximum(3.4 - adc, 0), 0), np.eye(4))
    shift = np.eye(4)
    shift[0, 3] = 16
    with pytest.raises(ImageError):
        check_pair(trace, np.eye(4), adc, shift)


def test_faces_are_those_of_the_box_in_any_order_of_axes():
    array = np.arange(24).reshape(2, 3, 4)
    for one in (array, np.asfortranarray(array)):
        faces = faces_of(one)
        assert [face.shape for face in faces] == [(3, 4), (3, 4), (2, 4), (2, 4), (2, 3), (2, 3)]
        assert (faces[1] == array[-1]).all()
        assert (faces[2] == array[:, 0]).all()
        assert all(np.shares_memory(face, one) for face in faces)
