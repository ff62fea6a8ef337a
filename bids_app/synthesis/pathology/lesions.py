"""Places and shapes of lesions: white matter around the ventricles, and bent ellipsoids of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_app.synthesis.fields import blur, normal, rotation, uniform

#: No blob is larger than this: it must fit the window that it is drawn in.
LARGEST_ML = 8.0
WINDOW_MM = 20.0
#: How much likelier a lesion is at a ventricle's wall than far from it, and over which distance.
PERIVENTRICULAR, REACH_MM = 15.0, 6.0
#: A centre lies where white matter is most of what is this far around.
DEEP_MM = 5.0


@dataclass(frozen=True)
class Blobs:
    """Bent ellipsoids.

    Attributes:
        centre: position on the grid, voxels, ``(k, 3)``.
        axes: semi-axes, mm, ``(k, 3)``.
        turn: rows are the directions of the semi-axes, ``(k, 3, 3)``.
        bend: size, direction and phase of the waves on their surface, ``(k, 2, 5)``.
    """

    centre: torch.Tensor
    axes: torch.Tensor
    turn: torch.Tensor
    bend: torch.Tensor

    def __len__(self) -> int:
        return len(self.centre)


def place_weight(white: torch.Tensor, ventricle: torch.Tensor, spacing: float) -> torch.Tensor:
    """How likely a lesion's centre is in each voxel, ``(x, y, z)``: white matter, mostly around the ventricles."""
    near = blur(ventricle, [REACH_MM / spacing] * 3)
    near = near / near.amax().clamp_min(1e-6)
    deep = blur(white, [DEEP_MM / spacing] * 3)
    return white * (deep - 0.5).clamp_min(0) * (1 + PERIVENTRICULAR * near)


def bent_blobs(centre: torch.Tensor, volume_ml: torch.Tensor, generator: torch.Generator) -> Blobs:
    """Blobs at places ``(k, 3)``, voxels, each of its own shape; ``volume_ml`` ``(k,)`` holds before they are bent."""
    count = len(centre)
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    shape = torch.exp(normal(generator, 0.2, (count, 3)).clamp(-0.4, 0.4))
    shape = shape / shape.prod(1, keepdim=True) ** (1 / 3)
    turn = torch.stack([rotation(angles) for angles in uniform(generator, -np.pi, np.pi, (count, 3))])
    waves = torch.cat(
        [
            uniform(generator, 0.0, 0.2, (count, 2, 1)),
            normal(generator, 1.5, (count, 2, 3)),
            uniform(generator, 0.0, 2 * np.pi, (count, 2, 1)),
        ],
        -1,
    )
    return Blobs(centre, radius[:, None] * shape, turn, waves)


def filled_voxels(
    blobs: Blobs, shape: Sequence[int], spacing: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which blob (of one or more), which voxel (position in the flattened grid) and what share of it, ``(n,)`` each."""
    half = int(np.ceil(min(WINDOW_MM, _reach(blobs) + spacing) / spacing))
    steps = torch.arange(-half, half + 1)
    window = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    index = blobs.centre.round().long()[:, None] + window
    filled = _filled(blobs, (index - blobs.centre[:, None]) * spacing, spacing)
    inside = ((index >= 0) & (index < torch.tensor(shape))).all(-1) & (filled > 0.01)
    blob, _ = inside.nonzero(as_tuple=True)
    x, y, z = index[inside].unbind(-1)
    return blob, (x * shape[1] + y) * shape[2] + z, filled[inside]


def _reach(blobs: Blobs) -> float:
    """No blob goes farther from its centre than this, mm."""
    return float((blobs.axes.amax(1) * torch.exp(blobs.bend[:, :, 0].abs().sum(1))).max())


def _filled(blobs: Blobs, at: torch.Tensor, spacing: float) -> torch.Tensor:
    """Share of the voxels at ``at`` ``(k, m, 3)``, mm from each centre, that lies inside; ``(k, m)``."""
    local = torch.einsum("kij,kmj->kmi", blobs.turn, at) / blobs.axes[:, None]
    radius = local.norm(dim=-1)
    direction = local / radius.clamp_min(1e-6)[..., None]
    size, way, phase = blobs.bend[..., :1], blobs.bend[..., 1:4], blobs.bend[..., 4:]
    bent = (size * torch.sin(torch.einsum("kwi,kmi->kwm", way, direction) + phase)).sum(1)
    distance = (torch.exp(bent) - radius) * blobs.axes.mean(1)[:, None]
    return (0.5 + distance / spacing).clamp(0, 1)
