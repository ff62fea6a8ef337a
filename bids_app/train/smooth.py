"""Smooth fields from a few control points, and matrices along one axis of many scans at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def smooth_field(coarse: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A cubic B-spline with control points ``coarse``, ``(..., *cells + 3)``, at every voxel of ``shape``.

    Cells are as large as the patch divided by their number; axes are treated one after another.
    """
    d = len(shape)
    for axis, size in enumerate(shape):
        points = coarse.shape[-d + axis]
        at = (torch.arange(size, device=coarse.device) + 0.5) * (points - 3) / size
        away = (at[:, None] - (torch.arange(points, device=coarse.device) - 1)).abs()
        near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp_min(0) ** 3 / 6
        coarse = along(coarse, torch.where(away < 1, near, far), axis - d)
    return coarse


def along(x: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """A matrix ``(out, in)``, or one per scan ``(n, out, in)``, times ``x`` along one of its last axes."""
    if matrix.ndim == 2:
        return torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)
    n, size = len(x), x.shape[axis]
    before, after = x.shape[1 : x.ndim + axis], x.shape[x.ndim + axis + 1 :]
    if not len(after):
        return torch.bmm(x.reshape(n, -1, size), matrix.mT).reshape(n, *before, matrix.shape[1])
    rows = x.reshape(n, -1, size, after.numel())
    return torch.matmul(matrix[:, None], rows).reshape(n, *before, matrix.shape[1], *after)
