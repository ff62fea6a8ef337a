"""Members that vote together: their mean, their disagreement, and scans that are unlike those that trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_app.errors import BundleError
from bids_app.recipes.recipe import Recipe
from bids_app.scans.frames import picture_of
from bids_app.scans.scan import Scan

#: Features of a bundle at most, so that its covariance stays small.
MOST_FEATURES = 64
#: Fewer participants than these say too little about what is usual.
FEWEST_FAMILIAR = 20
#: Part of the training scans that count as familiar, out of fold.
FAMILIAR = 0.99
UNFAMILIAR = "this scan is unlike those that trained"
#: What is looked at per sequence, most telling first.
FEATURES = (
    "texture_1",
    "quantile_50",
    "quantile_90",
    "quantile_10",
    "inside",
    "texture_2",
    "quantile_99",
    "quantile_1",
    "quantile_75",
    "quantile_25",
    "texture_4",
    "symmetry",
)


@dataclass(frozen=True)
class Vote:
    """What members say together.

    Attributes:
        mean: of their probabilities; shape of one of them.
        mutual_information: entropy of the mean less the mean of entropies, nats, without the axis of classes: 0 where
            members agree, however unsure each is.
        members: how many voted.
    """

    mean: np.ndarray
    mutual_information: np.ndarray
    members: int


def combine(probabilities: Iterable[np.ndarray], *, background: bool = False) -> Vote:
    """Mean probability and mutual information (Houlsby 2011) of an ensemble.

    Args:
        probabilities: one array per member, classes first: ``(regions, x, y, z)`` or ``(levels,)``; one is held at a
            time.
        background: the first class, one minus all others, is left out of the arrays.

    Raises:
        BundleError: no member, or one whose answer is not finite: none is left out.
    """
    mean: np.ndarray | None = None
    each: np.ndarray | None = None
    members = 0
    for one in probabilities:
        check_finite(one, members)
        own = entropy(one, background=background)
        mean, each = (one, own) if mean is None or each is None else (mean + one, each + own)
        members += 1
    if mean is None or each is None:
        raise BundleError("no member of the bundle gave an answer")
    if members == 1:
        return Vote(mean, np.zeros_like(each), 1)
    mean = mean / members
    return Vote(mean, np.maximum(entropy(mean, background=background) - each / members, 0), members)


def check_finite(answer: np.ndarray, member: int) -> None:
    """Refuse an answer that is no number, class by class: there may be many of them.

    Raises:
        BundleError: naming the member.
    """
    if not all(np.isfinite(part).all() for part in answer):
        raise BundleError(f"the answer of member {member} is not finite; no member is left out of a vote")


def entropy(probability: np.ndarray, *, background: bool = False) -> np.ndarray:
    """Of the first axis, nats."""
    p = np.clip(probability, 1e-12, 1)
    total = -(p * np.log(p)).sum(0)
    if background:
        rest = np.clip(1 - probability.sum(0), 1e-12, 1)
        total = total - rest * np.log(rest)
    return total


@dataclass(frozen=True)
class Familiarity:
    """Simple statistics of the scans that trained, and how far from them a scan may be.

    Attributes:
        mean, scale: of every feature, shape ``(features,)``.
        covariance: of features in units of their scale, shrunk (Ledoit and Wolf 2004).
        threshold: distance within which `FAMILIAR` of scans lay that were left out of the fit.
        fitted_on: participants.
    """

    mean: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray
    threshold: float
    fitted_on: int = 0

    def distance(self, features: np.ndarray) -> float:
        """Mahalanobis distance per known feature: about 1 for a scan like those that trained.

        Args:
            features: from `image_features`, NaN for sequences that are not there.
        """
        known = np.isfinite(features)
        away = ((features - self.mean) / self.scale)[known]
        if not len(away):
            return float("inf")
        squared = away @ np.linalg.solve(self.covariance[np.ix_(known, known)], away)
        return float(np.sqrt(max(squared, 0) / len(away)))

    def to_plain(self) -> dict[str, Any]:
        """For ``calibration.json``."""

        def short(values: np.ndarray) -> list[Any]:
            return [short(row) if np.ndim(row) else float(f"{row:.5g}") for row in values]

        return {
            "mean": short(self.mean),
            "scale": short(self.scale),
            "covariance": short(self.covariance),
            "threshold": round(self.threshold, 4),
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Familiarity:
        """The inverse of `to_plain`.

        Raises:
            BundleError: parts are missing or do not fit together.
        """
        try:
            mean, scale, covariance = (np.array(plain[name], float) for name in ("mean", "scale", "covariance"))
            if covariance.shape != (len(mean), len(mean)) or scale.shape != mean.shape:
                raise ValueError("shapes differ")
            return cls(mean, scale, covariance, float(plain["threshold"]), int(plain.get("fitted_on", 0)))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"calibration.json holds no usable familiarity ({error}); train the bundle again"
            ) from error


def fit_familiarity(recipe: Recipe, scans: Iterable[Scan], *, folds: int = 5) -> Familiarity | None:
    """What is usual among scans that trained; None where there are fewer than `FEWEST_FAMILIAR` participants.

    The threshold comes from scans that were left out, participant by participant, of the mean and covariance that
    judge them: those that were fitted on look closer than they are.
    """
    from sklearn.model_selection import GroupKFold

    rows, people = [], []
    for scan in scans:
        rows.append(image_features(recipe, scan.stack, scan.present))
        people.append(scan.participant)
    if len(set(people)) < FEWEST_FAMILIAR:
        return None
    features, distances = np.stack(rows), []
    for train, test in GroupKFold(folds).split(features, groups=people):
        usual = _fit(features[train])
        distances += [usual.distance(row) for row in features[test]]
    whole = _fit(features)
    return Familiarity(
        whole.mean, whole.scale, whole.covariance, float(np.quantile(distances, FAMILIAR)), len(set(people))
    )


def _fit(features: np.ndarray) -> Familiarity:
    """Mean and shrunk covariance; a feature of a sequence that is not there counts as usual."""
    from sklearn.covariance import LedoitWolf

    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, features, 0).sum(0) / count
    spread = np.sqrt((np.where(known, features - mean, 0) ** 2).sum(0) / count)
    scale = np.where(spread > 1e-9, spread, 1.0)
    units = np.where(known, (features - mean) / scale, 0)
    return Familiarity(mean, scale, LedoitWolf(assume_centered=True).fit(units).covariance_, float("inf"))


def image_features(recipe: Recipe, stack: np.ndarray, present: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Brightness and texture of every sequence, whatever its scale; NaN where it is not there.

    Quantiles of the standardised brightness, steepness at three resolutions, how much of the grid is filled, and how
    alike left and right are. Wrong contrast, noise, movement and cut images change them; a lesion hardly does.

    Args:
        recipe: of a region, the middle of a scan is looked at: training scans have a margin.
        stack: shape ``(sequences, x, y, z)``; of a series, its frames, the spread over time is looked at.
        present: one flag per sequence.
    """
    stack = picture_of(recipe, stack)
    names = FEATURES[: max(1, min(len(FEATURES), MOST_FEATURES // len(stack)))]
    rows = []
    for image, there in zip(_middle(recipe, stack), present, strict=True):
        inside = image != 0
        found = _describe(image, inside) if there and inside.any() else {}
        rows += [found.get(name, np.nan) for name in names]
    return np.array(rows, float)


def _middle(recipe: Recipe, stack: np.ndarray) -> np.ndarray:
    grid = recipe.grid
    if grid is None or grid.kind != "region":
        return stack
    side = round(grid.region_size_mm / grid.spacing_mm)
    box = [slice(max(n - side, 0) // 2, max(n - side, 0) // 2 + min(n, side)) for n in stack.shape[1:]]
    return stack[(slice(None), *box)]


def _describe(image: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    values = image[inside].astype(np.float64)
    units = np.where(inside, (image - values.mean()) / max(values.std(), 1e-9), 0)
    found = {f"quantile_{q}": float(np.percentile(units[inside], q)) for q in (1, 10, 25, 50, 75, 90, 99)}
    found["inside"] = float(inside.mean())
    coarse = units
    for scale in (1, 2, 4):
        steps = [np.abs(np.diff(coarse, axis=axis)).mean() for axis in range(3) if coarse.shape[axis] > 1]
        found[f"texture_{scale}"] = float(np.log(np.mean(steps) + 1e-3)) if steps else 0.0
        coarse = _halved(coarse)
    mirrored = units[::-1]
    found["symmetry"] = float((units * mirrored).sum() / max((units**2).sum(), 1e-9))
    return found


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of neighbours along every axis that is long enough."""
    for axis in range(image.ndim):
        n = image.shape[axis] // 2 * 2
        if n >= 4:
            even, odd = (np.take(image, range(start, n, 2), axis) for start in (0, 1))
            image = (even + odd) / 2
    return image
