"""Negative controls: what learned from permuted targets must know nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bids_app.judge.answers import Evaluation
from bids_app.judge.rows import TITLES
from bids_app.judge.statistics import DRAWS, bootstrap, plain
from bids_app.judge.target_answers import TargetAnswers, answers_of
from bids_app.judge.wording import number
from bids_app.recipes.recipe import Recipe

AT_CHANCE, ABOVE, BELOW, UNDEFINED = "at chance", "above chance", "below chance", "not defined"


@dataclass(frozen=True)
class ControlRow:
    """One measure of one target: its value with interval, what chance is, and the verdict."""

    target: str
    measure: str
    value: float
    low: float
    high: float
    chance: float
    verdict: str
    participants: int


@dataclass(frozen=True)
class Controls:
    """``passed``: nothing is above chance, and something could be judged; ``text`` says so."""

    rows: tuple[ControlRow, ...]
    passed: bool
    text: str

    def to_plain(self) -> dict[str, Any]:
        return plain({"rows": [asdict(row) for row in self.rows], "passed": self.passed, "text": self.text})


def judge_controls(evaluation: Evaluation, recipe: Recipe, seed: int = 0, *, draws: int = DRAWS) -> Controls:
    """Is the arm whose targets were permuted in training at chance?

    Chance is an AUC of 0.5 and a balanced accuracy of one divided by the levels that occur; the interval must hold it.
    For a value R² must not lie above 0: guessing the mean gives 0, and anything else less.

    Args:
        evaluation: of the arm with permuted targets, against the true values.
        recipe: with its targets.
        seed: of the bootstrap.
    """
    rows: list[ControlRow] = []
    for target in recipe.targets:
        answers = answers_of(target, evaluation.targets)
        if answers.keys:
            rows += [_judge(answers, measure, seed, draws) for measure in target.behaviour.controlled]
    above = [row for row in rows if row.verdict == ABOVE]
    judged = [row for row in rows if row.verdict != UNDEFINED]
    return Controls(tuple(rows), bool(judged) and not above, _said(rows, above, judged))


def _judge(answers: TargetAnswers, measure: str, seed: int, draws: int) -> ControlRow:
    people, function = answers.participants, answers.statistics().get(measure)
    chance = answers.target.behaviour.chance(measure, answers.truth)
    count, nan = len(set(people)), float("nan")
    if function is None:
        return ControlRow(answers.target.name, measure, nan, nan, nan, chance, UNDEFINED, count)
    found = bootstrap(function, people, seed=seed, draws=draws)
    verdict = AT_CHANCE
    if not np.isfinite(found.low):
        verdict = UNDEFINED
    elif found.low > chance:
        verdict = ABOVE
    elif found.high < chance and measure != "r2":
        verdict = BELOW
    return ControlRow(answers.target.name, measure, found.value, found.low, found.high, chance, verdict, count)


def _said(rows: list[ControlRow], above: list[ControlRow], judged: list[ControlRow]) -> str:
    if not judged:
        return "The negative control could not be judged: no measure of a permuted target is defined."
    figures = ", ".join(_figure(row) for row in (above or judged))
    if above:
        return (
            f"With permuted targets the answers are still above chance: {figures}. Something leaks from test to "
            "training, or the target is dealt unevenly; no other figure here can be trusted."
        )
    text = f"With permuted targets the answers are at chance: {figures}."
    if any(row.verdict == BELOW for row in rows):
        text = f"With permuted targets no answer is above chance: {figures}."
        text += " What lies below chance comes of small folds that are balanced against their own training side."
    return text


def _figure(row: ControlRow) -> str:
    interval = f"95 % interval {number(row.low)} to {number(row.high)}"
    return f"{TITLES[row.measure][0]} for {row.target} {number(row.value)} ({interval}, chance {number(row.chance)})"
