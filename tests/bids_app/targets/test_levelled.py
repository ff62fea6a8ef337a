"""Sets of levels that may be true hold the truth as often as they say, and few people make none."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.predict.targets import _vote
from bids_app.recipes.recipe import Target
from bids_app.report.view import score_text
from bids_app.targets.kinds import kind_of
from bids_app.targets.levelled import COVERAGE, FEWEST_FOR_SETS

NAMES = ("none", "mild", "severe")


def answered(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three levels that are told apart often, by logits that are twice as sure as they may be."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    return 2 * (np.eye(3)[truth] * 1.5 + rng.normal(0, 1, (n, 3))), truth


def test_a_set_holds_the_truth_of_as_many_as_it_says():
    held, sizes = [], []
    target = Target(name="stage", kind="categorical", levels=NAMES)
    for seed in range(20):
        fit = kind_of("categorical").calibrate(*answered(150, seed), 150)
        logits, truth = answered(400, 1000 + seed)
        sets = [_vote(target, [row], fit)["set"] for row in logits]
        held.append(np.mean([NAMES[level] in some for level, some in zip(truth, sets, strict=True)]))
        sizes.append(np.mean([len(some) for some in sets]))
    assert np.mean(held) == pytest.approx(COVERAGE, abs=0.015)
    assert 1 < np.mean(sizes) < 2.9


def test_too_few_people_make_no_set_and_that_is_said():
    fit = kind_of("categorical").calibrate(*answered(FEWEST_FOR_SETS - 1, 1), FEWEST_FOR_SETS - 1)
    assert "set_level" not in fit
    assert "too few for sets" in fit["note"]
    answer = _vote(Target(name="stage", kind="categorical", levels=NAMES), [np.zeros(3)], fit)
    assert answer["set"] is None
    assert "set" not in score_text("stage", answer)[1]


def test_a_set_is_never_empty_and_stands_on_the_page():
    target = Target(name="stage", kind="categorical", levels=NAMES)
    fit = {"temperature": 1.0, "set_level": 0.9, "coverage": 0.95}
    answer = _vote(target, [np.array([0.0, 1.0, 0.5])], fit)
    assert answer["set"] == ["mild"]
    assert score_text("stage", answer)[1].endswith("95 % set: mild")
    wide = _vote(target, [np.array([0.0, 1.0, 0.5])], {**fit, "set_level": 0.25})
    assert wide["set"] == ["mild", "severe"]
