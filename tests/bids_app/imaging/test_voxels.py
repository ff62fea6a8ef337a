"""Rules on voxels that every step shares."""

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError, TemporaryFailure
from bids_app.imaging import voxels
from bids_app.imaging.voxels import is_mask, marked, read_voxels, whole_numbers


@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7, 8, 1), (6, 7, 8, 1, 1)])
@pytest.mark.parametrize("slab", [1, 100, 1 << 24])
def test_voxels_are_read_in_slabs_as_they_are_at_once(tmp_path, monkeypatch, shape, slab):
    monkeypatch.setattr(voxels, "_SLAB_VOXELS", slab)
    values = np.random.default_rng(0).normal(100, 10, shape)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_voxels(image, "a"), values.reshape(6, 7, 8).astype(np.float32))


def test_another_number_of_axes_is_refused():
    image = nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4))
    with pytest.raises(ImageError, match="4 axes"):
        read_voxels(image, "a.nii")
    assert read_voxels(image, "a.nii", 4).shape == (4, 4, 4, 2)


def test_too_little_memory_is_said_with_what_is_needed(monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(TemporaryFailure, match="not enough memory") as caught:
        read_voxels(image, "a.nii")
    assert caught.value.exit_code == 75


def test_labels_are_whole_numbers_up_to_rounding():
    assert whole_numbers(np.array([0, 0.9999, 2.001])).tolist() == [0, 1, 2]
    assert whole_numbers(np.array([0, 0.5])) is None
    assert whole_numbers(np.array([0, np.nan])) is None


@pytest.mark.parametrize("top", [1, 255, 1 / 255, 0.99999])
def test_a_mask_is_zero_and_one_other_value(top):
    values = np.array([0, top, top * (1 - 1e-6), 0], np.float32)
    assert is_mask(values)
    assert marked(values).tolist() == [False, True, True, False]


@pytest.mark.parametrize("values", [[0, 0.5, 1], [0, 0], [-1, 0, 1], [0, np.inf], [0, 1, 2]])
def test_other_images_are_no_mask(values):
    assert not is_mask(np.array(values, np.float32))
