"""How alike two images of different contrast are, fast enough to try hundreds of positions."""

from __future__ import annotations

import numpy as np

from bids_app.imaging.stacking import Grid, transform_points

BINS = 32


class MutualInformation:
    """Normalised mutual information of two images as a function of where the moving one lies.

    (H(f) + H(m)) / H(f, m): 1 for unrelated images, 2 for images of which one tells all of the other.

    Studholme, Hill and Hawkes, Pattern Recognition 32 (1999) 71-86.

    Args:
        fixed: array on ``fixed_grid``.
        moving: array on ``moving_grid``.
        fixed_mask: voxels of ``fixed`` that count; by default those of the box that holds its content.
        moving_mask: where it is zero, the moving image has no say.
        points: how many voxels are compared, spread evenly.
    """

    def __init__(
        self,
        fixed: np.ndarray,
        fixed_grid: Grid,
        moving: np.ndarray,
        moving_grid: Grid,
        *,
        fixed_mask: np.ndarray | None = None,
        moving_mask: np.ndarray | None = None,
        points: int = 20000,
    ) -> None:
        where = np.argwhere(_content(fixed) if fixed_mask is None else fixed_mask > 0)
        where = where[:: max(len(where) // points, 1)]
        self.fixed = _binned(fixed)[tuple(where.T)].astype(np.int64)
        self.world = transform_points(fixed_grid.affine, where)
        self.moving = _binned(moving).astype(np.float32)
        self.moving_mask = None if moving_mask is None else moving_mask > 0
        self.to_voxel = np.linalg.inv(moving_grid.affine)

    def at(self, matrix: np.ndarray) -> float:
        """Similarity when ``matrix`` (moving world to fixed world, ``(4, 4)``) is applied."""
        from scipy import ndimage

        places = transform_points(self.to_voxel @ np.linalg.inv(matrix), self.world).T
        values = ndimage.map_coordinates(self.moving, places, order=1, mode="constant", cval=0)
        pairs = self.fixed * BINS + np.rint(values).astype(np.int64)
        if self.moving_mask is not None:
            nearest = np.rint(places).astype(int)
            limit = np.array(self.moving_mask.shape)[:, None]
            inside = ((nearest >= 0) & (nearest < limit)).all(0)
            keep = ~inside
            keep[inside] = self.moving_mask[tuple(nearest[:, inside])]
            pairs = pairs[keep]
        if not len(pairs):
            return 1.0
        joint = np.bincount(pairs, minlength=BINS * BINS).reshape(BINS, BINS) / len(pairs)
        together = _entropy(joint)
        return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / together) if together > 0 else 1.0


def climb(
    measure: MutualInformation, start: np.ndarray, middle: np.ndarray, *, bounds: tuple[float, float, float]
) -> np.ndarray:
    """Follow the similarity uphill by shifting, turning and, where that is allowed, growing along the axes.

    Args:
        measure: the similarity.
        start: moving world to fixed world, ``(4, 4)``.
        middle: turns and growth are around this point of the fixed world, mm.
        bounds: at most so many mm, degrees and per cent away from the start; no growth where the last is 0.

    Returns:
        The better matrix, moving world to fixed world.
    """
    from scipy import optimize

    limits = np.repeat(bounds, 3)[: 9 if bounds[2] else 6]
    found = optimize.minimize(
        # Growth has a small price: a brain blown up to a head can look as good.
        lambda v: 1e-5 * (v[6:] ** 2).sum() - measure.at(nudged(v, middle) @ start),
        np.zeros(len(limits)),
        method="Powell",
        options={"maxiter": 4, "xtol": 0.5, "ftol": 1e-4},
        bounds=[(-limit, limit) for limit in limits],
    )
    return nudged(found.x, middle) @ start


def nudged(v: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Shift (3, mm), turn (3, degrees) and growth (3, per cent, or none) around a point, as a matrix."""
    shift = np.eye(4)
    shift[:3, 3] = v[:3]
    growth = np.exp(v[6:9] / 100) if len(v) > 6 else np.ones(3)
    return shift @ scaled(growth, middle) @ turned(v[3:6], middle, middle)


def scaled(factors: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Growth along the axes of the world around a point, ``(4, 4)``."""
    matrix = np.diag([*factors, 1.0])
    matrix[:3, 3] = middle - factors * middle
    return matrix


def turned(angles_deg, about: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Rotations about x, y and z (degrees) around ``about``, which lands on ``to``; shape ``(4, 4)``."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(angles_deg)):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        j, k = [a for a in range(3) if a != axis]
        one[j, j], one[j, k], one[k, j], one[k, k] = c, -s, s, c
        matrix[:3, :3] = one @ matrix[:3, :3]
    matrix[:3, 3] = to - matrix[:3, :3] @ about
    return matrix


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _binned(array: np.ndarray) -> np.ndarray:
    """0 for background, up to ``BINS - 1``; the brightest half per cent (fat, vessels) share a bin."""
    content = array[array > 0]
    top = np.percentile(content, 99.5) if content.size else 1.0
    return np.clip(array / max(top, 1e-6), 0, 1) * (BINS - 1)


def _content(array: np.ndarray) -> np.ndarray:
    """The box around everything that is brighter than a twentieth of the bright parts, as a mask."""
    bright = array > 0.05 * np.percentile(array, 99)
    box = np.zeros(array.shape, bool)
    if bright.any():
        where = np.argwhere(bright)
        low, high = where.min(0), where.max(0) + 1
        box[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return box
