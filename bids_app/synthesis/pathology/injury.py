"""Traumatic injury: contusions where the skull is rough, torn axons where tissues meet, and people without either.

Sites follow the textbook: contusions under the frontal lobes and at the poles, axonal injury at the border of grey and
white matter, in the corpus callosum and the back of the midbrain. Frequencies and sizes are round numbers chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bids_app.synthesis.fields import chance, normal, uniform
from bids_app.synthesis.heads.placed import MIDDLE_MNI, from_mni
from bids_app.synthesis.pathology.compartments import Compartment, Lesions
from bids_app.synthesis.pathology.plaques import draw_mimics
from bids_app.synthesis.pathology.shapes import Canvas, brain
from bids_app.synthesis.pathology.tissues import drawn

#: How many have no lesion.
FREE = 1 / 3
#: Of the others, how many have contusions, and axonal injury; those who would have neither have contusions.
CONTUSED, SHEARED = 0.75, 0.5
#: Where contusions lie, on the right, MNI mm, and how often: under the frontal lobe, at its pole, at the temporal pole,
#: beside the temporal and beside the frontal lobe.
SITES = ((22, 35, -18), (22, 60, -2), (40, 14, -34), (58, -14, -24), (46, 38, 6))
SITE_SHARES = (0.34, 0.20, 0.26, 0.15, 0.05)
SITE_SPREAD_MM = 8.0
#: Ages of an injury; by each the names of what bled.
AGES = ("acute", "subacute", "chronic")
AGE_SHARES = (0.35, 0.3, 0.35)
CONTUSION_ML = (0.2, 40.0)
SPOT_ML, SPOT_SPREAD = 0.05, 0.8


def draw_injury(canvas: Canvas, *, shapes: Sequence[torch.Tensor] | None = None) -> Lesions:
    """Contusions, axonal injury, both or, in a third of people, neither; everything that is injured is labelled."""
    g = canvas.generator
    parts = draw_mimics(canvas, spaces=4.0, caps=0.35, flow=0.2)
    free, contused, sheared = chance(g, FREE), chance(g, CONTUSED), chance(g, SHEARED)
    age = AGES[int(torch.multinomial(torch.tensor(AGE_SHARES), 1, generator=g))]
    latents = {"free": float(free), "age": float(AGES.index(age))}
    if free:
        return parts, latents
    count = 0
    if sheared:
        spots, found = _spots(canvas, age)
        parts, count = parts + spots, found
    if contused or not sheared:
        for _ in range(int(torch.randint(1, 5, (), generator=g))):
            contusion = _contusion(canvas, age)
            parts, count = parts + contusion, count + bool(contusion)
    return parts, latents | {"count": float(count)}


def _contusion(canvas: Canvas, age: str) -> list[Compartment]:
    """Oedema around patches of blood, or years later a cavity and haemosiderin in gliosis."""
    g = canvas.generator
    site = SITES[int(torch.multinomial(torch.tensor(SITE_SHARES), 1, generator=g))]
    side = 1.0 if chance(g, 0.5) else -1.0
    middle = from_mni((side * site[0], *site[1:]))
    weight = canvas.near(middle, SITE_SPREAD_MM) * canvas.tissue[1] * (canvas.at[..., 0] * side > 0)
    seed = canvas.places(weight * (weight > 0.05), 1)
    volume = float(torch.exp(np.log(3.0) + normal(g, 1.1)).clamp(*CONTUSION_ML))
    if not len(seed):
        return []
    window = canvas.window(seed[0], 6 + 1.9 * (volume * 239) ** (1 / 3))
    size = volume ** (1 / 3)
    same = window.at[..., 0] * side > -1.0
    round_ = -window.offset.norm(dim=-1) - 30.0 * ~same
    score = round_ + canvas.noise(window, 7 + 3 * size) * (0.6 + 1.2 * size)
    level = canvas.level(window, score, volume, brain(window.tissue))
    whole = canvas.fill(window, score, level, brain, soft_mm=1.0 if age == "chronic" else 2.0)
    patchy = torch.minimum(score - level - 0.5, round_ + canvas.noise(window, 7.0) * (2 + 2 * size))
    if age == "chronic":
        inner = canvas.grow(window, patchy, volume * float(uniform(g, 0.2, 0.6)), brain)
        stain = canvas.grow(
            window, patchy - 2 * canvas.noise(window, 6.0), volume * float(uniform(g, 0.02, 0.1)), brain
        )
        return [
            Compartment("gliosis", whole, 1, drawn("gliosis", g)),
            Compartment("cavity", inner, 1, drawn("cavity", g)),
            Compartment("haemosiderin", stain * float(uniform(g, 0.2, 0.7)), 1, drawn("haemosiderin", g)),
        ]
    blood = canvas.grow(window, patchy, volume * float(uniform(g, 0.15, 0.5)), brain)
    outside = "methaemoglobin outside cells" if chance(g, 0.5) else "methaemoglobin in cells"
    kind = "deoxyhaemoglobin" if age == "acute" else outside
    return [
        Compartment("oedema", whole, 1, drawn("oedema", g)),
        Compartment("blood", blood * float(uniform(g, 0.6, 1.0)), 1, drawn(kind, g)),
    ]


def _spots(canvas: Canvas, age: str) -> tuple[list[Compartment], int]:
    """Axonal injury: small spots, some of which bled."""
    g = canvas.generator
    x, y, z = (canvas.at + canvas.at.new_tensor(MIDDLE_MNI)).unbind(-1)
    _, grey, inner = canvas.tissue
    front = torch.sigmoid((y + 15) / 12) * torch.sigmoid((z - 0) / 8) + 0.3 * torch.sigmoid((-z - 8) / 6) * (y > -45)
    border = (grey * inner * 4 - 0.3).clamp_min(0) * front * torch.exp(-((x / 45) ** 2))
    arch = torch.exp(-((x / 9) ** 2)) * (y > -46) * (y < 34) * (z > 2) * (z < 32) * (inner - 0.5).clamp_min(0)
    stem = sum(canvas.near(from_mni((s * 8, -31, -10)), 4.0) for s in (-1, 1)) * inner
    weight = sum(
        share * part / part.sum().clamp_min(1e-6) for share, part in ((0.62, border), (0.3, arch), (0.08, stem))
    )
    places = canvas.places(weight, int(torch.exp(uniform(g, np.log(3), np.log(31)))))
    volumes = torch.exp(np.log(SPOT_ML) + normal(g, SPOT_SPREAD, (len(places),))).clamp(0.01, 0.6)
    bled = torch.rand(len(places), generator=g) < float(uniform(g, 0.2, 0.8))
    swollen = "gliosis" if age == "chronic" else "swollen axons"
    kind = "haemosiderin" if age == "chronic" else "deoxyhaemoglobin"
    parts = [
        Compartment("axonal injury", canvas.blobs(places[~bled], volumes[~bled], brain), 1, drawn(swollen, g)),
        Compartment("blood", canvas.blobs(places[bled], volumes[bled] * 0.7, brain), 1, drawn(kind, g)),
    ]
    return parts, len(places)
