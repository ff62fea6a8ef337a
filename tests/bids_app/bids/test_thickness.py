"""How thick an image of one slice is, and that such an image passes where it may."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.preflight import check_image
from bids_app.bids.thickness import one_slice, slice_thickness
from bids_app.errors import ImageError
from bids_app.imaging.conform import conform

pytestmark = pytest.mark.faults


def write(path, shape, affine=None, pixdim=None):
    """One slice with something in it; its affine as given, its voxel sizes as careless programs write them."""
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), affine)
    if pixdim is not None:
        image.header["pixdim"][3] = pixdim
        image.header["sform_code"] = 0
        image.header["qform_code"] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def name(tmp_path):
    return tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii"


def say(path, thickness):
    path.with_suffix(".json").write_text(json.dumps({"SliceThickness": thickness}))


def test_the_header_of_three_dimensions_comes_first(name, tmp_path):
    path = write(name, (20, 30, 1), np.diag([2.0, 2, 4, 1]))
    assert slice_thickness(path, tmp_path) == 4
    say(path, 7.0)
    assert slice_thickness(path, tmp_path) == 4


def test_the_sidecar_of_two_dimensions_comes_first(name, tmp_path):
    path = write(name, (20, 30), np.diag([2.0, 2, 1, 1]))
    assert slice_thickness(path, tmp_path) == 1  # what nibabel fills in
    say(path, 6.0)
    assert slice_thickness(path, tmp_path) == 6
    facts = check_image(path, head=False, thickness=6.0)
    assert (facts.shape, facts.zooms) == ((20, 30, 1), (2, 2, 6))


def test_a_sidecar_further_up_holds_too(name, tmp_path):
    path = write(name, (20, 30), np.diag([2.0, 2, 1, 1]))
    (tmp_path / "T1w.json").write_text(json.dumps({"SliceThickness": 5}))
    assert slice_thickness(path, tmp_path) == 5


def test_a_thickness_that_nobody_knows_is_refused_with_what_to_do(name, tmp_path):
    path = write(name, (20, 30), pixdim=0)
    with pytest.raises(ImageError, match="SliceThickness in mm to the sidecar"):
        slice_thickness(path, tmp_path)
    say(path, 5)
    assert check_image(path, head=False, thickness=slice_thickness(path, tmp_path)).zooms[2] == 5


@pytest.mark.parametrize(("shape", "axis"), [((20, 30), 2), ((20, 1, 30), 1), ((20, 30, 4), None), ((20, 1, 1), None)])
def test_one_slice_is_told_from_others(name, shape, axis):
    assert one_slice(write(name, shape, np.eye(4))) == axis


def test_a_flat_file_is_conformed_to_three_dimensions(name, tmp_path):
    path = write(name, (20, 30), np.diag([-2.0, 2, 1, 1]))
    facts = conform(path, tmp_path / "out.nii", thickness=6.0)
    image = nib.load(tmp_path / "out.nii")
    assert (image.shape, facts["zooms"]) == ((20, 30, 1), [2, 2, 6])
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0], np.asarray(nib.load(path).dataobj)[::-1])


def test_a_flat_file_is_still_refused_elsewhere(name):
    with pytest.raises(ImageError, match="2-D"):
        check_image(write(name, (20, 30), np.eye(4)))
