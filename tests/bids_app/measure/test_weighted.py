"""Drawing rows again and weighing them is one thing; and scikit-learn gives the same."""

import numpy as np
import pytest

from bids_app.measure import weighted
from bids_app.measure.scores import regression_scores
from bids_app.targets.kinds import kind_of

RNG = np.random.default_rng(0)
COUNTS = RNG.multinomial(40, np.full(40, 1 / 40), size=5)
TRUTH = RNG.integers(0, 3, 40)
LOGITS = np.round(RNG.normal(0, 1, (40, 3)) + np.eye(3)[TRUTH], 1)  # rounded: with ties


def drawn(row):
    return np.repeat(np.arange(40), COUNTS[row])


@pytest.mark.parametrize("row", range(5))
def test_binary_measures_equal_those_of_the_rows_drawn_again(row):
    truth, probability = (TRUTH > 0).astype(int), kind_of("binary").probabilities(LOGITS[:, :2])
    rows, decided = drawn(row), (probability[:, 1] >= 0.5).astype(int)
    expected = kind_of("binary").scores(truth[rows], None, probability[rows]).values
    auc = weighted.weighted_auc(truth == 1, probability[:, 1], COUNTS.astype(float))
    balanced = weighted.weighted_balanced_accuracy(truth, decided, COUNTS.astype(float))
    assert auc[row] == pytest.approx(expected["auc"])
    assert balanced[row] == pytest.approx(expected["balanced_accuracy"])


@pytest.mark.parametrize("row", range(5))
def test_kappa_equals_that_of_the_rows_drawn_again(row):
    probability = kind_of("ordinal").probabilities(LOGITS[:, :2])
    decided = (1 - np.cumsum(probability, 1)[:, :2] >= 0.5).sum(1)
    expected = kind_of("ordinal").scores(TRUTH[drawn(row)], None, probability[drawn(row)]).values["kappa"]
    assert weighted.weighted_kappa(TRUTH, decided, 3, COUNTS.astype(float))[row] == pytest.approx(expected)


@pytest.mark.parametrize("row", range(5))
def test_r2_and_correlation_equal_those_of_the_rows_drawn_again(row):
    truth, answer = LOGITS[:, 0], LOGITS[:, 0] + LOGITS[:, 1]
    expected = regression_scores(truth[drawn(row)], answer[drawn(row)]).values
    assert weighted.weighted_r2(truth, answer, COUNTS.astype(float))[row] == pytest.approx(expected["r2"])
    found = weighted.weighted_correlation(truth, answer, COUNTS.astype(float))[row]
    assert found == pytest.approx(expected["correlation"])


def test_a_draw_with_one_class_only_has_no_auc():
    weights = np.array([[2.0, 1, 0, 0], [1, 0, 0, 1]])
    found = weighted.weighted_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]), weights)
    assert np.isnan(found[0])
    assert found[1] == 1


def test_a_value_that_is_not_known_does_not_count():
    assert weighted.weighted_mean(np.array([1, np.nan, 3]), np.ones((1, 3)))[0] == 2


def test_two_people_have_no_correlation():
    weights = np.ones((3, 2))
    assert np.isnan(weighted.weighted_correlation(np.array([1.0, 2.0]), np.array([1.0, 5.0]), weights)).all()
