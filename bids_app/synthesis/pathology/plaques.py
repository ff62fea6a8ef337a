"""Multiple sclerosis, and what white matter shows without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from bids_app.synthesis.fields import blur, chance, normal, uniform
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.pathology.compartments import Compartment, Lesions
from bids_app.synthesis.pathology.lesions import LARGEST_ML, REACH_MM, place_weight
from bids_app.synthesis.pathology.shapes import Canvas, brain
from bids_app.synthesis.pathology.tissues import drawn

# Median, least and most of the count and of the volume in ml, measured on public consensus masks of thirty people with
# multiple sclerosis. Spreads of the logarithms: round numbers chosen here.
COUNT, COUNT_SPREAD = (79.0, 17.0, 392.0), 0.75
BURDEN_ML, BURDEN_SPREAD = (14.0, 0.3, 52.0), 0.9
#: Of one plaque's volume, logarithm; and how much of the volume is lost where plaques overlap or leave the brain.
PLAQUE_SPREAD, SMALLEST_ML, LOST = 1.1, 0.004, 0.1
#: Where they lie: at the ventricles (and deep), under the cortex.
PERIVENTRICULAR_SHARE = 0.75
#: A part of a head with less white matter than this has so much less of everything, ml.
WHOLE_WHITE_ML = 400.0
#: How plaques differ: share of them, and factors of T1 and T2 of an ordinary one, or None for a black hole.
SEVERITY = ((0.3, (0.9, 0.88)), (0.5, (1.0, 1.0)), (0.2, None))
BASAL_GANGLIA = ((24.0, 4.0, -4.0), (7.0, 10.0, 6.0))


def draw_plaques(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None) -> Lesions:
    """Plaques at the ventricles, drawn out away from them, and under the cortex; and what imitates them."""
    g, placed = canvas.generator, canvas.placed
    parts = draw_mimics(canvas, spaces=6.0, caps=0.5, flow=0.4)
    around = float(normal(g, 1.0))
    size = 0.6 * around + 0.8 * float(normal(g, 1.0))
    whole = min(float(placed.tissue[2].sum()) * placed.spacing**3 / 1000 / WHOLE_WHITE_ML, 1.0)
    count = int(whole * np.clip(COUNT[0] * np.exp(COUNT_SPREAD * around), *COUNT[1:]) + 0.5)
    burden = whole * float(np.clip(BURDEN_ML[0] * np.exp(BURDEN_SPREAD * size), *BURDEN_ML[1:]))
    deep = int(torch.binomial(torch.tensor(float(count)), torch.tensor(PERIVENTRICULAR_SHARE), generator=g))
    close = blur(canvas.ventricle, [REACH_MM / canvas.coarse_mm] * 3)
    weight = place_weight(canvas.tissue[2], canvas.ventricle, canvas.coarse_mm)
    near = canvas.places(weight * (0.2 + close / close.amax().clamp_min(1e-6)), deep)
    border = canvas.places(_border(canvas), count - deep)
    places = torch.cat([near, border])
    if not len(places):
        return parts, {}
    along = torch.cat([_away(canvas, near), torch.zeros(len(border), 3)])
    volumes = torch.exp(normal(g, PLAQUE_SPREAD, (len(places),)))
    volumes = (volumes / volumes.sum() * burden / (1 - LOST)).clamp(SMALLEST_ML, LARGEST_ML)
    which = torch.multinomial(torch.tensor([s for s, _ in SEVERITY]), len(places), replacement=True, generator=g)
    for kind, (_, factors) in enumerate(SEVERITY):
        mine = which == kind
        share = canvas.blobs(places[mine], volumes[mine], brain, along[mine])
        tissue = drawn("plaque" if factors else "black hole", g)
        if factors:
            tissue = replace(tissue, t1_ms=tissue.t1_ms * factors[0], t2_ms=tissue.t2_ms * factors[1])
        parts.append(Compartment("plaque" if factors else "black hole", share, 1, tissue))
    return parts, {"count": float(len(places))}


def draw_healthy(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None) -> Lesions:
    """Nothing that is labelled: bright rims of the ventricles, wide perivascular spaces, flow."""
    return draw_mimics(canvas, spaces=3.0, caps=0.4, flow=0.25), {}


def draw_mimics(canvas: Canvas, *, spaces: float, caps: float, flow: float) -> list[Compartment]:
    """What is no lesion, ``canvas.mimics`` times as much as is said here.

    Args:
        canvas: where.
        spaces: mean number of wide perivascular spaces.
        caps: largest share of changed tissue in the rim of the ventricles, bright on FLAIR and T2w.
        flow: how likely there is fluid that a FLAIR does not null, in and around the ventricles and cisterns.
    """
    g = canvas.generator
    if not canvas.mimics:
        return []
    spaces, caps, flow = (canvas.mimics * usual for usual in (spaces, caps, flow))
    parts = []
    strength = float(uniform(g, 0.0, min(caps, 1.0)))
    rim = upsampled(canvas, (blur(canvas.ventricle, [4.0 / canvas.coarse_mm] * 3) * 3).clamp(0, 1) * strength)
    parts.append(Compartment("cap", rim.mul_(canvas.placed.tissue[2]), 0, drawn("cap", g)))
    count = int(torch.poisson(torch.tensor(spaces), generator=g))
    middle, spread = BASAL_GANGLIA
    sides = sum(canvas.near(from_mni((s * middle[0], *middle[1:])), spread) for s in (-1, 1))
    weight = canvas.tissue[2] * (canvas.tissue[2] - 0.6).clamp_min(0) + 4 * sides * canvas.tissue[1:].sum(0)
    share = canvas.blobs(canvas.places(weight, count), torch.exp(np.log(0.03) + normal(g, 0.7, (count,))), brain)
    parts.append(Compartment("perivascular space", share.mul_(0.6), 0, drawn("perivascular space", g)))
    if chance(g, flow):
        parts.append(_flow(canvas))
    return parts


def _flow(canvas: Canvas) -> Compartment:
    """Inflow, the usual mistake of a FLAIR in the ventricles and basal cisterns."""
    g = canvas.generator
    low = torch.sigmoid((from_mni((0, 0, 0))[2] - canvas.at[..., 2]) / 6)
    weight = canvas.tissue[0] * (canvas.ventricle + 0.3 * low)
    count = int(torch.randint(1, 4, (), generator=g))
    places = canvas.places(weight, count)
    volumes = torch.exp(np.log(0.8) + normal(g, 0.5, (len(places),))).clamp(max=4.0)
    share = canvas.blobs(places, volumes, lambda tissue: tissue[0].clamp(0, 1))
    return Compartment("flow", share * float(uniform(g, 0.2, 0.7)), 0, drawn("flow", g))


def upsampled(canvas: Canvas, coarse: torch.Tensor) -> torch.Tensor:
    """A map on the coarse grid, on the head's own grid."""
    n = [size * canvas.step for size in coarse.shape]
    if canvas.step == 1:
        return coarse.clone()
    fine = F.interpolate(coarse[None, None], size=n, mode="trilinear", align_corners=False)
    missing = [after for size, whole in zip(n[::-1], canvas.shape[::-1], strict=True) for after in (0, whole - size)]
    return F.pad(fine, missing, mode="replicate")[0, 0] if any(missing) else fine[0, 0]


def _border(canvas: Canvas) -> torch.Tensor:
    """Coarse cells that hold both white matter and cortex."""
    _, grey, inner = canvas.tissue
    return (grey * inner * 4 - 0.3).clamp_min(0)


def _away(canvas: Canvas, places: torch.Tensor) -> torch.Tensor:
    """Direction away from the ventricles, voxels, ``(k, 3)``; 0 far from them."""
    near = blur(canvas.ventricle, [REACH_MM / canvas.coarse_mm] * 3)
    slopes = torch.stack(torch.gradient(near), -1)
    last = torch.tensor(near.shape) - 1
    cell = torch.minimum((places / canvas.step).long().clamp_min(0), last)
    found = slopes[cell[:, 0], cell[:, 1], cell[:, 2]]
    return torch.where(found.norm(dim=1, keepdim=True) > 0.01, found, torch.zeros(()))
