"""The kinds of target that there are. A new one is a class here (or anywhere, with `register`) and its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bids_app.errors import RecipeError
from bids_app.measure.calibration import calibration_intercept, fit_ordinal_temperature, fit_temperature
from bids_app.measure.scores import Cut, Scores, ordinal_errors
from bids_app.measure.weighted import weighted_kappa, weighted_mean, weighted_recall
from bids_app.targets.closed_form import fit_logits
from bids_app.targets.kind import Statistic, TargetKind
from bids_app.targets.levelled import Levelled, there
from bids_app.targets.linear import logistic
from bids_app.targets.valued import Valued

if TYPE_CHECKING:
    import torch


class Categorical(Levelled):
    """Levels without an order: one logit per level, softmax, cross-entropy."""

    name = "categorical"
    columns: ClassVar[tuple[str, ...]] = ("auc", "balanced_accuracy", "brier", "ece")
    foremost = "balanced_accuracy"
    tested: ClassVar[tuple[str, ...]] = ("balanced_accuracy", "brier")

    def loss(
        self, logits: torch.Tensor, truth: torch.Tensor, scaling: Mapping[str, Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy, each level with its weight from `fit`."""
        import torch.nn.functional as F

        levels = truth.round().long()
        if not scaling:
            return F.cross_entropy(logits, levels, reduction="sum"), logits.new_tensor(float(len(truth)))
        weights = logits.new_tensor(scaling["weights"])
        return F.cross_entropy(logits, levels, weight=weights, reduction="sum"), weights[levels].sum()

    def codes(self, values: np.ndarray, levels: int, scaling: Mapping[str, Any]) -> np.ndarray:
        """1 for the level that it is, -1 for every other."""
        return np.where(values[:, None].astype(int) == np.arange(levels), 1.0, -1.0)

    def from_codes(self, said: np.ndarray, values: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        slope, shift = fit_logits(said, values, levels)
        return slope * np.eye(levels), shift

    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        from scipy.special import softmax

        return softmax(np.asarray(logits, np.float64) / temperature, axis=-1)

    def decide(self, probability: np.ndarray) -> np.ndarray:
        """The likeliest level."""
        return np.asarray(probability).argmax(-1)

    @staticmethod
    def link(logits: torch.Tensor, how: Mapping[str, Any]) -> torch.Tensor:
        return (logits / how["temperature"]).softmax(1)

    def temperature(self, logits: np.ndarray, truth: np.ndarray) -> float:
        return fit_temperature(logits, truth)

    def cuts(self, truth: np.ndarray, probability: np.ndarray) -> list[Cut]:
        """Each level against the rest."""
        return [(truth == k, probability[:, k]) for k in range(probability.shape[1])]

    def baseline(self, x: np.ndarray, y: np.ndarray, new: np.ndarray, levels: int) -> np.ndarray:
        return logistic(x, y.astype(int), new, levels)


class Binary(Categorical):
    """Two levels, the last of which is the positive one: two logits, softmax, cross-entropy."""

    name = "binary"
    level_count = 2
    columns: ClassVar[tuple[str, ...]] = (
        "auc",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "brier",
        "calibration_slope",
        "calibration_intercept",
        "ece",
    )
    foremost = "auc"
    tested: ClassVar[tuple[str, ...]] = ("auc", "balanced_accuracy")
    controlled: ClassVar[tuple[str, ...]] = ("auc", "balanced_accuracy")
    figure = "reliability"

    def codes(self, values: np.ndarray, levels: int, scaling: Mapping[str, Any]) -> np.ndarray:
        """1 for the positive level, -1 for the other."""
        return super().codes(values, levels, scaling)[:, 1:]

    def from_codes(self, said: np.ndarray, values: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        slope, shift = fit_logits(np.concatenate([-said, said], 1), values, levels)
        return slope * np.array([[-1.0, 1.0]]), shift

    def decide(self, probability: np.ndarray) -> np.ndarray:
        """The last level from a probability of a half on."""
        return (np.asarray(probability)[..., 1] >= 0.5).astype(int)

    def cuts(self, truth: np.ndarray, probability: np.ndarray) -> list[Cut]:
        return [(truth == 1, probability[:, 1])]

    def scores(
        self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None, levels: Sequence[str] = ()
    ) -> Scores:
        """With sensitivity, specificity and the calibration's intercept."""
        found = super().scores(truth, value, probability, levels)
        known = np.isfinite(np.asarray(truth, np.float64))
        truth, probability = np.asarray(truth)[known], there(probability)[known]
        right = self.decide(probability) == truth
        parts = {
            name: float(right[truth == level].mean()) if (truth == level).any() else float("nan")
            for name, level in (("sensitivity", 1), ("specificity", 0))
        }
        shift = calibration_intercept(truth, probability[:, 1]) if len(truth) else float("nan")
        return Scores({**found.values, **parts, "calibration_intercept": shift}, found.notes, found.count)

    def statistics(self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None) -> dict[str, Statistic]:
        found = super().statistics(truth, value, probability)
        for name, level in (("sensitivity", 1), ("specificity", 0)):
            found[name] = partial(weighted_recall, truth, truth == value, level)
        return found


class Ordinal(Levelled):
    """Levels in an order: logit ``k`` is that of lying beyond level ``k`` (cumulative, one fewer than levels)."""

    name = "ordinal"
    columns: ClassVar[tuple[str, ...]] = ("mae", "kappa", "balanced_accuracy", "auc", "brier")
    foremost = "balanced_accuracy"
    tested: ClassVar[tuple[str, ...]] = ("mae", "balanced_accuracy")

    def outputs(self, levels: int) -> int:
        return levels - 1

    def fit(self, values: np.ndarray, levels: int) -> dict[str, Any]:
        """Nothing: every cut is learned with the weights of the participants."""
        return {}

    def loss(
        self, logits: torch.Tensor, truth: torch.Tensor, scaling: Mapping[str, Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean over cuts of the cross-entropy of "beyond this level"."""
        import torch
        import torch.nn.functional as F

        beyond = (truth[:, None] > torch.arange(logits.shape[1], device=logits.device)).float()
        total = F.binary_cross_entropy_with_logits(logits, beyond, reduction="sum") / logits.shape[1]
        return total, logits.new_tensor(float(len(truth)))

    def codes(self, values: np.ndarray, levels: int, scaling: Mapping[str, Any]) -> np.ndarray:
        """Per cut 1 for those beyond it, -1 for the others."""
        return np.where(values[:, None] > np.arange(levels - 1), 1.0, -1.0)

    def from_codes(self, said: np.ndarray, values: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        """Each cut by itself."""
        slopes, shifts = [], []
        for cut, column in enumerate(said.T):
            slope, shift = fit_logits(np.stack([-column, column], 1), values > cut, 2)
            slopes.append(2 * slope)
            shifts.append(shift[1] - shift[0])
        return np.diag(slopes), np.array(shifts)

    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Where logits are out of order (P(level > 1) above P(level > 0)), the later is lowered to the earlier."""
        from scipy.special import expit

        beyond = np.minimum.accumulate(expit(np.asarray(logits, np.float64) / temperature), axis=-1)
        edge = np.ones_like(beyond[..., :1])
        return -np.diff(np.concatenate([edge, beyond, 0 * edge], -1), axis=-1)

    def decide(self, probability: np.ndarray) -> np.ndarray:
        """The median of the levels' distribution, which has the least expected distance to the truth."""
        return (1 - np.cumsum(probability, -1)[..., :-1] >= 0.5 - 1e-12).sum(-1)

    @staticmethod
    def link(logits: torch.Tensor, how: Mapping[str, Any]) -> torch.Tensor:
        import torch

        beyond = [(logits[:, :1] / how["temperature"]).sigmoid()]
        for level in range(1, logits.shape[1]):
            beyond.append(torch.minimum(beyond[-1], (logits[:, level : level + 1] / how["temperature"]).sigmoid()))
        edges = torch.cat([torch.ones_like(beyond[0]), *beyond, torch.zeros_like(beyond[0])], 1)
        return edges[:, :-1] - edges[:, 1:]

    def temperature(self, logits: np.ndarray, truth: np.ndarray) -> float:
        return fit_ordinal_temperature(logits, truth)

    def cuts(self, truth: np.ndarray, probability: np.ndarray) -> list[Cut]:
        """Beyond each level against not."""
        beyond = 1 - np.cumsum(probability, 1)
        return [(truth > k, beyond[:, k]) for k in range(probability.shape[1] - 1)]

    def scores(
        self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None, levels: Sequence[str] = ()
    ) -> Scores:
        """With ``mae`` in levels and quadratic weighted ``kappa`` of the median level."""
        found = super().scores(truth, value, probability, levels)
        return ordinal_errors(found, truth, there(probability), self.decide)

    def statistics(self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None) -> dict[str, Statistic]:
        found = super().statistics(truth, value, probability)
        levels = there(probability).shape[1]
        found["mae"] = lambda w: weighted_mean(np.abs(value - truth), w)
        found["kappa"] = lambda w: weighted_kappa(truth, value, levels, w)
        return found

    def shares(
        self, measure: str, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None
    ) -> np.ndarray | None:
        if measure == "mae":
            return np.abs(value - truth) / len(truth)
        return super().shares(measure, truth, value, probability)

    def baseline(self, x: np.ndarray, y: np.ndarray, new: np.ndarray, levels: int) -> np.ndarray:
        """One logistic regression per cut."""
        cuts = [logistic(x, (y > k).astype(int), new, 2) for k in range(levels - 1)]
        return np.stack([both[:, 1] - both[:, 0] for both in cuts], 1)


class Continuous(Valued):
    """A value without bounds: Huber loss in standard deviations of the training side."""

    name = "continuous"
    gaussian = True

    def loss(
        self, logits: torch.Tensor, truth: torch.Tensor, scaling: Mapping[str, Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch.nn.functional as F

        scaling = scaling or {}
        mean, sd = logits.new_tensor([scaling.get("mean", 0.0), scaling.get("sd", 1.0)])
        total = F.huber_loss(logits[:, 0], (truth - mean) / sd, reduction="sum")
        return total, logits.new_tensor(float(len(truth)))


_KINDS: dict[str, TargetKind] = {kind.name: kind for kind in (Binary(), Categorical(), Ordinal(), Continuous())}


def kind_names() -> list[str]:
    """Names of all kinds."""
    return list(_KINDS)


def kind_of(name: str) -> TargetKind:
    """The object of a kind.

    Raises:
        RecipeError: there is no such kind.
    """
    if name not in _KINDS:
        raise RecipeError(f"there is no kind of target {name!r}; there are {', '.join(_KINDS)}")
    return _KINDS[name]


def register(kind: TargetKind) -> TargetKind:
    """Make one more kind known.

    Raises:
        RecipeError: the name is taken.
    """
    if kind.name in _KINDS:
        raise RecipeError(f"there is a kind of target {kind.name!r} already")
    _KINDS[kind.name] = kind
    return kind
