"""Voxelwise tests of masks or maps against a score, by permutation, corrected for the familywise error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Permutations that are multiplied at once.
AT_ONCE = 64


@dataclass(frozen=True)
class VoxelTest:
    """A test of every voxel.

    Attributes:
        t: ``(voxels,)``; 0 where a voxel is determined by the other columns.
        p: corrected for the familywise error over voxels, two-sided.
        threshold: of abs(t) at a corrected p of 0.05.
        df: degrees of freedom.
    """

    t: np.ndarray
    p: np.ndarray
    threshold: float
    df: int


def voxel_test(
    score: np.ndarray, maps: np.ndarray, others: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> VoxelTest:
    """Does a score go with a voxel, at the same other columns?

    Args:
        score: ``(n,)``, without NaN: a scale, or 0 and 1 for two groups.
        maps: ``(n, voxels)``: lesion masks, or maps.
        others: ``(n, p)``: covariates, an intercept among them.
        draws: permutations of the score's residuals (Freedman and Lane; Winkler et al., NeuroImage 92 (2014) 381-397);
            the largest abs(t) of each corrects over voxels.
        seed: of the permutations.

    Raises:
        ValueError: no degrees of freedom are left.
    """
    basis = np.linalg.qr(others.astype(np.float64))[0]
    n, df = len(score), len(score) - others.shape[1] - 1
    if df < 1:
        raise ValueError(f"{n} people are too few for {others.shape[1] + 1} coefficients")
    columns = maps.astype(np.float32)
    whole = np.linalg.norm(columns, axis=0)
    columns -= (basis @ (basis.T @ columns)).astype(np.float32)
    length = np.linalg.norm(columns, axis=0)
    free = length > 1e-3 * np.maximum(whole, 1e-12)
    columns /= np.where(free, length, np.inf)[None]
    left = score - basis @ (basis.T @ score)

    def statistics(rows: np.ndarray) -> np.ndarray:
        """t of every voxel for residuals ``(k, n)``."""
        clean = rows - (rows @ basis) @ basis.T
        clean /= np.maximum(np.linalg.norm(clean, axis=1, keepdims=True), 1e-300)
        r = np.clip(clean.astype(np.float32) @ columns, -0.999999, 0.999999)
        return r * np.sqrt(df / (1 - r**2))

    t = statistics(left[None])[0]
    rng, largest = np.random.default_rng(seed), [float(np.abs(t).max(initial=0))]
    for start in range(0, draws, AT_ONCE):
        count = min(AT_ONCE, draws - start)
        drawn = rng.permuted(np.tile(left, (count, 1)), axis=1)
        largest += np.abs(statistics(drawn)).max(axis=1, initial=0).tolist()
    maxima = np.sort(largest)
    p = (len(maxima) - np.searchsorted(maxima, np.abs(t) * (1 - 1e-6), side="left")) / len(maxima)
    threshold = float(np.quantile(maxima, 0.95, method="higher"))
    return VoxelTest(np.where(free, t, 0), np.where(free, np.maximum(p, 1 / len(maxima)), 1.0), threshold, df)
