"""Relaxation and diffusivity of pathological tissue at 3 T.

Each number is sourced, or a round number chosen here so that the signs come out as the source says; they are the middle
of what `pathology` draws, participant by participant.

- Infarct core: ADC below 0.55 in the core (Siemonsen 2009, Stroke 40:1612), about half of normal (here 0.3 to 0.6); T2
  rises by 1.9 ms an hour (Damion 2019, Phys Med Biol 64:095016), so little on the first day. T1: chosen here, a
  little longer than of the healthy tissue, grey or white.
- Shine-through: ADC pseudonormal in the second week and above normal later while T2 stays long (Lansberg 2001, AJNR
  22:637). Cavity: diffusivity close to fluid's (the same course). Times: chosen here.
- Plaque: set here so that MPRAGE, TSE and FLAIR differ from white matter by about -0.25, 0.73 and 0.33 of its signal,
  which was fitted to real participants; diffusivity chosen here, moderately above normal.
- Blood: long T1 and short T2 (deoxyhaemoglobin), short T1 and short T2 (methaemoglobin in cells), short T1 and long T2
  (methaemoglobin outside them), short T2 (haemosiderin): Bradley 1993, Radiology 189:15. Values chosen here.
- Oedema: between white matter and fluid, chosen here. Swollen axons: diffusivity below normal, chosen here.
- Schwannoma: ADC well above the brain's (Camargo 2017, AJNR 38:1200: minima 0.67 to 0.99, means are higher); T1, T2 and
  concentration chosen here: dark on T1w before contrast agent, the brightest tissue after it.
- Venous sinus and choroid plexus after contrast agent: blood that flows is dark on T2w; both chosen here.
- Pile-up: where the field changes abruptly, echo-planar images gather the signal of several voxels in one; its
  brightness is multiplied, its diffusivity is not. Chosen here after one real scan (trace 1.3 to 6 times the brain's,
  ADC 0.6 to 1.4).
- Glioma: solid high-grade tumour T1 1863, T2 90 ms where white matter has 38 ms (de Blank et al., MR fingerprinting of
  brain tumours in children and young adults, abstract); T2 is brought here to the scale on which white matter has
  69 ms; necrosis and concentrations chosen here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bids_app.synthesis.fields import normal
from bids_app.synthesis.pathology.compartments import Relaxation

TISSUES = {
    "core": Relaxation(1900, 112, 0.84, 0.45),
    "core in white matter": Relaxation(1250, 76, 0.74, 0.45, like="white"),
    "shine-through": Relaxation(1650, 185, 0.85, 1.0, like="white"),
    "cavity": Relaxation(3600, 1200, 0.98, 2.6, like="fluid"),
    "gliosis": Relaxation(1600, 140, 0.82, 1.15, like="white"),
    "plaque": Relaxation(1570, 101, 0.81, 1.1, like="white"),
    "black hole": Relaxation(2100, 135, 0.86, 1.4, like="white"),
    "oedema": Relaxation(1650, 140, 0.86, 1.35, like="white"),
    "deoxyhaemoglobin": Relaxation(1900, 30, 0.80, 0.6),
    "methaemoglobin in cells": Relaxation(620, 32, 0.80, 0.6),
    "methaemoglobin outside cells": Relaxation(600, 160, 0.90, 1.0),
    "haemosiderin": Relaxation(1700, 24, 0.75, 0.7),
    "swollen axons": Relaxation(1600, 120, 0.82, 0.5, like="white"),
    "tumour": Relaxation(1900, 105, 0.87, 1.25, gadolinium_mM=0.6),
    "sinus": Relaxation(1650, 45, 0.85, 1.5, gadolinium_mM=1.5),
    "plexus": Relaxation(1400, 160, 0.90, 1.8, gadolinium_mM=0.5),
    "pile-up": Relaxation(1400, 85, 2.0, 0.9),
    "cyst": Relaxation(3000, 500, 0.96, 2.3, like="fluid"),
    "rim": Relaxation(1860, 120, 0.85, 1.0, gadolinium_mM=0.45),
    "solid": Relaxation(1860, 150, 0.86, 1.2, gadolinium_mM=0.03),
    "necrosis": Relaxation(2700, 320, 0.94, 2.0, gadolinium_mM=0.02, like="fluid"),
    "fluid": Relaxation(4160, 2000, 1.00, 3.0, like="fluid"),
    # fluid that entered after the inversion pulse is not nulled: as if its T1 were shorter
    "flow": Relaxation(2600, 1700, 1.00, 3.0, like="fluid"),
    "perivascular space": Relaxation(3900, 1500, 0.98, 2.4, like="fluid"),
    "cap": Relaxation(1250, 92, 0.76, 0.95, like="white"),
}


def drawn(name: str, generator: torch.Generator, spread: float = 0.08, **exactly: Any) -> Relaxation:
    """One participant's own values around those of `TISSUES`; ``exactly`` sets some of them."""
    middle = TISSUES[name]
    factors = torch.exp(normal(generator, spread, (4,)).clamp(-2 * spread, 2 * spread)).tolist()
    own = replace(
        middle,
        t1_ms=middle.t1_ms * factors[0],
        t2_ms=middle.t2_ms * factors[1],
        diffusivity=middle.diffusivity * factors[2],
        gadolinium_mM=middle.gadolinium_mM * factors[3] ** 3,
    )
    return replace(own, **exactly)
