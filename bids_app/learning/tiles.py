"""A scan larger than what the network looks at: tiles that overlap, and the weighted mean of their answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Part of a tile that it shares with the next one.
OVERLAP = 0.5
#: Width of a tile's Gaussian weight, as a part of its side (nnU-Net's value).
TILE_SIGMA = 0.125


def tiled(
    answer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, sides: Sequence[int], regions: int
) -> torch.Tensor:
    """Weighted mean of the tiles' probabilities.

    A tile in which nothing was measured (zero in every sequence) is not looked at: there is no region in it.

    Args:
        answer: a tile ``(sequences, *sides)`` to probabilities ``(regions, *sides)``.
        image: standardised, ``(sequences, x, y, z)``; sides no smaller than a tile's.
        sides: of a tile, voxels.
        regions: how many there are.

    Returns:
        Shape ``(regions, x, y, z)``.
    """
    import torch

    total = image.new_zeros((regions, *image.shape[1:]))
    weights, weight = image.new_zeros(image.shape[1:]), gaussian(sides).to(image)
    for corner in corners(image.shape[1:], sides):
        box = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
        tile = image[(slice(None), *box)]
        if tile.any():
            total[(slice(None), *box)] += weight * answer(tile)
        weights[box] += weight
    return torch.clamp(total / weights, 0, 1)


def corners(shape: Sequence[int], sides: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """First voxels of tiles that cover ``shape``, evenly spread, neighbours overlapping by at least `OVERLAP`."""
    starts = []
    for n, side in zip(shape, sides, strict=True):
        count = 1 + int(np.ceil((n - side) / (side * (1 - OVERLAP))))
        starts.append(np.rint(np.linspace(0, n - side, count)).astype(int).tolist())
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
