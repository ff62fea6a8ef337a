"""Brains on a coarse grid and what was drawn in them, as tests of the pathologies share them."""

from __future__ import annotations

from functools import lru_cache

import torch

from bids_app.synthesis.heads.brains import draw_brain
from bids_app.synthesis.heads.placed import MIDDLE_MNI, PlacedTissue
from bids_app.synthesis.pathology.compartments import Pathology
from bids_app.synthesis.pathology.pathology import draw_pathology

SPACING = 3.0
SHAPE = (56, 66, 56)
VOXEL_ML = SPACING**3 / 1000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=4)
def placed(family: str = "template") -> PlacedTissue:
    made = draw_brain(family, seeded(1), SHAPE, SPACING)
    return PlacedTissue(made.tissue, made.ventricle, made.frame, SPACING)


@lru_cache(maxsize=8)
def people(kind: str, count: int = 12, family: str = "template") -> tuple[Pathology, ...]:
    return tuple(draw_pathology(kind, placed(family), seeded(seed)) for seed in range(count))


def mni(where: torch.Tensor) -> torch.Tensor:
    """Places of the voxels of a mask, MNI mm, ``(n, 3)``."""
    return placed().at[where] + torch.tensor(MIDDLE_MNI)
