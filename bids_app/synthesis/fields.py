"""What every simulation is made of: random numbers, smooth noise, blur, rotation and interpolation on grids. Torch.

Every function that draws takes its own random generator, so that what was drawn can be drawn again from its seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F


def stream(seed: int, index: int, purpose: int) -> torch.Generator:
    """A generator of its own for each participant ``index`` and each ``purpose``."""
    state = np.random.SeedSequence([seed, index, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def uniform(generator: torch.Generator, low: float, high: float, size: Sequence[int] = ()) -> torch.Tensor:
    return low + (high - low) * torch.rand(tuple(size), generator=generator)


def normal(generator: torch.Generator, spread: float, size: Sequence[int] = ()) -> torch.Tensor:
    return spread * torch.randn(tuple(size), generator=generator)


def chance(generator: torch.Generator, probability: float) -> bool:
    return bool(torch.rand((), generator=generator) < probability)


def read(volume: torch.Tensor, at_mm: torch.Tensor, spacing: float, *, nearest: bool = False) -> torch.Tensor:
    """Values of ``volume`` (C, X, Y, Z) at places (x, y, z, 3), mm from its middle; the edge goes on outside."""
    half = [(n - 1) / 2 * spacing for n in volume.shape[-3:]]
    grid = (at_mm / at_mm.new_tensor(half)).flip(-1)
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(volume[None], grid[None], mode=mode, padding_mode="border", align_corners=True)[0]


def places(shape: Sequence[int], spacing: float | Sequence[float]) -> torch.Tensor:
    """Positions of a grid's voxels, mm from its middle, shape ``(x, y, z, 3)``."""
    steps = [float(spacing)] * 3 if isinstance(spacing, float | int) else [float(s) for s in spacing]
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, steps, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def smooth_field(
    generator: torch.Generator, shape: Sequence[int], nodes: int, spread: float, count: int = 1
) -> torch.Tensor:
    """``count`` random fields, smooth between ``nodes`` per axis, shape ``(count, x, y, z)``."""
    coarse = normal(generator, spread, (1, count, nodes, nodes, nodes))
    return F.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def blur(image: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Gaussian blur of (x, y, z), ``sigma`` in voxels per axis."""
    for axis, s in enumerate(sigma):
        if s < 0.1:
            continue
        reach, n = max(1, int(3 * s + 0.5)), image.shape[axis]
        kernel = torch.exp(-0.5 * (torch.arange(reach + 1) / s) ** 2)
        kernel = (kernel / (2 * kernel.sum() - kernel[0])).tolist()
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, n - 1, 1)
        ends = [reach if k == axis else 1 for k in range(3)]
        wide = torch.cat([first.repeat(ends), image, last.repeat(ends)], axis)
        result = kernel[0] * image
        for step in range(1, reach + 1):
            result = result.add_(wide.narrow(axis, reach - step, n), alpha=kernel[step])
            result = result.add_(wide.narrow(axis, reach + step, n), alpha=kernel[step])
        image = result
    return image


def rotation(angles: torch.Tensor) -> torch.Tensor:
    """Turn about x, then y, then z by ``angles`` (3,), radians; shape ``(3, 3)``."""
    (cx, cy, cz), (sx, sy, sz) = torch.cos(angles), torch.sin(angles)
    one, nil = torch.ones(()), torch.zeros(())
    about_x = torch.stack([one, nil, nil, nil, cx, -sx, nil, sx, cx]).reshape(3, 3)
    about_y = torch.stack([cy, nil, sy, nil, one, nil, -sy, nil, cy]).reshape(3, 3)
    about_z = torch.stack([cz, -sz, nil, sz, cz, nil, nil, nil, one]).reshape(3, 3)
    return about_z @ about_y @ about_x


def from_segment(at: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Distance of every place ``(..., 3)`` from a straight line between two points."""
    along = end - start
    step = (((at - start) @ along) / along.square().sum().clamp_min(1e-6)).clamp(0, 1)
    return (at - start - step[..., None] * along).norm(dim=-1)
