"""The voxelwise normative model: equal to statsmodels and to refitting, nominal without an effect, and one is found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from bids_app.errors import DataError
from bids_app.group.atrophy_model import People, as_normal, fit_voxels, score_voxels, voxels_of
from bids_app.imaging.grey_matter import SHAPE

VOXELS = 300


def drawn(n, seed=0, sites=0, ages=(20, 80)):
    """People whose grey matter falls with age; and how it varies."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(*ages, n)
    others = pd.DataFrame(
        {"sex": rng.choice(["F", "M"], n).astype(object), "intracranial_ml": rng.normal(1500, 120, n)}
    )
    site = np.array([f"s{i % sites}" for i in range(n)], object) if sites else None
    density = 0.6 - 0.003 * (age - 50)[:, None] + 0.0002 * (others["intracranial_ml"].to_numpy() - 1500)[:, None]
    density = density + 0.05 * rng.standard_normal((n, VOXELS))
    if sites:
        density += 0.06 * np.random.default_rng(9).standard_normal((sites, VOXELS))[np.arange(n) % sites]
    return density.astype(np.float32), People(age, others, site)


def mask_of(voxels=VOXELS):
    mask = np.zeros(SHAPE, bool)
    mask.ravel()[:voxels] = True
    return mask


def test_without_sites_it_is_the_least_squares_of_statsmodels():
    density, people = drawn(60)
    model, z = fit_voxels(density, people, mask_of())
    design = model.scale.columns(people.age, people.others)
    for voxel in (0, 17, 299):
        found = sm.OLS(density[:, voxel].astype(float), design).fit()
        np.testing.assert_allclose(model.beta[:, voxel], found.params, rtol=1e-4, atol=1e-5)
        assert model.spread[voxel] == pytest.approx(np.sqrt(found.scale), rel=1e-5)
        t = found.get_influence().resid_studentized_external
        np.testing.assert_allclose(z[:, voxel], as_normal(t, model.freedom - 1), atol=2e-4)


@pytest.mark.parametrize("sites", [0, 3])
def test_a_controls_score_is_that_of_the_model_without_it(sites):
    density, people = drawn(40, sites=sites)
    model, z = fit_voxels(density, people, mask_of(), site="site" if sites else None)
    for row in (0, 5):
        rest = np.arange(40) != row
        without, _ = fit_voxels(density[rest], people.of(rest), mask_of())
        if sites:  # the same ratio, the same columns
            continue
        own = score_voxels(without, density[[row]], people.of(np.array([row])))
        inner = people.age[rest].min() <= people.age[row] <= people.age[rest].max()
        assert inner
        # knots and scaling of the smaller model differ a little where a quantile moves; the column space hardly does
        np.testing.assert_allclose(own[0], z[row], atol=0.15)
    design = model.scale.columns(people.age, people.others)
    y, kept = density.astype(float), np.arange(40) != 5
    both = design if not sites else np.c_[design, np.stack([people.site == s for s in model.sites], axis=1)]
    inverse = _inverse(both[kept], design.shape[1], model.ratio)
    beta = inverse @ both[kept].T @ y[kept]
    variance = ((y[kept] ** 2).sum(0) - (both[kept].T @ y[kept] * beta).sum(0)) / (model.freedom - 1)
    t = (y[5] - both[5] @ beta) / np.sqrt(variance * (1 + both[5] @ inverse @ both[5]))
    np.testing.assert_allclose(z[5], as_normal(t, model.freedom - 1), atol=2e-3)


def _inverse(both, p, ratio):
    left = both.T @ both
    left[np.arange(p, len(left)), np.arange(p, len(left))] += 1 / max(ratio, 1e-8)
    return np.linalg.inv(left)


def test_without_an_effect_the_rates_are_nominal():
    density, people = drawn(40, seed=1)
    model, z = fit_voxels(density, people, mask_of())
    fresh, others = drawn(400, seed=2)
    new = score_voxels(model, fresh, others)
    for scores in (z, new):
        assert abs(scores.mean()) < 0.1
        assert scores.std() == pytest.approx(1, abs=0.1)
        assert (scores < -2).mean() == pytest.approx(stats.norm.cdf(-2), abs=0.008)


def test_a_loss_that_was_planted_is_found():
    density, people = drawn(80, seed=3)
    model, _ = fit_voxels(density, people, mask_of())
    fresh, others = drawn(50, seed=4)
    fresh[:, :100] -= 0.15  # three standard deviations
    z = score_voxels(model, fresh, others)
    assert z[:, :100].mean() == pytest.approx(-3, abs=0.35)
    assert abs(z[:, 100:].mean()) < 0.2


def test_ages_outside_are_taken_as_the_nearest():
    density, people = drawn(60, ages=(40, 60))
    model, _ = fit_voxels(density, people, mask_of())
    high = People(np.array([model.scale.high, 95.0]), people.others.iloc[[0, 0]])
    z = score_voxels(model, density[[0, 0]], high)
    np.testing.assert_allclose(z[0], z[1])


def test_what_is_not_known_has_no_score():
    density, people = drawn(60)
    model, _ = fit_voxels(density, people, mask_of())
    unknown = People(np.array([50.0, np.nan]), people.others.iloc[[0, 1]])
    z = score_voxels(model, density[[0, 1]], unknown)
    assert np.isfinite(z[0]).all()
    assert np.isnan(z[1]).all()


def test_sites_are_taken_out_and_a_new_one_is_taken_in_by_its_controls():
    density, people = drawn(120, sites=4, seed=5)
    model, z = fit_voxels(density, people, mask_of(), site="site")
    assert model.sites == ("s0", "s1", "s2", "s3")
    assert z.std() == pytest.approx(1, abs=0.1)
    fresh, others = drawn(60, seed=6)
    fresh += 0.2  # a new scanner
    there = People(others.age, others.others, np.array(["new"] * 60, object))
    alone = score_voxels(model, fresh, there)
    taken_in = score_voxels(model, fresh, there, np.arange(60) < 30)
    assert alone.mean() > 1.5
    assert abs(taken_in[30:].mean()) < 0.25


def test_rare_is_as_rare_by_z_as_by_t():
    t = np.linspace(-6, 6, 61)
    for freedom in (10, 30, 200):
        exact = -stats.norm.isf(stats.t.cdf(t, freedom))
        np.testing.assert_allclose(as_normal(t, freedom), exact, atol=0.02)


def test_what_cannot_be_fitted_is_said():
    density, people = drawn(60)
    with pytest.raises(DataError, match=r"needs 20 controls .* there is 1"):
        fit_voxels(density[:1], people.of(np.arange(60) < 1), mask_of())
    with pytest.raises(DataError, match="all have 50"):
        fit_voxels(density, People(np.full(60, 50.0), people.others), mask_of())
    with pytest.raises(DataError, match="of 60 controls is not known"):
        fit_voxels(density, People(np.full(60, np.nan), people.others), mask_of())
    with pytest.raises(DataError, match="are all the same"):
        fit_voxels(np.ones_like(density), people, mask_of())
    with pytest.raises(DataError, match="no voxel of the controls' maps"):
        voxels_of(np.zeros(SHAPE))
