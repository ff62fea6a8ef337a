"""A composite transform does what its chain does."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.ants_registrar import AntsRegistrar
from bids_app.imaging.transforms import write_matrix
from bids_app.imaging.warping import map_points

LPS = np.array([-1, -1, 1])


def warp_file(path):
    """A displacement field of 2 mm along x that grows along y, as ANTs writes it."""
    import ants

    field = np.zeros((20, 20, 20, 3), np.float32)
    field[..., 0] = 2 + 0.1 * np.arange(20)[None, :, None]
    ants.image_write(ants.from_numpy(field, has_components=True), str(path))
    return path


def linear_file(path):
    matrix = np.diag([1.25, 0.8, 1.0, 1.0])
    matrix[:3, 3] = (1, -2, 3)
    return write_matrix(matrix, path)


@pytest.mark.parametrize("warped", [False, True])
def test_points_go_where_the_chain_takes_them(tmp_path, warped):
    import ants

    chain = [linear_file(tmp_path / "linear.txt")]
    if warped:
        chain = [warp_file(tmp_path / "warp.nii.gz"), *chain]
    composite = ants.read_transform(str(AntsRegistrar().composite(chain, tmp_path / "all.h5")), precision="float")
    points = np.array([[-5.0, -6.0, 7.0], [-10.0, -3.0, 4.0]])  # RAS; inside the field
    expected = map_points(points, chain)
    found = np.array([composite.apply_to_point(tuple(point * LPS)) for point in points]) * LPS
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_damaged_transform_is_named(tmp_path):
    (tmp_path / "broken.txt").write_text("nothing")
    with pytest.raises(ImageError, match=r"broken\.txt"):
        AntsRegistrar().composite([tmp_path / "broken.txt"], tmp_path / "all.h5")
