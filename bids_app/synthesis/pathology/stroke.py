"""Stroke: acute infarcts by arterial territory, and older damage that looks like one on some images.

An acute core is bright on the trace image and dark on the ADC map. Old damage that is still bright on the trace image
through its long T2 (T2 shine-through) is not dark on the ADC map; it is never labelled. Frequencies and sizes are round
numbers chosen here; middle cerebral infarcts are the most frequent, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from bids_app.synthesis.fields import chance, normal, uniform
from bids_app.synthesis.heads.placed import MIDDLE_MNI, from_mni
from bids_app.synthesis.pathology.compartments import Compartment, Lesions, Relaxation
from bids_app.synthesis.pathology.lesions import LARGEST_ML, place_weight
from bids_app.synthesis.pathology.plaques import draw_mimics
from bids_app.synthesis.pathology.shapes import Canvas, brain
from bids_app.synthesis.pathology.tissues import drawn

#: How many have an acute infarct; how many of them, and of the others, have shine-through; how many a cavity.
ACUTE, OLD_BESIDE, OLD_ALONE, CAVITY = 0.75, 0.4, 0.8, 0.25
TERRITORIES = ("middle", "anterior", "posterior")
TERRITORY_SHARES = (0.68, 0.12, 0.20)
#: Kinds of infarct: a wedge down to the stem of its artery, a deep lacune, spots from emboli.
PATTERNS = ("wedge", "lacune", "scatter")
PATTERN_SHARES = (0.6, 0.22, 0.18)
#: Volumes, ml, uniform in their logarithm.
VOLUME_ML = {"wedge": (1.0, 230.0), "lacune": (0.15, 1.8), "scatter": (0.3, 6.0)}
SMALLEST_ML, LARGEST_INFARCT_ML = 0.1, 260.0
#: Anterior and posterior wedges are so much smaller; borders of territories differ between people by about this, mm.
SMALLER, WANDER_MM = 0.3, 5.0
#: From where an artery's branches spread, on the right, MNI mm.
STEMS = {"middle": (29, 2, 4), "anterior": (5, 22, 4), "posterior": (14, -48, -4)}
#: Share of strokes that take a real shape when there are some.
REAL_SHARE = 0.5
LACUNE = ((20.0, -6.0, 8.0), (7.0, 12.0, 10.0))
PONS = ((5.0, -26.0, -32.0), (3.0, 4.0, 5.0))

#: Above the petrous bones and the orbits, where echo-planar images pile signal up: right, MNI mm, and spread, mm; how
#: likely it is, how often one of the places has it, and how much brighter it is.
PILE_UP = (((44.0, -10.0, -26.0), (9.0, 16.0, 7.0)), ((12.0, 40.0, -20.0), (9.0, 14.0, 6.0)))
PILE_UP_CHANCE, PILE_UP_ML, PILE_UP_DENSITY = 0.6, (0.1, 3.0), (1.1, 4.0)


#: Share of an infarct at places as `PlacedTissue.at` counts them: ``(..., 3)`` to ``(...)``.
Core = Callable[[torch.Tensor], torch.Tensor]


def draw_stroke(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None, core: Core | None = None) -> Lesions:
    """Older damage below, the acute infarct above it: one that is drawn, or the ``core`` of somebody where it lies."""
    g = canvas.generator
    parts = draw_mimics(canvas, spaces=4.0, caps=0.6, flow=0.2)
    if chance(g, PILE_UP_CHANCE):
        parts += _pile_up(canvas)
    acute = chance(g, ACUTE) or core is not None
    latents = {"shine_through": 0.0}
    if chance(g, OLD_BESIDE if acute else OLD_ALONE):
        share = _old(canvas)
        parts.append(Compartment("shine-through", share, 0, _shine_through(canvas)))
        latents["shine_through"] = float(share.sum()) * canvas.placed.spacing**3 / 1000
    if chance(g, CAVITY):
        parts += _cavity(canvas)
    if acute:
        share, facts = _infarct(canvas, shapes) if core is None else (core(canvas.placed.at), {})
        hours = float(uniform(g, 1.0, 36.0))
        diffusivity, rise = float(uniform(g, 0.3, 0.6)), 1 + min(0.007 * hours, 0.25)
        kinds = [drawn(name, g, 0.04, diffusivity=diffusivity) for name in ("core", "core in white matter")]
        kinds = [replace(kind, t2_ms=kind.t2_ms * rise) for kind in kinds]
        _, grey, inner = canvas.placed.tissue
        over = share * inner / (grey + inner).clamp_min(1e-3)  # all of a core shows, where this head has fluid too
        under = (share - over) / (1 - over).clamp_min(1e-3)
        parts += [Compartment("core", s, 1, kind) for s, kind in zip((under, over), kinds, strict=True)]
        latents |= facts
    return parts, latents


def _pile_up(canvas: Canvas) -> list[Compartment]:
    """Bright on the trace image next to the air in the skull base, and no less diffusion than elsewhere."""
    g, parts = canvas.generator, []
    edge = 4 * canvas.tissue[1] * (1 - canvas.tissue[1]).clamp_min(0.05)
    least, most = np.log(PILE_UP_ML)
    for middle, spread in PILE_UP:
        for side in (-1, 1):
            near = canvas.near(from_mni((side * middle[0], *middle[1:])), spread)
            count = int(torch.randint(0, 3, (), generator=g))
            places = canvas.places(edge * near * (near > 0.1), count)
            volumes = torch.exp(uniform(g, least, most, (len(places),)))
            share = canvas.blobs(places, volumes, brain) * float(uniform(g, 0.5, 1.0))
            tissue = drawn("pile-up", g, 0.12, density=float(uniform(g, *PILE_UP_DENSITY)))
            parts.append(Compartment("pile-up", share, 0, tissue))
    return parts


def territory(at: torch.Tensor, name: str, side: float) -> torch.Tensor:
    """How much each place belongs to an artery's territory on one side (1 right, -1 left), in [0, 1], round numbers.

    Anterior: medial, frontal and upper; posterior: occipital, medial temporal and thalamus; middle: the rest of the
    hemisphere. None below the tentorium.
    """
    x, y, z = ((at + at.new_tensor(MIDDLE_MNI)).movedim(-1, 0)).unbind(0)
    x = x * side
    above = _soft(z - torch.where(y < -35, -14 - 0.1 * (y + 35).abs(), torch.full_like(y, -48.0))) * _soft(x - 1)
    stem = _soft(20 - x) * _soft(-14 - z) * _soft(-8 - y)
    anterior = _soft(20 - x) * _soft(y + 42) * torch.maximum(_soft(z - 14), _soft(y - 22))
    occipital = _soft(-58 - y) * _soft(40 - x)
    temporal = _soft(-12 - y) * _soft(34 - x) * _soft(-6 - z)
    thalamus = _soft(15 - x) * _soft(-2 - y) * _soft(16 - z) * _soft(z + 6)
    posterior = torch.stack([occipital, temporal, thalamus]).amax(0)
    if name == "anterior":
        return anterior * (1 - posterior) * above
    if name == "posterior":
        return posterior * (1 - anterior) * above * (1 - stem)
    return _soft(x - 14) * (1 - anterior) * (1 - posterior) * above * (1 - stem)


def _soft(distance_mm: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(distance_mm / 2.5)


def _infarct(canvas: Canvas, shapes: Sequence[torch.Tensor] | None) -> tuple[torch.Tensor, dict[str, float]]:
    g = canvas.generator
    side = 1.0 if chance(g, 0.5) else -1.0
    name = TERRITORIES[int(torch.multinomial(torch.tensor(TERRITORY_SHARES), 1, generator=g))]
    pattern = PATTERNS[int(torch.multinomial(torch.tensor(PATTERN_SHARES), 1, generator=g))]
    low, high = np.log(VOLUME_ML[pattern])
    volume = float(np.exp(float(uniform(g, low, high))))
    if pattern == "wedge" and name != "middle":
        volume = VOLUME_ML["wedge"][0] + SMALLER * (volume - VOLUME_ML["wedge"][0])
    facts = {"side": side, "territory": float(TERRITORIES.index(name) + 1), "count": 1.0}
    real = chance(g, REAL_SHARE)
    if shapes and real:
        share = _real(canvas, shapes, name, side)
    elif pattern == "wedge":
        share = _wedge(canvas, name, side, volume)
    elif pattern == "lacune":
        share = _lacune(canvas, side, volume)
    else:
        share, facts["count"] = _scatter(canvas, name, side, volume)
    return share, facts if bool((share > 0.01).any()) else {}


def _wedge(canvas: Canvas, name: str, side: float, volume: float) -> torch.Tensor:
    """A cone from the stem of the artery to the cortex, its base outside; its edge wanders by a few mm."""
    g = canvas.generator
    seed = canvas.places(canvas.tissue[1] * (territory(canvas.at, name, side) - 0.4).clamp_min(0), 1)
    if not len(seed):
        return canvas.empty()
    end = canvas.head(seed[0])
    stem = end.new_tensor(from_mni((side * STEMS[name][0], *STEMS[name][1:]))) + normal(g, 3.0, (3,))
    length = float((end - stem).norm().clamp_min(12.0))
    way = (end - stem) / (end - stem).norm().clamp_min(1e-3)
    window = canvas.window(seed[0], min(12 + 1.9 * (volume * 239) ** (1 / 3) + 0.3 * length, 75.0))
    along = window.offset @ way + length
    aside = (window.offset - (along - length)[..., None] * way).norm(dim=-1)
    slope = float(torch.tan(uniform(g, 0.35, 0.75)))
    score = (along.clamp(0, length + 6) - (along - length - 6).clamp_min(0) - 2 * (-along).clamp_min(0)) * slope - aside
    size = min(volume, 30.0) ** (1 / 3)
    score = score + canvas.noise(window, 8 + 3 * size) * (0.6 + 1.4 * size)
    wander = torch.stack([canvas.noise(window, 20.0) for _ in range(3)], -1) * WANDER_MM
    own = territory(window.at + wander, name, side)
    score = score - 25 * (1 - own) - 60 * (window.at[..., 0] * side < 0)
    return canvas.grow(window, score, volume, brain, soft_mm=1.5)


def _lacune(canvas: Canvas, side: float, volume: float) -> torch.Tensor:
    low = chance(canvas.generator, 0.15)
    (x, y, z), spread = PONS if low else LACUNE
    weight = canvas.near(from_mni((side * x, y, z)), spread) * canvas.tissue[1:].sum(0)
    places = canvas.places(weight * (canvas.at[..., 0] * side > 0), 1)
    return canvas.blobs(places, torch.full((len(places),), volume), brain)


def _scatter(canvas: Canvas, name: str, side: float, volume: float) -> tuple[torch.Tensor, float]:
    g = canvas.generator
    count = int(torch.randint(3, 13, (), generator=g))
    first = canvas.places(canvas.tissue[1] * (territory(canvas.at, name, side) - 0.3).clamp_min(0), 1)
    if not len(first):
        return canvas.empty(), 0.0
    weight = canvas.near(canvas.head(first[0]).tolist(), 22.0) * territory(canvas.at, name, side) * canvas.tissue[1]
    places = canvas.places(weight, count)
    sizes = torch.exp(normal(g, 0.8, (len(places),)))
    return canvas.blobs(places, (sizes / sizes.sum() * volume).clamp(0.01, LARGEST_ML), brain), float(len(places))


def _real(canvas: Canvas, shapes: Sequence[torch.Tensor], name: str, side: float) -> torch.Tensor:
    """One of the real shapes, a little larger or smaller than it was."""
    g = canvas.generator
    mask = shapes[int(torch.randint(len(shapes), (), generator=g))]
    volume = float(mask.sum()) / 1000 * float(torch.exp(normal(g, 0.35)))
    inside = canvas.tissue[1:].sum(0) * (territory(canvas.at, name, side) - 0.3).clamp_min(0)
    places = canvas.places(inside, 1)
    if not len(places):
        return canvas.empty()
    share = canvas.stamp(mask, places[0], float(np.clip(volume, SMALLEST_ML, LARGEST_INFARCT_ML)))
    return share * (canvas.placed.at[..., 0] * side > 0)


def _shine_through(canvas: Canvas) -> Relaxation:
    g = canvas.generator
    return drawn("shine-through", g, diffusivity=float(uniform(g, 0.9, 1.3)))


def _old(canvas: Canvas) -> torch.Tensor:
    """An infarct of two weeks or more, or changes of small vessels in the white matter."""
    g = canvas.generator
    name = TERRITORIES[int(torch.multinomial(torch.tensor(TERRITORY_SHARES), 1, generator=g))]
    side = 1.0 if chance(g, 0.5) else -1.0
    volume = float(torch.exp(uniform(g, np.log(0.5), np.log(25.0))))
    if chance(g, 0.5):
        return _wedge(canvas, name, side, volume)
    count = int(torch.randint(3, 20, (), generator=g))
    places = canvas.places(place_weight(canvas.tissue[2], canvas.ventricle, canvas.coarse_mm), count)
    sizes = torch.exp(normal(g, 0.9, (len(places),)))
    return canvas.blobs(places, (0.5 * volume * sizes / sizes.sum()).clamp(0.01, LARGEST_ML), brain)


def _cavity(canvas: Canvas) -> list[Compartment]:
    """An infarct of years ago: fluid with a gliotic rim."""
    g = canvas.generator
    side, volume = 1.0 if chance(g, 0.5) else -1.0, float(torch.exp(uniform(g, np.log(0.2), np.log(20.0))))
    weight = canvas.tissue[1:].sum(0) * (territory(canvas.at, "middle", side) - 0.3).clamp_min(0)
    seed = canvas.places(weight, 1)
    if not len(seed):
        return []
    window = canvas.window(seed[0], 6 + 1.7 * (volume * 239) ** (1 / 3))
    score = canvas.noise(window, 14.0) * volume ** (1 / 3) - window.offset.norm(dim=-1)
    level = canvas.level(window, score, volume, brain(window.tissue))
    rim = canvas.fill(window, score, level - float(uniform(g, 1.0, 3.5)), brain, soft_mm=2.0)
    inner = canvas.fill(window, score, level, brain)
    return [Compartment("gliosis", rim, 0, drawn("gliosis", g)), Compartment("cavity", inner, 0, drawn("cavity", g))]
