"""What kinds of target with levels have in common: probabilities, a decision, discrimination and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bids_app.errors import DataError
from bids_app.measure import weighted
from bids_app.measure.calibration import COLDEST, HOTTEST
from bids_app.measure.scores import Cut, Scores, brier_terms, level_scores
from bids_app.targets.kind import Statistic, TargetKind

#: Fewer participants than these, and no temperature is fitted.
FEWEST = 10
#: Fewer participants than these, and no set of levels is fitted: at 95 % the least that can say anything is 19.
FEWEST_FOR_SETS = 20
COVERAGE = 0.95


class Levelled(TargetKind):
    """A target whose answer is a probability of each of its levels."""

    has_levels: ClassVar[bool] = True
    controlled: ClassVar[tuple[str, ...]] = ("balanced_accuracy",)

    def cuts(self, truth: np.ndarray, probability: np.ndarray) -> list[Cut]:
        """Pairs of yes-or-no truth and score whose areas under the curve are averaged into ``auc``."""
        raise NotImplementedError

    def temperature(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """What logits ``(n, outputs)`` are divided by for the likeliest truth ``(n,)``."""
        raise NotImplementedError

    def levels_trouble(self, levels: Sequence[str]) -> str | None:
        if levels and self.level_count is not None and len(levels) != self.level_count:
            return f"a {self.name} target has {self.level_count} levels, not {len(levels)}"
        return None

    def outputs(self, levels: int) -> int:
        return self.level_count or levels

    def strata(self, values: Sequence[float]) -> list[str]:
        return [str(int(value)) if np.isfinite(value) else "unknown" for value in values]

    def describe(self, values: np.ndarray, levels: Sequence[str]) -> dict[str, Any]:
        return {"classes": {level: int((values == position).sum()) for position, level in enumerate(levels)}}

    def fit(self, values: np.ndarray, levels: int) -> dict[str, Any]:
        """Weights of levels, the rarer the heavier, one on average over scans."""
        count = np.bincount(values.astype(int), minlength=levels)
        weights = len(values) / (np.count_nonzero(count) * np.maximum(count, 1))
        return {"weights": np.where(count > 0, weights, 1.0).round(4).tolist()}

    def in_unit(self, outputs: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
        return outputs

    def calibrate(self, outputs: np.ndarray, truth: np.ndarray, participants: int) -> dict[str, Any]:
        """The ``temperature``; and ``set_level``, the probability from which a level belongs to the set of those that
        may be true: `COVERAGE` of people like these have the true one in it (split conformal, folds pooled).

        Sadinle et al., J Am Stat Assoc 114 (2019) 223-234.
        """
        if participants < FEWEST or len(np.unique(truth)) < 2:
            return {"temperature": 1.0, "note": "too few participants or one level only; not fitted"}
        temperature = self.temperature(outputs, truth.astype(int))
        notes = [] if 1.02 * COLDEST < temperature < HOTTEST / 1.02 else ["at the end of what is tried"]
        fit: dict[str, Any] = {"temperature": temperature}
        if participants < FEWEST_FOR_SETS:
            notes.append("too few for sets of levels")
        else:
            fit |= {"set_level": self._set_level(outputs, truth.astype(int), temperature), "coverage": COVERAGE}
        return {**fit, **({"note": "; ".join(notes)} if notes else {})}

    def _set_level(self, outputs: np.ndarray, truth: np.ndarray, temperature: float) -> float:
        own = np.sort(self.probabilities(outputs, temperature)[np.arange(len(truth)), truth])
        rank = min(math.ceil((len(own) + 1) * COVERAGE), len(own))
        return round(float(np.clip(own[len(own) - rank], 1e-6, 1 - 1e-6)), 6)

    def scores(
        self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None, levels: Sequence[str] = ()
    ) -> Scores:
        return level_scores(truth, there(probability), self.decide, self.cuts, levels=levels)

    def statistics(self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None) -> dict[str, Statistic]:
        truth, probability = truth.astype(int), there(probability)
        cuts = [cut for cut in self.cuts(truth, probability) if 0 < cut[0].sum() < len(truth)]
        brier = brier_terms(truth, probability)
        surprise = -np.log(np.clip(probability[np.arange(len(truth)), truth], np.finfo(float).eps, 1))
        found: dict[str, Statistic] = {
            "balanced_accuracy": lambda w: weighted.weighted_balanced_accuracy(truth, value, w),
            "brier": lambda w: weighted.weighted_mean(brier, w),
            "log_loss": lambda w: weighted.weighted_mean(surprise, w),
        }
        if cuts:
            found["auc"] = lambda w: _mean([weighted.weighted_auc(yes, score, w) for yes, score in cuts])
        return found

    def shares(
        self, measure: str, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None
    ) -> np.ndarray | None:
        if measure == "brier":
            return brier_terms(truth, there(probability)) / len(truth)
        if measure == "balanced_accuracy":
            levels, owner, counts = np.unique(truth, return_inverse=True, return_counts=True)
            return (value == truth) / (len(levels) * counts[owner]) if len(levels) > 1 else None
        return None

    def chance(self, measure: str, truth: np.ndarray) -> float:
        """An AUC of a half; a balanced accuracy of one divided by the levels that occur."""
        return 0.5 if measure == "auc" else 1 / len(np.unique(truth))


def there(probability: np.ndarray | None) -> np.ndarray:
    """Probabilities of levels, which only a kind with a value does without.

    Raises:
        DataError: there are none.
    """
    if probability is None:
        raise DataError("a target with levels is judged by their probabilities, and there are none")
    return np.asarray(probability)


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Over cuts that a draw leaves defined."""
    stacked = np.stack(parts)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(total.shape, np.nan), where=known.any(0))
