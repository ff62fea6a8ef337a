"""Two families of brains on a small grid: the template deformed anew, and one made of solids and folded noise.

A network that learned on one family is tested on the other, so that it cannot live on the anatomy it saw. Coordinates
are millimetres from the middle of the brain: right, anterior, superior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from bids_app.errors import UsageError
from bids_app.synthesis.fields import blur, normal, places, read, rotation, smooth_field, uniform
from bids_app.synthesis.heads.head import load_tissue_maps

TEMPLATE_STEP_MM = 2.0
#: Fluid that lies deeper than this below the brain's surface, in one piece, is the lateral and third ventricle.
VENTRICLE_DEPTH_MM = 22.0

# Solids of the procedural brain, mm: centre and semi-axes; those off the midline come twice. Sizes of an adult brain
# in round numbers, not of any one person.
CEREBRUM = ((0.0, 2.0, 4.0), (66.0, 84.0, 62.0))
CEREBELLUM = ((0.0, -52.0, -42.0), (48.0, 30.0, 26.0))
VENTRICLES = (
    ((11.0, 4.0, 10.0), (6.0, 30.0, 7.0)),
    ((22.0, -34.0, 4.0), (6.0, 14.0, 9.0)),
    ((0.0, -4.0, -3.0), (3.0, 14.0, 10.0)),
)
NUCLEI = (((13.0, -10.0, 0.0), (9.0, 15.0, 9.0)), ((25.0, 10.0, -4.0), (7.0, 17.0, 10.0)))
CORTEX_MM, CORTEX_SHARE = 4.0, 0.13
SULCUS_DEPTH_MM = 22.0
FISSURE_DEPTH_MM = 26.0


@dataclass(frozen=True)
class Brain:
    """One participant's tissue.

    Attributes:
        tissue: share of each voxel, ``(3, x, y, z)``: fluid, grey, white; they add up to the brain's share.
        ventricle: share of each voxel inside the ventricles.
        frame: place of each voxel in the family's own upright head, mm from its middle, ``(x, y, z, 3)``.
    """

    tissue: torch.Tensor
    ventricle: torch.Tensor
    frame: torch.Tensor

    @property
    def inside(self) -> torch.Tensor:
        """Where the skull-stripped image is not zero."""
        return self.tissue.sum(0) > 0.5


def draw_brain(family: str, generator: torch.Generator, shape: Sequence[int], spacing: float) -> Brain:
    """Draw one participant.

    Args:
        family: ``template`` or ``procedural``.
        generator: where the randomness comes from.
        shape, spacing: of the grid, voxels and mm; the brain lies in its middle.

    Raises:
        UsageError: no such family.
    """
    if family not in FAMILIES:
        raise UsageError(f"there is no anatomy {family!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[family](generator, shape, spacing)


def _moved(generator: torch.Generator, shape: Sequence[int], spacing: float, bend_mm: float) -> torch.Tensor:
    """Places of the grid's voxels in a head that is turned, larger or smaller, and smoothly bent."""
    turn = rotation(normal(generator, 0.06, (3,)))
    size = torch.exp(normal(generator, 0.035, (3,)))
    shift = normal(generator, 1.5, (3,))
    bend = smooth_field(generator, shape, 5, bend_mm, 3) + smooth_field(generator, shape, 9, bend_mm / 4, 3)
    return ((places(shape, spacing) + shift) @ turn.T) / size + bend.movedim(0, -1)


def _template_brain(generator: torch.Generator, shape: Sequence[int], spacing: float) -> Brain:
    at = _moved(generator, shape, spacing, 3.0)
    maps = read(_template_maps(), at, TEMPLATE_STEP_MM)
    return Brain(maps[:3], maps[3], at)


@lru_cache(maxsize=1)
def _template_maps() -> torch.Tensor:
    """Fluid, grey, white and ventricles of the template, every 2 mm, with an empty border; ``(4, x, y, z)``."""
    template = load_tissue_maps()
    maps = torch.from_numpy(np.stack([template.fluid, template.grey, template.white]))
    tissue = F.pad(F.avg_pool3d(maps[None], 2)[0], (2,) * 6)
    fluid, brain = tissue[0].numpy(), tissue.sum(0).numpy()
    deep = ndimage.distance_transform_edt(brain > 0.5) * TEMPLATE_STEP_MM > VENTRICLE_DEPTH_MM
    pieces, _ = ndimage.label((fluid > 0.4) & deep)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    ventricle = torch.from_numpy(ndimage.binary_dilation(largest)).float() * tissue[0]
    return torch.cat([tissue, ventricle[None]])


def _procedural_brain(generator: torch.Generator, shape: Sequence[int], spacing: float) -> Brain:
    """Ellipsoids whose surface is folded: sulci run where smooth noise crosses zero, and go as deep as it says."""
    at = _moved(generator, shape, spacing, 2.5)
    soft = spacing / 2
    cerebrum = depth_in(at, *CEREBRUM)
    cerebellum = depth_in(at, *CEREBELLUM)
    fold = _folds(generator, shape, spacing, 9.0)
    leaf = _folds(generator, shape, spacing, 7.0)
    deep = SULCUS_DEPTH_MM * float(uniform(generator, 0.8, 1.2))
    upper = torch.sigmoid((at[..., 2] - 12) / 6)
    fissure = FISSURE_DEPTH_MM * upper * torch.exp(-((at[..., 0] / 2.5) ** 2))
    level = torch.maximum(
        cerebrum - deep * torch.exp(-((fold / 0.4) ** 2)) - fissure, cerebellum - 8 * torch.exp(-((leaf / 0.4) ** 2))
    )
    brain = torch.sigmoid((torch.maximum(cerebrum, cerebellum) + 1.0) / (soft / 2))
    solid = torch.sigmoid((level - 1.0) / soft)
    # on the walls of a sulcus too: white matter is where a Gaussian as wide as the cortex meets little else
    white = torch.sigmoid((CORTEX_SHARE - blur(1 - solid, [CORTEX_MM / spacing] * 3)) / 0.04) * solid
    nuclei = _union(at, NUCLEI, torch.ones(()), soft)
    wide = float(torch.exp(normal(generator, 0.15)).clamp(0.75, 1.5))
    ventricle = _union(at, VENTRICLES, torch.tensor([wide, 1.0, wide]), soft) * (cerebrum > 15)
    white = white * (1 - 0.85 * nuclei)
    solid, white = solid * (1 - ventricle), white * (1 - ventricle)
    return Brain(torch.stack([brain * (1 - solid), brain * (solid - white), brain * white]), ventricle * brain, at)


def depth_in(at: torch.Tensor, centre: Sequence[float], semi_axes: Sequence[float]) -> torch.Tensor:
    """About how far below an ellipsoid's surface each place lies, mm; negative outside."""
    axes = torch.as_tensor(semi_axes)
    local = at - at.new_tensor(centre)
    radius = (local / axes).norm(dim=-1)
    return (1 - radius) * radius / (local / axes**2).norm(dim=-1).clamp_min(1e-6)


def _union(at: torch.Tensor, solids: Sequence, widen: torch.Tensor, soft: float) -> torch.Tensor:
    """Share inside any of the solids, each on both sides."""
    mirrored = torch.cat([at[..., :1].abs(), at[..., 1:]], -1)
    found = torch.stack([depth_in(mirrored, centre, torch.tensor(axes) * widen) for centre, axes in solids])
    return torch.sigmoid(found.amax(0) / (soft / 2))


def _folds(generator: torch.Generator, shape: Sequence[int], spacing: float, wave_mm: float) -> torch.Tensor:
    """Noise of unit spread that changes over ``wave_mm``."""
    coarse = [max(3, round(n * spacing / wave_mm)) for n in shape]
    noise = normal(generator, 1.0, (1, 1, *coarse))
    field = F.interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return field / field.std()


FAMILIES = {"template": _template_brain, "procedural": _procedural_brain}
