"""Drawn scans of a flat recipe: a slab of a head around the recipe's level, and the slices of it that are looked at."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from bids_app.recipes.recipe import Recipe
from bids_app.scans.slices import as_channels, level_of
from bids_app.synthesis.fields import uniform
from bids_app.synthesis.heads.placed import MIDDLE_MNI, PlacedMap, from_mni

if TYPE_CHECKING:
    from bids_app.synthesis.heads.labelmaps import LabelMap

#: Of a slab above and below what is looked at, mm: as much as the thickest slice that a scan is drawn with.
MARGIN_MM = 6.0
#: What is seen of a brain by a recipe that looks at all of it, mm to the right, to the front and upwards: brains of
#: adults are smaller.
FIELD_MM = (160.0, 192.0, 152.0)
#: How far the middle of what is seen may lie from where it should, mm to the right and to the front.
SHIFT_MM = 8.0


def whole_sides(recipe: Recipe) -> tuple[int, int, int]:
    """Voxels of a whole brain, sides that the recipe's network can halve."""
    a, b, c = (_sides(recipe, length) for length in FIELD_MM)
    return a, b, c


def slab_sides(recipe: Recipe) -> tuple[int, int, int]:
    """Voxels of what is drawn: as wide as a slice of the recipe, as thick as its slices and the margins."""
    grid = recipe.needed_grid
    width, depth = FIELD_MM[:2] if grid.kind == "whole" else (grid.region_size_mm,) * 2
    thick = recipe.network.slices + 2 * math.ceil(MARGIN_MM / grid.spacing_mm)
    return _sides(recipe, width), _sides(recipe, depth), thick


def _sides(recipe: Recipe, length_mm: float) -> int:
    factor = recipe.network.fold * 2 ** (len(recipe.network.blocks) - 1)
    return math.ceil(round(length_mm / recipe.needed_grid.spacing_mm, 6) / factor) * factor


def map_at_level(recipe: Recipe, placed: PlacedMap, range_mm: float, generator: torch.Generator) -> LabelMap:
    """The map with a place within a range of the recipe's level where patches have their middle.

    Args:
        recipe: flat.
        placed: whole head.
        range_mm: above and below the level.
        generator: of the place, which also differs by `SHIFT_MM` to the side and to the front.
    """
    grid, low_high = recipe.needed_grid, placed.label_map.brain.float()
    middle = low_high.mean(0) @ placed.steps + placed.origin
    if grid.centre_mm is not None:
        middle[:2] = torch.tensor(from_mni(grid.centre_mm)[:2])
    level = level_of(grid)
    if level is not None:
        middle[2] = level - MIDDLE_MNI[2]
    away = uniform(generator, -1, 1, (3,)) * torch.tensor([SHIFT_MM, SHIFT_MM, range_mm])
    voxel = (middle + away - placed.origin) @ torch.linalg.inv(placed.steps)
    return replace(placed.label_map, brain=torch.stack([voxel, voxel]))


def seen_slices(values: torch.Tensor, slices: int) -> torch.Tensor:
    """The middle slices of a slab ``(..., x, y, z)``."""
    first = (values.shape[-1] - slices) // 2
    return values[..., first : first + slices]


def as_seen(images: torch.Tensor) -> torch.Tensor:
    """Slices ``(sequences, x, y, slices)`` as a network of two dimensions sees them, ``(channels, x, y)``."""
    return as_channels(images)[..., 0]
