"""Lesion masks before any work."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.masks import check_mask
from bids_app.errors import ImageError, InputMissing
from tests.bids_app.bids.samples import make_image

pytestmark = pytest.mark.faults


@pytest.fixture
def image(tmp_path):
    return make_image(tmp_path / "sub-01_T1w.nii.gz")


def spot(value=1, kind=np.uint8):
    values = np.zeros((32, 32, 32), kind)
    values[10:14, 10:14, 10:14] = value
    return values


def mask_of(image, values, affine=None):
    path = image.with_name("sub-01_T1w_label-lesion_roi.nii.gz")
    nib.save(nib.Nifti1Image(values, nib.load(image).affine if affine is None else affine), path)
    return path


@pytest.mark.parametrize(
    "values", [spot(), spot(255), spot(1, np.float32), spot(1, np.float32) * 0.9999, spot(1, np.float32) / 255 * 255]
)
def test_a_mask_in_every_usual_form_passes(image, values):
    assert check_mask(mask_of(image, values), image).warnings == ()


def test_a_mask_on_a_grid_of_its_own_passes(image):
    affine = np.diag([-4.0, -4, 4, 1])
    affine[:3, 3] = (62, 62, 0)
    values = np.zeros((16, 16, 16, 1, 1), np.int16)
    values[5:8, 5:8, 5:8] = 1
    assert check_mask(mask_of(image, values, affine), image).warnings == ()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (1 - spot(), "inverted"),
        (spot(np.nan, np.float32), "NaN"),
        (-spot(1, np.int16), "below 0"),
        (np.stack([spot()] * 3, -1), "4-D"),
    ],
)
def test_a_mask_that_cannot_be_one_is_refused_by_its_name(image, values, why):
    path = mask_of(image, values)
    with pytest.raises(ImageError, match=why) as caught:
        check_mask(path, image)
    assert str(path) in str(caught.value)


def test_a_mask_in_another_space_is_refused_and_one_partly_outside_is_said(image):
    far, near = np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    far[0, 3], near[0, 3] = 500, 38
    with pytest.raises(ImageError, match="another space"):
        check_mask(mask_of(image, spot(), far), image)
    assert "25 % of what it marks lies outside" in check_mask(mask_of(image, spot(), near), image).warnings[0]


def test_an_empty_mask_and_one_of_probabilities_are_said(image):
    assert "marks no voxel" in check_mask(mask_of(image, spot(0)), image).warnings[0]
    soft = spot(1, np.float32)
    soft[9, 10:14, 10:14] = 0.3
    assert "above half" in check_mask(mask_of(image, soft), image).warnings[0]


def test_a_mask_that_was_not_fetched_or_is_cut_off_is_refused(image):
    path = image.with_name("sub-01_label-L_mask.nii.gz")
    path.symlink_to("../.git/annex/objects/aa/bb/x.nii.gz")
    with pytest.raises(InputMissing, match="datalad get"):
        check_mask(path, image)
    whole = mask_of(image, spot() * np.random.default_rng(0).integers(1, 9, (32,) * 3).astype(np.uint8))
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(ImageError, match="too early"):
        check_mask(whole, image)


def test_the_header_of_a_mask_is_checked_as_that_of_an_image(image):
    path = mask_of(image, spot())
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[70:72] = (1234).to_bytes(2, "little")  # datatype
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ImageError, match="header"):
        check_mask(path, image)
