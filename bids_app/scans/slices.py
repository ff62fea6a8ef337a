"""Which slice a flat recipe looks at in one session, by a written rule, and which neighbours it sees beside it.

The level is a height in the template's world (of an image that is taken as it is: above its middle), ``grid.level_mm``
or that of ``grid.centre_mm``. In a scan of thin slices the slice at the level is interpolated. In a scan of thick ones
(above `THICK_MM`) and in an image of one slice, the slice that was measured nearest to the level is taken, and nothing
is interpolated across it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.slices import lies_across, measured_slice, nearest_slice, slice_axis
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.recipes.grid import AS_IT_LIES, GridSpec
from bids_app.recipes.recipe import Recipe

Array = TypeVar("Array")
#: How a slice came about.
MEASURED, INTERPOLATED, ONLY = "measured", "interpolated", "the only slice"
#: Two heights that are the same but for rounding, mm.
SAME_MM = 1e-3


@dataclass(frozen=True)
class Placed:
    """A slice in one session.

    Attributes:
        grid: ``z = 1``; as thick as the slice.
        offset: 0 at the level; how many steps above it otherwise, a step being the grid's spacing or a measured slice.
        away_mm: how far above the level it lies, at the middle of the field of view.
        how: `MEASURED`, `INTERPOLATED` or `ONLY`.
    """

    grid: Grid
    offset: int
    away_mm: float
    how: str


def level_of(spec: GridSpec) -> float | None:
    """Height of the level, mm; None for the middle of what is looked at."""
    if spec.level_mm is not None:
        return spec.level_mm
    return spec.centre_mm[2] if spec.centre_mm is not None and spec.kind not in AS_IT_LIES else None


def at_level(spec: GridSpec, grid: Grid, template_to_reference: np.ndarray | None) -> Grid:
    """A slice of a whole grid exactly at the level, or at the end of the grid that is nearest to it."""
    up, level = grid.affine[:3, 2] / grid.spacing[2], level_of(spec)
    if template_to_reference is None:
        place = grid.centre + (level or 0.0) * up
    elif level is None:
        place = grid.centre
    else:
        middle = transform_points(np.linalg.inv(template_to_reference), grid.centre)
        across = spec.centre_mm[:2] if spec.centre_mm is not None else middle[:2]
        place = transform_points(template_to_reference, np.array([*across, level]))
    index = transform_points(np.linalg.inv(grid.affine), place)[2]
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * np.clip(index, 0, grid.shape[2] - 1)
    return Grid((*grid.shape[:2], 1), affine)


def place_slices(spec: GridSpec, wanted: Grid, whole: Grid, native: Grid, *, range_mm: float = 0.0) -> list[Placed]:
    """The slice at the level, first, and all others within a range of it.

    Args:
        wanted: the slice at the level, as `at_level` gives it.
        whole: the grid of all slices; one that is interpolated is one of these.
        native: of the reference.
        range_mm: above and below the level.

    Raises:
        ImageError: an image of one slice that does not lie across the third axis.
    """
    up = wanted.affine[:3, 2] / wanted.spacing[2]
    axis = slice_axis(native, up)
    if axis is not None and not lies_across(native, axis, up):
        if native.shape[axis] == 1:
            kind = {0: "sagittal", 1: "coronal"}.get(axis, "tilted")
            raise ImageError(f"the image is one {kind} slice; the recipe looks at axial ones")
        axis = None
    if axis is None:
        step = spec.spacing_mm
        count = int(np.floor(range_mm / step + SAME_MM))
        index = transform_points(np.linalg.inv(whole.affine), wanted.centre)[2]
        away = float((np.rint(index) - index) * whole.spacing[2])
        return [
            Placed(wanted.moved(up * (away + step * n)), n, away + step * n, INTERPOLATED)
            for n in sorted(range(-count, count + 1), key=abs)
        ]
    nearest = nearest_slice(native, axis, wanted.centre)
    rising = 1 if native.affine[:3, axis] @ up > 0 else -1
    found = []
    for index in range(native.shape[axis]):
        grid, away = measured_slice(wanted, native, axis, index)
        if index == nearest or abs(away) <= range_mm + SAME_MM:
            how = ONLY if native.shape[axis] == 1 else MEASURED
            found.append(Placed(grid, (index - nearest) * rising, away, how))
    return sorted(found, key=lambda one: abs(one.offset))


def neighbours(grid: Grid, slices: int, spacing: float) -> list[Grid]:
    """A slice among its neighbours at a spacing, from the lowest to the highest; alone where ``slices`` is 1."""
    up = grid.affine[:3, 2] / grid.spacing[2]
    return [grid.moved(up * spacing * n) for n in range(-(slices // 2), slices // 2 + 1)]


def as_channels(stack: Array) -> Array:
    """Neighbouring slices as further channels of every sequence.

    Args:
        stack: ``(sequences, x, y, slices)``, an array or a tensor.

    Returns:
        ``(sequences * slices, x, y, 1)``, the slices of a sequence beside each other; a stack of one slice as it is.
    """
    values: Any = stack
    sequences, x, y, slices = values.shape
    if slices > 1:
        moved = values.transpose(0, 3, 1, 2) if isinstance(values, np.ndarray) else values.permute(0, 3, 1, 2)
        values = moved.reshape(sequences * slices, x, y, 1)
    channels: Array = values
    return channels


def slice_facts(recipe: Recipe, placed: Placed, grid: Grid) -> dict[str, Any]:
    """How the slice was chosen, for the record: its rule, level, thickness, and how far from the level it lies.

    Args:
        placed: the slice at the level.
        grid: of what was looked at in this slice: its field of view may have followed what was found there.
    """
    spec = recipe.needed_grid
    return {
        "rule": placed.how,
        "level_mm": level_of(spec),
        "world": "image" if spec.kind in AS_IT_LIES else spec.template,
        "away_mm": round(placed.away_mm, 3),
        "thickness_mm": round(float(grid.spacing[2]), 4),
        "slices": recipe.network.slices,
        "shape": [int(n) for n in grid.shape],
        "affine": np.round(grid.affine, 6).tolist(),
    }


def slice_words(about: Mapping[str, Any]) -> str:
    """`slice_facts` in words."""
    thickness = f"{about['thickness_mm']:g} mm"
    if about["rule"] == ONLY:
        return f"the only slice of the image, {thickness} thick"
    world = "the image's middle" if about["world"] == "image" else f"the origin of {about['world']}"
    level = f"{about['level_mm']:g} mm above {world}" if about["level_mm"] is not None else "the middle"
    if about["rule"] == INTERPOLATED:
        words = f"the slice at {level}, interpolated, {thickness} thick"
    else:
        words = f"the measured slice nearest to {level} ({about['away_mm']:+.1f} mm from it), {thickness} thick"
    return words + (f", and {about['slices'] - 1} slices beside it" if about["slices"] > 1 else "")
