"""A scan larger than what the network looks at: tiles that overlap, and the weighted mean of their answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

#: Part of a tile that it shares with the next one.
OVERLAP = 0.5
#: Width of a tile's Gaussian weight, as a part of its side (nnU-Net's value).
TILE_SIGMA = 0.125
#: Sides of a fitted tile, relative to the patch's. Further from it, normalisation over a tile would see another field.
REACH = (0.75, 4 / 3)


def tiled(
    answer: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    sides: Sequence[int],
    regions: int,
    *,
    at_once: int = 1,
) -> torch.Tensor:
    """Weighted mean of the tiles' probabilities.

    A tile in which nothing was measured (zero in every sequence) is not looked at: there is no region in it.

    Args:
        answer: tiles ``(n, sequences, *sides)`` to probabilities ``(n, regions, *sides)``.
        image: standardised, ``(sequences, x, y, z)``; sides no smaller than a tile's.
        sides: of a tile, voxels.
        regions: how many there are.
        at_once: tiles per call of ``answer``.

    Returns:
        Shape ``(regions, x, y, z)``.
    """
    import torch

    total = image.new_zeros((regions, *image.shape[1:]))
    weights, weight = image.new_zeros(image.shape[1:]), gaussian(sides).to(image)
    boxes = []
    for corner in corners(image.shape[1:], sides):
        box = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
        weights[box] += weight
        if image[(slice(None), *box)].any():
            boxes.append(box)
    for start in range(0, len(boxes), at_once):
        some = boxes[start : start + at_once]
        for box, one in zip(some, answer(torch.stack([image[(slice(None), *box)] for box in some])), strict=True):
            total[(slice(None), *box)] += weight * one
    return total.div_(weights).clamp_(0, 1)  # in place: of many regions this is by far the largest thing in memory


def fitted_sides(shape: Sequence[int], patch: Sequence[int], multiple: int) -> list[int]:
    """Sides of the tiles that cover a scan with the fewest voxels, near those of the patch that trained.

    Tiles of a fixed side overlap by far more than they must wherever the scan is not a multiple of half a tile: 160
    voxels take three tiles of 96, or two of 112. Per axis: one tile where the patch covers the scan, else the side
    within `REACH` of the patch's that looks at the fewest voxels.

    Args:
        shape: of the scan.
        patch: that the network was trained with.
        multiple: sides must be multiples of this.
    """
    sides = []
    for n, side in zip(shape, patch, strict=True):
        least, most = math.ceil(REACH[0] * side / multiple), math.floor(REACH[1] * side / multiple)
        candidates = [side, *(k * multiple for k in range(max(least, 1), most + 1) if k * multiple <= n)]
        sides.append(side if n <= side else min(candidates, key=lambda t: (count_of(n, t) * t, abs(t - side))))
    return sides


def count_of(n: int, side: int) -> int:
    """Tiles along one axis."""
    return 1 + math.ceil((n - side) / (side * (1 - OVERLAP)))


def corners(shape: Sequence[int], sides: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """First voxels of tiles that cover ``shape``, evenly spread, neighbours overlapping by at least `OVERLAP`."""
    starts = []
    for n, side in zip(shape, sides, strict=True):
        starts.append(np.rint(np.linspace(0, n - side, count_of(n, side))).astype(int).tolist())
    return itertools.product(*starts)


def gaussian(sides: Sequence[int]) -> torch.Tensor:
    """A tile's weight: what lies at its border, where the network sees less, counts less."""
    import torch

    weight = torch.ones(())
    for n in sides:
        away = (torch.arange(n) - (n - 1) / 2) / (TILE_SIGMA * n)
        weight = weight[..., None] * torch.exp(-0.5 * away**2).clamp_min(1e-4)
    return weight


def pad_behind(image: torch.Tensor, multiple: int, least: Sequence[int] = (0, 0, 0)) -> torch.Tensor:
    """Zeros behind the last voxels, up to a multiple of what the network halves and to ``least``."""
    import torch.nn.functional as F

    wanted = [max(n + -n % multiple, m) for n, m in zip(image.shape[1:], least, strict=True)]
    lacking = [w - n for w, n in zip(wanted, image.shape[1:], strict=True)]
    return F.pad(image, [side for n in reversed(lacking) for side in (0, n)])


def pad_around(
    image: torch.Tensor, factor: int, patch: Sequence[int] | None, *, flat: bool
) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Zeros around an image up to the training's patch, as in training, and behind it up to what the network halves.

    Returns:
        The padded image, and where the image lies in it.
    """
    import torch.nn.functional as F

    shape = image.shape[1:]
    lacking = [max(side - n, 0) for side, n in zip(patch or shape, shape, strict=True)]
    image = F.pad(image, [part for n in reversed(lacking) for part in (n // 2, n - n // 2)])
    image = pad_behind(image, factor)
    box = tuple(slice(extra // 2, extra // 2 + n) for extra, n in zip(lacking, shape, strict=True))
    return image[..., :1] if flat else image, box


#: Side of a tile of a recipe for the whole brain, voxels.
WHOLE_TILE = 96


def tile_sides(recipe: Recipe, plan: Mapping[str, Any], factor: int, shape: Sequence[int]) -> list[int]:
    """Sides of what a network looks at, voxels: the patch it was trained with, where the plan says so.

    A network that was told where left and right are needs the whole head at once.
    """
    if recipe.network.sided:
        return list(shape)
    grid = recipe.needed_grid
    side = round(grid.region_size_mm / grid.spacing_mm) if grid.kind == "region" else WHOLE_TILE
    wanted = plan.get("patch") or [-(-side // factor) * factor] * 3
    return [min(side, n) for side, n in zip(wanted, shape, strict=True)]


def sides_for(
    recipe: Recipe, plan: Mapping[str, Any], factor: int, shape: Sequence[int], *, low_mem: bool = False
) -> list[int]:
    """Sides of the tiles that cover a scan: `tile_sides`, or near them `fitted_sides` where a tile may be another size.

    It may not in a region that was learned as a whole, in a slice, and where the network was told left and right.
    """
    sides = tile_sides(recipe, plan, factor, shape)
    grid = recipe.needed_grid
    if low_mem or grid.flat or grid.kind == "region" or recipe.network.sided:
        return sides
    return fitted_sides(shape, sides, factor)
