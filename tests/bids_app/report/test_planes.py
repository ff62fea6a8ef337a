"""Planes: the right side on the right side, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.report import planes
from bids_app.report.planes import Plane, Volume


def ramp(axis: int, affine: np.ndarray, shape=(20, 22, 18)) -> Volume:
    """A volume whose value is the world coordinate along an axis."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return Volume((grid @ affine[:3, :3].T + affine[:3, 3])[..., axis].astype(np.float32), affine)


AFFINE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -22], [0, 0, 2, -18], [0, 0, 0, 1]])
FLIPPED = np.array([[-2.0, 0, 0, 18], [0, 0, 2, -22], [0, 2, 0, -18], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [AFFINE, FLIPPED])
@pytest.mark.parametrize(("name", "axis"), [("axial", 0), ("coronal", 0), ("sagittal", 1)])
def test_left_of_the_picture_is_right_or_front(name, axis, affine):
    values = planes.sample(ramp(axis, affine), Plane(name, 0.0, (0.0, 0.0), (10.0, 10.0), 1.0).points())
    assert values[5, 0] == pytest.approx(4.5)
    assert values[5, -1] == pytest.approx(-4.5)


@pytest.mark.parametrize(("name", "axis"), [("axial", 1), ("coronal", 2), ("sagittal", 2)])
def test_top_of_the_picture_is_front_or_up(name, axis):
    values = planes.sample(ramp(axis, AFFINE), Plane(name, 0.0, (0.0, 0.0), (10.0, 10.0), 1.0).points())
    assert values[0, 5] > values[-1, 5]


def test_cubic_sampling_of_a_part_equals_the_world_coordinate():
    plane = Plane("axial", 1.0, (2.0, 1.0), (6.0, 6.0), 0.5)
    values = planes.sample(ramp(0, AFFINE), plane.points(), order=3)
    assert values == pytest.approx(plane.points()[0], abs=1e-3)


def test_points_go_through_a_matrix_to_another_world():
    shift = np.eye(4)
    shift[0, 3] = 3.0
    plane = Plane("axial", 0.0, (0.0, 0.0), (4.0, 4.0), 1.0)
    moved = planes.sample(ramp(0, AFFINE), plane.points(), to_volume=shift)
    assert moved == pytest.approx(plane.points()[0] + 3.0, abs=1e-5)


def test_contour_of_a_disc_has_its_circumference():
    y, x = np.mgrid[:100, :100]
    disc = 30.0 - np.hypot(x - 50, y - 50)
    path = planes.contour(disc, 0.0, 0.5)
    points = np.array([[float(v) for v in p.split()] for p in path[1:].split("L")])
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert length == pytest.approx(2 * np.pi * 15, rel=0.02)


def test_no_contour_where_the_level_is_not_crossed():
    assert planes.contour(np.zeros((5, 5)), 0.5, 1.0) == ""


def test_bounds_are_in_world_mm():
    data = np.zeros((20, 22, 18), np.uint8)
    data[5:8, 10, 9] = 1
    assert planes.bounds(Volume(data, AFFINE)) == pytest.approx(np.array([[-11, -3, -1], [-5, -1, 1]]))


def test_place_and_points_agree():
    plane = Plane("sagittal", 3.0, (1.0, 2.0), (12.0, 8.0), 0.5)
    left, top = plane.place(plane.points()[:, 4, 7])
    assert (left, top) == pytest.approx((7.5 * 0.5, 4.5 * 0.5))


def test_unreadable_image_is_named(tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"broken\.nii\.gz"):
        planes.load_volume(path)
