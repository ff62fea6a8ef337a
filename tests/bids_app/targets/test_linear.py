from __future__ import annotations

import numpy as np
import pytest

from bids_app.targets.linear import logistic, ridge

X = np.random.default_rng(0).normal(size=(200, 2))


def test_ridge_finds_a_line_through_what_is_known():
    y = 3 + 2 * X[:, 0]
    known = X.copy()
    known[::10, 1] = np.nan
    assert ridge(known, y, np.array([[1.0, 0.0], [-1.0, np.nan]])) == pytest.approx([5.0, 1.0], abs=0.05)


def test_logistic_regression_gives_probabilities_that_add_up():
    y = (X[:, 0] > 0).astype(int)
    shares = np.exp(logistic(X, y, np.array([[2.0, 0.0], [-2.0, 0.0]]), 2))
    assert shares.sum(1) == pytest.approx([1, 1])
    assert shares[0, 1] > 0.95
    assert shares[1, 0] > 0.95


def test_levels_weigh_evenly_however_rare_they_are():
    rare = (np.random.default_rng(1).random(200) < 0.1).astype(int)  # has nothing to do with the columns
    assert np.exp(logistic(X, rare, X, 2))[:, 1].mean() == pytest.approx(0.5, abs=0.05)


def test_one_level_alone_is_answered_with_how_often_it_was_there():
    shares = np.exp(logistic(X[:9], np.ones(9, int), X[:1], 2))[0]
    assert shares == pytest.approx([0.05, 0.95])


def test_a_level_that_training_never_saw_is_unlikely_but_not_impossible():
    shares = np.exp(logistic(X, (X[:, 0] > 0).astype(int), X[:1], 3))[0]
    assert 0 < shares[2] < 0.01
