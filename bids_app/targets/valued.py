"""What kinds of target with a value in a unit have in common: standardised outputs, errors, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from bids_app.errors import DataError
from bids_app.measure import weighted
from bids_app.measure.scores import Scores, regression_scores
from bids_app.targets.kind import Statistic, TargetKind
from bids_app.targets.linear import ridge

if TYPE_CHECKING:
    import torch

#: Quantiles by which values are stratified.
STRATA = 4
#: Fewer participants than these, and no interval is fitted.
FEWEST = 20
COVERAGE = 0.95


class Valued(TargetKind):
    """A target that is a number in a unit: one output, in standard deviations of the training side."""

    has_levels: ClassVar[bool] = False
    columns = ("mae", "r2", "correlation", "bias")
    foremost = "mae"
    tested = ("mae", "r2")
    controlled = ("r2",)
    figure = "agreement"

    def levels_trouble(self, levels: Sequence[str]) -> str | None:
        return f"a {self.name} target has no levels" if levels else None

    def outputs(self, levels: int) -> int:
        return 1

    def strata(self, values: Sequence[float]) -> list[str]:
        """By quantile of what is known."""
        known = np.array([value for value in values if np.isfinite(value)])
        if not len(known):
            return ["unknown"] * len(values)
        edges = np.quantile(known, np.linspace(0, 1, STRATA + 1)[1:-1])
        return [str(int(np.searchsorted(edges, v))) if np.isfinite(v) else "unknown" for v in values]

    def describe(self, values: np.ndarray, levels: Sequence[str]) -> dict[str, Any]:
        ends = [float(values.min()), float(values.max())]
        return {"mean": float(values.mean()), "sd": float(values.std()), "range": ends}

    def fit(self, values: np.ndarray, levels: int) -> dict[str, Any]:
        """Mean, standard deviation, least and largest: nobody is told a value that no training participant had."""
        ends = {"low": float(values.min()), "high": float(values.max())}
        return {"mean": float(values.mean()), "sd": float(values.std()), **ends}

    def codes(self, values: np.ndarray, levels: int, scaling: Mapping[str, Any]) -> np.ndarray:
        """The value in standard deviations of the training side."""
        return ((values - scaling.get("mean", 0.0)) / (scaling.get("sd") or 1.0))[:, None]

    def from_codes(self, said: np.ndarray, values: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        """As it is; where left-out values have nothing to do with the truth, the mean of the training side."""
        with np.errstate(invalid="ignore"):
            along = np.corrcoef(said[:, 0], values)[0, 1]
        return (np.ones((1, 1)) if along > 0 else np.zeros((1, 1))), np.zeros(1)

    def in_unit(self, outputs: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
        values = outputs * scaling.get("sd", 1.0) + scaling.get("mean", 0.0)
        return np.clip(values, scaling.get("low", -np.inf), scaling.get("high", np.inf))

    @staticmethod
    def link(logits: torch.Tensor, how: Mapping[str, Any]) -> torch.Tensor:
        values = logits * how.get("sd", 1.0) + how.get("mean", 0.0)
        return values.clamp(how.get("low", -math.inf), how.get("high", math.inf))

    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> NoReturn:
        raise self._no_levels()

    def decide(self, probability: np.ndarray) -> NoReturn:
        raise self._no_levels()

    def calibrate(self, outputs: np.ndarray, truth: np.ndarray, participants: int) -> dict[str, Any]:
        """``half_width`` of the interval that held `COVERAGE` of participants: split conformal, folds pooled.

        Lei et al., J Am Stat Assoc 113 (2018) 1094-1111.
        """
        if participants < FEWEST:
            return {"half_width": None, "coverage": COVERAGE, "note": "too few for an interval"}
        away = np.sort(np.abs(outputs[:, 0] - truth))
        rank = min(math.ceil((len(away) + 1) * COVERAGE), len(away))
        return {"half_width": float(away[rank - 1]), "coverage": COVERAGE}

    def scores(
        self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None, levels: Sequence[str] = ()
    ) -> Scores:
        return regression_scores(truth, value)

    def statistics(self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None) -> dict[str, Statistic]:
        return {
            "mae": lambda w: weighted.weighted_mean(np.abs(value - truth), w),
            "bias": lambda w: weighted.weighted_mean(value - truth, w),
            "r2": lambda w: weighted.weighted_r2(truth, value, w),
            "correlation": lambda w: weighted.weighted_correlation(truth, value, w),
        }

    def shares(
        self, measure: str, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None
    ) -> np.ndarray | None:
        if measure == "mae":
            return np.abs(value - truth) / len(truth)
        spread = ((truth - truth.mean()) ** 2).sum()
        return -((value - truth) ** 2) / spread if measure == "r2" and spread > 0 else None

    def chance(self, measure: str, truth: np.ndarray) -> float:
        """R² of guessing the mean; anything else that knows nothing has less."""
        return 0.0

    def baseline(self, x: np.ndarray, y: np.ndarray, new: np.ndarray, levels: int) -> np.ndarray:
        return np.clip(ridge(x, y, new), y.min(), y.max())[:, None]

    def _no_levels(self) -> DataError:
        return DataError(f"a {self.name} target has a value, not probabilities of levels")
