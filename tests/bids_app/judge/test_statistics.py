import numpy as np
import pytest

from bids_app.judge.statistics import (
    Interval,
    bootstrap,
    by_participant,
    delong,
    holm,
    mean_interval,
    paired_difference,
    plain,
    sign_flip,
)
from bids_app.measure.weighted import weighted_auc


def names(count):
    return [f"{i:03d}" for i in range(count)]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [mean_interval(rng.normal(3, 1, 50), names(50), draws=400, seed=i).holds(3) for i in range(300)]
    assert 0.90 <= np.mean(hits) <= 0.98


def test_an_interval_holds_its_ends():
    interval = Interval(0.5, -1.0, 2.0, 9, 9)
    assert [interval.holds(value) for value in (-1.001, -1.0, 0.0, 2.0, 2.001)] == [False, True, True, True, False]


def test_sessions_of_one_participant_do_not_make_the_interval_narrower():
    values = np.random.default_rng(1).normal(0, 1, 30)
    once = mean_interval(values, names(30))
    often = mean_interval(np.repeat(values, 5), list(np.repeat(names(30), 5)))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (often.participants, often.sessions) == (30, 150)


def test_participants_are_drawn_whole():
    people = ["a", "a", "b", "c"]

    def same(weights):
        assert (weights[:, 0] == weights[:, 1]).all()
        return weights.sum(1)

    bootstrap(same, people, draws=50)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(2).normal(0, 1, 20)
    assert mean_interval(values, names(20), seed=3) == mean_interval(values, names(20), seed=3)
    assert mean_interval(values, names(20), seed=3) != mean_interval(values, names(20), seed=4)


def test_one_participant_has_a_mean_and_no_interval():
    found = mean_interval(np.array([1.0, 3.0]), ["a", "a"])
    assert found.value == 2
    assert np.isnan([found.low, found.high]).all()


def test_many_rows_are_drawn_in_parts_that_fit(monkeypatch):
    values = np.random.default_rng(2).normal(0, 1, 20)
    whole = mean_interval(values, names(20), draws=300)
    monkeypatch.setattr("bids_app.judge.statistics.AT_ONCE", 1000)
    assert mean_interval(values, names(20), draws=300).low == pytest.approx(whole.low)


def test_a_statistic_that_most_draws_leave_undefined_has_no_interval():
    yes = np.array([True] + [False] * 9)  # a third of the draws have no positive at all
    found = bootstrap(lambda w: weighted_auc(yes, np.arange(10.0), w), names(10), draws=500)
    assert found.value == 0
    assert np.isnan(found.low)


def test_paired_differences_leave_out_what_either_arm_lacks():
    found = paired_difference([1, 2, np.nan], [0, 1, 5], names(3))
    assert (found.value, found.low, found.high, found.participants) == (1, 1, 1, 2)


def test_means_by_participant():
    people, means = by_participant(np.array([1, 3, 5, np.nan]), ["a", "a", "b", "c"])
    assert (people, means.tolist()) == (["a", "b"], [2, 5])


def test_exact_sign_flip_by_hand():
    # of eight choices of signs only +++ and --- are as far from zero
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)


def test_a_sign_flip_of_two_has_four_choices_and_of_nobody_none():
    assert sign_flip(np.array([1.0, 1.0])) == 0.5
    assert sign_flip(np.array([1.0])) == 1
    assert np.isnan(sign_flip(np.array([np.nan])))
    assert sign_flip(np.array([1.0, np.nan, 1.0])) == 0.5


def test_nobody_has_no_mean_and_no_interval():
    found = mean_interval(np.array([]), [])
    assert np.isnan([found.value, found.low, found.high]).all()
    assert (found.participants, found.sessions) == (0, 0)


def test_p_is_uniform_when_nothing_is_there():
    rng = np.random.default_rng(3)
    found = np.array([sign_flip(rng.normal(0, 1, 20), draws=199, seed=i) for i in range(400)])
    assert 0.02 <= (found <= 0.05).mean() <= 0.09
    assert 0.42 <= (found <= 0.5).mean() <= 0.58


def test_a_clear_difference_has_a_small_p_that_is_not_zero():
    assert 0 < sign_flip(np.full(30, 0.1), draws=999) <= 0.002


def test_no_difference_at_all_has_p_one():
    assert sign_flip(np.zeros(20)) == 1


def scores(seed=4, count=120):
    rng = np.random.default_rng(seed)
    yes = np.arange(count) < count * 0.4
    shared = rng.normal(0, 1, count)
    return yes, yes * 1.2 + shared + rng.normal(0, 0.7, count), yes * 0.8 + shared + rng.normal(0, 0.7, count)


def test_delong_by_the_definition_of_its_covariance():
    """Every pair compared one by one, as the paper of 1988 writes it."""
    yes, one, other = scores(count=30)
    v10, v01 = [], []
    for score in (one, other):
        wins = (score[yes][:, None] > score[~yes]) + 0.5 * (score[yes][:, None] == score[~yes])
        v10.append(wins.mean(1))
        v01.append(wins.mean(0))
    variance = np.cov(v10) / yes.sum() + np.cov(v01) / (~yes).sum()
    contrast = np.array([1, -1])
    found = delong(yes, one, other)
    assert found.standard_error == pytest.approx(np.sqrt(contrast @ variance @ contrast))
    assert found.difference == pytest.approx(v10[0].mean() - v10[1].mean())


def test_delong_agrees_with_a_bootstrap():
    yes, one, other = scores()
    found, rng, drawn = delong(yes, one, other), np.random.default_rng(5), []
    weights = np.concatenate([rng.multinomial(n, np.full(n, 1 / n), 3000) for n in (48, 72)], 1).astype(float)
    drawn = weighted_auc(yes, one, weights) - weighted_auc(yes, other, weights)
    assert found.standard_error == pytest.approx(drawn.std(), rel=0.08)
    assert found.p < 0.05


def test_sessions_that_repeat_a_participant_bring_delong_no_certainty():
    yes, one, other = scores(count=60)
    once = delong(yes, one, other, names(60))
    twice = delong(*(np.repeat(x, 2) for x in (yes, one, other)), list(np.repeat(names(60), 2)))
    assert twice.standard_error == pytest.approx(once.standard_error)


def test_delong_of_people_with_both_answers_has_the_error_of_drawing_people():
    """Each person has a session of either class; what is said of one goes along with what is said of the other."""
    rng, count = np.random.default_rng(6), 80
    people, yes = names(count) * 2, np.repeat([True, False], count)
    own = np.tile(rng.normal(0, 1, count), 2)  # moves both sessions of a person in one arm, and so cancels in its area
    one = yes + own + rng.normal(0, 0.3, 2 * count)
    other = yes + rng.normal(0, 1, 2 * count)
    found = delong(yes, one, other, people)
    drawn = rng.multinomial(count, np.full(count, 1 / count), 3000)[:, np.tile(np.arange(count), 2)].astype(float)
    apart = weighted_auc(yes, one, drawn) - weighted_auc(yes, other, drawn)
    assert found.standard_error == pytest.approx(apart.std(), rel=0.08)


def test_delong_of_clusters_by_the_definition_of_its_variance():
    """Every pair compared one by one and summed by person, as the paper of 1997 writes it."""
    rng = np.random.default_rng(7)
    people = np.array(list("aabbccddeef"))
    yes = np.array([1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1], bool)
    one, other = rng.normal(0, 0.3, (2, len(yes))) + yes
    one += 2 * rng.normal(0, 1, 6)[np.unique(people, return_inverse=True)[1]]  # a person's scores move together
    apart, m, n = [], yes.sum(), (~yes).sum()
    for score in (one, other):
        wins = score[yes][:, None] > score[~yes]
        apart.append((wins.mean(1), wins.mean(0)))
    of_yes, of_no = (a - b for a, b in zip(*apart, strict=True))
    mean, everyone = of_yes.mean(), sorted(set(people))
    sums = [
        (
            sum(v - mean for v, p in zip(of_yes, people[yes], strict=True) if p == who),
            sum(v - mean for v, p in zip(of_no, people[~yes], strict=True) if p == who),
        )
        for who in everyone
    ]
    with_yes, with_no, count = len(set(people[yes])), len(set(people[~yes])), len(everyone)
    s10 = with_yes / ((with_yes - 1) * m) * sum(a * a for a, _ in sums)
    s01 = with_no / ((with_no - 1) * n) * sum(b * b for _, b in sums)
    s11 = count / (count - 1) * sum(a * b for a, b in sums)
    expected = np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))
    assert abs(2 * s11 / (m * n)) > 0.05 * expected**2
    assert delong(yes, one, other, list(people)).standard_error == pytest.approx(expected)


def test_delong_of_equal_scores_has_no_test():
    yes, one, _ = scores()
    assert np.isnan(delong(yes, one, one).p)


def test_delong_without_a_second_class_is_nan():
    assert np.isnan(delong(np.ones(3, bool), np.arange(3), np.arange(3)).difference)


def test_holm_by_hand():
    # times 4, 3, 2, 1 from the smallest on, and never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_does_not_count_a_test_that_does_not_exist():
    adjusted = holm([0.01, float("nan"), 0.6])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.6)


def test_what_json_lacks_becomes_none():
    assert plain({"a": [float("nan"), np.float64(1), (2,)]}) == {"a": [None, 1.0, [2]]}
    assert type(plain(np.int64(3))) is int
    assert plain(float("inf")) is None


def test_an_interval_has_the_level_that_is_asked_for():
    values = np.random.default_rng(3).normal(0, 1, 400)
    half = bootstrap(lambda w: w @ values / w.sum(1), names(400), draws=4000, level=0.5)
    error = values.std() / 20
    assert half.low == pytest.approx(values.mean() - 0.6745 * error, abs=0.1 * error)
    assert half.high == pytest.approx(values.mean() + 0.6745 * error, abs=0.1 * error)


def test_delong_subtracts_the_second_from_the_first():
    positive, one, other = scores()
    found, turned = delong(positive, one, other), delong(positive, other, one)
    assert found.difference == pytest.approx(found.auc_one - found.auc_other)
    assert (turned.difference, turned.p) == pytest.approx((-found.difference, found.p))
