import json

import numpy as np
import pytest

from bids_app.errors import DataError
from bids_app.judge.answers import Evaluation
from bids_app.judge.compare import compare_arms, on_common_sessions
from bids_app.judge.controls import judge_controls
from bids_app.judge.wording import number
from tests.learned.answered import recipe

COUNT = 80
TRUTH = np.arange(COUNT) % 2
QUICK = {"draws": 300, "permutations": 499}


def who(i):
    return {"key": f"sub-{i:03d}", "participant": f"{i:03d}", "site": None, "sex": None, "age": 30.0}


def region_rows(dice):
    every = {"nsd", "hd95_mm", "volume_error_mm3", "absolute_volume_error_mm3", "relative_volume_error"}
    rest = dict.fromkeys([*every, "false_positive_mm3"], float("nan"))
    return [
        {**who(i), "region": name, "kind": "structure", "dice": float(d), "truth_mm3": 100.0, **rest}
        for i, d in enumerate(dice)
        for name in ("front", "back")
    ]


def outcome_rows(logit):
    yes = 1 / (1 + np.exp(-np.asarray(logit)))
    return [
        {
            **who(i),
            "target": "outcome",
            "kind": "binary",
            "truth": float(TRUTH[i]),
            "answer": float(p >= 0.5),
            "probability": [1 - p, p],
        }
        for i, p in enumerate(yes)
    ]


def age_rows(error):
    return [
        {
            **who(i),
            "target": "age",
            "kind": "continuous",
            "truth": 40.0 + i,
            "answer": 40.0 + i + e,
            "probability": None,
        }
        for i, e in enumerate(error)
    ]


def arm(seed, *, dice=0.8, signal=0.0, error=5.0, regions=True, targets=True):
    """Answers of some quality, with noise that arms share in part."""
    shared, own = np.random.default_rng(99), np.random.default_rng(seed)
    easy = shared.normal(0, 0.05, COUNT)
    noise = shared.normal(0, 0.7, COUNT) + own.normal(0, 0.7, COUNT)
    rows = region_rows(np.clip(dice + easy + own.normal(0, 0.02, COUNT), 0, 1)) if regions else []
    answered = outcome_rows(signal * (2 * TRUTH - 1) + noise) + age_rows(own.normal(0, error, COUNT))
    return Evaluation(rows, answered if targets else [])


@pytest.fixture(scope="module")
def compared():
    arms = {
        "multi-task": arm(1, signal=1.5),
        "segmentation-only": arm(2, targets=False),
        "target-only": arm(3, signal=0.3, regions=False),
        "permuted": arm(4, signal=0.0, error=60),
    }
    return compare_arms(arms, "multi-task", recipe(), seed=0, **QUICK)


def row(comparison, arm, what, measure):
    return next(r for r in comparison.rows if (r.arm, r.what, r.measure) == (arm, what, measure))


def test_each_arm_is_compared_where_both_answer(compared):
    assert {(r.arm, r.what) for r in compared.rows} == {
        ("segmentation-only", "front"),
        ("segmentation-only", "back"),
        ("segmentation-only", "all regions"),
        ("target-only", "outcome"),
        ("target-only", "age"),
    }


def test_a_gain_in_auc_is_shown_by_delong(compared):
    found = row(compared, "target-only", "outcome", "auc")
    assert (found.test, found.shown, found.participants) == ("DeLong", True, COUNT)
    assert found.difference == pytest.approx(found.value - found.reference_value)
    assert found.low < found.difference < found.high < 0


def test_no_difference_in_dice_is_shown_where_there_is_none(compared):
    assert not row(compared, "segmentation-only", "front", "dice").shown


def test_a_session_whose_dice_one_arm_does_not_define_does_not_count():
    one, other = arm(1, targets=False), arm(2, targets=False)
    one.regions[0]["dice"] = float("nan")
    found = row(compare_arms({"one": one, "two": other}, "two", recipe(), **QUICK), "one", "front", "dice")
    assert (found.participants, found.sessions) == (COUNT - 1, COUNT - 1)
    both = [[r["dice"] for r in e.regions if r["region"] == "front"][1:] for e in (one, other)]
    assert (found.value, found.reference_value) == pytest.approx(tuple(np.mean(both, 1)))
    assert np.isfinite(found.p)


def test_one_region_has_no_mean_over_regions():
    single = recipe().model_copy(update={"regions": recipe().regions[:1]})
    arms = {"one": arm(1, targets=False), "two": arm(2, targets=False)}
    assert [r.what for r in compare_arms(arms, "two", single, **QUICK).rows] == [single.regions[0].name]


def test_an_auc_of_one_against_one_of_zero_has_no_standard_error_and_so_no_p():
    sure = {"one": 9.0 * (2 * TRUTH - 1), "two": -9.0 * (2 * TRUTH - 1)}
    arms = {name: Evaluation([], outcome_rows(logit)) for name, logit in sure.items()}
    found = row(compare_arms(arms, "two", recipe(), **QUICK), "one", "outcome", "auc")
    assert found.difference == 1
    assert np.isnan(found.p)


def test_p_is_corrected_over_every_test_of_the_table(compared):
    smallest = min(compared.rows, key=lambda r: r.p)
    assert smallest.p_holm == pytest.approx(min(1, len(compared.rows) * smallest.p))


def test_the_sentence_speaks_of_multitask_learning_and_says_what_was_not_shown(compared):
    text = compared.sentence()
    gain = -row(compared, "target-only", "outcome", "auc").difference
    assert f"Multi-task learning raised the AUC for outcome by {number(gain)} (95 % interval 0." in text
    assert "after Holm's correction, 80 participants)" in text
    assert "Between multi-task learning and segmentation alone no difference was shown in Dice of front" in text
    assert "does not say that there is none" in text


def test_a_loss_is_called_worse_also_where_smaller_is_better():
    arms = {"multi-task": arm(1, error=2), "target-only": arm(2, error=8)}
    text = compare_arms(arms, "target-only", recipe(), **QUICK).sentence()
    assert "Multi-task learning lowered the mean absolute error for age" in text
    text = compare_arms(
        {"multi-task": arm(1, error=8), "target-only": arm(2, error=2)}, "multi-task", recipe(), **QUICK
    )
    assert "Multi-task learning raised the mean absolute error for age" in text.sentence()
    assert "which is worse" in text.sentence()


def test_arms_of_different_sessions_are_refused_by_name():
    whole = arm(1)
    lacking = whole.only(f"sub-{i:03d}" for i in range(COUNT - 1))
    with pytest.raises(DataError, match=r"multi-task and target-only.*only in target-only: sub-079"):
        compare_arms({"multi-task": lacking, "target-only": whole}, "target-only", recipe(), **QUICK)


@pytest.mark.parametrize("what", ["front", "outcome"])
def test_a_session_that_one_arm_did_not_answer_is_refused_for_regions_and_targets(what):
    whole, other = arm(1), arm(2)
    for rows in (other.regions, other.targets):
        rows[:] = [r for r in rows if r["key"] != "sub-003" or what not in (r.get("region"), r.get("target"))]
    with pytest.raises(DataError, match=f"{what}: .*only in target-only: sub-003"):
        compare_arms({"multi-task": other, "target-only": whole}, "target-only", recipe(), **QUICK)


def test_what_only_some_arms_answer_is_said(compared):
    said = "Answered by some arms only, and compared among those: age, back, front, outcome."
    assert said in compared.notes
    alike = compare_arms({"one": arm(1), "two": arm(2)}, "one", recipe(), **QUICK)
    assert not any("some arms only" in note for note in alike.notes)


def test_arms_can_be_cut_to_the_sessions_they_share():
    whole = arm(1)
    lacking = whole.only(f"sub-{i:03d}" for i in range(COUNT - 1))
    common, left_out = on_common_sessions({"multi-task": lacking, "target-only": whole})
    assert left_out == ["sub-079"]
    assert compare_arms(common, "target-only", recipe(), **QUICK).rows[0].participants == COUNT - 1


def test_arms_of_different_truth_are_refused():
    other = arm(2)
    other.targets[0]["truth"] = 1 - other.targets[0]["truth"]
    with pytest.raises(DataError, match="different values of outcome"):
        compare_arms({"multi-task": arm(1), "target-only": other}, "target-only", recipe(), **QUICK)


def test_an_unknown_reference_is_refused():
    with pytest.raises(DataError, match="no arm 'best'"):
        compare_arms({"multi-task": arm(1)}, "best", recipe(), **QUICK)


def test_an_arm_against_itself_shows_nothing():
    found = compare_arms({"one": arm(1), "two": arm(1)}, "one", recipe(), **QUICK)
    assert not any(r.shown for r in found.rows)
    assert {r.p_holm for r in found.rows} == {1.0}


def test_one_class_only_leaves_no_test_and_says_so():
    rows = [dict(r, truth=1.0) for r in outcome_rows(np.linspace(-1, 1, COUNT))]
    arms = {name: Evaluation([], rows) for name in ("multi-task", "target-only")}
    found = compare_arms(arms, "target-only", recipe(), **QUICK)
    assert all(np.isnan(r.p_holm) for r in found.rows)
    assert "Not defined" in found.sentence()


def test_without_a_control_and_without_a_site_left_out_the_text_says_so():
    arms = {"multi-task": arm(1), "target-only": arm(2)}
    assert "no negative control" in compare_arms(arms, "target-only", recipe(), **QUICK).sentence()
    assert "no site was left out" in compare_arms(arms, "target-only", recipe(), **QUICK).sentence()
    both = compare_arms(arms, "target-only", recipe(), splits=("k-fold", "leave-one-site-out"), **QUICK)
    assert "no site was left out" not in both.sentence()


def test_a_control_at_chance_passes_and_is_not_compared(compared):
    assert compared.controls.passed
    assert "at chance" in compared.sentence()
    assert "no negative control" not in compared.sentence()
    assert "permuted" not in compared.arms


def test_a_control_that_still_knows_the_target_fails():
    found = judge_controls(arm(5, signal=1.0, error=60), recipe(), draws=300)
    assert not found.passed
    assert "above chance: AUC for outcome" in found.text


def test_a_control_whose_r2_is_above_zero_fails():
    found = judge_controls(arm(5, signal=0.0, error=5), recipe(), draws=300)
    assert [r.measure for r in found.rows if r.verdict == "above chance"] == ["r2"]


def test_a_control_that_cannot_be_judged_does_not_pass():
    found = judge_controls(Evaluation([], []), recipe())
    assert not found.passed
    assert "could not be judged" in found.text


def test_the_comparison_is_json(compared):
    plain = json.loads(json.dumps(compared.to_plain(), allow_nan=False))
    assert plain["rows"][0]["title"] == "Dice of front"
    assert plain["controls"]["passed"] is True


def test_small_numbers_keep_a_figure():
    assert [number(x) for x in (0.08, -0.004, 1.234, 0, 250.4)] == ["0.080", "−0.004", "1.23", "0.00", "250"]
