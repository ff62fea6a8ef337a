"""How well two answers agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_app.errors import ImageError
from bids_app.measure.volumes import centroid_mm


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice coefficient of two masks on one grid; 1 when both are empty.

    Dice, Ecology 26 (1945) 297-302.
    """
    one, other = _pair(one, other)
    total = int(one.sum()) + int(other.sum())
    return 1.0 if total == 0 else float(2 * int((one & other).sum()) / total)


def soft_dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two probability maps, with the smaller of two probabilities as what they share; 1 when both are empty."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    _same_shape(one, other)
    total = one.sum() + other.sum()
    return 1.0 if total == 0 else float(2 * np.minimum(one, other).sum() / total)


def centre_distance(one: np.ndarray, other: np.ndarray, affine: np.ndarray) -> float:
    """Distance between two centres of mass, mm; NaN where one is empty."""
    return float(np.linalg.norm(centroid_mm(one, affine) - centroid_mm(other, affine)))


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, mm, both ways taken together.

    Attributes:
        mean: average symmetric surface distance.
        p95: 95th centile of each way's distances, the larger of the two (robust Hausdorff distance).
        largest: Hausdorff distance.
    """

    mean: float
    p95: float
    largest: float


def surface_distances(one: np.ndarray, other: np.ndarray, spacing: tuple[float, float, float]) -> SurfaceDistances:
    """Symmetric distances between the surfaces of two masks on one grid.

    A surface is the voxels of a mask with a face towards the outside; distances are between voxel centres.

    Args:
        one: mask, shape ``(x, y, z)``.
        other: mask of the same shape.
        spacing: voxel sizes, mm.

    Returns:
        The distances; infinite when one mask is empty, zero when both are.
    """
    one, other = _pair(one, other)
    if not one.any() or not other.any():
        value = 0.0 if not one.any() and not other.any() else float("inf")
        return SurfaceDistances(value, value, value)
    one, other = _cropped(one, other)
    there, back = _to_surface(one, other, spacing), _to_surface(other, one, spacing)
    both = np.concatenate([there, back])
    p95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return SurfaceDistances(float(both.mean()), float(p95), float(both.max()))


def _to_surface(source: np.ndarray, target: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    from scipy import ndimage

    return ndimage.distance_transform_edt(~_surface(target), sampling=spacing)[_surface(source)]


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask)


def _cropped(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(one | other)
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    return np.pad(one[box], 1), np.pad(other[box], 1)


def _pair(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one) != 0, np.asarray(other) != 0
    _same_shape(one, other)
    return one, other


def _same_shape(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise ImageError(f"masks of shape {one.shape} and {other.shape} cannot be compared; bring them to one grid")
