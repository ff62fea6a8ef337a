"""Effects of one model: against formulas written out, plain tests they must equal, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_app.group.effects import (
    CLUSTERED,
    MIXED,
    correlation,
    effect,
    fit,
    fit_repeated,
    freedman_lane,
    hedges,
    joint,
    noncentral_f,
    partial_eta2,
)


def two_groups(n=40, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    group = np.repeat([0.0, 1.0], [n // 2, n - n // 2])
    return rng.normal(size=n) + shift * group, np.column_stack([np.ones(n), group])


def test_errors_are_those_of_mackinnon_and_white():
    y, x = two_groups()
    inverse = np.linalg.inv(x.T @ x)
    e, h = y - x @ inverse @ x.T @ y, np.einsum("ij,jk,ik->i", x, inverse, x)
    expected = inverse @ (x.T * (e / (1 - h)) ** 2) @ x @ inverse
    assert fit(y, x).covariance == pytest.approx(expected)


def test_g_of_two_plain_groups_is_hedges():
    y, x = two_groups()
    a, b = y[x[:, 1] == 0], y[x[:, 1] == 1]
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    found = effect(fit(y, x), np.array([0.0, 1.0]))
    assert found["hedges_g"] == pytest.approx((b.mean() - a.mean()) / pooled * (1 - 3 / (4 * 38 - 1)), rel=1e-3)
    assert found["estimate"] == pytest.approx(b.mean() - a.mean())


def test_ends_of_the_interval_of_g_leave_a_fortieth_on_each_side():
    t, df, factor = 2.3, 18, np.sqrt(2 / 10)
    found = hedges(t, factor, df)
    scale = found["hedges_g"] / t
    assert stats.nct.sf(t, df, found["g_low"] / scale) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, df, found["g_high"] / scale) == pytest.approx(0.025, abs=1e-6)


def test_partial_eta_squared_has_steigers_interval():
    found = partial_eta2(5.0, 2, 60)
    assert found["partial_eta2"] == pytest.approx(10 / 70)
    for end, below in (("eta2_low", 0.975), ("eta2_high", 0.025)):
        shift = found[end] * 63 / (1 - found[end])
        assert stats.ncf.cdf(5.0, 2, 60, shift) == pytest.approx(below, abs=1e-6)
    assert partial_eta2(0.5, 2, 60)["eta2_low"] == 0.0


def test_a_model_that_explains_everything_has_no_size():
    assert np.isnan(partial_eta2(1e28, 1, 12)["eta2_low"])
    assert np.isnan(hedges(1e14, 0.5, 12)["g_high"])
    assert np.isfinite(partial_eta2(1e6, 1, 12)["eta2_low"])
    assert np.isfinite(hedges(500.0, 0.5, 12)["g_high"])


def test_several_contrasts_at_once_are_the_square_of_one():
    y, x = two_groups()
    fitted = fit(y, x)
    one, every = effect(fitted, np.array([0.0, 1.0])), joint(fitted, np.array([[0.0, 1.0]]))
    assert every["statistic"] == pytest.approx(one["statistic"] ** 2)
    assert every["p"] == pytest.approx(one["p"])
    assert every["partial_eta2"] == pytest.approx(one["partial_eta2"])


def test_the_detectable_effect_is_found_with_eighty_percent_power():
    y, x = two_groups(n=60, shift=0)
    wanted = effect(fit(y, x), np.array([0.0, 1.0]))["detectable_g"]
    df, shift = 58, wanted / np.sqrt(2 / 30)
    assert stats.nct.sf(stats.t.ppf(0.975, df), df, shift) == pytest.approx(0.8, abs=0.01)


def test_freedman_lane_is_what_a_plain_loop_gives():
    rng = np.random.default_rng(3)
    y, x = two_groups(n=24, shift=0.8, seed=3)
    x = np.column_stack([x, rng.normal(size=24) + x[:, 1]])
    y = y + x[:, 2]
    reduced = x[:, [0, 2]]
    kept = reduced @ np.linalg.lstsq(reduced, y, rcond=None)[0]

    def t_of(values):
        beta, rest, *_ = np.linalg.lstsq(x, values, rcond=None)
        return abs(beta[1]) / np.sqrt(rest[0] / 21 * np.linalg.inv(x.T @ x)[1, 1])

    drawn = [t_of(kept + rng.permutation(y - kept)) for _ in range(2000)]
    loop = (1 + sum(t >= t_of(y) for t in drawn)) / 2001
    assert freedman_lane(y, x, np.array([0.0, 1.0, 0.0]), 4000, 0) == pytest.approx(loop, abs=0.03)
    assert 0 < loop < 0.5


def repeated(between, seed=0, people=30):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), 2)
    group = (who % 2).astype(float)
    y = rng.normal(size=people)[who] * between + rng.normal(size=2 * people) + 0.7 * group
    return y, np.column_stack([np.ones(2 * people), group]), who


def test_a_mixed_model_of_balanced_sessions_is_the_test_of_participants_means():
    y, x, who = repeated(between=2.0)
    means = y.reshape(-1, 2).mean(1)
    plain = stats.ttest_ind(means[1::2], means[::2])
    found = fit_repeated(y, x, who)
    answer = effect(found, np.array([0.0, 1.0]))
    assert found.model == MIXED
    assert answer["statistic"] == pytest.approx(plain.statistic, rel=1e-3)
    assert answer["p"] == pytest.approx(plain.pvalue, rel=1e-2)


def test_what_is_done_without_variance_between_participants_is_said():
    y, x, who = repeated(between=0.0)
    y = y - 0.9 * np.repeat(y.reshape(-1, 2).mean(1), 2)  # sessions of one participant differ more than people
    found = fit_repeated(y, x, who)
    assert found.model == CLUSTERED
    assert found.note
    assert np.isfinite(effect(found, np.array([0.0, 1.0]))["p"])


def test_partial_correlation_is_that_of_the_inverse_covariance():
    rng = np.random.default_rng(0)
    z = rng.normal(size=50)
    x, y = z + rng.normal(size=50), z + rng.normal(size=50)
    inverse = np.linalg.inv(np.cov([x, y, z]))
    found = correlation(x, y, np.column_stack([np.ones(50), z]))
    assert found["estimate"] == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    assert found["df"] == 47
    plain = correlation(x, y, np.ones((50, 1)))
    assert (plain["estimate"], plain["p"]) == pytest.approx(tuple(stats.pearsonr(x, y)))
    assert (plain["low"], plain["high"]) == pytest.approx(tuple(stats.pearsonr(x, y).confidence_interval()), rel=1e-6)


def test_the_largest_effects_have_intervals_too():
    found = partial_eta2(3000.0, 1, 9990.0)  # scipy's noncentral F is NaN on the way
    assert found["eta2_low"] < found["partial_eta2"] < found["eta2_high"]
    assert found["eta2_high"] - found["eta2_low"] == pytest.approx(0.023, abs=0.006)


@pytest.mark.parametrize("shift", [500.0, 900.0])
def test_noncentral_f_goes_on_smoothly(shift):
    for f in (shift * 0.9, shift, shift * 1.1):
        near = float(stats.ncf.cdf(f, 1, 300.0, shift))
        assert noncentral_f(f, 1, 300.0, shift) == pytest.approx(near, abs=2e-3)
