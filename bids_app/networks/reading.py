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
AMOUNTS, PLACES, LOOKS = "amounts", "places", "brightness"


def amounts(logits: torch.Tensor) -> torch.Tensor:
    """How much of every region there is: the logarithm of its part of the field of view, ``(n, regions)``.

    `LEAST` is added to each part, so that nothing at all has a value too; it and all of it lie alike far from zero.
    """
    parts = logits.float().softmax(1)[:, 1:].mean(tuple(range(2, logits.ndim)))
    return (parts + LEAST).log() - math.log(LEAST) / 2


def measured_columns(regions: int, dimensions: int, sequences: int) -> dict[str, slice]:
    """Where in `measured` stand amounts, places and brightness: `AMOUNTS`, `PLACES`, `LOOKS`."""
    first, second = regions, regions * (1 + 2 * dimensions)
    return {
        AMOUNTS: slice(0, first),
        PLACES: slice(first, second),
        LOOKS: slice(second, second + 2 * regions * sequences),
    }


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


def read(logits: torch.Tensor, features: Sequence[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """All that a head reads, ``(n, columns)``: `measured`, then `pooled` of the finest `LEVELS` of the decoder.

    Args:
        logits: of background and regions at full size, ``(n, 1 + regions, x, y, z)``.
        features: of the decoder's levels, the finest last.
        image: standardised stack, ``(n, sequences, x, y, z)``.
    """
    shares = logits.float().softmax(1)[:, 1:]
    return torch.cat([measured(shares, image.float()), pooled(shares, features[-LEVELS:])], 1)
