import numpy as np
import pytest

from bids_app.cohort.split import Member, draw_folds
from bids_app.errors import DataError, TrainingError
from bids_app.judge.answers import evaluate_answers, summarise
from bids_app.judge.baselines import answer_baseline, baselines_of, fit_and_answer, measured_volumes
from bids_app.judge.compare import compare_arms
from bids_app.recipes.recipe import parse_recipe
from tests.learned.answered import labels, recipe, scan, write_answer

COUNT = 60


@pytest.fixture
def cohort():
    """Outcome follows the first volume, age the covariate; some covariates are not known."""
    rng, scans, volumes = np.random.default_rng(0), [], {}
    for i in range(COUNT):
        weight = rng.normal(70, 10)
        known = np.nan if i % 10 == 0 else weight
        scans.append(scan(i, None, [i % 2, 20 + weight / 2 + rng.normal(0, 1)], covariates=[known]))
        volumes[scans[-1].key] = np.array([100 + 20 * (i % 2) + rng.normal(0, 8), 50 + rng.normal(0, 5)])
    return scans, volumes, draw_folds([Member(s.participant) for s in scans], 4, validation=0)


def evaluated(name, cohort, folder):
    scans, volumes, split = cohort
    folders = answer_baseline(name, scans, split, recipe(), folder / name, volumes=volumes)
    return evaluate_answers(scans, folders, recipe())


def test_volumes_find_what_is_in_them_and_not_what_is_not(cohort, tmp_path):
    found = summarise(evaluated("volumes", cohort, tmp_path), recipe(), draws=100)["targets"]
    assert found["outcome"]["measures"]["auc"]["value"] > 0.9
    assert found["outcome"]["sessions"] == COUNT
    assert found["age"]["measures"]["r2"]["value"] < 0.2


def test_covariates_find_what_is_in_them_though_some_are_not_known(cohort, tmp_path):
    found = summarise(evaluated("covariates", cohort, tmp_path), recipe(), draws=100)["targets"]
    assert found["age"]["measures"]["r2"]["value"] > 0.6
    assert abs(found["outcome"]["measures"]["auc"]["value"] - 0.5) < 0.25


def test_baselines_are_compared_like_arms(cohort, tmp_path):
    arms = {name: evaluated(name, cohort, tmp_path) for name in ("volumes", "covariates")}
    found = compare_arms(arms, "covariates", recipe(), draws=200, permutations=499)
    assert next(r for r in found.rows if r.measure == "auc").shown
    assert "Volumes with a linear model raised the AUC for outcome" in found.sentence()


def test_what_fills_and_scales_is_of_the_training_side_alone(cohort, tmp_path):
    """An absurd value in a test session changes the answer for nobody else."""
    scans, volumes, split = cohort
    odd = f"sub-{split.folds[0].test[0]}"
    before = answer_baseline("volumes", scans, split, recipe(), tmp_path / "one", volumes=volumes)[0]
    after = answer_baseline(
        "volumes", scans, split, recipe(), tmp_path / "two", volumes={**volumes, odd: np.array([1e9, 1e9])}
    )[0]
    others = [f"sub-{p}" for p in split.folds[0].test[1:]]
    for key in others:
        one, two = (np.load(folder / f"{key}.npz")["target_outcome"] for folder in (before, after))
        assert np.array_equal(one, two)


@pytest.mark.parametrize(("kind", "outputs"), [("outcome", 2), ("type", 3), ("grade", 2), ("age", 1)])
def test_answers_have_the_shape_of_a_networks(kind, outputs):
    target = recipe(targets=(kind,)).targets[0]
    y = np.arange(30) % (2 if kind == "outcome" else 3)
    assert fit_and_answer(target, y[:, None] + np.zeros((30, 2)), y.astype(float), np.zeros((5, 2))).shape == (
        5,
        outputs,
    )


def test_ordinal_cuts_follow_the_level():
    y = np.repeat([0.0, 1, 2], 20)
    x = y[:, None] + np.random.default_rng(0).normal(0, 0.3, (60, 1))
    logits = fit_and_answer(recipe(targets=("grade",)).targets[0], x, y, np.array([[0.0], [1], [2]]))
    assert (logits > 0).tolist() == [[False, False], [True, False], [True, True]]


def test_one_level_only_in_training_is_answered_by_how_often_it_occurred():
    logits = fit_and_answer(recipe().targets[0], np.zeros((9, 1)), np.ones(9), np.zeros((2, 1)))
    assert np.exp(logits[0]) == pytest.approx([0.05, 0.95])


def test_a_column_that_nobody_knows_does_not_stop_it():
    x = np.column_stack([np.full(20, np.nan), np.arange(20)])
    logits = fit_and_answer(recipe().targets[0], x, (np.arange(20) > 9).astype(float), x)
    assert np.isfinite(logits).all()
    assert logits[-1, 1] > logits[-1, 0]


def test_a_session_without_volumes_is_named(cohort, tmp_path):
    scans, volumes, split = cohort
    volumes.pop("sub-007")
    with pytest.raises(DataError, match="no volumes for sub-007"):
        answer_baseline("volumes", scans, split, recipe(), tmp_path, volumes=volumes)


def test_a_recipe_without_covariates_has_no_baseline_of_them():
    assert baselines_of(recipe()) == ["volumes", "covariates", "volumes-and-covariates"]
    assert baselines_of(recipe(covariates=())) == ["volumes"]
    assert baselines_of(recipe(targets=())) == []


def test_volumes_are_measured_in_out_of_fold_masks(tmp_path):
    write_answer(tmp_path, "sub-001", labels(2, 10))
    found = measured_volumes([scan(1, None, [0, 0]), scan(2, None, [0, 0])], tmp_path, recipe())
    assert {key: v.tolist() for key, v in found.items()} == {"sub-001": [512, 512]}


def test_an_arm_that_does_not_segment_has_no_volumes(tmp_path):
    write_answer(tmp_path, "sub-001", None, outcome=[0, 1])
    with pytest.raises(TrainingError, match="no regions"):
        measured_volumes([scan(1, None, [0, 0])], tmp_path, recipe())


def test_a_target_that_is_a_covariate_too_is_not_answered_from_itself(cohort, tmp_path):
    scans, _, split = cohort
    plain = recipe(targets=("outcome", "age")).model_dump()
    for column in ("weight", "age"):  # age is known from something else, or from itself
        plain["learning"]["covariates"] = [column]
        known = [scan(i, None, s.targets, covariates=[s.targets[1]]) for i, s in enumerate(scans)]
        named = parse_recipe(plain, source="a test")
        folders = answer_baseline("covariates", known, split, named, tmp_path / column)
        found = summarise(evaluate_answers(known, folders, named), named, draws=20)["targets"]["age"]["measures"]
        assert (found["r2"]["value"] > 0.9) == (column == "weight")
