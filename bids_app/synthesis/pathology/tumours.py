"""Tumours: vestibular schwannoma and glioma. Frequencies and sizes are round numbers chosen here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from bids_app.synthesis.fields import blur, chance, from_segment, normal, uniform
from bids_app.synthesis.heads.placed import MIDDLE_MNI, from_mni
from bids_app.synthesis.pathology.compartments import Compartment, Lesions
from bids_app.synthesis.pathology.lesions import DEEP_MM
from bids_app.synthesis.pathology.plaques import draw_mimics
from bids_app.synthesis.pathology.shapes import Canvas, Window, anywhere, brain, inside, white
from bids_app.synthesis.pathology.tissues import drawn

SCHWANNOMA_ML, GLIOMA_ML = (0.06, 10.0), (2.4, 100.0)
#: Where the internal auditory canal opens on the right, MNI mm (the edge of the petrous bone on label maps brought to
#: MNI space), how far from there fluid is looked for, and which way the canal runs.
PORUS, PORUS_SPREAD_MM, PORUS_REACH_MM = (21.0, -27.0, -37.0), 3.0, 9.0
CANAL = (0.96, 0.22, 0.10)
#: Length of the canal and its radius at the opening, mm.
CANAL_MM, CANAL_RADIUS_MM = 9.0, 3.0
CYSTIC, LEAST_CYSTIC_ML = 0.3, 1.0
#: Sigmoid sinus down to the bulb of the jugular vein, and superior petrosal sinus: right, MNI mm, their radii, how far
#: they wander, and how likely each is seen. Choroid plexus outside the fourth ventricle.
SINUSES = (
    (((52, -62, -22), (43, -51, -31), (37, -44, -43), (28, -36, -50)), (1.8, 4.5)),
    (((20, -22, -28), (40, -48, -28)), (0.7, 1.8)),
)
SINUS_WANDER_MM, SINUS_SEEN, SINUS_REACH_MM = 3.0, 0.7, 10.0
PLEXUS, PLEXUS_ML = ((12.0, -40.0, -38.0), (4.0, 5.0, 4.0)), (0.02, 0.25)
#: How many gliomas take up contrast agent; thickness of the rim and reach of the oedema, mm.
ENHANCING, RIM_MM, OEDEMA_MM = 0.8, (2.0, 5.0), (2.0, 22.0)
SHUT_MM = 2.0


def draw_schwannoma(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None) -> Lesions:
    """A cone in the internal auditory canal and, when large, a ball in the cerebellopontine angle against the brain."""
    g = canvas.generator
    parts = draw_mimics(canvas, spaces=3.0, caps=0.4, flow=0.3)
    parts += _sinuses(canvas) + _plexus(canvas)
    side = 1.0 if chance(g, 0.5) else -1.0
    volume = float(torch.exp(uniform(g, *np.log(SCHWANNOMA_ML))))
    porus = _porus(canvas, side)
    if porus is None:
        return parts, {}
    window = canvas.window(porus, 16 + 1.4 * (volume * 239) ** (1 / 3))
    score = _ice_cream(canvas, window, side, volume)
    level = canvas.level(window, score, volume, anywhere(window.tissue))
    cleft = canvas.fill(window, score, level - float(uniform(g, 0.5, 1.5)), brain)
    solid = canvas.fill(window, score, level, anywhere)
    parts += [
        Compartment("cleft", cleft, 0, drawn("fluid", g, 0.0)),
        Compartment("tumour", solid, 1, drawn("tumour", g)),
    ]
    cystic = 0.0
    if chance(g, CYSTIC) and volume > LEAST_CYSTIC_ML:
        cystic = float(uniform(g, 0.1, 0.5))
        depth = score - level - 1.0
        hollow = torch.minimum(depth, canvas.noise(window, 9.0) * 2.5)
        inside = (depth > 0).float()
        inner = canvas.fill(window, hollow, canvas.level(window, hollow, cystic * volume, inside), anywhere)
        parts.append(Compartment("cyst", torch.minimum(inner, solid), 1, drawn("cyst", g)))
    return parts, {"count": 1.0, "side": side, "cystic": cystic}


def _sinuses(canvas: Canvas) -> list[Compartment]:
    """Veins outside the brain that take up contrast agent and lie close to where a tumour may be."""
    g, parts = canvas.generator, []
    for points, radii in SINUSES:
        for side in (-1, 1):
            if not chance(g, SINUS_SEEN):
                continue
            way = torch.tensor([from_mni((side * x, y, z)) for x, y, z in points])
            way = way + normal(g, SINUS_WANDER_MM, (1, 3)) + normal(g, SINUS_WANDER_MM / 2, way.shape)
            middle = way.mean(0)
            near = (canvas.at - middle).norm(dim=-1)
            seed = canvas.places(torch.exp(-near) * (near < SINUS_REACH_MM), 1)
            radius = float(uniform(g, *radii))
            if not len(seed):
                continue
            length = float((way - middle).norm(dim=-1).max())
            window = canvas.window(seed[0], length + radius + 2)
            away = torch.stack([from_segment(window.at, *ends) for ends in pairwise(way)]).amin(0)
            parts.append(Compartment("sinus", canvas.fill(window, radius - away, 0.0, _no_brain), 0, drawn("sinus", g)))
    return parts


def _plexus(canvas: Canvas) -> list[Compartment]:
    g, (middle, spread) = canvas.generator, PLEXUS
    near = sum(canvas.near(from_mni((side * middle[0], *middle[1:])), spread) for side in (-1, 1))
    places = canvas.places(near * (near > 0.1) * canvas.tissue[0], int(torch.randint(0, 3, (), generator=g)))
    least, most = np.log(PLEXUS_ML)
    volumes = torch.exp(uniform(g, least, most, (len(places),)))
    share = canvas.blobs(places, volumes, lambda tissue: tissue[0].clamp(0, 1))
    return [Compartment("plexus", share, 0, drawn("plexus", g))]


def _no_brain(tissue: torch.Tensor) -> torch.Tensor:
    return 1 - brain(tissue)


def _porus(canvas: Canvas, side: float) -> torch.Tensor | None:
    """A voxel with fluid (or outside the brain) beside tissue, where the canal should open; None without one."""
    middle = from_mni((side * PORUS[0], *PORUS[1:]))
    fluid = (1 - canvas.tissue[1:].sum(0)).clamp(0, 1)
    near = (canvas.at - canvas.at.new_tensor(middle)).norm(dim=-1) < PORUS_REACH_MM
    touching = blur(1 - fluid, [4.0 / canvas.coarse_mm] * 3)
    weight = canvas.near(middle, PORUS_SPREAD_MM) * near * (fluid - 0.4).clamp_min(0) * (touching > 0.1)
    places = canvas.places(weight, 1)
    return places[0] if len(places) else None


def _ice_cream(canvas: Canvas, window: Window, side: float, volume: float) -> torch.Tensor:
    """Cone of the canal and ball before it, mm below their common surface."""
    g = canvas.generator
    way = torch.nn.functional.normalize(torch.tensor((side * CANAL[0], *CANAL[1:])) + normal(g, 0.08, (3,)), dim=0)
    along = window.offset @ way
    aside = (window.offset - along[..., None] * way).norm(dim=-1)
    filled = CANAL_MM * min(1.0, 0.5 + volume) * float(uniform(g, 0.6, 1.1))
    cone = torch.minimum(CANAL_RADIUS_MM * (1 - 0.6 * along / filled) - aside, torch.minimum(along + 3, filled - along))
    radius = (max(volume - 0.12, 0.01) * 239) ** (1 / 3)
    stretch = torch.exp(normal(g, 0.12, (3,)).clamp(-0.25, 0.25))
    away = (window.offset + 0.85 * radius * way) / stretch
    ball = radius - away.norm(dim=-1) + canvas.noise(window, 8.0) * 0.08 * radius
    return torch.maximum(cone, ball)


def draw_glioma(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None) -> Lesions:
    """Necrosis in an enhancing rim of uneven thickness, and oedema that follows the white matter around it."""
    g = canvas.generator
    parts = draw_mimics(canvas, spaces=3.0, caps=0.4, flow=0.25)
    volume = float(torch.exp(uniform(g, *np.log(GLIOMA_ML))))
    enhancing, reach = chance(g, ENHANCING), float(torch.exp(uniform(g, *np.log(OEDEMA_MM))))
    deep = blur(canvas.tissue[2], [DEEP_MM / canvas.coarse_mm] * 3)
    seed = canvas.places((deep - 0.4).clamp_min(0) * canvas.tissue[2] * _above_tentorium(canvas.at), 1)
    if not len(seed):
        return parts, {}
    side = float(torch.sign(canvas.head(seed[0])[0]))
    radius = (volume * 239) ** (1 / 3)
    window = canvas.window(seed[0], 1.5 * radius + reach + 6)
    stretch = torch.exp(normal(g, 0.15, (3,)).clamp(-0.3, 0.3))
    score = radius - (window.offset / stretch).norm(dim=-1) + canvas.noise(window, 6 + 0.7 * radius) * 0.13 * radius
    level = canvas.level(window, score, volume, inside(window.tissue))
    fingers = canvas.noise(window, 14.0)
    spread = score - level + reach * (1 + 0.35 * fingers).clamp(0.1, 2.0)
    held = _reached(window, spread)
    oedema = canvas.fill(window, torch.where(held, spread, torch.full_like(spread, -20.0)), 0.0, white, soft_mm=2.0)
    parts.append(Compartment("oedema", oedema, 2, drawn("oedema", g)))
    # a sulcus or ventricle that lies deeper in the tumour than this is squeezed shut
    whole = torch.maximum(canvas.fill(window, score, level, brain), canvas.fill(window, score - SHUT_MM, level, inside))
    facts = {"count": 1.0, "side": side, "enhancing": float(enhancing)}
    if not enhancing:
        return [*parts, Compartment("solid tumour", whole, 1, drawn("solid", g))], facts
    thick = float(uniform(g, *RIM_MM)) * torch.exp(0.35 * canvas.noise(window, 10.0))
    inner = torch.minimum(canvas.fill(window, score - thick, level, inside), whole)
    rim = Compartment("rim", whole, 3, drawn("rim", g))
    return [*parts, rim, Compartment("necrosis", inner, 1, drawn("necrosis", g))], facts


def _above_tentorium(at: torch.Tensor) -> torch.Tensor:
    """Where a glioma of the hemispheres can begin: cerebral white matter, not the stem or the cerebellum."""
    x, y, z = (at + at.new_tensor(MIDDLE_MNI)).unbind(-1)
    return ((z > torch.where(y < -30, -8.0, -30.0)) & (x.abs() > 8)).float()


def _reached(window: Window, spread: torch.Tensor) -> torch.Tensor:
    """White matter that oedema reaches without leaving white matter, from the tumour outwards a cell at a time."""
    open_ = (window.tissue[2] > 0.3) & (spread > -2)
    deepest = spread.amax()
    found = (spread > 0.75 * deepest) & (window.tissue[1:].sum(0) > 0.3)
    for _ in range(int(float(deepest) / 1.5) + 4):
        wider = torch.nn.functional.max_pool3d(found[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        found = found | (wider & open_)
    return torch.nn.functional.max_pool3d(found[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
