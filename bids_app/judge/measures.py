"""Which measures a target or region is judged by, what each is called, and how to draw and test it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_app.judge.statistics import Statistic
from bids_app.measure import weighted
from bids_app.measure.targets import (
    Scores,
    auc_cuts,
    brier_terms,
    classification_metrics,
    decided_level,
    ordinal_metrics,
    regression_metrics,
)
from bids_app.recipes.recipe import Target

#: What a reader calls each measure; ``False``: the smaller the better.
TITLES = {
    "dice": ("Dice", True),
    "nsd": ("normalised surface distance", True),
    "hd95_mm": ("HD95 (mm)", False),
    "absolute_volume_error_mm3": ("absolute volume error (mm³)", False),
    "f1": ("lesion F1", True),
    "relative_volume_error": ("relative volume error", False),
    "volume_error_mm3": ("volume error (mm³)", False),
    "false_positive_mm3": ("false-positive volume (mm³)", False),
    "auc": ("AUC", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "sensitivity": ("sensitivity", True),
    "specificity": ("specificity", True),
    "brier": ("Brier score", False),
    "log_loss": ("log loss", False),
    "calibration_slope": ("calibration slope", True),
    "calibration_intercept": ("calibration intercept", True),
    "ece": ("expected calibration error", False),
    "mae": ("mean absolute error", False),
    "kappa": ("quadratic weighted kappa", True),
    "r2": ("R²", True),
    "correlation": ("correlation", True),
    "bias": ("bias", False),
}
#: Measures of a target that arms are compared by: few, for every test makes Holm's correction harder on all.
TESTED = {
    "binary": ("auc", "balanced_accuracy"),
    "categorical": ("balanced_accuracy", "brier"),
    "ordinal": ("mae", "balanced_accuracy"),
    "continuous": ("mae", "r2"),
}
#: Measures of a target that a negative control is judged by.
CONTROLLED = {
    "binary": ("auc", "balanced_accuracy"),
    "categorical": ("balanced_accuracy",),
    "ordinal": ("balanced_accuracy",),
    "continuous": ("r2",),
}


@dataclass(frozen=True)
class Answers:
    """One target's answers where the truth is known, one row per session.

    Attributes:
        target: of the recipe.
        keys, participants: whose.
        truth: ``(n,)``.
        probability: ``(n, levels)``; None for a continuous target.
        value: ``(n,)``, the value, or the level decided on.
    """

    target: Target
    keys: tuple[str, ...]
    participants: tuple[str, ...]
    truth: np.ndarray
    probability: np.ndarray | None
    value: np.ndarray

    def scores(self) -> Scores:
        """Every measure of its kind, by scikit-learn where it has it."""
        kind, levels = self.target.kind, self.target.levels
        if kind == "continuous":
            return regression_metrics(self.truth, self.value)
        if kind == "ordinal":
            return ordinal_metrics(self.truth, self.probability, levels=levels)
        return classification_metrics(self.truth, self.probability, levels=levels, kind=kind)

    def statistics(self) -> dict[str, Statistic]:
        """Measure -> what a bootstrap needs."""
        truth, value = self.truth, self.value
        if self.target.kind == "continuous":
            return {
                "mae": lambda w: weighted.weighted_mean(np.abs(value - truth), w),
                "bias": lambda w: weighted.weighted_mean(value - truth, w),
                "r2": lambda w: weighted.weighted_r2(truth, value, w),
                "correlation": lambda w: weighted.weighted_correlation(truth, value, w),
            }
        return self._of_levels()

    def _of_levels(self) -> dict[str, Statistic]:
        kind, truth, value, probability = self.target.kind, self.truth.astype(int), self.value, self.probability
        cuts = [cut for cut in auc_cuts(kind, truth, probability) if 0 < cut[0].sum() < len(truth)]
        brier = brier_terms(truth, probability)
        surprise = -np.log(np.clip(probability[np.arange(len(truth)), truth], np.finfo(float).eps, 1))
        found = {
            "balanced_accuracy": lambda w: weighted.weighted_balanced_accuracy(truth, value, w),
            "brier": lambda w: weighted.weighted_mean(brier, w),
            "log_loss": lambda w: weighted.weighted_mean(surprise, w),
        }
        if cuts:
            found["auc"] = lambda w: _mean([weighted.weighted_auc(yes, score, w) for yes, score in cuts])
        if kind == "binary":
            for name, level in (("sensitivity", 1), ("specificity", 0)):
                found[name] = lambda w, level=level: weighted.weighted_recall(truth, truth == value, level, w)
        if kind == "ordinal":
            found["mae"] = lambda w: weighted.weighted_mean(np.abs(value - truth), w)
            found["kappa"] = lambda w: weighted.weighted_kappa(truth, value, probability.shape[1], w)
        return found

    def shares(self, measure: str) -> np.ndarray | None:
        """Each row's part of a measure: the measure is their sum, and a constant; None where it is not such a sum.

        Truths being the same in two arms, a permutation test of the difference flips signs of these.
        """
        truth, value, n = self.truth, self.value, len(self.truth)
        if measure == "mae":
            return np.abs(value - truth) / n
        if measure == "r2":
            spread = ((truth - truth.mean()) ** 2).sum()
            return -((value - truth) ** 2) / spread if spread > 0 else None
        if measure == "brier":
            return brier_terms(truth, self.probability) / n
        if measure == "balanced_accuracy":
            levels, owner, counts = np.unique(truth, return_inverse=True, return_counts=True)
            return (value == truth) / (len(levels) * counts[owner]) if len(levels) > 1 else None
        return None


def answers_of(target: Target, rows: Sequence[Mapping[str, Any]]) -> Answers:
    """The rows of an evaluation for one target, in the order of their keys, without those whose truth is unknown."""
    mine = sorted(
        (row for row in rows if row["target"] == target.name and np.isfinite(row["truth"])), key=lambda row: row["key"]
    )
    probability = None
    truth = np.array([row["truth"] for row in mine], np.float64)
    value = np.array([row["answer"] for row in mine], np.float64)
    if target.kind != "continuous":
        width = len(mine[0]["probability"]) if mine else max(len(target.levels), 2)
        probability = np.array([row["probability"] for row in mine], np.float64).reshape(-1, width)
        value = decided_level(target.kind, probability)
    return Answers(
        target, tuple(row["key"] for row in mine), tuple(row["participant"] for row in mine), truth, probability, value
    )


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Over cuts that a draw leaves defined."""
    stacked = np.stack(parts)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(total.shape, np.nan), where=known.any(0))


@dataclass(frozen=True)
class Row:
    """One arm against the reference in one measure: a line of the table and of the forest plot.

    Attributes:
        arm, reference: names.
        kind: region or target.
        what: its name.
        measure: as in `bids_app.judge.measures.TITLES`.
        value, reference_value: of either arm, on the same sessions.
        difference: arm minus reference.
        low, high: its interval, by bootstrap over participants.
        better: whether a larger value is better.
        test: ``permutation`` (signs of participants' differences) or ``DeLong``.
        p, p_holm: two-sided; after Holm's correction over every test of the table. NaN where there is no test.
    """

    arm: str
    reference: str
    kind: str
    what: str
    measure: str
    value: float
    reference_value: float
    difference: float
    low: float
    high: float
    better: bool
    participants: int
    sessions: int
    test: str
    p: float
    p_holm: float = float("nan")

    @property
    def title(self) -> str:
        return f"{TITLES[self.measure][0]} {'of' if self.kind == 'region' else 'for'} {self.what}"

    @property
    def shown(self) -> bool:
        """Whether a difference was shown: p below 0.05 after correction, and the interval leaves zero out."""
        return bool(self.p_holm < 0.05 and (self.low > 0 or self.high < 0))
