"""Whether stated probabilities come true (slope, intercept, calibration error), and the temperature that mends them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Probabilities nearer to 0 or 1 count as this near: a logit has to stay finite.
EDGE = 1e-6
BINS = 10
#: A slope beyond this is perfect separation, which has none.
STEEPEST = 50.0
#: Where a temperature may lie.
COLDEST, HOTTEST = 0.2, 5.0


def calibration_slope(truth: np.ndarray, probability: np.ndarray) -> float:
    """What logits must be multiplied by to fit best: 1 is right, below 1 over-confident.

    Two levels: slope of a logistic regression of truth on logit (Cox, Biometrika 45 (1958) 562-565). More levels: the
    one b for which softmax(b log p) is likeliest, the inverse of the best temperature.

    Args:
        truth: ``(n,)``, positions of levels.
        probability: ``(n, levels)``.

    Returns:
        NaN for one level only, equal answers, or perfect separation.
    """
    truth = np.asarray(truth).astype(int)
    if len(np.unique(truth)) < 2 or np.ptp(probability, axis=0).max() < EDGE:
        return float("nan")
    slope = _slope_of_two(truth, probability[:, 1]) if probability.shape[1] == 2 else _slope_of_many(truth, probability)
    return slope if abs(slope) < STEEPEST else float("nan")


def calibration_intercept(truth: np.ndarray, probability: np.ndarray) -> float:
    """What must be added to logits, the slope being 1, so that as many happen as are announced: 0 is right.

    Calibration in the large, Van Calster et al., BMC Medicine 17 (2019) 230.

    Args:
        truth: ``(n,)``, 0 or 1.
        probability: ``(n,)``, of 1.

    Returns:
        NaN where everybody has the same truth.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    rate, logit = float(np.mean(truth)), _logit(probability)
    if rate in (0.0, 1.0):
        return float("nan")
    return float(brentq(lambda shift: expit(logit + shift).mean() - rate, -60, 60))


def calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017).

    Two levels: of the last level's probability. More: of the likeliest level's. With few participants it is far from
    zero even for a perfect answer; Brier score and slope say more.
    """
    rows = reliability_bins(*_said_and_happened(truth, probability), bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["said"] - row["happened"]) for row in rows) / total if total else float("nan")


def reliability_bins(said: np.ndarray, happened: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """For a drawing: per bin that is not empty, mean probability ``said``, part that ``happened``, and ``count``."""
    said, happened = np.asarray(said, np.float64), np.asarray(happened, np.float64)
    place = np.minimum((said * bins).astype(int), bins - 1)
    return [
        {
            "said": float(said[place == b].mean()),
            "happened": float(happened[place == b].mean()),
            "count": int((place == b).sum()),
        }
        for b in np.unique(place)
    ]


def _said_and_happened(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if probability.shape[1] == 2:
        return probability[:, 1], np.asarray(truth) == 1
    return probability.max(1), probability.argmax(1) == np.asarray(truth)


def _slope_of_two(truth: np.ndarray, probability: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression

    logit = _logit(probability)
    no, yes = logit[truth == 0], logit[truth == 1]
    if no.max() <= yes.min() or yes.max() <= no.min():
        return float("inf")
    fitted = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(logit[:, None], truth)
    return float(fitted.coef_[0, 0])


def _slope_of_many(truth: np.ndarray, probability: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logs, rows = np.log(np.clip(probability, EDGE, 1)), np.arange(len(truth))
    found = minimize_scalar(
        lambda b: -log_softmax(b * logs, axis=1)[rows, truth].mean(), bounds=(-STEEPEST, STEEPEST), method="bounded"
    )
    return float(found.x) if abs(found.x) < STEEPEST * 0.99 else float("inf")


def _logit(probability: np.ndarray) -> np.ndarray:
    kept = np.clip(np.asarray(probability, np.float64), EDGE, 1 - EDGE)
    return np.log(kept / (1 - kept))


def fit_temperature(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The number by which logits are divided for the least cross-entropy (Guo 2017).

    Args:
        logits: shape ``(n, classes)``; logarithms of probabilities will do.
        truth: class of each, shape ``(n,)``.
        weights: of each, shape ``(n,)``.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    rows = np.arange(len(truth))

    def cross_entropy(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(weights @ (np.log(np.exp(scaled).sum(1)) - scaled[rows, truth]))

    return _least(cross_entropy)


def fit_ordinal_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The same for cumulative logits, shape ``(n, levels - 1)``: logit ``k`` says that the level is above ``k``."""
    above = truth[:, None] > np.arange(logits.shape[1])
    signed = np.where(above, logits, -logits)
    return _least(lambda temperature: float(np.logaddexp(0, -signed / temperature).sum()))


def _least(loss: Callable[[float], float]) -> float:
    """The temperature between `COLDEST` and `HOTTEST` at which a loss is least."""
    from scipy.optimize import minimize_scalar

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(lambda log: loss(math.exp(log)), bounds=bounds, method="bounded")
    return round(math.exp(float(found.x)), 4)


def scaled_by_temperature(probability: np.ndarray, temperature: float) -> np.ndarray:
    """What probabilities (regions first) become when their logits are divided by ``temperature``."""
    rest = 1 - probability.sum(0, keepdims=True)
    logs = np.log(np.clip(np.concatenate([rest, probability]), 1e-9, 1)) / temperature
    parts = np.exp(logs - logs.max(0))
    return (parts / parts.sum(0))[1:]
