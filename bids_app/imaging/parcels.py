"""Mean courses of parcels that need no atlas: cubes of one size in the template's world, the same for everybody."""

from __future__ import annotations

import numpy as np

#: Edge of a cube. No cube crosses the middle plane; a brain fills 80 to 90 of this size.
CUBE_MM = 30.0
#: Box around any brain in the world of the MNI152 templates, mm: from the left, back and bottom to the other ends.
BOX_MM = ((-90.0, -120.0, -75.0), (90.0, 90.0, 105.0))
#: Part of its cube that a parcel must fill, so that its mean is that of many voxels.
FILLED = 0.25


def cube_names() -> list[str]:
    """Name of every cube by its middle, mm to the right, to the front, upwards: ``x-45_y-75_z0``."""
    return [f"x{x:g}_y{y:g}_z{z:g}" for x, y, z in _middles()]


def _middles() -> np.ndarray:
    axes = [np.arange(low + CUBE_MM / 2, high, CUBE_MM) for low, high in zip(*BOX_MM, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def cubes_of(places: np.ndarray) -> np.ndarray:
    """Position of the cube that each place lies in, in the order of `cube_names`; -1 outside the box.

    Args:
        places: world coordinates of the template, mm, ``(n, 3)``.
    """
    low, high = np.asarray(BOX_MM)
    count = np.rint((high - low) / CUBE_MM).astype(int)
    index = np.floor((places - low) / CUBE_MM).astype(int)
    inside = ((index >= 0) & (index < count)).all(1)
    found = np.full(len(places), -1)
    found[inside] = np.ravel_multi_index(tuple(index[inside].T), tuple(count))
    return found


def cube_courses(courses: np.ndarray, mask: np.ndarray, affine: np.ndarray, to_template: np.ndarray) -> np.ndarray:
    """Mean course of every cube that is filled well enough, NaN for the others: ``(t, cubes)``.

    Args:
        courses: ``(voxels of the mask, t)``, in the mask's order; nuisance and frequencies outside the band are gone.
        mask: of the brain, ``(x, y, z)``.
        affine: voxel to world, mm, ``(4, 4)``.
        to_template: that world to the template's world, ``(4, 4)``.
    """
    whole = to_template @ affine
    places = np.argwhere(mask) @ whole[:3, :3].T + whole[:3, 3]
    cube, count = cubes_of(places), len(cube_names())
    least = FILLED * CUBE_MM**3 / abs(np.linalg.det(whole[:3, :3]))
    out = np.full((courses.shape[1], count), np.nan)
    for position, voxels in enumerate(np.bincount(cube[cube >= 0], minlength=count)):
        if voxels >= max(least, 1):
            out[:, position] = courses[cube == position].mean(0)
    return out
