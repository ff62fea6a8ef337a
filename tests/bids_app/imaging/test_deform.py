import numpy as np

from bids_app.imaging.deform import greedy
from tests.bids_app.imaging.heads import draw, grid_of


def test_a_shift_is_found_whatever_the_contrast():
    grid = grid_of(4.0)
    fixed = draw(grid)
    moving = np.roll(draw(grid, contrast=0.5), 2, axis=1)
    field = greedy(fixed, moving, iterations=(20, 15, 8))
    brain = fixed > 20
    np.testing.assert_allclose(field[:, brain].mean(1), [0, 2, 0], atol=0.3)


def test_the_same_image_stays_where_it_is():
    fixed = draw(grid_of(5.0))
    field = greedy(fixed, fixed, iterations=(5, 5))
    assert np.abs(field[:, fixed > 20]).max() < 0.5
