"""A session's images on the recipe's grid: laid in the same way for training and for prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.series import sample_series
from bids_app.imaging.slices import HALF_A_SLICE, lies_across, sample_measured, slice_axis
from bids_app.imaging.stacking import Grid, region_grid, sample, whole_grid
from bids_app.imaging.voxels import marked
from bids_app.recipes.grid import AS_IT_LIES
from bids_app.recipes.recipe import Recipe
from bids_app.scans.frames import check_length
from bids_app.scans.slices import Placed, at_level, neighbours, place_slices

#: Around a region's cube in training, mm: room to turn and shift it by augmentation without running out of image.
MARGIN_MM = 10.0
#: Voxels whose size differs by no more than this part from the recipe's are used as they are.
SAME_SPACING = 0.01
#: Changes when scans are laid in another way, so that those prepared before are made again.
LAYOUT = 1
#: How far beyond an image of one slice that slice is taken still, in slices: what repositioning between scans leaves.
BEYOND_ONE = 1.5


def lay(
    recipe: Recipe,
    images: Mapping[str, Path],
    matrices: Mapping[str, np.ndarray],
    reference_to_template: np.ndarray | None = None,
    mask: Path | None = None,
    *,
    grid: Grid | None = None,
    margin_mm: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Every sequence on the recipe's grid, each by one interpolation.

    Kinds ``image`` and ``head``: the reference's own voxels where they have the recipe's spacing, else its field of
    view at that spacing, its axes in the order closest to right, front, top; neither mask nor template are looked at.
    Kind ``whole``: a box around the brain mask, zero outside the mask. Kind ``region``: a cube around the template's
    place, not masked: a mask that cuts too deep would change what the network sees. A flat grid is one slice of these,
    across the third axis; which one says `bids_app.scans.slices`.

    Args:
        recipe: with a grid.
        images: file of every sequence that is there, by the recipe's names.
        matrices: reference world to each image's world, ``(4, 4)``.
        reference_to_template: affine, reference world to template world, ``(4, 4)``; not for kinds ``image`` and
            ``head``.
        mask: brain mask, any grid in the reference's world; kind ``whole`` needs it.
        grid: lay here instead of where `place_grid` says.
        margin_mm: more on every side of a region's cube.

    Returns:
        float32 ``(sequences, x, y, z)``, zero for a missing sequence; one flag per sequence; the grid. Of a flat grid
        ``z`` are the slices that the network sees; the grid is that of the middle one. Of a recipe with a series its
        frames are the last channels, in place of one.

    Raises:
        ImageError: the reference is not there, what the kind of grid needs is missing, or a series is too short.
    """
    if recipe.reference not in images:
        raise ImageError(f"the recipe {recipe.name} cannot be used without its reference, {recipe.reference}")
    if grid is None:
        grid = place_grid(recipe, Path(images[recipe.reference]), reference_to_template, mask, margin_mm=margin_mm)
    names = [sequence.name for sequence in recipe.sequences]
    grids = neighbours(grid, recipe.network.slices, recipe.needed_grid.spacing_mm) if recipe.flat else [grid]
    stack = np.zeros((len(names), *grid.shape[:2], sum(one.shape[2] for one in grids)), np.float32)
    for channel, name in zip(stack, names, strict=True):
        if name in images and name != recipe.series:
            matrix, own = np.asarray(matrices.get(name, np.eye(4))), name == recipe.reference
            read = _slice_on_grid if recipe.flat else _on_grid
            channel[:] = np.concatenate([read(Path(images[name]), matrix, one, own) for one in grids], -1)
    if recipe.series is not None:
        stack = np.concatenate([stack[:-1], _frames(recipe, images, matrices, grid)])
    if recipe.needed_grid.kind == "whole":
        if mask is None:
            raise ImageError(f"the recipe {recipe.name} cannot be used without a brain mask")
        stack *= np.concatenate([sample(mask, np.eye(4), one, order=0) > 0 for one in grids], -1)
    return stack, np.array([name in images for name in names], np.float32), grid


def _frames(recipe: Recipe, images: Mapping[str, Path], matrices: Mapping[str, np.ndarray], grid: Grid) -> np.ndarray:
    """Every frame of the series, ``(frames, x, y, z)``; one window of zeros where there is no series."""
    name = str(recipe.series)
    if name not in images:
        return np.zeros((recipe.network.frames, *grid.shape), np.float32)
    frames = sample_series(Path(images[name]), np.asarray(matrices.get(name, np.eye(4))), grid)
    check_length(recipe, len(frames), images[name])
    return frames


def place_grid(
    recipe: Recipe,
    reference: Path,
    reference_to_template: np.ndarray | None,
    mask: Path | None,
    *,
    margin_mm: float = 0.0,
) -> Grid:
    """Where the recipe looks in one session, in the reference's world; see `lay`.

    Raises:
        ImageError: no template or no mask for a grid that is placed by it.
    """
    grid = _whole_place(recipe, reference, reference_to_template, mask, margin_mm)
    return place_flat(recipe, reference, grid, reference_to_template)[0].grid if recipe.flat else grid


def place_level(
    recipe: Recipe, reference: Path, reference_to_template: np.ndarray | None, mask: Path | None
) -> list[Placed]:
    """Of a flat recipe: the slice at the level, first, and all others within the recipe's range; see `place_grid`."""
    margin = MARGIN_MM if recipe.needed_grid.kind == "region" else 0.0
    grid = _whole_place(recipe, reference, reference_to_template, mask, margin)
    return place_flat(recipe, reference, grid, reference_to_template, range_mm=recipe.needed_grid.range_mm)


def place_flat(
    recipe: Recipe, reference: Path, grid: Grid, reference_to_template: np.ndarray | None, *, range_mm: float = 0.0
) -> list[Placed]:
    """The slices of a grid that holds all of them; see `place_slices`.

    Raises:
        ImageError: names the file.
    """
    straight = _straight(reference)
    native = Grid((*straight.shape[:3],), straight.affine)
    wanted = _level(recipe, grid, reference_to_template)
    try:
        return place_slices(recipe.needed_grid, wanted, grid, native, range_mm=range_mm)
    except ImageError as error:
        raise ImageError(f"{reference}: {error}") from error


def _level(recipe: Recipe, grid: Grid, reference_to_template: np.ndarray | None) -> Grid:
    back = None if reference_to_template is None else np.linalg.inv(reference_to_template)
    return at_level(recipe.needed_grid, grid, None if recipe.needed_grid.kind in AS_IT_LIES else back)


def _whole_place(
    recipe: Recipe, reference: Path, reference_to_template: np.ndarray | None, mask: Path | None, margin_mm: float
) -> Grid:
    """As `place_grid`, of a flat recipe with all slices there could be."""
    spec = recipe.needed_grid
    if spec.kind in AS_IT_LIES:
        straight = _straight(reference)  # a raw image and the participant level's copy of it give the same grid
        return image_grid(Grid(straight.shape[:3], straight.affine), spec.spacing_mm)
    lacking = f"{reference}: a grid of kind {spec.kind!r} needs the brain mask and the way to the template"
    if reference_to_template is None:
        raise ImageError(lacking)
    back = np.linalg.inv(reference_to_template)
    if spec.kind == "region":
        size = spec.region_size_mm + 2 * margin_mm
        centre, one = spec.region_centre_mm, (size, size, spec.spacing_mm)
        if spec.flat and spec.level_mm is not None:
            centre = (*centre[:2], spec.level_mm)
        return region_grid(back, centre, one if spec.flat else size, spec.spacing_mm)
    if mask is None:
        raise ImageError(lacking)
    return whole_grid(back, Grid.of(mask), spec.spacing_mm, mask=_values(mask))


def image_grid(native: Grid, spacing: float) -> Grid:
    """An image's own grid where its voxels have this size, else its field of view with voxels that do.

    Args:
        native: of the image.
        spacing: wanted, mm.
    """
    own = native.spacing
    if np.all(np.abs(own / spacing - 1) <= SAME_SPACING):
        return native
    factors = spacing / own
    shape = np.maximum(np.rint(np.asarray(native.shape) / factors).astype(int), 1)
    affine = native.affine.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] = native.centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def lay_labels(path: Path, recipe: Recipe, grid: Grid) -> np.ndarray:
    """Position of each voxel's region in the recipe's list, from 1; 0 for none; uint8, ``grid.shape``."""
    found = sample(path, np.eye(4), grid, order=0)
    if recipe.labels.suffix == "mask":
        return marked(found).astype(np.uint8)
    values, labels = np.rint(found).astype(int), np.zeros(grid.shape, np.uint8)
    for position, region in enumerate(recipe.regions, 1):
        labels[values == region.index] = position
    return labels


def _slice_on_grid(path: Path, to_image: np.ndarray, grid: Grid, is_reference: bool) -> np.ndarray:
    """One image on the grid of a slice: of thick slices as they were measured, of thin ones interpolated.

    The reference's last slice stands for neighbours beyond it.
    """
    import nibabel as nib

    image = nib.load(path)
    native, up = Grid(image.shape[:3], image.affine), to_image[:3, :3] @ grid.affine[:3, 2]
    axis = slice_axis(native, up)
    if axis is None or not lies_across(native, axis, up):
        return sample(path, to_image, grid)
    reach = np.inf if is_reference else BEYOND_ONE if native.shape[axis] == 1 else HALF_A_SLICE
    return sample_measured(path, to_image, grid, axis, reach=reach)


def _on_grid(path: Path, to_image: np.ndarray, grid: Grid, is_reference: bool = False) -> np.ndarray:
    """One image on a grid; its voxels as they are where they lie there already, in whatever order."""
    own = _straight(path)
    to_voxel = np.linalg.inv(own.affine) @ to_image @ grid.affine
    if own.shape[:3] == grid.shape and np.allclose(to_voxel, np.eye(4), atol=1e-4):
        return np.asarray(own.dataobj, dtype=np.float32).reshape(grid.shape)
    return sample(path, to_image, grid)


def _straight(path: Path) -> Any:
    """An image with its axes closest to right, front, top, as `bids_app.imaging.conform` writes it."""
    import nibabel as nib

    return nib.as_closest_canonical(nib.load(path))


def _values(path: Path) -> np.ndarray:
    import nibabel as nib

    image = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
