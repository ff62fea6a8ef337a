"""Apply chains of transforms to points and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.transforms import read_matrix

ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}
#: Voxels mapped at a time, to bound memory.
SLAB = 4_000_000


class Displacements:
    """A field that moves points.

    Args:
        field: mm along the axes of the world (RAS), shape ``(3, x, y, z)``.
        grid: where its voxels lie.
    """

    def __init__(self, field: np.ndarray, grid: Grid) -> None:
        self.field, self.grid = field, grid
        self.to_voxel = np.linalg.inv(grid.affine)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (RAS, mm, shape ``(n, 3)``) go; outside the field they stay."""
        from scipy import ndimage

        places = transform_points(self.to_voxel, points).T
        moved = np.array(points, dtype=float)
        for axis, part in enumerate(self.field):
            moved[:, axis] += ndimage.map_coordinates(part, places, order=1, mode="constant", cval=0)
        return moved


def read_warp(path: Path | str) -> Displacements:
    """A displacement field as ITK writes it: NIfTI with a vector (LPS) per voxel.

    Raises:
        ImageError: the file is no displacement field.
    """
    import nibabel as nib

    image = nib.load(path)
    field = np.asarray(image.dataobj, dtype=np.float32)
    if field.ndim != 5 or field.shape[3:] != (1, 3):
        raise ImageError(f"{path} is no displacement field: its shape is {field.shape}")
    ras = np.moveaxis(field[..., 0, :], -1, 0) * np.array([-1, -1, 1], np.float32)[:, None, None, None]
    return Displacements(ras, Grid(field.shape[:3], image.affine))


def load_chain(transforms: Sequence[Path | str | np.ndarray]) -> list[np.ndarray | Displacements]:
    """Matrices (fixed world to moving world) and `Displacements`, in the order in which points meet them."""
    chain: list[np.ndarray | Displacements] = []
    for one in transforms:
        if isinstance(one, np.ndarray):
            chain.append(np.linalg.inv(one))
        elif str(one).endswith((".nii", ".nii.gz")):
            chain.append(read_warp(one))
        else:
            chain.append(np.linalg.inv(read_matrix(one)))
    return chain


def map_points(points: np.ndarray, transforms: Sequence[Path | str | np.ndarray]) -> np.ndarray:
    """Carry points of the fixed image's world to the moving image's world.

    Args:
        points: RAS, mm, shape ``(n, 3)``.
        transforms: ITK files, or matrices (moving world to fixed world), in ANTs' order: that of
            `Registration.forward`.

    Returns:
        Shape ``(n, 3)``. To carry points from moving to fixed, give `Registration.inverse`.
    """
    return _through(np.asarray(points, dtype=float).reshape(-1, 3), load_chain(transforms))


def _through(points: np.ndarray, chain: list) -> np.ndarray:
    for step in chain:
        points = transform_points(step, points) if isinstance(step, np.ndarray) else step(points)
    return points


def resample(
    image: Path | str,
    reference: Path | str | Grid,
    transforms: Sequence[Path | str | np.ndarray] = (),
    *,
    interpolation: str = "linear",
    out: Path | str | None = None,
) -> np.ndarray:
    """Bring an image onto another grid through a chain of transforms, with one interpolation.

    Args:
        image: 3-D image (the moving one).
        reference: whose grid the result takes (the fixed one).
        transforms: as for `map_points`.
        interpolation: ``nearest`` (labels), ``linear`` or ``cubic``.
        out: where to save, if anywhere; float32, for ``nearest`` the type of the input.

    Returns:
        The array on the grid.

    Raises:
        UsageError: unknown interpolation.
    """
    import nibabel as nib

    if interpolation not in ORDERS:
        raise UsageError(f"interpolation is one of {', '.join(ORDERS)}, not {interpolation}")
    source = nib.load(image)
    grid = reference if isinstance(reference, Grid) else Grid.of(reference)
    kind = source.get_data_dtype() if interpolation == "nearest" else np.float32
    array = np.asarray(source.dataobj, dtype=kind if interpolation == "nearest" else np.float32)
    moved = pull(array, Grid(source.shape[:3], source.affine), grid, load_chain(transforms), ORDERS[interpolation])
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(moved, grid.affine), out)
    return moved


def pull(array: np.ndarray, source: Grid, grid: Grid, chain: list, order: int = 1) -> np.ndarray:
    """Values of ``array`` (on ``source``) at the places that the voxels of ``grid`` are carried to.

    Args:
        array: shape ``source.shape``.
        source: where it lies.
        grid: where the result lies.
        chain: from `load_chain`.
        order: of the spline.

    Returns:
        The type of ``array``, shape ``grid.shape``; zero outside ``array``.
    """
    from scipy import ndimage

    to_voxel = np.linalg.inv(source.affine)
    if all(isinstance(step, np.ndarray) for step in chain):
        matrix = grid.affine
        for step in [*chain, to_voxel]:
            matrix = step @ matrix
        return ndimage.affine_transform(
            array, matrix[:3, :3], matrix[:3, 3], grid.shape, array.dtype, order=order, mode="constant"
        )
    if order > 1:
        array = ndimage.spline_filter(array, order=order, output=np.float32)
    result = np.zeros(grid.shape, array.dtype)
    thick = max(SLAB // max(grid.shape[1] * grid.shape[2], 1), 1)
    for low in range(0, grid.shape[0], thick):
        high = min(low + thick, grid.shape[0])
        index = np.indices((high - low, *grid.shape[1:])).reshape(3, -1).T + np.array([low, 0, 0])
        places = transform_points(to_voxel, _through(transform_points(grid.affine, index), chain)).T
        values = ndimage.map_coordinates(array, places, order=order, mode="constant", prefilter=False)
        result[low:high] = values.reshape(high - low, *grid.shape[1:])
    return result
