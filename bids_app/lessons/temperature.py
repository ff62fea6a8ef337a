"""The temperature of a bundle that learned from drawn scans: of a few, that of the least cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bids_app.measure.calibration import scaled_by_temperature

#: Those that are tried. A whole scan has millions of voxels: each is read once for all of them.
TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6)
#: Smallest probability that counts.
LEAST = 1e-6


def cross_entropies(answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean cross-entropy of a scan at each of `TEMPERATURES`.

    Args:
        answer: probabilities at temperature 1, ``(regions, x, y, z)``.
        truth: classes ``(x, y, z)``, 0 for none; or the regions' shares of every voxel, ``(regions, x, y, z)``.
    """
    shares = truth.ndim == answer.ndim
    rest_of_truth = 1 - truth.sum(0) if shares else None
    found = []
    for temperature in TEMPERATURES:
        p = answer if temperature == 1.0 else scaled_by_temperature(answer, temperature)
        rest = 1 - p.sum(0)
        if rest_of_truth is not None:
            total = (truth * np.log(np.clip(p, LEAST, 1))).sum(0) + rest_of_truth * np.log(np.clip(rest, LEAST, 1))
            found.append(-float(total.mean()))
        else:
            own = np.where(truth > 0, np.take_along_axis(p, np.maximum(truth, 1)[None] - 1, 0)[0], rest)
            found.append(-float(np.log(np.clip(own, LEAST, 1)).mean()))
    return np.array(found)


def best_temperature(answered: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Of the least sum of `cross_entropies` over pairs of answer and truth."""
    total = sum((cross_entropies(answer, truth) for answer, truth in answered), np.zeros(len(TEMPERATURES)))
    return TEMPERATURES[int(total.argmin())]
