"""Figures that are too good, or that age, sex and site explain, are doubted in a sentence; others are not."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.cohort.split import Fold, Split
from bids_app.errors import RecipeError
from bids_app.judge.answers import Evaluation, evaluate_answers
from bids_app.judge.suspicion import CONFOUNDS, answer_confounds, suspicions
from bids_app.recipes.recipe import Recipe, parse_recipe
from tests.bids_app.judge.test_compare import TRUTH, outcome_rows
from tests.learned.answered import recipe, scan

DRAWS = 200


def answered(signal: float, seed: int = 0) -> Evaluation:
    """Answers whose logits are the truth by so much, and noise."""
    noise = np.random.default_rng(seed).normal(0, 1, len(TRUTH))
    return Evaluation([], outcome_rows(signal * (2 * TRUTH - 1) + noise))


def limited(limit: float | None = 0.95) -> Recipe:
    small = recipe(targets=("outcome",))
    target = small.targets[0].model_copy(update={"suspicious_above": limit})
    return small.model_copy(update={"targets": (target,)})


def test_an_auc_above_what_the_literature_supports_is_doubted_with_its_likely_reasons():
    (said,) = suspicions(answered(4.0), {}, limited(), draws=DRAWS)
    assert "AUC for outcome is 0.9" in said or "AUC for outcome is 1.0" in said
    for reason in ("slices", "relatives", "site", "scanner", "motion"):
        assert reason in said


@pytest.mark.parametrize(("signal", "limit"), [(0.5, 0.95), (4.0, None)])
def test_a_plausible_auc_and_a_target_without_a_limit_are_not_doubted(signal, limit):
    assert suspicions(answered(signal), {}, limited(limit), draws=DRAWS) == []


def test_confounds_that_answer_as_well_as_the_network_are_named():
    (said,) = suspicions(answered(0.8), {CONFOUNDS: answered(0.8, seed=1)}, limited(), draws=DRAWS)
    assert said.startswith("For outcome, age, sex and site with a linear model do as well as the network")
    assert "leave each site out" in said


@pytest.mark.parametrize("confounds", [0.0, 0.4])
def test_a_network_that_is_shown_to_do_better_than_its_confounds_is_not_doubted(confounds):
    assert suspicions(answered(1.5), {CONFOUNDS: answered(confounds, seed=1)}, limited(None), draws=DRAWS) == []


def test_confounds_at_chance_explain_nothing_even_where_the_network_is_no_better():
    assert suspicions(answered(0.0), {CONFOUNDS: answered(0.0, seed=1)}, limited(), draws=DRAWS) == []


def test_a_model_that_sees_the_anatomy_is_no_confound():
    assert suspicions(answered(0.8), {"volumes": answered(0.8, seed=1)}, limited(), draws=DRAWS) == []


def test_only_a_target_with_levels_has_such_a_limit():
    plain = recipe(targets=("age",)).model_dump()
    plain["targets"][0]["suspicious_above"] = 0.9
    with pytest.raises(RecipeError, match="suspicious_above"):
        parse_recipe(plain, source="a test")


def people(n: int = 40) -> list:
    return [
        scan(i, None, [i % 2, 20.0 + i], site="AB"[i % 2], sex="FM"[i // 2 % 2], age=30.0 + i // 4) for i in range(n)
    ]


def test_a_site_that_is_the_outcome_is_found_by_the_model_of_confounds(tmp_path):
    scans, small = people(), recipe(targets=("outcome", "age"))
    names = [one.participant for one in scans]
    split = Split((Fold("fold-1", tuple(names[:20]), (), tuple(names[20:])),), {"kind": "k-fold"})
    found = evaluate_answers(scans, answer_confounds(scans, split, small, tmp_path), small)
    rows = [row for row in found.targets if row["target"] == "outcome"]
    assert len(rows) == 20
    assert all(row["answer"] == row["truth"] for row in rows)


def test_age_is_not_answered_from_age(tmp_path):
    small = recipe(targets=("age",))
    scans = [
        scan(i, None, [30.0 + i // 4], site="AB"[i % 2], sex="FM"[i // 2 % 2], age=30.0 + i // 4) for i in range(40)
    ]
    names = [one.participant for one in scans]
    split = Split((Fold("fold-1", tuple(names[::2]), (), tuple(names[1::2])),), {"kind": "k-fold"})
    found = evaluate_answers(scans, answer_confounds(scans, split, small, tmp_path), small)
    errors = [abs(row["answer"] - row["truth"]) for row in found.targets]
    assert np.mean(errors) > 1
