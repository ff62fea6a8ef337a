import contextlib
import gzip
import time

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.preflight import check_image
from bids_app.errors import ImageError, InputMissing
from tests.bids_app.bids.samples import make_image
from tests.data import real

pytestmark = pytest.mark.faults


@pytest.fixture
def image(tmp_path):
    return make_image(tmp_path / "sub-01_T1w.nii.gz")


def rewrite(path, change):
    """Change the bytes of an image before they are compressed."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content = change(content) or content
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def with_header(path, **fields):
    """Put values into the header of an image, as a careless program would."""

    def change(content):
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock

    return rewrite(path, change)


def with_affine(path, affine, qform=None, codes=(1, 1)):
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32), None)
    image.header.set_zooms([2.0, 2.0, 2.0])
    image.set_sform(affine, codes[1])
    image.set_qform(affine if qform is None else qform, codes[0])
    nib.save(image, path)
    return path


def refused(path, text, kind=ImageError, **options):
    with pytest.raises(kind, match=text) as caught:
        check_image(path, **options)
    assert str(path) in str(caught.value)


def test_a_good_image_tells_its_facts(image):
    facts = check_image(image)
    assert (facts.shape, facts.zooms, facts.orientation, facts.warnings) == ((32, 32, 32), (2, 2, 2), "RAS", ())


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_gzip_is_refused(image, kept):
    content = image.read_bytes()
    image.write_bytes(content[: int(len(content) * kept)])
    refused(image, "ends too early|cannot be read")


def test_a_wrong_checksum_is_refused(image):
    content = bytearray(image.read_bytes())
    content[-6] ^= 0xFF
    image.write_bytes(bytes(content))
    nib.load(image).get_fdata()  # nibabel does not notice
    refused(image, "checksum is wrong")


def test_bytes_that_changed_on_the_way_are_refused(image):
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 0xFF
    image.write_bytes(bytes(content))
    refused(image, "damaged")


def test_a_whole_gzip_of_half_an_image_is_refused(image):
    rewrite(image, lambda content: content[: len(content) // 2])
    refused(image, "50 % of its voxels are there")


def test_a_truncated_plain_image_is_refused(tmp_path):
    path = make_image(tmp_path / "sub-01_T1w.nii")
    path.write_bytes(path.read_bytes()[:10_000])
    refused(path, "7 % of its voxels are there")


def test_an_image_that_ends_inside_its_header_is_refused(tmp_path):
    path = make_image(tmp_path / "sub-01_T1w.nii")
    path.write_bytes(path.read_bytes()[:200])
    refused(path, "ends inside its header")


@pytest.mark.parametrize(
    ("content", "text", "kind"),
    [
        (b"", "is empty", ImageError),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull", InputMissing),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "datalad get", InputMissing),
        (b"\n<!DOCTYPE html><html>", "web page", ImageError),
        (b"hello, this is a text file" * 20, "is not compressed", ImageError),
        (b"\0" * 128 + b"DICM" + b"\0" * 300, "DICOM", ImageError),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, content, text, kind):
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(content)
    refused(path, text, kind)


def test_an_annex_link_without_content_says_datalad_get(tmp_path):
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--0.nii.gz")
    refused(path, "datalad get", InputMissing)


def test_a_dangling_link_is_named_with_its_target(tmp_path):
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.symlink_to("elsewhere.nii.gz")
    refused(path, "link to elsewhere", InputMissing)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.nii.gz", "does not exist", InputMissing)
    (tmp_path / "sub.nii.gz").mkdir()
    refused(tmp_path / "sub.nii.gz", "is a folder")


def test_a_compressed_image_without_gz_in_its_name_is_refused(image, tmp_path):
    refused(image.rename(tmp_path / "sub-01_T1w.nii"), "is compressed, against its name")


def test_a_series_is_no_volume(tmp_path):
    path = make_image(tmp_path / "x.nii.gz", shape=(32, 32, 32, 3))
    refused(path, r"4-D \(32 x 32 x 32 x 3\), a single volume is needed")
    assert check_image(path, dims=4).shape == (32, 32, 32, 3)


def test_a_volume_is_no_series_and_a_slice_no_volume(image, tmp_path):
    refused(image, "3-D .* 4-D is needed", dims=4)
    refused(make_image(tmp_path / "x.nii.gz", shape=(32, 32)), "2-D")


def test_trailing_axes_of_one_are_fine(tmp_path):
    assert check_image(make_image(tmp_path / "x.nii.gz", shape=(32, 32, 32, 1, 1))).shape == (32, 32, 32)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted(tmp_path, bad):
    values = np.ones((32, 32, 32), np.float32)
    values[0, 0, :3] = [bad, bad, 2]
    refused(make_image(tmp_path / "x.nii.gz", values=values), "2 voxels .* NaN or infinite")


def test_an_image_of_nothing_but_nan_is_refused(tmp_path):
    refused(make_image(tmp_path / "x.nii.gz", values=np.full((32, 32, 32), np.nan, np.float32)), "100 %")


def test_a_constant_image_is_refused(tmp_path):
    refused(make_image(tmp_path / "x.nii.gz", values=np.full((32, 32, 32), 7, np.int16)), "every voxel is 7")


def test_colour_and_complex_values_are_refused(tmp_path):
    complex_values = np.ones((32, 32, 32), np.complex64)
    refused(make_image(tmp_path / "x.nii.gz", values=complex_values), "complex")
    colours = np.zeros((32, 32, 32), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refused(make_image(tmp_path / "y.nii.gz", values=colours), "colour")


def test_a_singular_affine_is_refused(image):
    refused(with_header(image, srow_x=[0, 0, 0, 0]), "singular")


def test_two_equal_rows_of_an_affine_are_refused(image):
    refused(with_header(image, srow_x=[2, 0, 0, 0], srow_y=[2, 0, 0, 0], qform_code=0), "singular")


def test_an_affine_of_nan_is_refused(image):
    refused(with_header(image, srow_x=[np.nan, 0, 0, 0], qform_code=0), "NaN")


@pytest.mark.parametrize("sizes", [[1, 0, 2, 2, 1, 1, 1, 1], [1, -2, 2, 2, 1, 1, 1, 1], [1, np.nan, 2, 2, 1, 1, 1, 1]])
def test_voxel_sizes_must_be_positive(image, sizes):
    refused(with_header(image, pixdim=sizes), "must be positive")


def test_voxels_of_ten_millimetres_are_refused(tmp_path):
    refused(make_image(tmp_path / "x.nii.gz", zoom=10.0), "are the units mm")


def test_an_impossible_field_of_view_is_refused_and_an_unusual_one_said(tmp_path):
    refused(make_image(tmp_path / "x.nii.gz", zoom=0.2), "6.4 x 6.4 x 6.4 mm, which is no head")
    assert "unusual field of view" in check_image(make_image(tmp_path / "y.nii.gz", zoom=1.2)).warnings[0]


def test_impossible_dimensions_are_refused(image):
    refused(with_header(image, dim=[3, 32, -1, 32, 1, 1, 1, 1]), "impossible dimensions")


def test_thick_slices_are_said(tmp_path):
    path = tmp_path / "x.nii.gz"
    values = np.random.default_rng(0).normal(size=(64, 64, 20)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 6.5, 1])), path)
    assert "thick slices" in check_image(path).warnings[0]


def test_an_image_far_from_the_origin_and_a_sheared_one_are_said(image, tmp_path):
    assert "from the origin" in check_image(with_header(image, srow_x=[2, 0, 0, 9000])).warnings[0]
    sheared = np.diag([2.0, 2, 2, 1])
    sheared[0, 1] = 0.2
    nib.save(nib.Nifti1Image(np.arange(32**3, dtype=np.float32).reshape(32, 32, 32), sheared), tmp_path / "x.nii")
    assert "not at right angles" in check_image(tmp_path / "x.nii").warnings[-1]


def test_forms_that_disagree_in_one_space_are_refused(tmp_path):
    moved = np.diag([2.0, 2, 2, 1])
    moved[0, 3] = 5
    refused(with_affine(tmp_path / "x.nii.gz", np.diag([2.0, 2, 2, 1]), moved), "up to 5.0 mm apart though both")


def test_forms_that_disagree_a_little_or_by_their_codes_are_said(tmp_path):
    straight = np.diag([2.0, 2, 2, 1])
    little, much = straight.copy(), straight.copy()
    little[0, 3], much[0, 3] = 1, 18
    assert "1.0 mm apart" in check_image(with_affine(tmp_path / "x.nii.gz", straight, little)).warnings[0]
    other = check_image(with_affine(tmp_path / "y.nii.gz", straight, much, codes=(1, 2)))
    assert "qform (scanner) and sform (aligned) put the image up to 18.0 mm apart" in other.warnings[0]


def test_forms_that_swap_left_and_right_are_refused_whatever_their_codes(tmp_path):
    flipped = np.diag([-2.0, 2, 2, 1])
    refused(with_affine(tmp_path / "x.nii.gz", np.diag([2.0, 2, 2, 1]), flipped, codes=(1, 4)), "swaps left and right")


def test_a_header_without_orientation_is_said(image):
    facts = check_image(with_header(image, qform_code=0, sform_code=0))
    assert "left and right are guessed" in facts.warnings[0]


def test_a_damaged_quaternion_beside_an_sform_is_said(image):
    assert "qform is damaged" in check_image(with_header(image, qform_code=1, quatern_b=5)).warnings[0]


@pytest.mark.parametrize(
    "fields", [{"datatype": 9999}, {"vox_offset": 1e30}, {"vox_offset": np.nan}, {"magic": b"ni1"}]
)
def test_a_header_that_makes_no_sense_is_refused(image, fields):
    refused(with_header(image, **fields), "header|single-file")


def test_damaged_headers_always_end_in_a_plain_error(tmp_path):
    path = make_image(tmp_path / "x.nii")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(good)
        for position in rng.integers(0, 352, 4):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(ImageError):
            check_image(path)


def test_an_image_of_the_other_byte_order_is_read(tmp_path):
    values = np.arange(32**3, dtype=">i2").reshape(32, 32, 32)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 2, 1]), header), tmp_path / "x.nii.gz")
    assert check_image(tmp_path / "x.nii.gz").maximum == 32767


def test_nifti2_is_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    nib.save(nib.Nifti2Image(values, np.diag([2.0, 2, 2, 1])), tmp_path / "x.nii.gz")
    assert check_image(tmp_path / "x.nii.gz").shape == (32, 32, 32)


def test_scaled_values_are_told(tmp_path):
    path = make_image(tmp_path / "x.nii.gz", values=np.arange(32**3, dtype=np.int16).reshape(32, 32, 32))
    facts = check_image(with_header(path, scl_slope=2, scl_inter=1))
    assert (facts.minimum, facts.maximum) == (1, 65535)


def test_the_input_is_not_touched(image):
    before = image.read_bytes(), image.stat().st_mtime_ns
    check_image(image)
    assert (image.read_bytes(), image.stat().st_mtime_ns) == before


@pytest.mark.parametrize("name", ["heads/sub-t1a/anat/sub-t1a_T1w.nii.gz", "tumour/sub-01/anat/sub-01_T1w.nii.gz"])
def test_real_images_pass(name):
    folder, _, rest = name.partition("/")
    check_image(real(folder) / rest)


def test_a_real_image_whose_forms_differ_by_design_passes_with_a_warning():
    facts = check_image(real("depression") / "sub-56/anat/sub-56_T1w.nii.gz")
    assert "18.3 mm apart; the sform is used" in facts.warnings[0]


def test_a_part_that_was_cut_out_may_be_of_any_size(tmp_path):
    path = make_image(tmp_path / "crop.nii.gz", zoom=0.5)
    with pytest.raises(ImageError, match="which is no head"):
        check_image(path)
    assert check_image(path, head=False).warnings == ()


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
def test_an_image_with_more_behind_it_than_it_has_is_refused_without_reading_it_all(image, size):
    rewrite(image, lambda content: content + b"\0" * size)
    refused(image, "goes on behind its voxels")


def test_bytes_behind_a_large_image_are_not_followed_for_ever(tmp_path):
    path = make_image(tmp_path / "sub-01_T1w.nii.gz")
    with path.open("ab") as stream:
        stream.write(gzip.compress(b"\0" * (16 << 20), 1) * 2000)  # 32 GB
    begin = time.perf_counter()
    refused(path, "goes on behind its voxels")
    assert time.perf_counter() - begin < 20


def test_a_note_behind_the_voxels_is_said(image):
    rewrite(image, lambda content: content + b"made by hand")
    assert check_image(image).warnings == ("12 bytes follow the last voxel; they are not read",)


def test_five_axes_of_which_two_are_one_are_a_volume(tmp_path):
    path = make_image(tmp_path / "x.nii.gz", shape=(32, 32, 32, 1, 1))
    assert check_image(path).shape == (32, 32, 32)
    assert check_image(make_image(tmp_path / "y.nii.gz", shape=(32, 32, 32, 3, 1)), dims=4).shape == (32, 32, 32, 3)


def test_values_beyond_single_precision_are_refused(tmp_path):
    values = np.random.default_rng(0).normal(size=(32, 32, 32)) * 1e300
    refused(make_image(tmp_path / "x.nii.gz", values=values), "beyond single precision")


def test_what_single_precision_cannot_tell_apart_is_constant(tmp_path):
    values = (np.arange(32**3).reshape(32, 32, 32) % 2 + 2**30).astype(np.int32)
    refused(make_image(tmp_path / "x.nii.gz", values=values), "is constant")


def test_more_voxels_than_any_head_has_are_refused_before_they_are_read(image):
    refused(with_header(image, dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), "more than any head")
