import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.conform import conform, to_native

LIA = np.array([[-1.0, 0, 0, 20], [0, 0, 2, -18], [0, -1.5, 0, 16], [0, 0, 0, 1]])


@pytest.fixture
def numbers():
    return np.random.default_rng(0).integers(0, 900, (12, 14, 16)).astype(np.int16)


def save(path, array, affine=LIA, **header):
    image = nib.Nifti1Image(array, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def test_voxels_keep_value_and_place(tmp_path, numbers):
    facts = conform(save(tmp_path / "a.nii.gz", numbers), tmp_path / "b.nii")
    result = nib.load(tmp_path / "b.nii")
    assert nib.aff2axcodes(result.affine) == ("R", "A", "S")
    assert facts["orientation"] == "LIA"
    place = np.linalg.inv(result.affine) @ LIA @ [3, 4, 5, 1]
    assert result.get_fdata()[tuple(np.rint(place[:3]).astype(int))] == numbers[3, 4, 5]


def test_result_is_uncompressed_float32(tmp_path, numbers):
    conform(save(tmp_path / "a.nii.gz", numbers), tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").get_data_dtype() == np.float32


def test_scaling_is_applied(tmp_path, numbers):
    image = nib.Nifti1Image(numbers.astype(np.float64) * 0.013 + 4, LIA)
    image.set_data_dtype(np.int16)  # nibabel chooses slope and intercept
    nib.save(image, tmp_path / "a.nii.gz")
    conform(tmp_path / "a.nii.gz", tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").get_fdata().max() == pytest.approx(numbers.max() * 0.013 + 4, abs=0.01)


def test_a_fourth_axis_of_one_is_dropped(tmp_path, numbers):
    facts = conform(save(tmp_path / "a.nii.gz", numbers[..., None]), tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").ndim == 3
    assert "axes of one volume" in facts["repaired"][0]


def test_several_volumes_are_refused(tmp_path, numbers):
    with pytest.raises(ImageError, match="3-D"):
        conform(save(tmp_path / "a.nii.gz", np.stack([numbers] * 2, -1)), tmp_path / "b.nii")


def test_values_that_are_not_finite_are_refused(tmp_path, numbers):
    bad = numbers.astype(np.float32)
    bad[2, 2, 2] = np.nan
    with pytest.raises(ImageError, match="1 voxels"):
        conform(save(tmp_path / "a.nii.gz", bad), tmp_path / "b.nii")


def test_a_header_without_position_is_said(tmp_path, numbers):
    image = nib.Nifti1Image(numbers, None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, tmp_path / "a.nii.gz")
    facts = conform(tmp_path / "a.nii.gz", tmp_path / "b.nii")
    assert any("left and right cannot be verified" in said for said in facts["repaired"])


def test_the_way_back_is_exact(tmp_path, numbers):
    original = save(tmp_path / "a.nii.gz", numbers)
    conform(original, tmp_path / "b.nii")
    back = to_native(nib.load(tmp_path / "b.nii").get_fdata(), tmp_path / "b.nii", original)
    np.testing.assert_array_equal(back.get_fdata(), numbers)
    np.testing.assert_allclose(back.affine, LIA)


def test_a_damaged_file_is_named(tmp_path, numbers):
    path = save(tmp_path / "a.nii.gz", numbers)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"a\.nii\.gz"):
        conform(path, tmp_path / "b.nii")
