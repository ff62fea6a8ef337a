"""Shapes of habenulae, as signed distances, from voxel lists of measured ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Grid of a shape: sides and spacing.
SHAPE_SIDE = 36
SHAPE_SPACING_MM = 0.35
MASKS = "habenula_atlas/HCP1001_habenula_masks.npz"
#: Fewest voxels of a mask that has a shape to speak of.
FEWEST = 20


def load_shapes(data_root: Path, count: int = 240) -> np.ndarray:
    """Signed distance (mm, negative inside) of measured habenulae, the right ones mirrored to the left.

    Args:
        data_root: holds ``habenula_atlas``.
        count: how many; evenly spread over the participants.

    Returns:
        float32, shape ``(count, n, n, n)``; each is scaled to a volume of 1 mm³ cubed root, see `unit_volume`. Axes are
        RAS. Ellipsoids of the same mean proportions where the masks are absent.
    """
    path = data_root / MASKS
    if not path.is_file():
        return np.stack([ellipsoid()])
    held = np.load(path)
    order = np.sign(np.diag(held["affine"])[:3]).astype(int)
    starts = np.flatnonzero(np.r_[True, np.diff(held["subject"]) != 0])
    ends = np.r_[starts[1:], len(held["subject"])]
    shapes = []
    for number in np.linspace(0, len(starts) - 1, count // 2 + 1).astype(int):
        rows = slice(starts[number], ends[number])
        for side in np.unique(held["label"][rows]):
            voxels = held["ijk"][rows][held["label"][rows] == side] * order
            if len(voxels) >= FEWEST:
                shapes.append(signed_distance(voxels, mirrored=_is_right(held, rows, side)))
    return np.stack(shapes[:count])


def _is_right(held, rows: slice, side: int) -> bool:
    """Whether a label is the right one: by its place, not by its number."""
    world = held["ijk"][rows][:, 0] * held["affine"][0, 0]
    labels = held["label"][rows]
    return world[labels == side].mean() > world.mean()


def signed_distance(voxels: np.ndarray, *, mirrored: bool, voxel_mm: float = 0.7) -> np.ndarray:
    """Smooth surface through a voxel list, as mm from it, in a shape's own grid; centred on its mass."""
    from scipy import ndimage

    coarse = np.zeros((SHAPE_SIDE // 2,) * 3, np.float32)
    local = np.rint(voxels - voxels.mean(0) + (SHAPE_SIDE // 2 - 1) / 2).astype(int)
    local = local[((local >= 0) & (local < SHAPE_SIDE // 2)).all(1)]
    coarse[tuple(local.T)] = 1
    fine = ndimage.zoom(coarse, SHAPE_SIDE / coarse.shape[0], order=1, grid_mode=True, mode="grid-constant")
    fine = ndimage.gaussian_filter(fine, 1.0)
    level = np.sort(fine.ravel())[-int(len(voxels) * (voxel_mm / SHAPE_SPACING_MM) ** 3)]
    inside = fine >= max(level, 0.05)
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = ndimage.gaussian_filter(distance * SHAPE_SPACING_MM, 0.7).astype(np.float32)
    return np.ascontiguousarray(distance[::-1]) if mirrored else distance


def ellipsoid(axes_mm: tuple[float, float, float] = (1.25, 1.62, 2.03)) -> np.ndarray:
    """The mean ellipsoid of 51 measured masks (semi-axes, mm), as approximate signed distance."""
    axis = (np.arange(SHAPE_SIDE) - (SHAPE_SIDE - 1) / 2) * SHAPE_SPACING_MM
    place = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) / np.array(axes_mm)
    return ((np.linalg.norm(place, axis=-1) - 1) * np.cbrt(np.prod(axes_mm))).astype(np.float32)


def volume_of(shape: np.ndarray) -> float:
    """Volume inside a signed distance, mm³."""
    return float(np.clip(0.5 - shape / SHAPE_SPACING_MM, 0, 1).sum() * SHAPE_SPACING_MM**3)
