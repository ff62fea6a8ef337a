"""A session's images on the recipe's grid: laid in the same way for training and for prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, region_grid, sample, transform_points, whole_grid
from bids_app.imaging.voxels import marked
from bids_app.recipes.recipe import AS_IT_LIES, GridSpec, Recipe

#: Around a region's cube in training, mm: room to turn and shift it by augmentation without running out of image.
MARGIN_MM = 10.0
#: Voxels whose size differs by no more than this part from the recipe's are used as they are.
SAME_SPACING = 0.01
#: Changes when scans are laid in another way, so that those prepared before are made again.
LAYOUT = 1


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
    across the third axis.

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
        float32 ``(sequences, x, y, z)``, zero for a missing sequence; one flag per sequence; the grid.

    Raises:
        ImageError: the reference is not there, or what the kind of grid needs is missing.
    """
    if recipe.reference not in images:
        raise ImageError(f"the recipe {recipe.name} cannot be used without its reference, {recipe.reference}")
    if grid is None:
        grid = place_grid(recipe, Path(images[recipe.reference]), reference_to_template, mask, margin_mm=margin_mm)
    names = [sequence.name for sequence in recipe.sequences]
    stack = np.zeros((len(names), *grid.shape), np.float32)
    for channel, name in zip(stack, names, strict=True):
        if name in images:
            channel[:] = _on_grid(Path(images[name]), np.asarray(matrices.get(name, np.eye(4))), grid)
    if recipe.needed_grid.kind == "whole":
        if mask is None:
            raise ImageError(f"the recipe {recipe.name} cannot be used without a brain mask")
        stack *= sample(mask, np.eye(4), grid, order=0) > 0
    return stack, np.array([name in images for name in names], np.float32), grid


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
    spec = recipe.needed_grid
    if spec.kind in AS_IT_LIES:
        straight = _straight(reference)  # a raw image and the participant level's copy of it give the same grid
        grid = image_grid(Grid(straight.shape[:3], straight.affine), spec.spacing_mm)
        return _slice_of(grid, grid.centre) if spec.flat else grid
    lacking = f"{reference}: a grid of kind {spec.kind!r} needs the brain mask and the way to the template"
    if reference_to_template is None:
        raise ImageError(lacking)
    back = np.linalg.inv(reference_to_template)
    if spec.kind == "region":
        centre, size = spec.region_centre_mm, spec.region_size_mm + 2 * margin_mm
        return region_grid(back, centre, (size, size, spec.spacing_mm) if spec.flat else size, spec.spacing_mm)
    if mask is None:
        raise ImageError(lacking)
    grid = whole_grid(back, Grid.of(mask), spec.spacing_mm, mask=_values(mask))
    return _slice_of(grid, _place(spec, back, grid)) if spec.flat else grid


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


def _on_grid(path: Path, to_image: np.ndarray, grid: Grid) -> np.ndarray:
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


def _place(spec: GridSpec, template_to_reference: np.ndarray, grid: Grid) -> np.ndarray:
    return grid.centre if spec.centre_mm is None else transform_points(template_to_reference, spec.centre_mm)


def _slice_of(grid: Grid, place_mm: np.ndarray) -> Grid:
    """The slice across the grid's third axis that holds a place of the world."""
    index = transform_points(np.linalg.inv(grid.affine), place_mm)[2]
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * np.clip(np.rint(index), 0, grid.shape[2] - 1)
    return Grid((*grid.shape[:2], 1), affine)
