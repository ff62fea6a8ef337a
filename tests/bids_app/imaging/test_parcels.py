"""Cubes of the template's world."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.imaging.parcels import CUBE_MM, cube_courses, cube_names, cubes_of


def test_a_cube_is_named_by_its_middle_and_none_crosses_the_middle_plane():
    names = cube_names()
    place = cubes_of(np.array([[-20.0, -80, 10], [20, -80, 10], [0.1, 0, 0], [-0.1, 0, 0], [200, 0, 0]]))
    assert names[place[0]] == "x-15_y-75_z0"
    assert names[place[1]] == "x15_y-75_z0"
    assert place[2] != place[3]
    assert place[4] == -1
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("spacing", [3.0, 5.0])
def test_courses_are_means_by_place_whatever_the_grid(spacing):
    shape = tuple(int(120 / spacing) for _ in range(3))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -60 + spacing / 2
    shift = np.eye(4)
    shift[0, 3] = 40.0  # the series lies 40 mm to the left of where it belongs
    affine[0, 3] -= 40
    mask = np.ones(shape, bool)
    mask[:, :, shape[2] // 2 :] = False
    places = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3] + shift[:3, 3]
    signal = (places[:, :1] > 0) * np.sin(np.arange(30))
    found = cube_courses(signal, mask, affine, shift)
    names = cube_names()
    np.testing.assert_allclose(found[:, names.index("x15_y-15_z-30")], np.sin(np.arange(30)))
    np.testing.assert_allclose(found[:, names.index("x-15_y-15_z-30")], 0)
    assert np.isnan(found[:, names.index("x15_y-15_z60")]).all()
    assert CUBE_MM == 30
