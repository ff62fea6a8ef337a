import sys

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.transforms import decompose, matrix_from_itk, read_matrix, set_threads, to_ants, write_matrix

MATRIX = np.array([[1.02, 0.1, -0.05, 3], [-0.1, 0.98, 0.02, -7], [0.03, 0, 1.05, 11], [0, 0, 0, 1]])
POINTS = np.array([[10.0, -20, 30], [0, 0, 0], [-55, 12, 4]])


def through_ants(points, path):
    """Fixed to moving by ANTs, RAS in and out."""
    import ants
    import pandas

    frame = pandas.DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
    return ants.apply_transforms_to_points(3, frame, [str(path)])[["x", "y", "z"]].to_numpy() * [-1, -1, 1]


def test_what_is_written_is_read(tmp_path):
    np.testing.assert_allclose(read_matrix(write_matrix(MATRIX, tmp_path / "a.txt")), MATRIX, atol=1e-9)


def test_ants_understands_what_is_written(tmp_path):
    path = write_matrix(MATRIX, tmp_path / "a.txt")
    np.testing.assert_allclose(
        through_ants(POINTS, path), transform_points(np.linalg.inv(MATRIX), POINTS), rtol=0, atol=1e-4
    )


def test_a_centre_of_rotation_is_honoured(tmp_path):
    import ants

    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", matrix=turn, translation=(5, -3, 2), center=(20, -10, 40)
    )
    ants.write_transform(transform, str(tmp_path / "a.mat"))
    ours = transform_points(np.linalg.inv(read_matrix(tmp_path / "a.mat")), POINTS)
    np.testing.assert_allclose(ours, through_ants(POINTS, tmp_path / "a.mat"), rtol=0, atol=1e-3)


def test_identity_stays_identity():
    parameters = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
    np.testing.assert_allclose(matrix_from_itk(parameters, np.array([3.0, 4, 5])), np.eye(4), atol=1e-12)


@pytest.mark.parametrize("text", ["", "#Insight Transform File V1.0\nParameters: 1 2\nFixedParameters: 0 0 0\n"])
def test_a_file_that_is_no_transform_is_named(tmp_path, text):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(ImageError, match=r"bad\.txt"):
        read_matrix(tmp_path / "bad.txt")


def test_an_ants_image_lies_where_the_array_lies():
    affine = np.array([[0.0, -2, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
    image = to_ants(np.zeros((4, 5, 6)), Grid((4, 5, 6), affine))
    lps = np.array(image.origin) + image.direction @ (np.array([1, 2, 3]) * image.spacing)
    np.testing.assert_allclose(lps * [-1, -1, 1], transform_points(affine, [1, 2, 3]), atol=1e-5)


def test_decompose_tells_angle_and_growth():
    a = np.radians(30)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) * 1.1
    found = decompose(matrix)
    assert found["rotation_deg"] == pytest.approx(30)
    assert found["volume_scale"] == pytest.approx(1.331)


def test_threads_are_set_before_antspyx_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "ants", raising=False)
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "7")
    assert set_threads(3) == 3
    monkeypatch.setitem(sys.modules, "ants", object())
    assert set_threads(5) == 3


def test_axes_that_are_not_at_right_angles_are_refused():
    skewed = np.eye(4)
    skewed[0, 1] = 0.01
    with pytest.raises(ImageError, match="right angles"):
        to_ants(np.zeros((3, 3, 3)), Grid((3, 3, 3), skewed))


def test_a_text_transform_is_read_without_another_program_and_needs_all_its_numbers(tmp_path):
    numbers = " ".join(map(str, [*np.eye(3).ravel(), 1, 2, 3]))
    path = tmp_path / "x.tfm"
    path.write_text(f"#Insight Transform File V1.0\nParameters: {numbers}\nFixedParameters: 0 0 0\n")
    assert read_matrix(path)[:3, 3] == pytest.approx([1, 2, -3])
    path.write_text("Parameters: 1 0 0 1\nFixedParameters: 0 0 0\n")
    with pytest.raises(ImageError, match="4 parameters where 12 are due"):
        read_matrix(path)


@pytest.mark.parametrize("degrees", [0, 3, 90, 170, 180])
def test_any_angle_is_told_and_so_is_the_way_of_the_origin(degrees):
    turned = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned[:3] = [[c, -s, 0, 3], [s, c, 0, -4], [0, 0, 1, 12]]
    told = decompose(turned)
    assert told["rotation_deg"] == pytest.approx(degrees, abs=1e-4)
    assert told["translation_mm"] == pytest.approx(13)


@pytest.mark.parametrize(("skew", "refused"), [(2e-4, False), (5e-3, True)])
def test_axes_may_be_off_by_rounding_and_no_more(skew, refused):
    affine = np.eye(4)
    affine[0, 1] = skew
    grid = Grid((4, 4, 4), affine)
    if refused:
        with pytest.raises(ImageError, match="right angles"):
            to_ants(np.zeros(grid.shape), grid)
    else:
        assert to_ants(np.zeros(grid.shape), grid).shape == grid.shape


@pytest.mark.parametrize(("parameters", "centre"), [("1 0 0 0 1 0 0 0 1 0 0 0", "0 0"), ("1 0 0 0 1 0 0 0 1", "0 0 0")])
def test_a_transform_with_too_few_numbers_is_named(tmp_path, parameters, centre):
    path = tmp_path / "short.txt"
    path.write_text(f"#Insight Transform File V1.0\nParameters: {parameters}\nFixedParameters: {centre}\n")
    with pytest.raises(ImageError, match=r"short\.txt is not a linear ITK transform"):
        read_matrix(path)
