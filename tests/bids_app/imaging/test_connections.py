"""Seeds and dual regression against closed forms and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_app.errors import ImageError
from bids_app.imaging.connections import (
    FEWEST_VOXELS,
    dual_regression,
    grid_places,
    maps_at,
    seed_at_points,
    seed_in_labels,
    seed_map,
)

FRAMES = 80
#: A grid of 4 mm whose brain is a box.
AFFINE = np.array([[4.0, 0, 0, -40], [0, 4, 0, -40], [0, 0, 4, -40], [0, 0, 0, 1]])
MASK = np.zeros((20, 20, 20), bool)
MASK[3:17, 3:17, 3:17] = True


def courses_of(seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(MASK.sum(), FRAMES))
    return drawn - drawn.mean(1, keepdims=True)


def test_a_seed_map_is_fishers_z():
    rng = np.random.default_rng(3)
    seed = rng.normal(size=100)
    series = np.stack([seed + rng.normal(size=100), rng.normal(size=100), np.ones(100)])
    r = np.corrcoef(series[0], seed)[0, 1]
    found = seed_map(series, seed)
    assert found[0] == pytest.approx(np.arctanh(r))
    assert found[2] == 0
    assert np.isfinite(seed_map(seed[None], seed))[0]


def test_a_seed_is_the_mean_of_the_voxels_within_its_radius():
    courses, point = courses_of(), np.array([2.0, -1.0, 3.0])
    places = grid_places(MASK.shape, AFFINE)[MASK.ravel()]
    near = np.linalg.norm(places - point, axis=1) <= 7
    seed, count = seed_at_points(courses, MASK, AFFINE, point[None], 7.0, "x")
    assert count == near.sum() > FEWEST_VOXELS
    np.testing.assert_allclose(seed, courses[near].mean(0))


def test_the_points_of_a_seed_count_alike_whatever_voxels_they_have():
    courses, points = courses_of(), np.array([[0.0, 0, 0], [-28.0, 0, 0]])  # the second lies at the edge of the brain
    one_by_one = [seed_at_points(courses, MASK, AFFINE, p[None], 8.0, "x") for p in points]
    both, count = seed_at_points(courses, MASK, AFFINE, points, 8.0, "x")
    assert one_by_one[0][1] > one_by_one[1][1]
    assert count == sum(n for _, n in one_by_one)
    np.testing.assert_allclose(both, (one_by_one[0][0] + one_by_one[1][0]) / 2)


@pytest.mark.parametrize(
    ("point", "radius", "told"),
    [
        ((-39, -39, -39), 9, r"the seed of a at \(-39, -39, -39\) lies outside the brain"),
        (
            (0, 0, 0),
            1,
            r"the seed of a at \(0, 0, 0\) has too few voxels of the series in the brain \(1; 4 are needed\)",
        ),
        ((300, 0, 0), 9, r"too few voxels of the series in the brain \(0; "),
    ],
)
def test_a_seed_outside_the_brain_or_with_too_few_voxels_is_named(point, radius, told):
    with pytest.raises(ImageError, match=told):
        seed_at_points(courses_of(), MASK, AFFINE, np.array([point], float), radius, "the seed of a")


def test_a_region_and_what_lies_around_it_can_be_a_seed():
    fine = np.diag([1.0, 1, 1, 1])
    fine[:3, 3] = -20
    labelled = np.zeros((40, 40, 40), bool)
    labelled[19:22, 19:22, 19:22] = True  # 3 mm about (0, 0, 0): one voxel of the series
    courses = courses_of()
    with pytest.raises(ImageError, match=r"the seed h has too few voxels of the series in the brain \(1; "):
        seed_in_labels(courses, MASK, AFFINE, (labelled, fine), 0.0, "the seed h")
    seed, count = seed_in_labels(courses, MASK, AFFINE, (labelled, fine), 3.0, "the seed h")
    places = grid_places(MASK.shape, AFFINE)[MASK.ravel()]
    near = np.linalg.norm(np.maximum(np.abs(places) - 1, 0), axis=1) <= 3 + 1e-6
    assert count == near.sum() == 7
    np.testing.assert_allclose(seed, courses[near].mean(0))
    with pytest.raises(ImageError, match="nothing of it was found"):
        seed_in_labels(courses, MASK, AFFINE, (labelled & False, fine), 3.0, "the seed h")


def test_networks_are_read_where_the_series_lies():
    values = np.zeros((5, 5, 5, 2))
    values[..., 0] = np.arange(5)[:, None, None]
    affine = np.diag([2.0, 2, 2, 1])
    found = maps_at(values, affine, np.array([[3.0, 2, 2], [8.0, 8, 8], [50.0, 0, 0]]))
    np.testing.assert_allclose(found, [[1.5, 0], [4, 0], [0, 0]])


def planted(noise: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three networks that overlap, their courses, and a series of both."""
    rng = np.random.default_rng(seed)
    places = grid_places(MASK.shape, AFFINE)[MASK.ravel()]
    middles = np.array([[-12.0, 0, 0], [0, 0, 0], [8.0, 10, 0]])
    networks = np.exp(-((places[:, None] - middles) ** 2).sum(-1) / (2 * 10**2))
    courses = rng.normal(size=(FRAMES, 3))
    courses[:, 1] += 0.8 * courses[:, 0]  # courses that go together, too
    courses -= courses.mean(0)
    series = networks @ courses.T + noise * courses_of(seed)
    return networks, courses, series - series.mean(1, keepdims=True)


def test_dual_regression_finds_planted_courses_exactly_and_planted_maps_in_noise():
    networks, courses, series = planted(0.0)
    series += 1e-9 * courses_of(7)
    np.testing.assert_allclose(dual_regression(series, networks, 0, FRAMES - 1, "n")[1], courses, atol=1e-6)
    networks, courses, series = planted(0.5)
    for which in range(3):
        z, found = dual_regression(series, networks, which, FRAMES - 1, "n")
        assert np.corrcoef(found[:, which], courses[:, which])[0, 1] > 0.98
        inside = networks[:, which] > 0.3
        assert np.corrcoef(z, networks[:, which])[0, 1] > 0.85
        assert z[inside].mean() > 4
        assert abs(z[networks.max(1) < 0.01]).mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.1)  # nothing there


def test_z_of_dual_regression_is_that_of_the_t_statistic_of_least_squares():
    networks, _, series = planted(1.0)
    z, courses = dual_regression(series, networks, 1, FRAMES - 1, "n")
    design = np.column_stack([courses, np.ones(FRAMES)])
    for voxel in (0, 700, 1500):
        weights, rest, *_ = np.linalg.lstsq(design, series[voxel], rcond=None)
        error = np.sqrt(rest[0] / (FRAMES - 4) * np.linalg.inv(design.T @ design)[1, 1])
        wanted = stats.norm.isf(stats.t.sf(weights[1] / error, FRAMES - 4))
        assert z[voxel] == pytest.approx(wanted, abs=1e-6)


def test_networks_that_cannot_be_told_apart_are_refused():
    networks, _, series = planted(1.0)
    with pytest.raises(ImageError, match="the map n: in this brain a network is empty, or one is made up of others"):
        dual_regression(series, np.column_stack([networks, networks[:, 0]]), 0, FRAMES - 1, "the map n")
    with pytest.raises(ImageError, match="has 4 degrees of freedom, too few for 3 networks"):
        dual_regression(series, networks, 0, 4, "the map n")
