import json

import numpy as np
import pytest

from bids_app.errors import TrainingError
from bids_app.judge.answers import decide, evaluate_answers, summarise, target_rows
from bids_app.judge.target_answers import answers_of
from tests.learned.answered import labels, recipe, scan, write_answer

TRUTH = labels(2, 10)
NAN = float("nan")


def rows_of(evaluation, region):
    return [row for row in evaluation.regions if row["region"] == region]


def test_a_shifted_answer_has_the_dice_and_volumes_worked_out_by_hand(tmp_path):
    write_answer(tmp_path, "sub-001", labels(3, 10))
    found = evaluate_answers([scan(1, TRUTH, [NAN, NAN])], tmp_path, recipe())
    front, back = found.regions
    assert (front["dice"], back["dice"]) == (0.75, 1)
    assert front["truth_mm3"] == 4**3 * 8
    assert front["hd95_mm"] == pytest.approx(2)


def test_an_unlabelled_scan_is_skipped_for_regions_and_counts_for_targets(tmp_path):
    write_answer(tmp_path, "sub-001", TRUTH, outcome=[0, 2], age=50)
    found = evaluate_answers([scan(1, None, [1, 48])], tmp_path, recipe())
    assert found.regions == []
    assert [row["target"] for row in found.targets] == ["outcome", "age"]
    assert found.targets[0]["probability"][1] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_target_whose_truth_is_not_known_does_not_count(tmp_path):
    scans = [scan(i, None, [truth, NAN]) for i, truth in enumerate([0, 1, NAN])]
    for s in scans:
        write_answer(tmp_path, s.key, None, outcome=[0, 1], age=1)
    found = evaluate_answers(scans, tmp_path, recipe())
    assert answers_of(recipe().targets[0], found.targets).keys == ("sub-000", "sub-001")


def test_scans_without_an_answer_are_named(tmp_path):
    write_answer(tmp_path, "sub-001", TRUTH)
    found = evaluate_answers([scan(i, TRUTH, [NAN, NAN]) for i in (1, 2)], tmp_path, recipe())
    assert found.unanswered == ("sub-002",)
    assert summarise(found, recipe(), draws=20)["unanswered"] == ["sub-002"]


def test_no_answer_at_all_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="did the folds finish"):
        evaluate_answers([scan(1, TRUTH, [0, 0])], tmp_path, recipe())


def test_a_session_answered_in_two_folds_is_an_error(tmp_path):
    for fold in ("one", "two"):
        write_answer(tmp_path / fold, "sub-001", TRUTH)
    with pytest.raises(TrainingError, match="sub-001 is answered twice"):
        evaluate_answers([scan(1, TRUTH, [0, 0])], [tmp_path / "one", tmp_path / "two"], recipe())


def test_an_answer_on_another_grid_is_an_error(tmp_path):
    write_answer(tmp_path, "sub-001", TRUTH[:-1])
    with pytest.raises(TrainingError, match="different preparations"):
        evaluate_answers([scan(1, TRUTH, [0, 0])], tmp_path, recipe())


def test_a_damaged_answer_is_named(tmp_path):
    (tmp_path / "sub-001.npz").write_bytes(b"PK cut short")
    with pytest.raises(TrainingError, match=r"sub-001\.npz is damaged"):
        evaluate_answers([scan(1, TRUTH, [0, 0])], tmp_path, recipe())


def test_a_voxel_is_the_likeliest_of_the_regions_that_reach_their_threshold():
    probability = np.array([[0.5, 0.55, 0.3], [0.4, 0.45, 0.2]]).reshape(2, 3, 1, 1)
    assert decide(probability, recipe(), 0.4).ravel().tolist() == [1, 1, 0]
    assert decide(probability, recipe(), {"front": 0.6, "back": 0.4}).ravel().tolist() == [2, 2, 0]


def test_a_hotter_temperature_makes_probabilities_more_careful(tmp_path):
    write_answer(tmp_path, "sub-001", None, outcome=[0, 2], age=1)
    found = evaluate_answers([scan(1, None, [1, NAN])], tmp_path, recipe(), temperatures={"outcome": 2.0})
    assert found.targets[0]["probability"][1] == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twenty people at two sites, the first with two sessions; answers of middling quality."""
    rng, scans, folder = np.random.default_rng(0), [], tmp_path_factory.mktemp("answers")
    for i in range(20):
        for session in ("1", "2") if i == 0 else ("1",):
            who = {"site": "AB"[i % 2], "sex": "FM"[i // 10]}
            scans.append(scan(i, TRUTH, [i % 2, 40 + i], session=session, **who))
            logits = [0, (i % 2) - 0.5 + rng.normal(0, 1)]
            write_answer(folder, scans[-1].key, labels(2 + (i % 3), 10), outcome=logits, age=41 + i)
    return summarise(evaluate_answers(scans, folder, recipe()), recipe(), seed=1, draws=200)


def test_the_summary_says_whom_each_number_rests_on(cohort):
    assert (cohort["participants"], cohort["sessions"]) == (20, 21)
    dice = cohort["regions"]["front"]["dice"]
    assert (dice["participants"], dice["sessions"]) == (20, 21)
    assert dice["low"] < dice["value"] < dice["high"]
    assert dice["value"] == pytest.approx(np.mean([[1, 0.75, 0.5][i % 3] for i in range(20)]))


def test_the_summary_is_json_with_every_measure_of_a_target(cohort):
    assert json.loads(json.dumps(cohort, allow_nan=False)) == cohort
    outcome, age = cohort["targets"]["outcome"]["measures"], cohort["targets"]["age"]
    assert outcome["auc"]["low"] <= outcome["auc"]["value"] <= outcome["auc"]["high"]
    assert {"sensitivity", "specificity", "brier", "calibration_slope", "ece"} <= set(outcome)
    assert age["measures"]["mae"]["value"] == pytest.approx(1)
    assert age["bland_altman"]["bias"] == pytest.approx(1)


def test_the_summary_is_also_by_site_and_by_sex(cohort):
    front = cohort["regions"]["front"]
    assert set(front["by_site"]) == {"A", "B"}
    assert front["by_sex"]["F"]["dice"]["participants"] == 10
    assert "everybody" in cohort["targets"]["outcome"]["by_site"]["A"]["notes"][0]


def test_all_regions_together_are_the_mean_within_each_session(cohort):
    parts = [cohort["regions"][name]["dice"]["value"] for name in ("front", "back")]
    assert cohort["regions"]["all regions"]["dice"]["value"] == pytest.approx(np.mean(parts))


def test_volumes_agree_by_bland_and_altman(cohort):
    assert cohort["regions"]["back"]["bland_altman"]["bias"] == 0
    assert cohort["regions"]["back"]["bland_altman"]["count"] == 20


def test_empty_masks_follow_the_rule_from_answer_to_summary(tmp_path):
    one, none = labels(2), labels()
    for i, answer in enumerate([one, none, one, none]):
        write_answer(tmp_path, f"sub-00{i}", answer, regions=1)
    scans = [scan(i, truth, [], covariates=[]) for i, truth in enumerate([one, one, none, none])]
    small = recipe(targets=(), lesion=True, covariates=())
    found = summarise(evaluate_answers(scans, tmp_path, small), small, draws=200)["regions"]["lesion"]
    assert found["dice"]["value"] == 0.5  # of the two with a lesion
    assert found["dice"]["participants"] == 2
    assert found["false_positive_mm3"]["value"] == pytest.approx(512 / 2)
    assert set(found["outcomes"].values()) == {1}
    # two lesions, one found; two answers, one right
    assert found["detection"]["all"]["recall"]["value"] == 0.5
    assert found["detection"]["all"]["precision"]["value"] == 0.5
    assert found["detection"]["100-1000"]["lesions"] == 2
    assert found["detection"]["mean_count_error"]["value"] == 0


@pytest.mark.parametrize("kind", ["outcome", "type", "grade", "age"])
def test_what_the_bootstrap_draws_is_what_scikit_learn_gives(kind):
    rng = np.random.default_rng(3)
    target = recipe(targets=(kind,)).targets[0]
    outputs = {"outcome": 2, "type": 3, "grade": 2, "age": 1}[kind]
    rows = []
    for i in range(60):
        s = scan(i, None, [rng.integers(0, 2 if kind == "outcome" else 3)])
        rows += target_rows(s, {f"target_{kind}": rng.normal(0, 1, outputs)}, recipe(targets=(kind,)), {})
    answers = answers_of(target, rows)
    scores = answers.scores().values
    for name, function in answers.statistics().items():
        assert function(np.ones((1, 60)))[0] == pytest.approx(scores[name], rel=1e-6), name
