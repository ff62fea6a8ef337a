import numpy as np
import pytest

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.quick_registrar import QuickRegistrar
from bids_app.imaging.registration import Fit, Image, register
from bids_app.imaging.similarity import turned
from bids_app.imaging.transforms import read_matrix, write_matrix
from tests.bids_app.imaging.heads import draw, grid_of, save


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A head, the same turned by 15 degrees, and the matrix between them."""
    folder, grid = tmp_path_factory.mktemp("heads"), grid_of(3.0)
    truth = turned((0, 0, 15), np.array([0, -10, 0]), np.array([6, -4, 5]))
    save(folder / "fixed.nii", draw(grid), grid)
    save(folder / "moving.nii", draw(grid, truth), grid)
    return folder, truth


def test_a_position_that_is_known_is_kept(heads, tmp_path):
    folder, truth = heads
    how = Fit("affine", initial=truth, spacing=4)
    found = register(
        Image(folder / "moving.nii"), Image(folder / "fixed.nii"), how, tmp_path / "x", program=QuickRegistrar()
    )
    np.testing.assert_allclose(found.matrix, truth)


def test_without_one_the_most_similar_is_near(heads, tmp_path):
    folder, truth = heads
    pair = Image(folder / "moving.nii"), Image(folder / "fixed.nii")
    found = register(*pair, Fit("affine", spacing=4), tmp_path / "x", program=QuickRegistrar())
    corners = np.array([[x, y, z, 1] for x in (-50, 50) for y in (-60, 40) for z in (-30, 40)], float)
    apart = np.linalg.norm((corners @ np.linalg.inv(truth).T - corners @ np.linalg.inv(found.matrix).T)[:, :3], axis=1)
    away = np.linalg.norm((corners @ np.linalg.inv(truth).T - corners)[:, :3], axis=1)
    assert apart.mean() < 6 < away.mean()


def test_a_transform_is_written_as_text(tmp_path):
    matrix = turned((3, 4, 5), np.zeros(3), np.array([1.0, 2.0, 3.0]))
    out = QuickRegistrar().composite([write_matrix(matrix, tmp_path / "a.txt")], tmp_path / "b.txt")
    np.testing.assert_allclose(read_matrix(out), matrix, atol=1e-9)
    with pytest.raises(ImageError, match="not 2"):
        QuickRegistrar().composite([tmp_path / "a.txt"] * 2, tmp_path / "c.txt")


def test_there_is_no_deformation(heads, tmp_path):
    folder, truth = heads
    pair = Image(folder / "moving.nii"), Image(folder / "fixed.nii")
    with pytest.raises(UsageError, match="--fast"):
        register(*pair, Fit("syn", initial=truth), tmp_path / "x", program=QuickRegistrar())
