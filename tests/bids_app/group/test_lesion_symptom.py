"""Voxelwise tests: t equals statsmodels', a planted place is found, nothing is found where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from bids_app.group.lesion_symptom import voxel_test


def masks(n: int, rng: np.random.Generator, places: int = 40) -> np.ndarray:
    """Neighbouring voxels are hit together."""
    start = rng.integers(0, places - 5, n)
    return (np.arange(places)[None] >= start[:, None]) & (np.arange(places)[None] < start[:, None] + 6)


def test_t_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    hits, age = masks(60, rng), rng.normal(size=60)
    score = hits[:, 20] * 2.0 + age + rng.normal(size=60)
    others = np.stack([np.ones(60), age], axis=1)
    found = voxel_test(score, hits, others, draws=10)
    for voxel in (10, 20, 30):
        fitted = sm.OLS(score, np.column_stack([others, hits[:, voxel]])).fit()
        assert found.t[voxel] == pytest.approx(fitted.tvalues[2], rel=1e-3)
    assert found.df == 57


def test_planted_place_is_found_and_its_p_corrected():
    rng = np.random.default_rng(1)
    hits = masks(150, rng)
    score = 3.0 * hits[:, 20] + rng.normal(size=150)
    found = voxel_test(score, hits, np.ones((150, 1)), draws=500)
    assert int(np.abs(found.t).argmax()) in range(18, 23)
    assert found.p[20] == pytest.approx(1 / 501)
    assert found.t[20] > found.threshold


def test_nothing_is_found_in_five_of_a_hundred():
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(200):
        hits = masks(40, rng)
        found = voxel_test(rng.normal(size=40), hits, np.ones((40, 1)), draws=200, seed=int(rng.integers(1e6)))
        wrong += found.p.min() <= 0.05
    assert 2 <= wrong <= 20


def test_a_voxel_that_covariates_determine_is_not_tested():
    rng = np.random.default_rng(3)
    hits = masks(50, rng)
    others = np.stack([np.ones(50), hits[:, 7]], axis=1)
    found = voxel_test(rng.normal(size=50), hits, others, draws=20)
    assert found.t[7] == 0
    assert found.p[7] == 1


def test_too_few_people():
    with pytest.raises(ValueError, match="too few"):
        voxel_test(np.zeros(2), np.zeros((2, 3)), np.ones((2, 1)))
