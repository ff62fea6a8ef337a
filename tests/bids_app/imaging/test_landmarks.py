"""Where the middles of structures put a head."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.imaging.landmarks import FEWEST, MIDDLES, affine_to_template, agreement, middles_of
from bids_app.imaging.stacking import Grid, transform_points


def seen_from(matrix: np.ndarray) -> dict[int, np.ndarray]:
    """Middles in a head that ``matrix`` brings onto the template."""
    back = np.linalg.inv(matrix)
    return {number: transform_points(back, np.array(at)) for number, at in MIDDLES.items()}


@pytest.fixture
def matrix():
    angle = np.deg2rad(25)
    turned = np.eye(4)
    turned[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    return (
        np.diag([1.1, 1.15, 1.05, 1])
        @ turned
        @ np.array([[1, 0, 0, 40], [0, 1, 0, -25], [0, 0, 1, 60], [0, 0, 0, 1.0]])
    )


def test_the_affine_is_found_with_noise_of_millimetres(matrix):
    np.testing.assert_allclose(affine_to_template(seen_from(matrix)), matrix, atol=1e-8)
    rng = np.random.default_rng(1)
    noisy = {number: at + rng.normal(0, 1.5, 3) for number, at in seen_from(matrix).items()}
    assert np.linalg.norm((affine_to_template(noisy) @ np.linalg.inv(matrix))[:3, 3]) < 2


def test_too_few_structures_or_sides_that_are_swapped_place_nothing(matrix):
    middles = seen_from(matrix)
    assert affine_to_template(dict(list(middles.items())[: FEWEST - 1])) is None
    mirrored = {number: np.array(at) * [-1, 1, 1] for number, at in MIDDLES.items()}
    assert affine_to_template(mirrored) is None
    assert affine_to_template({number: np.zeros(3) for number in MIDDLES}) is None


def test_structures_that_were_not_found_do_not_count():
    rows = [{"index": 10, "centre_mm": [1, 2, 3]}, {"index": 11, "centre_mm": None}, {"index": None, "centre_mm": None}]
    assert middles_of(rows) == {10: [1, 2, 3]}


def test_agreement_is_the_dice_on_the_templates_grid(matrix):
    where = Grid((40, 40, 40), np.array([[4, 0, 0, -80], [0, 4, 0, -80], [0, 0, 4, -80], [0, 0, 0, 1.0]]))
    at = np.moveaxis(np.indices(where.shape), 0, -1) * 4 - 80
    brain = np.linalg.norm(at, axis=-1) < 60
    own = Grid(where.shape, np.linalg.inv(matrix) @ where.affine)
    assert agreement(brain, own, matrix, brain, where) == pytest.approx(1, abs=1e-6)
    assert agreement(brain & (at[..., 2] > 0), own, matrix, brain, where) == pytest.approx(2 / 3, abs=0.03)
