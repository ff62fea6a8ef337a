"""What a target's head reads of every region: how much there is, where it lies, how it looks, and learned features.

From the average over a whole bottleneck, heads learned their few training participants by heart. Features pooled inside
every predicted region hold what a volume cannot tell, and a linear model of them needs few people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

#: Part of the field of view below which amounts of a region are told apart no more.
LEAST = 1e-5
#: Of the decoder's levels, from the finest, so many are pooled. Coarser ones added nothing (age of 92 people from maps
#: of their structures: error 6.2 years with two levels, 6.9 with all).
LEVELS = 2
#: Kinds of what is measured.
AMOUNTS, PLACES, LOOKS, CELLS = "amounts", "places", "brightness", "cells"
#: Into so many cells along each axis the field of view is cut where heads read how much of a lesion lies in each. Of 2
#: to 8, four were as good as any: from true masks of 711 infarcts they told the NIHSS with r 0.58, volume with 0.50
#: and an atlas of 30 arterial regions with 0.59 (``tests.benchmarks.stroke_outcome``).
CELLS_PER_AXIS = 4
#: Part of a cell below which amounts in it are told apart no more.
LEAST_OF_CELL = 1e-4


def amounts(logits: torch.Tensor) -> torch.Tensor:
    """How much of every region there is: the logarithm of its part of the field of view, ``(n, regions)``.

    `LEAST` is added to each part, so that nothing at all has a value too; it and all of it lie alike far from zero.
    """
    parts = logits.float().softmax(1)[:, 1:].mean(tuple(range(2, logits.ndim)))
    return (parts + LEAST).log() - math.log(LEAST) / 2


def measured_columns(regions: int, dimensions: int, sequences: int, cells: int = 0) -> dict[str, slice]:
    """Where in `read` stand amounts, places, brightness and, where there are ``cells`` per axis, those: `AMOUNTS`,
    `PLACES`, `LOOKS`, `CELLS`."""
    first, second = regions, regions * (1 + 2 * dimensions)
    third = second + 2 * regions * sequences
    found = {AMOUNTS: slice(0, first), PLACES: slice(first, second), LOOKS: slice(second, third)}
    return found | ({CELLS: slice(third, third + regions * cells**dimensions)} if cells else {})


def in_cells(shares: torch.Tensor, cells: int) -> torch.Tensor:
    """How much of every region lies in each cell of the field of view, ``(n, regions * cells ** axes)``.

    The logarithm of the part of the cell that it fills, `LEAST_OF_CELL` added, the last axis fastest. A voxel counts as
    far as it is likelier than not: summed over a cell, small probabilities everywhere would hide a small lesion. Where
    the field of view is placed by a template, a cell is a part of the brain, and where a lesion lies says more than its
    size.

    Args:
        shares: probability of every region, ``(n, regions, x, y, z)``.
        cells: along each axis; sides that they do not divide have cells that share a voxel.
    """
    pool = F.adaptive_avg_pool3d if shares.ndim == 5 else F.adaptive_avg_pool2d
    marked = (2 * shares - 1).clamp_min(0)
    return (pool(marked, cells).flatten(1) + LEAST_OF_CELL).log() - math.log(LEAST_OF_CELL) / 2


def measured(shares: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """What could be measured of every region by hand, in the order of `measured_columns`.

    Its amount (see `amounts`); its middle and spread along each axis in parts of the field of view, from its centre;
    mean and spread of every sequence inside it. What is nowhere lies in the middle and has no brightness.

    Args:
        shares: probability of every region, ``(n, regions, x, y, z)``.
        image: standardised stack of the same size, ``(n, sequences, x, y, z)``.
    """
    sides = shares.shape[2:]
    voxels = math.prod(sides)
    flat = shares.flatten(2)
    total = flat.sum(2)
    weight = flat / (total + LEAST * voxels)[..., None]
    columns = [(total / voxels + LEAST).log() - math.log(LEAST) / 2]
    for axis, side in enumerate(sides):
        place = (torch.arange(side, device=shares.device, dtype=shares.dtype) + 0.5) / side - 0.5
        place = place.reshape([-1 if k == axis else 1 for k in range(len(sides))]).expand(sides).flatten()
        middle = weight @ place
        columns += [middle, (weight @ place.square() - middle.square()).clamp_min(1e-8).sqrt()]
    for channel in image.flatten(2).unbind(1):
        mean = torch.einsum("nrv,nv->nr", weight, channel)
        square = torch.einsum("nrv,nv->nr", weight, channel.square())
        columns += [mean, (square - mean.square()).clamp_min(1e-8).sqrt()]
    return torch.cat(columns, 1)


def pooled(shares: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean of every feature inside every region, ``(n, regions * channels of all levels)``.

    Args:
        shares: as for `measured`.
        features: per level ``(n, channels, ...)``, each side the image's divided by a whole number.
    """
    pool = F.avg_pool3d if shares.ndim == 5 else F.avg_pool2d
    columns = []
    for level in features:
        coarse = pool(shares, [a // b for a, b in zip(shares.shape[2:], level.shape[2:], strict=True)]).flatten(2)
        weight = coarse / (coarse.sum(2, keepdim=True) + LEAST * coarse.shape[2])
        columns.append(torch.einsum("nrv,ncv->nrc", weight, level.float().flatten(2)).flatten(1))
    return torch.cat(columns, 1)


def read(logits: torch.Tensor, features: Sequence[torch.Tensor], image: torch.Tensor, cells: int = 0) -> torch.Tensor:
    """All that a head reads, ``(n, columns)``: `measured`, `in_cells`, then `pooled` of the decoder's finest `LEVELS`.

    Args:
        logits: of background and regions at full size, ``(n, 1 + regions, x, y, z)``.
        features: of the decoder's levels, the finest last.
        image: standardised stack, ``(n, sequences, x, y, z)``.
        cells: along each axis; 0 for none.
    """
    shares = logits.float().softmax(1)[:, 1:]
    placed = [in_cells(shares, cells)] if cells else []
    return torch.cat([measured(shares, image.float()), *placed, pooled(shares, features[-LEVELS:])], 1)
