"""Healthy anatomy that varies by age, sex and disease in stated amounts: hippocampus, ventricles, cortex.

The logarithm of a measure, relative to the intracranial volume, is ``age * (years - 50) ± male / 2 + disease`` plus a
participant's own deviation. `EFFECTS` and `DISEASES` are the amounts; what `vary` then drew is measured on its maps.
Research use only: simulated people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from bids_app.errors import UsageError
from bids_app.synthesis.fields import blur, normal, places, read
from bids_app.synthesis.heads.brains import Brain
from bids_app.synthesis.heads.placed import MIDDLE_MNI, from_mni


@dataclass(frozen=True)
class Effect:
    """What a measure is and what it depends on; all but ``share`` are changes of a natural logarithm.

    Attributes:
        share: of the intracranial volume, at `MIDDLE_AGE`.
        age: per year.
        male: of men against women.
        spread: standard deviation between people of one age, sex and head size.
    """

    share: float
    age: float
    male: float
    spread: float


MIDDLE_AGE = 50.0
#: Fitted to the regional volumes of 291 people of the IXI collection (brain-development.org), 40 to 86 years old, three
#: scanners: logarithm of the volume on age, sex, scanner and logarithm of the intracranial volume. Ventricles are the
#: lateral and the third; cortex is all regions of it. The share of the cortex is not used: see `vary`.
EFFECTS = {
    "hippocampus": Effect(0.0055, -0.0018, -0.015, 0.073),
    "ventricles": Effect(0.0114, 0.0277, 0.047, 0.40),
    "cortex": Effect(0.345, -0.0040, -0.010, 0.038),
}
MEASURES = tuple(EFFECTS)
#: As above: logarithm of the intracranial volume of men against women. Its spread between people comes from `brains`.
MALE_HEAD = 0.147
#: Change of the logarithm in a disease. Alzheimer's: hippocampus 24.2 % (left) and 23.1 % (right) smaller, Shi 2009
#: (Hippocampus 19:1055); ventricles and cortex: round numbers chosen here, half as large again and a twelfth thinner.
#: Schizophrenia and depression: Cohen's d times `Effect.spread`, mean of both sides. Schizophrenia: van Erp 2016 (Mol
#: Psychiatry 21:547) for volumes, van Erp 2018 (Biol Psychiatry 84:644) for thickness. Depression: Schmaal 2016 (Mol
#: Psychiatry 21:806) for volumes; the cortex is left alone.
DISEASES: dict[str, dict[str, float]] = {
    "alzheimer": {
        "hippocampus": float(np.log(1 - 0.2365)),
        "ventricles": float(np.log(1.5)),
        "cortex": float(np.log(11 / 12)),
    },
    # Hippocampus: 12.9 % (left) and 11.1 % (right) smaller, Shi 2009; the others: half of Alzheimer's, chosen here.
    "mci": {
        "hippocampus": float(np.log(1 - 0.12)),
        "ventricles": float(np.log(1.25)),
        "cortex": float(np.log(23 / 24)),
    },
    "schizophrenia": {"hippocampus": -0.43 * 0.073, "ventricles": 0.345 * 0.40, "cortex": -0.523 * 0.038},
    "depression": {"hippocampus": -0.144 * 0.073, "ventricles": 0.056 * 0.40, "cortex": 0.0},
}
#: A deviation is cut at so many spreads; ventricles stay within this factor of their share (its logarithm).
CUT, VENTRICLE_RANGE = 2.5, (-1.0, 1.3)

#: Cortex as the brain is drawn stands for the thickest there is; at 50 it has this share of it, so that there is room.
CORTEX_AT_MIDDLE_AGE = 0.85
#: How far from a ventricle's wall tissue gives way, mm.
GIVE_MM = 20.0
#: Middle line of the right hippocampus from head to tail, MNI mm, and its relative thickness; a round shape chosen here
#: through the centre that `placed.LANDMARKS` names.
HIPPOCAMPUS = ((25.0, -9.0, -20.0), (28.0, -22.0, -14.0), (23.0, -36.0, -4.0))
THICKNESS = (1.15, 1.0, 0.65)
#: The temporal horn: what of the hippocampus' place it leaves free; the place is this much larger than a hippocampus of
#: 50 years, and its middle lies so far to the side and above.
NICHE, NICHE_SHIFT_MM, SHELL_MM = 1.15, (1.7, 0.0, 1.0), 1.5
#: Nothing of a hippocampus lies farther from the middle of its line than this along an axis, mm.
REACH_MM = 36.0
#: Basal ganglia and thalamus, MNI mm: centre and semi-axes on the right. Grey matter there is no cortex.
DEEP = ((17.0, -3.0, 3.0), (19.0, 27.0, 18.0))


@dataclass(frozen=True)
class Measures:
    """What one participant's measures should be.

    Attributes:
        logs: change of the logarithm of each measure against its share at 50 years.
        size: of the head along an axis, against the family's.
    """

    logs: dict[str, float]
    size: float


@dataclass(frozen=True)
class VariedBrain:
    """A brain with known structures.

    Attributes:
        brain: as changed; fluid in the place of the hippocampus counts as fluid, not as ventricle.
        hippocampi: share of each voxel, left and right, ``(2, x, y, z)``.
        deep, lower: how far each place belongs to the deep nuclei, and to cerebellum and stem, ``(x, y, z)``.
        structures: further ones by name, shares as ``hippocampi``; see `structures.with_structures`.
        volumes: measured on the maps, ml: ``intracranial_ml``, ``ventricles_ml``, ``cortex_ml``,
            ``hippocampus_left_ml``, ``hippocampus_right_ml``.
    """

    brain: Brain
    hippocampi: torch.Tensor
    deep: torch.Tensor
    lower: torch.Tensor
    volumes: dict[str, float]
    structures: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def cortex(self) -> torch.Tensor:
        own = torch.stack([self.hippocampi, *self.structures.values()]).sum((0, 1))
        return _cortex(self.brain.tissue[1] - own, self.deep, self.lower)

    def partition(self) -> tuple[tuple[str, ...], torch.Tensor]:
        """Names, and shares that add up to the brain's, ``(7, x, y, z)``."""
        fluid, grey, white = self.brain.tissue
        cortex = self.cortex
        other = grey - cortex - self.hippocampi.sum(0)
        shares = torch.stack([fluid - self.brain.ventricle, self.brain.ventricle, cortex, other, white])
        return PARTS, torch.cat([shares, self.hippocampi]).clamp(0, 1)


PARTS = (
    "fluid around the brain",
    "ventricles",
    "cerebral cortex",
    "other grey matter",
    "white matter",
    "left hippocampus",
    "right hippocampus",
)


def draw_measures(
    age: float,
    sex: str,
    generator: torch.Generator,
    *,
    disease: str | None = None,
    effects: Mapping[str, Effect] = EFFECTS,
) -> Measures:
    """Draw one participant's measures.

    Args:
        age: years.
        sex: ``F`` or ``M``.
        generator: where the deviations come from; nothing else depends on it.
        disease: one of `DISEASES`, or None.
        effects: other amounts than the usual, to plant none for example.

    Raises:
        UsageError: no such disease or sex.
    """
    if disease is not None and disease not in DISEASES:
        raise UsageError(f"there are no stated effects of {disease!r}; there are {', '.join(DISEASES)}")
    if sex not in ("F", "M"):
        raise UsageError(f"sex is F or M, not {sex!r}")
    own = normal(generator, 1.0, (len(MEASURES),)).clamp(-CUT, CUT).tolist()
    half = 0.5 if sex == "M" else -0.5
    logs = {
        name: effects[name].age * (age - MIDDLE_AGE)
        + half * effects[name].male
        + z * effects[name].spread
        + (DISEASES[disease][name] if disease else 0.0)
        for name, z in zip(MEASURES, own, strict=True)
    }
    logs["ventricles"] = float(np.clip(logs["ventricles"], *VENTRICLE_RANGE))
    return Measures(logs, float(np.exp(half * MALE_HEAD / 3)))


def vary(brain: Brain, measures: Measures, spacing: float) -> VariedBrain:
    """Give a brain the ventricles, cortex and hippocampi that a variation asks for.

    Ventricles grow or shrink by pushing tissue; the hippocampi are drawn where they belong, and what they leave of
    their place is fluid; cortex gives way to fluid from its outer surface, in proportion to the cortex that the brain
    was drawn with, because families of brains differ in that more than people do.

    Args:
        brain: as `brains.draw_brain` gives it.
        measures: as `draw_measures` gives it; its ``size`` is the caller's to use, as the grid of the brain.
        spacing: of the grid, mm.
    """
    voxel_ml = spacing**3 / 1000
    whole = float(brain.tissue.sum()) * voxel_ml
    aims = {name: EFFECTS[name].share * whole * float(np.exp(measures.logs[name])) for name in MEASURES}
    brain = _with_ventricles(brain, aims["ventricles"] / voxel_ml, spacing)
    niche = NICHE * EFFECTS["hippocampus"].share * whole / 2 / voxel_ml
    tissue, hippocampi = _with_hippocampi(brain, aims["hippocampus"] / 2 / voxel_ml, niche, spacing)
    deep, lower = _deep(brain.frame), _lower(brain.frame)
    kept = min(CORTEX_AT_MIDDLE_AGE * float(np.exp(measures.logs["cortex"])), 1.0)
    tissue = _thinned(tissue, _cortex(tissue[1] - hippocampi.sum(0), deep, lower), kept, spacing)
    brain = Brain(tissue, torch.minimum(brain.ventricle, tissue[0]), brain.frame)
    varied = VariedBrain(brain, hippocampi, deep, lower, {})
    left, right = (float(share.sum()) * voxel_ml for share in hippocampi)
    varied.volumes.update(
        intracranial_ml=whole,
        ventricles_ml=float(brain.ventricle.sum()) * voxel_ml,
        cortex_ml=float(varied.cortex.sum()) * voxel_ml,
        hippocampus_left_ml=left,
        hippocampus_right_ml=right,
    )
    return varied


def _with_ventricles(brain: Brain, voxels: float, spacing: float) -> Brain:
    """The brain with ventricles of a volume: they are all that lies within a distance of the old wall, and tissue
    between there and `GIVE_MM` is pushed out, or drawn in, without being torn."""
    inside = brain.ventricle.numpy() > 0.5
    if not inside.any():
        return brain
    edt = ndimage.distance_transform_edt
    steps = np.where(inside, 0.5 - edt(inside), edt(~inside) - 0.5).astype(np.float32)
    distance = blur(torch.from_numpy(steps) * spacing, [1.5 / spacing] * 3)
    total = brain.tissue.sum(0)
    near = distance < GIVE_MM
    wall = level_of(-distance[near], voxels, total[near], spacing, (-14.0, 8.0))
    ventricle = ((-wall - distance) / spacing + 0.5).clamp(0, 1) * total
    there = (distance + wall) * GIVE_MM / (GIVE_MM + wall)
    moved = torch.where(near, distance - there.clamp_min(0), 0.0)
    slope = torch.stack(torch.gradient(distance, spacing=spacing), -1)
    slope = slope / slope.norm(dim=-1, keepdim=True).clamp_min(0.3)
    source = places(inside.shape, spacing) - moved[..., None] * slope
    maps = read(torch.cat([brain.tissue, brain.ventricle[None]]), source, spacing)
    solid = (maps[:3].sum(0) - maps[3]).clamp_min(0.05)
    left = total - ventricle
    fluid, grey = ((part / solid).clamp(0, 1) * left for part in (maps[0] - maps[3], maps[1]))
    grey = torch.minimum(grey, left - fluid)
    return Brain(torch.stack([fluid + ventricle, grey, left - fluid - grey]), ventricle, brain.frame)


def depth_along(at: torch.Tensor, line: Sequence[Sequence[float]], radii: Sequence[float]) -> torch.Tensor:
    """How far inside a tube along a broken line each place of ``at`` (x, y, z, 3) lies, mm; negative outside."""
    found = []
    for start, end, first, last in zip(line[:-1], line[1:], radii[:-1], radii[1:], strict=True):
        a, way = at.new_tensor(start), at.new_tensor(end) - at.new_tensor(start)
        t = ((at - a) @ way / way.square().sum()).clamp(0, 1)
        found.append(first + t * (last - first) - (at - a - t[..., None] * way).norm(dim=-1))
    return torch.stack(found).amax(0)


def _with_hippocampi(
    brain: Brain, voxels: float, niche_voxels: float, spacing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tissue with both hippocampi, each of so many voxels, in a place of white matter and fluid."""
    line, radii = [from_mni(point) for point in HIPPOCAMPUS], [5.0 * t for t in THICKNESS]
    tissue, hippocampi = brain.tissue.clone(), torch.zeros(2, *brain.ventricle.shape)
    for number, side in enumerate((-1.0, 1.0)):
        folded = brain.frame * brain.frame.new_tensor([side, 1.0, 1.0])
        middle = folded.new_tensor(line[1])
        where = torch.nonzero((folded - middle).abs().amax(-1) < REACH_MM)
        if not len(where):
            continue
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(where.amin(0), where.amax(0), strict=True))
        here, at = tissue[(slice(None), *box)], folded[box]
        total = here.sum(0)
        depth = depth_along(at, line, radii)
        aside = depth_along(at - at.new_tensor(NICHE_SHIFT_MM), line, radii)
        share = edge_share(depth, level_of(depth, voxels, total, spacing), spacing) * total
        level = level_of(aside, niche_voxels, total, spacing)
        niche = torch.maximum(edge_share(aside, level, spacing) * total, share)
        shell = edge_share(aside, level - SHELL_MM, spacing) * (1 - here[0] / total.clamp_min(1e-3)) * 0.8
        shell = torch.maximum(shell * total, niche)
        here *= 1 - shell / total.clamp_min(1e-3)
        here += torch.stack([niche - share, share, shell - niche])
        hippocampi[(number, *box)] = share
    return tissue.clamp_min(0), hippocampi


def edge_share(score: torch.Tensor, level: float, spacing: float) -> torch.Tensor:
    """Share of each voxel that lies above a level of a score in mm."""
    return ((score - level) / spacing + 0.5).clamp(0, 1)


def level_of(
    score: torch.Tensor, voxels: float, within: torch.Tensor, spacing: float, span: tuple[float, float] = (-12.0, 8.0)
) -> float:
    """Above which level of a score in mm a volume lies, in voxels."""
    low, high = span
    for _ in range(16):
        middle = (low + high) / 2
        filled = float((edge_share(score, middle, spacing) * within).sum())
        low, high = (middle, high) if filled > voxels else (low, middle)
    return (low + high) / 2


def _deep(frame: torch.Tensor) -> torch.Tensor:
    (x, y, z), axes = from_mni(DEEP[0]), frame.new_tensor(DEEP[1])
    folded = torch.cat([frame[..., :1].abs(), frame[..., 1:]], -1)
    radius = ((folded - frame.new_tensor((x, y, z))) / axes).norm(dim=-1)
    return torch.sigmoid((1 - radius) * 15)


def _lower(frame: torch.Tensor) -> torch.Tensor:
    """Below the tentorium, a plane that falls backwards; round numbers."""
    x, y, z = (frame + frame.new_tensor(MIDDLE_MNI)).unbind(-1)
    roof = torch.where(y < -34, -15 - 0.1 * (y + 34).abs(), -15 - 1.2 * (y + 34))
    stem = torch.sigmoid((16 - x.abs()) / 2) * torch.sigmoid((-14 - z) / 2) * torch.sigmoid((-10 - y) / 2)
    return torch.maximum(torch.sigmoid((roof - z) / 2), stem)


def _cortex(grey: torch.Tensor, deep: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    return (grey * (1 - deep) * (1 - lower)).clamp_min(0)


def _thinned(tissue: torch.Tensor, cortex: torch.Tensor, kept: float, spacing: float) -> torch.Tensor:
    """Tissue with so much of the cortex left; what lies next to fluid, or to the outside, goes first."""
    where = cortex > 0
    exposed = blur(1 - tissue[1] - tissue[2], [1.5 / spacing] * 3).clamp(0, 1)[where]
    own = cortex[where]
    total, low, high = float(own.sum()), 0.0, 12.0
    for _ in range(14):
        middle = (low + high) / 2
        lost = float((own * (middle * exposed).clamp(0, 1)).sum())
        low, high = (low, middle) if lost > (1 - kept) * total else (middle, high)
    changed = tissue.clone()
    lost = own * (low * exposed).clamp(0, 1)
    changed[0][where] += lost
    changed[1][where] -= lost
    return changed
