"""Measures under many sets of weights at once: what a bootstrap of 2000 draws needs.

scikit-learn takes one set of weights per call (2000 areas under the curve of 200 rows: 12.1 s of CPU, here 0.03 s);
here ``weights`` has shape ``(draws, n)`` and the answer ``(draws,)``. A weight of 2 is a row that was drawn twice. With
weights of one, each equals the measure of the same name in `bids_app.measure.scores`. NaN where a draw leaves a measure
undefined.
"""

from __future__ import annotations

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of ``(n,)``; NaN values do not count."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    return _ratio(weights[:, known] @ values[known], weights[:, known].sum(1))


def weighted_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the receiver operating characteristic; ties count half.

    Args:
        positive: ``(n,)``, yes or no.
        score: ``(n,)``, larger speaks for yes.
        weights: ``(draws, n)``.
    """
    order = np.argsort(score, kind="stable")
    score, positive, weights = np.asarray(score)[order], np.asarray(positive, bool)[order], weights[:, order]
    starts = np.flatnonzero(np.r_[True, np.diff(score) > 0])
    yes = np.add.reduceat(weights * positive, starts, axis=1)
    no = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(no, axis=1) - no
    return _ratio((yes * (below + no / 2)).sum(1), yes.sum(1) * no.sum(1))


def weighted_balanced_accuracy(truth: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the levels that were drawn of the part answered rightly; NaN where only one was."""
    right = np.asarray(truth) == np.asarray(decided)
    recalls = np.stack([weighted_recall(truth, right, level, weights) for level in np.unique(truth)])
    known = np.isfinite(recalls)
    return _ratio(np.where(known, recalls, 0).sum(0), np.where(known.sum(0) > 1, known.sum(0), 0))


def weighted_recall(truth: np.ndarray, right: np.ndarray, level: float, weights: np.ndarray) -> np.ndarray:
    """Part of the rows with this level that were answered rightly."""
    return weighted_mean(right[truth == level], weights[:, np.asarray(truth) == level])


def weighted_r2(truth: np.ndarray, answer: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Part of the truth's variance that is explained; below zero for an answer worse than the mean."""
    mean = weighted_mean(truth, weights)
    spread = (weights * (truth[None] - mean[:, None]) ** 2).sum(1)
    return 1 - _ratio(weights @ (truth - answer) ** 2, spread)


def weighted_correlation(truth: np.ndarray, answer: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's; NaN of fewer than three, for a line goes through any two points."""
    if len(truth) < 3:
        return np.full(len(weights), np.nan)
    one = truth[None] - weighted_mean(truth, weights)[:, None]
    other = answer[None] - weighted_mean(answer, weights)[:, None]
    spread = np.sqrt((weights * one**2).sum(1) * (weights * other**2).sum(1))
    return _ratio((weights * one * other).sum(1), spread)


def weighted_kappa(truth: np.ndarray, decided: np.ndarray, levels: int, weights: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa (Cohen, Psychol Bull 70 (1968) 213-220)."""
    truth, decided = np.asarray(truth).astype(int), np.asarray(decided).astype(int)
    seen = weights @ np.eye(levels * levels)[truth * levels + decided]
    seen = seen.reshape(-1, levels, levels) / seen.sum(1)[:, None, None]
    expected = seen.sum(2)[:, :, None] * seen.sum(1)[:, None, :]
    far = (np.arange(levels)[:, None] - np.arange(levels)) ** 2
    return 1 - _ratio((seen * far).sum((1, 2)), (expected * far).sum((1, 2)))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 1e-12)
