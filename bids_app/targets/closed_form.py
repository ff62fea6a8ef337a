"""Ridge models in closed form, and what each participant would have been told without being in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Strengths of the penalty, in parts of the mean of the kernel's diagonal.
PENALTIES = np.logspace(-4, 1.5, 18)


#: A participant whose own answer leaves less of them out than this cannot be left out.
TINY = 1e-12


@dataclass(frozen=True)
class RidgeFit:
    """A linear model of several columns of truth.

    Attributes:
        weights: ``(columns, truths)``.
        intercept: ``(truths,)``.
        left_out: what the model without a participant's own rows says of them, ``(n, truths)``.
        error: mean square of what it is off by.
    """

    weights: np.ndarray
    intercept: np.ndarray
    left_out: np.ndarray
    error: float


def fit_ridge(x: np.ndarray, y: np.ndarray, people: Sequence[str]) -> RidgeFit:
    """Ridge regression with the penalty whose left-out error is least; intercepts are not penalised.

    Leaving out is by participant and exact (the hat matrix's block of the participant), at the cost of one fit.

    Args:
        x: ``(n, columns)``, columns in units that may share one penalty.
        y: ``(n, truths)``.
        people: whose row each is.
    """
    n = len(x)
    middle, level = x.mean(0), y.mean(0)
    a, b = x - middle, y - level
    kernel = a @ a.T
    scale = max(float(np.trace(kernel)) / n, 1e-12)
    values, vectors = np.linalg.eigh(kernel / scale)
    groups = [np.flatnonzero(np.asarray(people) == person) for person in dict.fromkeys(people)]
    best: tuple[float, float, np.ndarray] | None = None
    alone = len(groups) == n
    for penalty in PENALTIES:
        shrunk = values / (values + penalty)
        if alone:  # the diagonal is enough
            inside = 1 - (vectors**2 @ shrunk + 1 / n)
            away = b - vectors @ (shrunk[:, None] * (vectors.T @ b))
            left = y - away / np.maximum(inside, TINY)[:, None]
        else:
            left = _left_out(y, (vectors * shrunk) @ vectors.T + 1 / n, groups)
        error = float(((y - left) ** 2).mean())
        if best is None or error < best[0]:
            best = (error, float(penalty), left)
    assert best is not None  # there are penalties
    dual = (vectors / (values + best[1])) @ (vectors.T @ b) / scale
    weights = a.T @ dual
    return RidgeFit(weights, level - middle @ weights, best[2], best[0])


def _left_out(y: np.ndarray, hat: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """What each participant would have been told without all of their own rows."""
    away, left = y - hat @ y, np.empty_like(y, dtype=float)
    for rows in groups:
        inside = np.eye(len(rows)) - hat[np.ix_(rows, rows)]
        left[rows] = y[rows] - np.linalg.lstsq(inside, away[rows], rcond=None)[0]
    return left


#: Slopes of left-out answers are drawn towards 0 as by a normal distribution of this spread, so that a few participants
#: who are told apart without an error do not make a probability of 1.
SLOPE = 10.0


def fit_logits(said: np.ndarray, values: np.ndarray, levels: int) -> tuple[float, np.ndarray]:
    """One slope and a shift per level: logits ``slope * said + shift`` of greatest likelihood, levels weighed evenly.

    The slope is never negative: where left-out answers point the wrong way, they tell nothing, and it is 0.

    Args:
        said: left-out code of every level, ``(n, levels)``.
        values: true level, ``(n,)``.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    truth = values.astype(int)
    counts = np.bincount(truth, minlength=levels)
    weight = (1 / np.maximum(counts, 1))[truth] / max(np.count_nonzero(counts), 1)
    absent = np.where(counts > 0, 0.0, np.log(0.5 / (len(truth) + 1)))

    def cost(at: np.ndarray) -> float:
        logits = at[0] * said + at[1:] + absent
        surprise = -log_softmax(logits, axis=1)[np.arange(len(truth)), truth]
        return float(weight @ surprise) + ((at[0] / SLOPE) ** 2 + (at[1:] ** 2).sum() * 1e-4) / (2 * len(truth))

    bounds = [(0.0, None), *[(-20.0, 20.0)] * levels]
    found = minimize(cost, np.array([1.0, *np.zeros(levels)]), method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), found.x[1:] + absent
