"""N4 on a coarse image: the algorithm that ANTs has, with its splines fitted one axis after the other.

Tustison et al., IEEE Transactions on Medical Imaging 29 (2010) 1310-1320; splines fitted to scattered data by Lee et
al., IEEE Transactions on Visualization and Computer Graphics 3 (1997) 228-244. ITK visits 64 control points for every
voxel; on a grid the weights are products of one factor per axis, so that a fit is three small matrix products. Written
by hand because of that: `ants.n4_bias_field_correction` takes 20 times the time for the same field
(``python -m tests.benchmarks.bias_fields``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: As in ITK: bins of the histogram of logarithms, noise of the Wiener filter, and width of the field's histogram.
BINS, WIENER_NOISE, FIELD_WIDTH = 200, 0.01, 0.15
#: A level has converged when one more update changes the field by less than this part of it.
TOLERANCE = 1e-6
#: Cubic splines; one span at the first level, twice as many at every further one.
ORDER = 3


@dataclass(frozen=True)
class _Fit:
    """Splines over one lattice: the weights of every control point at the places of each axis, ``(places, points)``."""

    weights: tuple[np.ndarray, np.ndarray, np.ndarray]
    norm: np.ndarray  # sum of squared weights at each place of the grid
    share: np.ndarray  # what voxels with tissue say of each control point

    def smoothed(self, values: np.ndarray) -> np.ndarray:
        """The spline nearest to values on the grid, zero where there is no tissue; ``(x, y, z)``."""
        asked = _along_axes(values / self.norm, [w.T**3 for w in self.weights])
        points = np.divide(asked, self.share, out=np.zeros_like(asked), where=self.share > 0)
        return _along_axes(points, self.weights)


def log_bias_field(image: np.ndarray, tissue: np.ndarray, iterations: tuple[int, ...]) -> np.ndarray:
    """Logarithm of the field that shades an image, up to a constant.

    Args:
        image: shape ``(x, y, z)``.
        tissue: bool, the same shape: what is looked at; values of zero and below are not.
        iterations: at most so many at each level; every level halves the spans of the splines.

    Returns:
        float64, shape ``(x, y, z)``: defined everywhere, told by the tissue.
    """
    seen = tissue & (image > 0)
    logs = np.zeros(image.shape)
    logs[seen] = np.log(image[seen])
    field = np.zeros(image.shape)
    for level, most in enumerate(iterations):
        fit = _fit(seen, 2**level)
        for _ in range(most):
            now = logs[seen] - field[seen]
            residual = np.zeros(image.shape)
            residual[seen] = now - _sharpened(now)
            update = fit.smoothed(residual)
            field += update
            change = np.exp(-update[seen])
            if change.std(ddof=1) <= TOLERANCE * change.mean():
                break
    return field


def _sharpened(logs: np.ndarray) -> np.ndarray:
    """Each value moved to where it is expected once the field's spread is taken out of the histogram; ``(n,)``."""
    low, high = float(logs.min()), float(logs.max())
    if high <= low:
        return logs
    slope = (high - low) / (BINS - 1)
    places = (logs - low) / slope
    below = np.minimum(places.astype(int), BINS - 1)
    part = places - below
    counts = np.bincount(below, 1 - part, BINS) + np.bincount(np.minimum(below + 1, BINS - 1), part, BINS)
    size = 2 ** (int(np.ceil(np.log2(BINS))) + 1)
    start = (size - BINS) // 2
    padded = np.zeros(size)
    padded[start : start + BINS] = counts
    width = FIELD_WIDTH / slope
    away = np.minimum(np.arange(size), size - np.arange(size))
    spread = np.fft.rfft(2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) * (away / width) ** 2))
    wiener = (np.conj(spread) / (np.abs(spread) ** 2 + WIENER_NOISE)).real
    sharp = np.maximum(np.fft.irfft(np.fft.rfft(padded) * wiener, size), 0)
    centres = low + (np.arange(size) - start) * slope
    above = np.fft.irfft(np.fft.rfft(centres * sharp) * spread, size)
    under = np.fft.irfft(np.fft.rfft(sharp) * spread, size)
    expected = np.divide(above, under, out=np.zeros(size), where=under != 0)[start : start + BINS]
    return np.interp(places, np.arange(BINS), expected)


def _fit(tissue: np.ndarray, spans: int) -> _Fit:
    x, y, z = (_weights(n, spans) for n in tissue.shape)
    squares = [(w**2).sum(1) for w in (x, y, z)]
    norm = squares[0][:, None, None] * squares[1][:, None] * squares[2]
    return _Fit((x, y, z), norm, _along_axes(tissue.astype(float), [w.T**2 for w in (x, y, z)]))


def _weights(places: int, spans: int) -> np.ndarray:
    """Cubic B-splines of ``spans`` equal spans over ``places`` equal steps, ``(places, spans + 3)``."""
    where = np.linspace(0, spans, places)
    span = np.minimum(where.astype(int), spans - 1)
    t = where - span
    pieces = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    weights = np.zeros((places, spans + ORDER))
    for piece in range(ORDER + 1):
        weights[np.arange(places), span + piece] = pieces[:, piece]
    return weights


def _along_axes(values: np.ndarray, matrices: list[np.ndarray] | tuple[np.ndarray, ...]) -> np.ndarray:
    """A matrix ``(new, old)`` applied along each axis of a volume."""
    for matrix in matrices:  # the first axis each time, which then goes to the end
        values = np.tensordot(values, matrix, axes=(0, 1))
    return values
