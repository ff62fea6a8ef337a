"""Ridge in closed form: its left-out answers are those of models fitted without the person, and logits stay honest."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.targets.closed_form import fit_logits, fit_ridge
from bids_app.targets.kinds import kind_of


def people_and_columns(n: int = 40, columns: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    return x, (x[:, :1] - 0.5 * x[:, 1:2] + rng.normal(0, 0.3, (n, 1)) + 2), rng


@pytest.mark.parametrize("sessions", [1, 2])
def test_left_out_answers_are_those_of_a_model_without_the_person(sessions):
    x, y, _ = people_and_columns()
    people = [f"sub-{n // sessions}" for n in range(len(x))]
    fit = fit_ridge(x, y, people)
    kernel = (x - x.mean(0)) @ (x - x.mean(0)).T
    scale = np.trace(kernel) / len(x)
    # the penalty that was chosen, from the weights: (A'A + k I) w = A'b
    a, b = x - x.mean(0), y - y.mean(0)
    k = float(np.mean((a.T @ b - a.T @ a @ fit.weights) / fit.weights)) / scale
    for person in ("sub-0", "sub-7"):
        rows = np.array(people) == person
        # intercept free, penalty the same in absolute terms: the exact model without this person
        one = np.concatenate([np.ones((len(x), 1)), x - x.mean(0)], 1)[~rows]
        penalty = np.diag([0.0] + [k * scale] * x.shape[1])
        solution = np.linalg.solve(one.T @ one + penalty, one.T @ y[~rows])
        told = np.concatenate([np.ones((rows.sum(), 1)), (x - x.mean(0))[rows]], 1) @ solution
        np.testing.assert_allclose(fit.left_out[rows], told, rtol=1e-6)
    assert np.corrcoef(fit.left_out[:, 0], y[:, 0])[0, 1] > 0.9
    np.testing.assert_allclose(((fit.left_out - y) ** 2).mean(), fit.error)


def test_columns_without_a_bearing_on_the_truth_tell_nothing():
    aucs = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(30, 200)), np.where(np.arange(30) % 2, 1.0, -1.0)[:, None]
        fit = fit_ridge(x, y, [str(n) for n in range(30)])
        slope, _ = fit_logits(np.concatenate([-fit.left_out, fit.left_out], 1), (y[:, 0] > 0).astype(int), 2)
        assert slope >= 0
        aucs.append(slope)
    assert np.median(aucs) < 0.5


def test_logits_are_as_sure_as_left_out_answers_are_right():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 400)
    said = (np.where(truth, 1, -1) * 0.5 + rng.normal(0, 1, 400))[:, None]
    matrix, shift = kind_of("binary").from_codes(said, truth, 2)
    p = kind_of("binary").probabilities(said @ matrix + shift)[:, 1]
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        inside = (p > low) & (p < high)
        assert truth[inside].mean() == pytest.approx(p[inside].mean(), abs=0.12)


@pytest.mark.parametrize(("kind", "levels"), [("binary", 2), ("categorical", 3), ("ordinal", 4), ("continuous", 0)])
def test_every_kind_finds_its_answer_again(kind, levels):
    rng = np.random.default_rng(5)
    one = kind_of(kind)
    values = rng.integers(0, levels, 120).astype(float) if levels else rng.normal(50, 10, 120)
    scaling = one.fit(values, levels)
    codes = one.codes(values, levels, scaling)
    said = codes + rng.normal(0, 0.2, codes.shape)
    matrix, shift = one.from_codes(said, values, levels)
    outputs = said @ matrix + shift
    assert outputs.shape == (120, one.outputs(levels))
    if levels:
        assert (one.decide(one.probabilities(outputs)) == values).mean() > 0.9
    else:
        assert np.abs(one.in_unit(outputs[:, 0], scaling) - values).mean() < 3


def test_a_value_that_left_out_answers_miss_is_the_mean():
    values = np.arange(20.0)
    matrix, _ = kind_of("continuous").from_codes(-values[:, None], values, 0)
    assert matrix == 0
