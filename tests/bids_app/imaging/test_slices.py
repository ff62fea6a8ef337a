"""Slices that were measured, and maps that come back into a volume."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.slices import (
    measured_slice,
    nearest_slice,
    sample_measured,
    slice_axis,
    slice_to_grid,
    slices_seen,
    with_thickness,
)
from bids_app.imaging.stacking import Grid
from tests.phantoms import save

UP = np.array([0.0, 0.0, 1.0])


def straight(shape, spacing, origin=(0, 0, 0)) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Grid(shape, affine)


def tilted(degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return matrix


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((64, 64, 20), (1, 1, 5), 2),
        ((64, 64, 64), (1, 1, 1), None),
        ((64, 64, 64), (5, 5, 5), 2),  # all thick: the one that runs up
        ((64, 64, 1), (1, 1, 1), 2),
        ((1, 64, 64), (1, 1, 1), 0),
        ((20, 64, 64), (4, 1, 1), 0),
        ((64, 64, 64), (1, 1, 2.0), None),
    ],
)
def test_thick_slices_and_single_ones_have_an_axis(shape, spacing, axis):
    assert slice_axis(straight(shape, spacing), UP) == axis


def test_a_measured_slice_lies_in_the_plane_of_the_scan_and_is_as_thick():
    native = Grid((40, 40, 9), tilted(15) @ straight((40, 40, 9), (1, 1, 5)).affine)
    wanted = straight((20, 20, 1), (1, 1, 1), (5, 5, 21))
    index = nearest_slice(native, 2, wanted.centre)
    grid, away = measured_slice(wanted, native, 2, index)
    places = np.linalg.inv(native.affine) @ grid.affine @ np.array([[0, 19, 7], [0, 3, 19], [0, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(places[2], index, atol=1e-9)
    np.testing.assert_allclose(grid.spacing, [1, 1, 5])
    assert np.linalg.det(grid.affine[:3, :3]) > 0
    assert abs(away) <= 2.5


def test_nothing_is_interpolated_across_thick_slices(tmp_path):
    values = np.zeros((8, 8, 4), np.float32)
    values += [1, 10, 100, 1000]
    path = save(tmp_path / "thick.nii", values, np.diag([1, 1, 5.0, 1]))
    for height, expected in ((4.0, 10), (6.0, 10), (8.0, 100), (40.0, 0)):
        read = sample_measured(path, np.eye(4), straight((8, 8, 1), (1, 1, 1), (0, 0, height)), 2)
        assert set(np.unique(read)) == {expected}
    beyond = sample_measured(path, np.eye(4), straight((8, 8, 1), (1, 1, 1), (0, 0, 40)), 2, reach=np.inf)
    assert set(np.unique(beyond)) == {1000}


def test_a_slice_comes_back_into_its_own_voxels_and_no_others():
    native = straight((10, 12, 7), (1, 1, 5))
    maps = np.random.default_rng(0).random((2, 10, 12, 1)).astype(np.float32)
    back, looked = slice_to_grid(maps, straight((10, 12, 1), (1, 1, 5), (0, 0, 15)), native)
    np.testing.assert_allclose(back[..., 3], maps[..., 0], atol=1e-6)
    assert not np.delete(back, 3, axis=3).any()
    assert slices_seen(looked, straight((10, 12, 1), (1, 1, 5), (0, 0, 15)), native) == (2, [3])


@pytest.mark.parametrize("thickness", [1.0, 3.0])
def test_a_thin_or_tilted_slice_is_one_layer_without_holes(thickness):
    native = straight((30, 30, 30), (1, 1, 1))
    affine = tilted(20) @ np.diag([1, 1, thickness, 1])
    affine[:3, 3] = [0, 0, 10]
    source = Grid((30, 30, 1), affine)
    back, looked = slice_to_grid(np.ones((1, 30, 30, 1)), source, native)
    columns = looked.sum(2)[:, :20]
    assert columns.min() >= 1
    assert back[0][looked].min() == 1
    assert back[0].sum() == looked.sum()
    assert looked.sum() == pytest.approx(source.voxel_volume * 900, rel=0.25)


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ImageError, match="z = 1"):
        slice_to_grid(np.ones((1, 4, 4, 2)), straight((4, 4, 2), (1, 1, 1)), straight((4, 4, 4), (1, 1, 1)))


def test_a_slice_without_a_third_axis_gets_one():
    lacking = np.diag([2.0, 2.0, 0.0, 1.0])
    np.testing.assert_allclose(with_thickness(lacking, 2, 4.0), np.diag([2, 2, 4.0, 1]))
    np.testing.assert_allclose(with_thickness(np.diag([2.0, 2, -1, 1]), 2, 4.0), np.diag([2, 2, -4.0, 1]))
