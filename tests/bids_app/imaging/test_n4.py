import ants
import numpy as np
import pytest

from bids_app.imaging.n4 import log_bias_field
from bids_app.imaging.stacking import Grid
from bids_app.imaging.transforms import set_threads, to_ants
from tests.bids_app.imaging.heads import draw, grid_of


@pytest.fixture(scope="module")
def shaded():
    """Three tissues under a field that bends, and which voxels they are."""
    grid = grid_of(6.0)
    clean = np.choose(np.digitize(draw(grid), [4, 45, 65]), [0, 30, 60, 90]).astype(np.float32)
    x, y, z = (axis / axis.max() - 0.5 for axis in np.indices(grid.shape))
    noise = np.random.default_rng(0).normal(1, 0.05, clean.shape)
    return (clean * noise * np.exp(0.5 * x - 0.4 * y * z + 0.6 * y**2)).astype(np.float32), clean > 0, grid


def test_the_field_is_that_of_ants(shaded):
    image, tissue, grid = shaded
    set_threads(1)
    plain = Grid(grid.shape, np.diag([*grid.spacing, 1.0]))
    settings = {"iters": [12, 8, 6], "tol": 1e-6}
    known = ants.n4_bias_field_correction(
        to_ants(image, plain), to_ants(tissue, plain), shrink_factor=1, convergence=settings, return_bias_field=True
    ).numpy()
    apart = log_bias_field(image, tissue, (12, 8, 6)) - np.log(known)
    assert np.abs(apart[tissue] - apart[tissue].mean()).max() < 1e-3
    assert np.log(known)[tissue].std() > 0.05


def test_an_even_image_has_no_field():
    field = log_bias_field(np.full((8, 9, 10), 7.0), np.ones((8, 9, 10), bool), (10, 10))
    np.testing.assert_allclose(field, 0, atol=1e-9)


def test_the_field_does_not_depend_on_the_scale_of_the_values(shaded):
    image, tissue, _ = shaded
    one, many = (log_bias_field(image * factor, tissue, (5, 5)) for factor in (1, 1000))
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_an_image_of_one_slice_has_a_field_too(shaded):
    image, tissue, grid = shaded
    middle = slice(grid.shape[2] // 2, grid.shape[2] // 2 + 1)
    field = log_bias_field(image[..., middle], tissue[..., middle], (5, 5))
    assert np.isfinite(field).all()
    assert field.std() > 0.01


def test_what_is_not_above_zero_is_not_looked_at(shaded):
    image, tissue, _ = shaded
    holed = image.copy()
    holed[image.shape[0] // 2] = -5
    assert np.isfinite(log_bias_field(holed, tissue, (5, 5))).all()
