"""Structures that some cohorts ask for beside those of `variation`: amygdala, insula, habenula; and all as labels.

Each is an ellipsoid on either side, in a place that atlases name, filled to a stated volume with tissue that is there.
Sizes and effects are round numbers chosen here where no source is named. Research use only: simulated people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.fields import normal
from bids_app.synthesis.heads.brains import Brain, depth_in
from bids_app.synthesis.heads.head import HABENULA_CENTRE_MM, HABENULA_MEAN_MM3, HABENULA_SD_MM3, HABENULA_SEMI_AXES_MM
from bids_app.synthesis.heads.placed import MIDDLE_MNI, from_mni
from bids_app.synthesis.heads.variation import CUT, VariedBrain, edge_share, level_of

#: Intracranial volume that the volumes of `SOLIDS` go with, ml.
INTRACRANIAL_ML = 1450.0
_HABENULAE_MM3 = sum(HABENULA_MEAN_MM3.values())


@dataclass(frozen=True)
class Solid:
    """One structure.

    Attributes:
        centre_mni, axes_mm: of the ellipsoid on the right: MNI mm, semi-axes.
        ml: volume of both sides in a head of `INTRACRANIAL_ML`.
        spread: standard deviation of its logarithm between people.
        grey: share of grey matter in it; the rest is white.
        numbers: of its labels, left and right: FreeSurfer's, or beyond all of FreeSurfer's where it has none.
    """

    centre_mni: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    ml: float
    spread: float
    grey: float
    numbers: tuple[int, int]


SOLIDS = {
    "amygdala": Solid((23.0, -1.0, -17.0), (7.0, 8.0, 8.0), 3.4, 0.10, 1.0, (18, 54)),
    "insula": Solid((37.0, 4.0, 1.0), (3.5, 22.0, 14.0), 12.0, 0.09, 1.0, (1035, 2035)),
    "habenula": Solid(
        HABENULA_CENTRE_MM["right"],
        HABENULA_SEMI_AXES_MM,
        _HABENULAE_MM3 / 1000,
        2 * HABENULA_SD_MM3 / _HABENULAE_MM3,
        0.5,
        (30001, 30002),
    ),
}
#: Change of the logarithm of the volume in a disease, as `variation.DISEASES`. Amygdala: as the hippocampus. Insula:
#: thinner by a third of what people differ by, about as van Erp 2018 (Biol Psychiatry 84:644). Habenula: as in the
#: phantom of `tandem demo`, 1 of 17 mm³ a side.
EFFECTS: dict[str, dict[str, float]] = {
    "alzheimer": {"amygdala": float(np.log(1 - 0.2365))},
    "mci": {"amygdala": float(np.log(1 - 0.12))},
    "schizophrenia": {"insula": -0.35 * 0.09},
    "depression": {"habenula": float(np.log(1 - 1 / 17.2))},
}
#: Below this height in MNI space, mm, and this near to the middle, fluid of the ventricles is the third one.
THIRD_VENTRICLE_MM = (12.0, 5.0)
SIDES = ("left", "right")
FLUID, THIRD = "fluid around the brain", "third ventricle"
PAIRS = {
    "lateral ventricle": (4, 43),
    "cerebral cortex": (3, 42),
    "cerebral white matter": (2, 41),
    "cerebellum and stem, grey matter": (8, 47),
    "cerebellum and stem, white matter": (7, 46),
    "deep grey matter": (30011, 30012),
    "hippocampus": (17, 53),
}


def draw_sizes(names: Sequence[str], generator: torch.Generator, *, disease: str | None = None) -> dict[str, float]:
    """Logarithm of each structure's volume against its usual share of the head.

    Args:
        names: of `SOLIDS`.
        generator: where the deviations come from; nothing else depends on it.
        disease: one of `EFFECTS`, or None.

    Raises:
        UsageError: no such structure.
    """
    if unknown := set(names) - set(SOLIDS):
        raise UsageError(f"there is no structure {', '.join(sorted(unknown))}; there are {', '.join(SOLIDS)}")
    own = normal(generator, 1.0, (len(SOLIDS),)).clamp(-CUT, CUT).tolist()
    effects = EFFECTS.get(disease or "", {})
    drawn = dict(zip(SOLIDS, own, strict=True))
    return {name: drawn[name] * SOLIDS[name].spread + effects.get(name, 0.0) for name in names}


def with_structures(varied: VariedBrain, sizes: Mapping[str, float], spacing: float) -> VariedBrain:
    """The brain with these structures on both sides, each of its volume, in place of the tissue that was there.

    Hippocampi, ventricles and structures before it are left as they are.

    Args:
        varied: as `variation.vary` gives it.
        sizes: as `draw_sizes` gives them.
        spacing: of the grid, mm.
    """
    if not sizes:
        return varied
    voxel_ml, frame, ventricle = spacing**3 / 1000, varied.brain.frame, varied.brain.ventricle
    # what stays as it is, of fluid, grey and white; and what gives way
    kept = torch.stack([ventricle, *_grey_and_white(varied)])
    free = (varied.brain.tissue - kept).clamp_min(0)
    found, volumes = dict(varied.structures), dict(varied.volumes)
    for name, log in sizes.items():
        solid, shares = SOLIDS[name], torch.zeros_like(varied.hippocampi)
        aim = solid.ml / 2 * varied.volumes["intracranial_ml"] / INTRACRANIAL_ML * float(np.exp(log)) / voxel_ml
        for number, side in enumerate((-1.0, 1.0)):
            at, room = frame * frame.new_tensor([side, 1.0, 1.0]), free.sum(0)
            depth = depth_in(at, from_mni(solid.centre_mni), solid.axes_mm)
            depth = torch.where(at[..., 0] > 0, depth, -100.0)
            share = edge_share(depth, level_of(depth, aim, room, spacing), spacing) * room
            free = free * (1 - share / room.clamp_min(1e-6))
            kept = kept + torch.stack([0 * share, solid.grey * share, (1 - solid.grey) * share])
            shares[number] = share
            volumes[f"{name}_{SIDES[number]}_ml"] = float(share.sum()) * voxel_ml
        found[name] = shares
    brain = Brain(kept + free, ventricle, frame)
    changed = replace(varied, brain=brain, structures=found, volumes=volumes)
    changed.volumes["cortex_ml"] = float(changed.cortex.sum()) * voxel_ml
    return changed


def _grey_and_white(varied: VariedBrain) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey and white matter of hippocampi and further structures."""
    pairs = [(SOLIDS[name].grey, pair.sum(0)) for name, pair in varied.structures.items()]
    grey = varied.hippocampi.sum(0) + sum(share * own for share, own in pairs)
    return grey, torch.zeros_like(grey) + sum((1 - share) * own for share, own in pairs)


def labelled_parts(varied: VariedBrain) -> tuple[tuple[int, ...], tuple[str, ...], torch.Tensor]:
    """Every part of a brain by side: numbers and names as FreeSurfer has them where it has any, and shares.

    Returns:
        Numbers, names, and shares that add up to the brain's, ``(parts, x, y, z)``.
    """
    (fluid, grey, white), ventricle, frame = varied.brain.tissue, varied.brain.ventricle, varied.brain.frame
    own_grey, own_white = _grey_and_white(varied)
    cortex, lower = varied.cortex, varied.lower
    rest, pale = grey - cortex - own_grey, white - own_white
    height, near = THIRD_VENTRICLE_MM
    third = (frame[..., 2] + MIDDLE_MNI[2] < height) & (frame[..., 0].abs() < near)
    whole = {
        "lateral ventricle": ventricle * ~third,
        "cerebral cortex": cortex,
        "cerebral white matter": pale * (1 - lower),
        "cerebellum and stem, grey matter": rest * lower,
        "cerebellum and stem, white matter": pale * lower,
        "deep grey matter": rest * (1 - lower),
    }
    left = frame[..., 0] < 0
    parts = {name: torch.stack([share * left, share * ~left]) for name, share in whole.items()}
    parts |= {"hippocampus": varied.hippocampi, **varied.structures}
    by_name = {FLUID: fluid - ventricle, THIRD: ventricle * third}
    by_name |= {f"{side} {name}": pair[k] for name, pair in parts.items() for k, side in enumerate(SIDES)}
    names = part_names(tuple(varied.structures))
    return tuple(names), tuple(names.values()), torch.stack([by_name[name] for name in names.values()]).clamp(0, 1)


def part_names(structures: Sequence[str]) -> dict[int, str]:
    """Number and name of every label of `labelled_parts` for a cohort with these structures."""
    pairs = PAIRS | {name: SOLIDS[name].numbers for name in structures}
    named = {24: FLUID, 14: THIRD}
    named |= {
        number: f"{side} {name}" for name, both in pairs.items() for number, side in zip(both, SIDES, strict=True)
    }
    return dict(sorted(named.items()))
