"""Blocks of voxels as channels, and back: a network whose first level is coarse sees every voxel."""

from __future__ import annotations

import torch


def fold(x: torch.Tensor, k: int) -> torch.Tensor:
    """Blocks of ``k`` voxels per axis become channels: ``(n, c, x, y, z)`` to ``(n, c k³, x/k, y/k, z/k)``."""
    if k == 1:
        return x
    n, c, *sides = x.shape
    d = len(sides)
    x = x.reshape(n, c, *[part for side in sides for part in (side // k, k)])
    x = x.permute(0, 1, *[3 + 2 * i for i in range(d)], *[2 + 2 * i for i in range(d)])
    return x.reshape(n, c * k**d, *[side // k for side in sides])


def unfold(x: torch.Tensor, k: int) -> torch.Tensor:
    """The inverse of `fold`."""
    if k == 1:
        return x
    n, c, *sides = x.shape
    d = len(sides)
    x = x.reshape(n, c // k**d, *[k] * d, *sides)
    x = x.permute(0, 1, *[axis for i in range(d) for axis in (2 + d + i, 2 + i)])
    return x.reshape(n, c // k**d, *[side * k for side in sides])
