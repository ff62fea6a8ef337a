"""Single slices: which of those that a scanner measured lies nearest to a place, and maps of it brought back.

A scan of thick slices holds nothing between them: reading between two of them would show a brain that nobody measured.
So a slice of such a scan is taken as it was measured; of a scan with thin slices it is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, box_points, smoothed, transform_points

#: Slices thicker than this are taken as they were measured, mm.
THICK_MM = 2.0
#: Axes of which one is the longest, up to this part of it.
SAME_LENGTH = 0.01
#: Two axes run the same way where the cosine between them is above this: half a right angle.
ALIKE = 0.7
#: How far beyond the end of a scan its last slice still stands for a place, in slices.
HALF_A_SLICE = 0.5


def slice_axis(native: Grid, up: np.ndarray) -> int | None:
    """Axis along which an image was measured in thick slices, or is one slice only; None where it was in thin ones.

    Args:
        native: of the image.
        up: direction, ``(3,)``, in the image's world: of axes that are equally thick the one closest to it.
    """
    along = np.abs(native.affine[:3, :3].T @ up) / native.spacing
    single = np.array(native.shape) == 1
    longest = native.spacing >= (1 - SAME_LENGTH) * native.spacing.max()
    candidates = single if single.any() else longest & (native.spacing > THICK_MM)
    return int(np.argmax(np.where(candidates, along, -1))) if candidates.any() else None


def with_thickness(affine: np.ndarray, axis: int, thickness: float) -> np.ndarray:
    """A voxel-to-world matrix whose axis across the one slice has this length, mm; at right angles if it had none."""
    first, second = (affine[:3, a] for a in range(3) if a != axis)
    column = affine[:3, axis]
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        column = np.cross(first, second) * (-1 if axis == 1 else 1)
    thick = affine.copy()
    thick[:3, axis] = column / max(np.linalg.norm(column), 1e-12) * thickness
    return thick


def across(native: Grid, axis: int, up: np.ndarray) -> np.ndarray:
    """Unit vector at right angles to an image's slices, on the side of ``up``; ``(3,)``."""
    first, second = (native.affine[:3, a] for a in range(3) if a != axis)
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal)
    return normal if normal @ up >= 0 else -normal


def lies_across(native: Grid, axis: int, up: np.ndarray) -> bool:
    """Whether an image's slices lie more across a direction than along it."""
    return bool(abs(across(native, axis, up) @ up) / np.linalg.norm(up) > ALIKE)


def nearest_slice(native: Grid, axis: int, place_mm: np.ndarray) -> int:
    """Number of the slice of an image that is nearest to a place of its world."""
    index = transform_points(np.linalg.inv(native.affine), place_mm)[axis]
    return int(np.clip(np.rint(index), 0, native.shape[axis] - 1))


def measured_slice(wanted: Grid, native: Grid, axis: int, index: int) -> tuple[Grid, float]:
    """The grid of a slice, ``z = 1``, laid into one that was measured: turned into its plane, and as thick as it is.

    Args:
        wanted: where the slice would lie if it could be interpolated.
        native: of the image.
        axis, index: of the slice that was measured.

    Returns:
        The grid; and how far above the wanted place it lies, mm.
    """
    up = wanted.affine[:3, 2] / np.linalg.norm(wanted.affine[:3, 2])
    normal = across(native, axis, up)
    place = np.zeros(3)
    place[axis] = index
    away = float((transform_points(native.affine, place) - wanted.centre) @ normal)
    first = wanted.affine[:3, 0] - normal * (normal @ wanted.affine[:3, 0])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    second *= 1 if second @ wanted.affine[:3, 1] >= 0 else -1
    step = wanted.spacing
    thickness = abs(float(native.affine[:3, axis] @ normal))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([first * step[0], second * step[1], normal * thickness], 1)
    middle = (np.array(wanted.shape) - 1) / 2
    affine[:3, 3] = wanted.centre + away * normal - affine[:3, :3] @ middle
    return Grid(wanted.shape, affine), away


def sample_measured(
    path: Path | str, to_image: np.ndarray, grid: Grid, axis: int, *, reach: float = HALF_A_SLICE
) -> np.ndarray:
    """An image of thick slices on a grid: every voxel from the slice nearest to it, interpolated inside it only.

    Args:
        path: 3-D image.
        to_image: grid world to image world, ``(4, 4)``.
        grid: where the result lies.
        axis: of the image, across its slices.
        reach: how far beyond its last slice that slice is still taken, in slices.

    Returns:
        float32, ``grid.shape``; zero outside the image.
    """
    import nibabel as nib
    from scipy import ndimage

    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    to_voxel = np.linalg.inv(image.affine) @ to_image @ grid.affine
    width = np.linalg.norm(to_voxel[:3, :3], axis=1)
    width[axis] = 1
    crop, to_crop = smoothed(values, width)
    places = transform_points(to_voxel, np.moveaxis(np.indices(grid.shape), 0, -1))
    number, last = places[..., axis], values.shape[axis] - 1
    inside = (number >= -reach) & (number <= last + reach)
    places = places * np.diag(to_crop)[:3] + to_crop[:3, 3]
    places[..., axis] = np.clip(np.rint(number), 0, last)
    coordinates = np.moveaxis(places, -1, 0)
    read = ndimage.map_coordinates(crop, coordinates, order=1, mode="grid-constant", output=np.float32)
    return np.where(inside, read, np.float32(0))


def slice_to_grid(maps: np.ndarray, source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Bring maps of one slice into a volume: into the voxels whose centre lies in the slice, and no others.

    Args:
        maps: shape ``(regions, x, y, 1)``, on ``source``.
        source: of the slice; as thick as the slice is.
        target: of the volume, in the same world.

    Returns:
        float32, ``(regions, *target.shape)``, zero elsewhere; and which voxels were looked at.
    """
    from scipy import ndimage

    if maps.shape[1:] != source.shape or source.shape[2] != 1:
        raise ImageError(f"a map of a slice has z = 1 and its grid's shape; this has {maps.shape[1:]}, {source.shape}")
    to_slice = np.linalg.inv(source.affine) @ target.affine
    half = max(0.5, float(np.abs(to_slice[2, :3]).max()) / 2)  # thicker voxels than the slice: those that it crosses
    rows = [to_slice[2, a] * np.arange(n) for a, n in enumerate(target.shape)]
    depth = rows[0][:, None, None] + rows[1][:, None] + rows[2] + to_slice[2, 3] + 1e-6  # ties go to one side
    index = np.argwhere((depth >= -half) & (depth < half))
    places = transform_points(to_slice, index)[:, :2]
    shape = np.array(source.shape[:2])
    seen = ((places >= -0.5) & (places <= shape - 0.5)).all(1)
    index = index[seen]
    looked = np.zeros(target.shape, bool)
    looked[tuple(index.T)] = True
    result = np.zeros((len(maps), *target.shape), np.float32)
    offsets = box_points(np.linalg.norm(to_slice[:2, :3], axis=0))
    for one, out in zip(maps, result, strict=True):
        total = np.zeros(len(index), np.float32)
        for offset in offsets:
            inside = transform_points(to_slice, index + offset)[:, :2]
            total += ndimage.map_coordinates(np.asarray(one[..., 0], np.float32), inside.T, order=1, mode="nearest")
        out[tuple(index.T)] = total / len(offsets)
    return result, looked


def slices_seen(looked: np.ndarray, source: Grid, target: Grid) -> tuple[int, list[int]]:
    """Axis of a volume that runs most across a slice, and the numbers along it that hold a voxel that was looked at."""
    steps: Sequence[float] = np.abs((np.linalg.inv(source.affine) @ target.affine)[2, :3])
    axis = int(np.argmax(steps))
    others = tuple(a for a in range(3) if a != axis)
    return axis, [int(n) for n in np.flatnonzero(looked.any(others))]
