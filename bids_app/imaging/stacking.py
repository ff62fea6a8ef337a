"""Put every sequence on one grid with a single interpolation, and bring results back.

Worlds are nibabel's: RAS, mm. Arrays are indexed ``i, j, k``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError

#: Standard deviation of a Gaussian of full width at half maximum 1.
SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
#: How far the prefilter reaches, in standard deviations; what is cropped is enlarged by that much.
REACH = 3.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie.

    Attributes:
        shape: number of voxels along the three axes.
        affine: voxel to world, mm, shape ``(4, 4)``.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=float)
        if affine.shape != (4, 4) or len(self.shape) != 3 or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ImageError("a grid needs three sizes and an invertible 4x4 affine")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @classmethod
    def of(cls, path: Path | str) -> Grid:
        """The grid of a 3-D image file; voxels are not read."""
        import nibabel as nib

        image = nib.load(path)
        return cls(image.shape[:3], image.affine)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sizes, mm, shape ``(3,)``."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def centre(self) -> np.ndarray:
        """World position of the middle of the grid, mm, shape ``(3,)``."""
        return transform_points(self.affine, (np.asarray(self.shape) - 1) / 2)

    def moved(self, shift_mm: Sequence[float]) -> Grid:
        """The same grid, displaced in the world by ``shift_mm``."""
        affine = self.affine.copy()
        affine[:3, 3] += np.asarray(shift_mm, dtype=float)
        return Grid(self.shape, affine)

    def corners(self) -> np.ndarray:
        """World positions of the eight outermost voxel corners, mm, shape ``(8, 3)``."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        return transform_points(self.affine, np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)


def transform_points(matrix: np.ndarray, points: np.ndarray | Sequence[float]) -> np.ndarray:
    """Apply a 4x4 matrix to points of shape ``(..., 3)``."""
    points = np.asarray(points, dtype=float)
    return points @ np.asarray(matrix)[:3, :3].T + np.asarray(matrix)[:3, 3]


def box_of(inside: np.ndarray, more: int | Sequence[int] | np.ndarray = 0) -> tuple[slice, ...]:
    """Around the true voxels, and ``more`` voxels on every side as far as there are any; empty where none is true."""
    box = []
    for axis, (n, room) in enumerate(zip(inside.shape, np.broadcast_to(more, inside.ndim), strict=True)):
        there = np.flatnonzero(inside.any(tuple(a for a in range(inside.ndim) if a != axis)))
        ends = (int(there[0]) - int(room), int(there[-1]) + 1 + int(room)) if len(there) else (0, 0)
        box.append(slice(max(ends[0], 0), min(ends[1], n)))
    return tuple(box)


def part_of(grid: Grid, box: Sequence[slice]) -> Grid:
    """The grid of a box of a grid's voxels."""
    affine = grid.affine.copy()
    affine[:3, 3] = transform_points(grid.affine, [part.start for part in box])
    return Grid(tuple(part.stop - part.start for part in box), affine)


def rotation_of(matrix: np.ndarray) -> np.ndarray:
    """The rotation nearest to a 4x4 or 3x3 matrix (its polar factor), shape ``(3, 3)``, determinant +1.

    Raises:
        ImageError: the matrix mirrors space (negative determinant): left and right would be swapped.
    """
    linear = np.asarray(matrix, dtype=float)[:3, :3]
    if np.linalg.det(linear) <= 0:
        raise ImageError("the transform mirrors space: left and right would be swapped; check the image's affine")
    u, _, vt = np.linalg.svd(linear)
    return u @ vt


def region_grid(
    template_to_native: np.ndarray, centre_mm: Sequence[float], size_mm: float | Sequence[float], spacing: float
) -> Grid:
    """A cube around a place of the template, in native space, its axes the template's axes turned rigidly.

    Only the rotation of the affine is used, not its scales and shears, so that a voxel is ``spacing**3`` mm³ of the
    participant's own brain.

    Args:
        template_to_native: template world to native world, shape ``(4, 4)``.
        centre_mm: the place, in the template's world.
        size_mm: edge lengths, native mm (one number for a cube).
        spacing: voxel size, native mm.
    """
    rotation = rotation_of(template_to_native)
    size = np.broadcast_to(np.asarray(size_mm, dtype=float), (3,))
    shape = np.maximum(np.rint(size / spacing).astype(int), 1)
    return _centred(rotation * spacing, shape, transform_points(template_to_native, centre_mm))


def whole_grid(
    template_to_native: np.ndarray,
    native: Grid,
    spacing: float,
    *,
    mask: np.ndarray | None = None,
    margin_mm: float = 5,
) -> Grid:
    """A grid over a whole image, or over the box of a mask, with axes as in `region_grid`.

    Args:
        template_to_native: template world to native world, shape ``(4, 4)``.
        native: the image's grid.
        spacing: voxel size, native mm.
        mask: on ``native``; when given, the grid covers its non-zero voxels and ``margin_mm`` around them.
        margin_mm: ignored without a mask.
    """
    rotation = rotation_of(template_to_native)
    if mask is None:
        points, margin = native.corners(), 0.0
    else:
        inside = np.argwhere(np.asarray(mask) > 0)
        if not len(inside):
            raise ImageError("the mask is empty; no grid can be laid around it")
        points, margin = transform_points(native.affine, inside), margin_mm
    along = points @ rotation
    low, high = along.min(0) - margin, along.max(0) + margin
    shape = np.maximum(np.ceil((high - low) / spacing).astype(int), 1)
    return _centred(rotation * spacing, shape, rotation @ ((low + high) / 2))


def _centred(linear: np.ndarray, shape: np.ndarray, centre: np.ndarray) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = centre - linear @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def stack(
    paths: Sequence[Path | str | None],
    to_images: Sequence[np.ndarray | None],
    grid: Grid,
    *,
    order: int = 1,
    warps: Sequence[np.ndarray | None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample every sequence straight from its own voxels onto one grid.

    Args:
        paths: one 3-D image per sequence, or None where a sequence is missing.
        to_images: for each sequence the composed matrix, grid world to image world, shape ``(4, 4)``.
        grid: where the stack lies.
        order: 1 linear, 0 nearest.
        warps: for each sequence None or displacements in mm on ``grid``, shape ``(x, y, z, 3)``, added to the grid's
            world positions before the matrix.

    Returns:
        The stack, float32, shape ``(sequences, x, y, z)``, zero outside an image and for a missing sequence; and one
        float32 flag per sequence, 1 where it is there.
    """
    warps = [None] * len(paths) if warps is None else warps
    present = np.array([path is not None for path in paths], dtype=np.float32)
    stacked = np.zeros((len(paths), *grid.shape), dtype=np.float32)
    for channel, (path, matrix, warp) in enumerate(zip(paths, to_images, warps, strict=True)):
        if path is not None:
            stacked[channel] = sample(path, np.eye(4) if matrix is None else matrix, grid, order=order, warp=warp)
    return stacked, present


def sample(
    path: Path | str | Any, to_image: np.ndarray, grid: Grid, *, order: int = 1, warp: np.ndarray | None = None
) -> np.ndarray:
    """One image on a grid by one interpolation; smoothed first along axes where the grid is coarser than the image.

    Only the part of the image under the grid is read (cheap for an uncompressed file).

    Args:
        path: 3-D image, or one of nibabel.
        to_image: grid world to image world, shape ``(4, 4)``.
        grid: where the result lies.
        order: 1 linear, 0 nearest (no smoothing).
        warp: see `stack`.

    Returns:
        float32, ``grid.shape``; zero outside the image.
    """
    import nibabel as nib
    from scipy import ndimage

    image = nib.load(path) if isinstance(path, str | Path) else path
    world_to_voxel = np.linalg.inv(image.affine) @ to_image
    to_voxel = world_to_voxel @ grid.affine
    # The width of a grid voxel seen along each image axis, in image voxels; the image's own width is 1.
    width = np.linalg.norm(to_voxel[:3, :3], axis=1) if order else np.ones(3)
    coordinates = None if warp is None else _warped_coordinates(grid, world_to_voxel, warp)
    if coordinates is None:
        ends = [(0, n - 1) for n in grid.shape]
        reached = transform_points(to_voxel, np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)
    else:
        reached = coordinates.reshape(3, -1).T
    margin = np.ceil(REACH * width) + 2
    low = np.maximum(np.floor(reached.min(0) - margin), 0).astype(int)
    low -= low % blocks_of(width)  # so that a part of a grid gets what the whole gets
    high = np.minimum(np.ceil(reached.max(0) + margin) + 1, image.shape[:3]).astype(int)
    if (high <= low).any():
        return np.zeros(grid.shape, np.float32)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rest = (0,) * (len(image.shape) - 3)  # further axes of one volume
    crop = np.asarray(image.dataobj[(*box, *rest)], dtype=np.float32)
    crop, to_crop = smoothed(crop, width)
    to_crop[:3, 3] -= to_crop[:3, :3] @ low
    if coordinates is not None:
        for axis in range(3):
            coordinates[axis] = coordinates[axis] * to_crop[axis, axis] + to_crop[axis, 3]
        return ndimage.map_coordinates(crop, coordinates, order=order, mode="grid-constant", output=np.float32)
    matrix = to_crop @ to_voxel
    return ndimage.affine_transform(
        crop, matrix[:3, :3], matrix[:3, 3], grid.shape, np.float32, order=order, mode="grid-constant"
    )


def blocks_of(width: np.ndarray) -> np.ndarray:
    """How many whole voxels of an image lie in a voxel of ``width``, along each axis; at least 1."""
    return np.maximum(np.floor(width + 1e-6), 1).astype(int)


def smoothed(array: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth to voxels of ``width``: means over whole blocks first (fast), a Gaussian for what is left.

    Returns:
        The smoothed array, smaller by the blocks, and the matrix from the old indices to its own.
    """
    from scipy import ndimage

    blocks = blocks_of(width)
    to_blocks = np.diag([*(1 / blocks), 1.0])
    to_blocks[:3, 3] = -(blocks - 1) / 2 / blocks
    if (blocks > 1).any():
        array = np.pad(array, [(0, -n % k) for n, k in zip(array.shape, blocks, strict=True)], mode="edge")
        for axis, k in enumerate(blocks):
            shape = (*array.shape[:axis], array.shape[axis] // k, k, *array.shape[axis + 1 :])
            array = array.reshape(shape).mean(axis + 1)
    sigma = np.sqrt(np.maximum((width / blocks) ** 2 - 1, 0)) * SIGMA_PER_FWHM
    if (sigma > 0.1).any():
        array = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=REACH)
    return array, to_blocks


def _warped_coordinates(grid: Grid, world_to_voxel: np.ndarray, warp: np.ndarray) -> np.ndarray:
    if warp.shape != (*grid.shape, 3):
        raise ImageError(f"the warp has shape {warp.shape}; the grid needs {(*grid.shape, 3)}")
    to_voxel = world_to_voxel @ grid.affine
    indices = np.indices(grid.shape, dtype=np.float32, sparse=True)
    rows = []
    for axis in range(3):
        row = warp @ world_to_voxel[axis, :3].astype(np.float32) + np.float32(to_voxel[axis, 3])
        for step, index in zip(to_voxel[axis, :3].astype(np.float32), indices, strict=True):
            row = row + step * index
        rows.append(row)
    return np.stack(rows)


def to_grid(probability: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Bring probability maps from one grid to another of the same world, keeping their integral.

    A target voxel gets the mean over its own box, not the value at its centre: where target voxels are the larger
    ones, sampling would keep or lose a small structure by chance. A sphere of 17 mm³ keeps its volume within 2 %.

    Args:
        probability: shape ``(regions, x, y, z)`` or ``(x, y, z)``, on ``source``.
        source: where it lies.
        target: where it is wanted.

    Returns:
        float32, shape ``(regions, *target.shape)`` or ``target.shape``; zero outside the source.
    """
    from scipy import ndimage

    maps = np.asarray(probability, dtype=np.float32)
    if maps.shape[-3:] != source.shape:
        raise ImageError(f"the map has shape {maps.shape[-3:]}, its grid {source.shape}")
    maps = maps.reshape(-1, *source.shape)
    to_voxel = np.linalg.inv(source.affine) @ target.affine
    low, high = _reached(np.linalg.inv(to_voxel), source.shape, target.shape)
    result = np.zeros((len(maps), *target.shape), np.float32)
    if (high > low).all():
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offsets = box_points(np.linalg.norm(to_voxel[:3, :3], axis=0))
        straight = _along_axes(to_voxel, source.shape, low, high)
        for one, out in zip(maps, result, strict=True):
            if straight is not None:
                out[box] = np.tensordot(straight[0], np.matmul(straight[1], np.matmul(one, straight[2].T)), 1)
                continue
            total = np.zeros(high - low, np.float32)
            for offset in offsets:
                start = transform_points(to_voxel, low + offset)
                total += ndimage.affine_transform(
                    one, to_voxel[:3, :3], start, total.shape, np.float32, order=1, mode="grid-constant"
                )
            out[box] = total / len(offsets)
    return result.reshape(*np.shape(probability)[:-3], *target.shape)


def _along_axes(
    to_voxel: np.ndarray, shape: tuple[int, ...], low: np.ndarray, high: np.ndarray
) -> list[np.ndarray] | None:
    """What each target index takes from each source index, axis by axis, ``(target, source)``; None where the axes of
    the two grids do not run alike.

    Means over boxes and linear interpolation are products of one weight per axis, and three products of matrices take
    a tenth of the time of visiting every voxel.
    """
    steps = np.diag(to_voxel)[:3]
    if np.abs(to_voxel[:3, :3] - np.diag(steps)).max() > 1e-7 * np.abs(steps).max():
        return None
    weights = []
    for axis, step in enumerate(steps):
        count = _points_in(abs(step))
        index = np.arange(low[axis], high[axis])
        weight = np.zeros((len(index), shape[axis]), np.float32)
        for offset in (np.arange(count) + 0.5) / count - 0.5:
            place = step * (index + offset) + to_voxel[axis, 3]
            first = np.floor(place).astype(int)
            for at, part in ((first, first + 1 - place), (first + 1, place - first)):
                there = (at >= 0) & (at < shape[axis])
                weight[np.flatnonzero(there), at[there]] += part[there] / count
        weights.append(weight)
    return weights


def _reached(to_target: np.ndarray, shape: tuple[int, ...], limit: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The index box of the target that the source touches."""
    ends = [(-1, n) for n in shape]
    corners = transform_points(to_target, np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)
    low = np.maximum(np.floor(corners.min(0) - 0.5), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0) + 1.5), limit).astype(int)
    return low, high


def _points_in(step: float) -> int:
    """How many places along a target voxel that is so many source voxels long."""
    return max(int(np.ceil(step - 0.25)), 1)


def box_points(steps: np.ndarray) -> list[np.ndarray]:
    """Places inside a target voxel (in target voxels, centre 0) that are at most about a source voxel apart."""
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in map(_points_in, steps)]
    return list(np.array(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T)
