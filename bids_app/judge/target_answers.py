"""One target's answers of an arm where the truth is known, as measures and tests take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_app.measure.scores import Scores
from bids_app.recipes.recipe import Target
from bids_app.targets.kind import Statistic
from bids_app.targets.levelled import there


@dataclass(frozen=True)
class TargetAnswers:
    """One target's answers where the truth is known, one row per session.

    Attributes:
        target: of the recipe.
        keys, participants: whose.
        truth: ``(n,)``.
        probability: ``(n, levels)``; None for a target with a value.
        value: ``(n,)``, the value, or the level decided on.
    """

    target: Target
    keys: tuple[str, ...]
    participants: tuple[str, ...]
    truth: np.ndarray
    probability: np.ndarray | None
    value: np.ndarray

    def of_levels(self) -> np.ndarray:
        """``probability`` of a target with levels.

        Raises:
            DataError: its answer is a value.
        """
        return there(self.probability)

    def scores(self) -> Scores:
        """Every measure of its kind, by scikit-learn where it has it."""
        return self.target.behaviour.scores(self.truth, self.value, self.probability, self.target.levels)

    def statistics(self) -> dict[str, Statistic]:
        """Measure -> what a bootstrap needs."""
        return self.target.behaviour.statistics(self.truth, self.value, self.probability)

    def shares(self, measure: str) -> np.ndarray | None:
        """Each row's part of a measure; see `TargetKind.shares`."""
        return self.target.behaviour.shares(measure, self.truth, self.value, self.probability)


def answers_of(target: Target, rows: Sequence[Mapping[str, Any]]) -> TargetAnswers:
    """The rows of an evaluation for one target, in the order of their keys, without those whose truth is unknown."""
    mine = sorted(
        (row for row in rows if row["target"] == target.name and np.isfinite(row["truth"])), key=lambda row: row["key"]
    )
    probability = None
    truth = np.array([row["truth"] for row in mine], np.float64)
    value = np.array([row["answer"] for row in mine], np.float64)
    if target.behaviour.has_levels:
        width = len(mine[0]["probability"]) if mine else max(len(target.levels), 2)
        probability = np.array([row["probability"] for row in mine], np.float64).reshape(-1, width)
        value = target.behaviour.decide(probability)
    keys, people = (tuple(row[name] for row in mine) for name in ("key", "participant"))
    return TargetAnswers(target, keys, people, truth, probability, value)
