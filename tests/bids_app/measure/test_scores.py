import numpy as np
import pytest

from bids_app.errors import DataError
from bids_app.measure.calibration import calibration_intercept, calibration_slope, reliability_bins
from bids_app.measure.scores import bland_altman, regression_scores
from bids_app.targets.kinds import kind_of

TRUTH = np.array([0, 0, 0, 1, 1, np.nan])
YES = np.array([0.1, 0.4, 0.6, 0.35, 0.8, 0.9])


def two(yes):
    return np.stack([1 - np.asarray(yes), yes], 1)


def scores(kind, truth, probability, levels=()):
    return kind_of(kind).scores(truth, None, probability, levels)


def test_binary_measures_worked_out_by_hand():
    found = scores("binary", TRUTH, two(YES))
    assert found.count == 5  # the unknown one does not count
    # six pairs: 0.35 beats only 0.1, 0.8 beats all three
    assert found.values["auc"] == pytest.approx(4 / 6)
    assert found.values["sensitivity"] == 0.5
    assert found.values["specificity"] == pytest.approx(2 / 3)
    assert found.values["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.values["brier"] == pytest.approx((0.01 + 0.16 + 0.36 + 0.65**2 + 0.04) / 5)
    assert found.values["log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.4, 0.35, 0.8]).mean())
    # bins of a tenth: each holds one row
    assert found.values["ece"] == pytest.approx((0.1 + 0.4 + 0.6 + 0.65 + 0.2) / 5)


def test_one_class_only_is_nan_with_a_sentence():
    found = scores("binary", np.ones(4), two([0.2, 0.6, 0.7, 0.9]), levels=("good", "poor"))
    undefined = ("auc", "balanced_accuracy", "specificity", "calibration_slope", "calibration_intercept")
    assert np.isnan([found.values[name] for name in undefined]).all()
    assert found.values["sensitivity"] == 0.75
    assert np.isfinite([found.values["brier"], found.values["log_loss"]]).all()
    assert "same value, poor" in found.notes[0]


def test_a_level_that_nobody_has_is_left_out_and_named():
    probability = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.1, 0.7], [0.5, 0.1, 0.4]])
    found = scores("categorical", np.array([0, 0, 2, 2]), probability, levels=("a", "b", "c"))
    assert found.values["auc"] == 1
    assert found.values["balanced_accuracy"] == 0.75
    assert "nobody has b" in found.notes[0]


def test_nobody_known_is_nan_with_a_sentence():
    found = scores("binary", np.full(3, np.nan), two([0.1, 0.2, 0.3]))
    assert np.isnan(list(found.values.values())).all()
    assert found.notes


def test_an_answer_that_overflowed_is_refused():
    with pytest.raises(DataError, match="not a number"):
        regression_scores(np.ones(2), np.array([1, np.inf]))


@pytest.mark.parametrize(("stretch", "slope"), [(1, 1), (2, 0.5), (0.5, 2)])
def test_calibration_slope_finds_how_overconfident_an_answer_is(stretch, slope):
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 1.5, 20000)
    truth = (rng.random(20000) < 1 / (1 + np.exp(-logit))).astype(int)
    said = 1 / (1 + np.exp(-stretch * logit))
    assert calibration_slope(truth, two(said)) == pytest.approx(slope, rel=0.05)
    assert calibration_intercept(truth, said) == pytest.approx(0, abs=0.05)


def test_calibration_slope_of_three_levels_is_the_inverse_of_the_temperature():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (20000, 3))
    right = kind_of("categorical").probabilities(logits)
    truth = (rng.random(20000)[:, None] > np.cumsum(right, 1)).sum(1)
    assert calibration_slope(truth, kind_of("categorical").probabilities(2 * logits)) == pytest.approx(0.5, rel=0.05)


def test_calibration_intercept_is_the_shift_of_the_logits():
    said = 1 / (1 + np.exp(-np.linspace(-2, 2, 401)))
    shifted = 1 / (1 + np.exp(-np.linspace(-2, 2, 401) - 0.7))
    rng = np.random.default_rng(2)
    truth = (rng.random((50, 401)) < shifted).astype(int)
    assert calibration_intercept(truth.ravel(), np.tile(said, 50)) == pytest.approx(0.7, abs=0.05)


def test_perfect_separation_has_no_slope_and_says_so():
    found = scores("binary", np.array([0, 0, 1, 1]), two([0.1, 0.2, 0.8, 0.9]))
    assert found.values["auc"] == 1
    assert np.isnan(found.values["calibration_slope"])
    assert "separate" in found.notes[0]


def test_bins_for_the_drawing_carry_their_counts():
    rows = reliability_bins(np.array([0.05, 0.08, 0.95, 1.0]), np.array([0, 1, 1, 1]))
    assert [row["count"] for row in rows] == [2, 2]
    assert rows[0]["happened"] == 0.5


def test_ordinal_logits_become_probabilities_that_sum_to_one_even_out_of_order():
    found = kind_of("ordinal").probabilities(np.array([[2.0, -1.0], [-1.0, 2.0]]))
    beyond = 1 / (1 + np.exp([-2, 1]))
    assert found[0] == pytest.approx([1 - beyond[0], beyond[0] - beyond[1], beyond[1]])
    assert found.sum(1) == pytest.approx(1)
    assert found[1, 1] == 0  # P(level > 1) was lowered to P(level > 0)


def test_a_higher_temperature_makes_an_answer_more_careful():
    logits = np.array([[0.0, 3.0]])
    assert 0.5 < kind_of("binary").probabilities(logits, 2.0)[0, 1] < kind_of("binary").probabilities(logits)[0, 1]


def test_a_continuous_target_has_no_probabilities():
    with pytest.raises(DataError, match="continuous"):
        kind_of("continuous").probabilities(np.zeros((2, 1)))


def test_the_decided_ordinal_level_is_the_median():
    assert kind_of("ordinal").decide(np.array([[0.4, 0.25, 0.35], [0.2, 0.3, 0.5]])).tolist() == [1, 2]


def test_ordinal_error_and_kappa_worked_out_by_hand():
    probability = np.eye(3)[[0, 1, 2, 0]]
    found = scores("ordinal", np.array([0, 1, 2, 2]), probability)
    assert found.values["mae"] == 0.5
    # seen disagreement 4/4; expected from the margins (1, 1, 2) and (2, 1, 1): (5 + 3 + 18) / 16
    assert found.values["kappa"] == pytest.approx(1 - 16 / 26)


def test_regression_measures_by_hand():
    found = regression_scores(np.array([1, 2, 3, np.nan]), np.array([2, 2, 5, 9])).values
    assert (found["mae"], found["bias"]) == (1, 1)
    assert found["r2"] == pytest.approx(1 - 5 / 2)


def test_a_constant_truth_has_no_r2_and_says_so():
    found = regression_scores(np.ones(3), np.array([1, 2, 3]))
    assert np.isnan(found.values["r2"])
    assert "same value" in found.notes[0]


def test_limits_of_agreement():
    found = bland_altman(np.array([10, 20, 30]), np.array([11, 22, 33]))
    assert (found["bias"], found["sd"]) == (2, 1)
    assert (found["low"], found["high"]) == pytest.approx((0.04, 3.96))
    assert found["slope"] == pytest.approx(1 / 10.5, rel=0.1)
