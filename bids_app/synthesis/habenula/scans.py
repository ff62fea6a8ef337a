"""Training scans for the habenula recipe: drawn from label maps, or real T1w brains changed at random.

A scan is a cube of 64 voxels at 0.5 mm with the template's axes; its target is what part of every voxel is neither,
left, or right habenula. Everything about a scan follows from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bids_app.networks.standardise import standardise
from bids_app.synthesis import fields
from bids_app.synthesis.habenula.shapes import SHAPE_SPACING_MM, load_shapes, volume_of
from bids_app.synthesis.habenula.sources import SPACING_MM
from bids_app.synthesis.scanner.acquisition import (
    Placed,
    PointSpread,
    ScannerStep,
    Stretched,
    acquire,
    draw_exponent,
    draw_noise,
    draw_shading,
)

SIDE = 64
#: Measured in 1001 people (HCP), mm³: mean and standard deviation of one side, and what is drawn at most and least.
VOLUME_MM3 = (17.2, 3.6, 8.0, 30.0)
#: Part of CIT168's soft volume, carried over, that is counted as habenula on a real brain: 33 mm³ becomes 17.
REAL_SHARE = 0.5
#: T1w brightness of tissues, white matter 1; FreeSurfer labels of each. What is not listed is background.
TISSUES: dict[str, tuple[float, tuple[int, ...]]] = {
    "background": (0.0, ()),
    "fluid": (0.15, (4, 5, 14, 15, 24, 43, 44, 72, 136, 137, 163, 164)),
    "white": (1.0, (2, 25, 41, 57)),
    "cortex": (0.60, (3, 42)),
    "thalamus": (0.76, (10, 49)),
    "striatum": (0.68, (11, 12, 50, 51, 26, 58)),
    "pallidum": (0.86, (13, 52)),
    "hippocampus": (0.62, (17, 18, 53, 54)),
    "brainstem": (0.88, (16, 28, 60, 85)),
    "cerebellar white": (0.95, (7, 46)),
    "cerebellar cortex": (0.60, (8, 47)),
    "vessel": (0.45, (30, 62)),
}
FLUID, THALAMUS, WHITE = (list(TISSUES).index(name) for name in ("fluid", "thalamus", "white"))


@dataclass(frozen=True)
class HabenulaRanges:
    """How far scans differ; ``held_out`` draws may use other numbers than training."""

    shift_mm: float = 5.5
    turn: float = 0.24
    scale: float = 0.1
    bend_mm: float = 1.0
    swell: float = 0.12
    finest_mm: float = 0.5
    coarsest_mm: float = 1.5
    noise: float = 0.05
    wild: float = 0.15


@dataclass(frozen=True)
class Sources:
    """What scans are drawn from, as tensors.

    Attributes:
        names, kinds: of each brain.
        images: each ``(1, n, n, n)``: tissue numbers, or brightness.
        parts: each ``(2, n, n, n)``: for a real brain the part of a voxel that is habenula; for label maps None.
        centres: of left and right, mm from the cube's middle, each ``(2, 3)``.
        shapes: signed distances ``(count, n, n, n)`` and their volumes.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    images: tuple[torch.Tensor, ...]
    parts: tuple[torch.Tensor | None, ...]
    centres: tuple[torch.Tensor, ...]
    shapes: torch.Tensor
    shape_volumes: torch.Tensor

    def only(self, kind: str, names: set[str] | None = None) -> list[int]:
        return [i for i, k in enumerate(self.kinds) if k == kind and (names is None or self.names[i] in names)]


def load_sources(paths: list[Path], data_root: Path) -> Sources:
    """Read what `sources.prepare_sources` made."""
    names, kinds, images, parts, centres = [], [], [], [], []
    for path in paths:
        with np.load(path) as held:
            kind, image, probability = str(held["kind"]), held["image"], held["probability"]
            names.append(str(held["name"]))
        kinds.append(kind)
        images.append(torch.from_numpy(tissue_numbers(image) if kind == "labels" else image.astype(np.float32))[None])
        parts.append(None if kind == "labels" else torch.from_numpy(np.stack([core(p) for p in probability])))
        centres.append(torch.stack([_centre(p) for p in probability]))
    shapes = load_shapes(data_root)
    volumes = torch.tensor([volume_of(shape) for shape in shapes])
    return Sources(
        tuple(names), tuple(kinds), tuple(images), tuple(parts), tuple(centres), torch.from_numpy(shapes), volumes
    )


def tissue_numbers(labels: np.ndarray) -> np.ndarray:
    """FreeSurfer labels as positions in :data:`TISSUES`."""
    table = np.zeros(int(labels.max()) + 1, np.float32)
    for number, (_, members) in enumerate(TISSUES.values()):
        for label in members:
            if label < table.size:
                table[label] = number
    return table[labels.astype(int)]


def core(probability: np.ndarray, share: float = REAL_SHARE) -> np.ndarray:
    """The innermost ``share`` of a carried-over probability map, with soft edges, as part of each voxel in [0, 1]."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(probability, 0.8)
    count = share * float(probability.sum())
    level = np.sort(smooth.ravel())[-max(int(count), 1)]
    slope = np.linalg.norm(np.stack(np.gradient(smooth)), axis=0)
    edge = slope[np.abs(smooth - level) < 0.1].mean()
    part = np.clip(0.5 + (smooth - level) / edge, 0, 1).astype(np.float32)
    return part * min(1.0, count / float(part.sum())) if part.sum() > 1.3 * count else part


def _centre(part: np.ndarray) -> torch.Tensor:
    index = np.indices(part.shape).reshape(3, -1)
    mean = (index * part.ravel()).sum(1) / part.sum()
    return torch.tensor((mean - (np.array(part.shape) - 1) / 2) * SPACING_MM, dtype=torch.float32)


def draw_scan(
    sources: Sources, number: int, seed: int, how: HabenulaRanges, again: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """One scan of source ``number``.

    Args:
        sources: what is drawn from.
        number: position in ``sources``.
        seed: everything follows from it.
        how: ranges.
        again: when not 0, the same brain once more: other head position, grid, noise, shading.

    Returns:
        image ``(1, 64, 64, 64)``, standardised; target ``(3, 64, 64, 64)``: background, left, right; sums to one.
    """
    generator = torch.Generator().manual_seed(seed)
    at = _bent_places(sources.centres[number], generator, how)
    scanner = generator
    if again:
        scanner = torch.Generator().manual_seed(seed * 1009 + again)
        at = _moved(at, scanner)
    steps: list[ScannerStep] = []
    if sources.kinds[number] == "labels":
        clean, parts = _paint(sources, number, at, generator, wild=fields.chance(generator, how.wild))
        steps = draw_scanner(clean, scanner, how.finest_mm, how.coarsest_mm, how.noise)
    else:
        clean = fields.read(sources.images[number], at, SPACING_MM)[0]
        parts = fields.read(sources.parts[number], at, SPACING_MM)
        clean = clean / clean.amax().clamp_min(1e-6)
        if fields.chance(scanner, 0.7):
            steps = draw_scanner(clean, scanner, 0.7, min(how.coarsest_mm, 1.3), how.noise * 0.8)
    shading = draw_shading(scanner, 3, float(fields.uniform(scanner, 0, 0.15)))
    image = acquire(clean, [*steps, shading, Stretched(draw_exponent(scanner, 0.25))])
    if not again and fields.chance(generator, 0.5):
        image, parts = image.flip(0), parts.flip(1).flip(0)
    target = torch.cat([(1 - parts.sum(0, keepdim=True)).clamp(0, 1), parts])
    return standardise(image)[None], target / target.sum(0, keepdim=True)


def draw_scanner(
    clean: torch.Tensor, generator: torch.Generator, finest: float, coarsest: float, noise: float
) -> list[ScannerStep]:
    """A turned and shifted grid of ``finest`` to ``coarsest`` mm, its resolution and noise, and the way back.

    Half of the scans have voxels of equal sides; the others have one axis up to 1.6 times the finest, unless only one
    size is asked for. Noise is Gaussian, as Rician noise is at this signal, up to ``noise`` of the range of ``clean``.
    """
    voxel = fields.uniform(generator, finest, coarsest).repeat(3)
    if finest < coarsest and fields.chance(generator, 0.5):
        axis = int(torch.randint(3, (), generator=generator))
        voxel[axis] = min(float(voxel[axis]) * float(fields.uniform(generator, 1.0, 1.6)), coarsest * 1.2)
    turn = fields.rotation(fields.uniform(generator, -0.26, 0.26, (3,)))
    shift = fields.uniform(generator, -0.5, 0.5, (3,)) * voxel
    sharp = fields.uniform(generator, 0.7, 1.1)
    widths = tuple(max(float(v * sharp) ** 2 - SPACING_MM**2, 0) ** 0.5 / SPACING_MM for v in voxel)
    counts = [int(n * SPACING_MM * 1.25 / v) + 1 for n, v in zip(clean.shape, voxel.tolist(), strict=True)]
    there = (fields.places(counts, voxel.tolist()) + shift) @ turn.T
    level = float(fields.uniform(generator, 0.0, noise)) * float(clean.max() - clean.min())
    back = (fields.places(clean.shape, SPACING_MM) @ turn - shift) / voxel
    return [
        PointSpread(widths),
        Placed(there, SPACING_MM),
        draw_noise(generator, counts, level),
        Placed(back, 1.0),
    ]


def _bent_places(centres: torch.Tensor, generator: torch.Generator, how: HabenulaRanges) -> torch.Tensor:
    """Where in the source (mm from its middle) every voxel of the scan lies."""
    here = fields.places((SIDE,) * 3, SPACING_MM)
    turn = fields.rotation(fields.uniform(generator, -how.turn, how.turn, (3,)))
    scale = torch.exp(fields.normal(generator, how.scale / 2, (1,)) + fields.normal(generator, how.scale / 3, (3,)))
    shift = fields.uniform(generator, -how.shift_mm, how.shift_mm, (3,))
    at = ((here + shift) @ turn.T) * scale + centres.mean(0)
    bend = fields.smooth_field(generator, (SIDE,) * 3, 6, float(fields.uniform(generator, 0, how.bend_mm)), 3)
    at = at + bend.permute(1, 2, 3, 0)
    for centre in centres:
        away = at - centre
        pull = float(fields.normal(generator, how.swell)) * torch.exp(-away.square().sum(-1, keepdim=True) / 18.0)
        at = at + pull * away
    return at


def _moved(at: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same places seen with the head turned by up to 0.17 rad per axis and moved by up to 2 mm."""
    turn = fields.rotation(fields.uniform(generator, -0.17, 0.17, (3,)))
    there = (fields.places((SIDE,) * 3, SPACING_MM) + fields.uniform(generator, -2, 2, (3,))) @ turn.T
    return fields.read(at.permute(3, 0, 1, 2), there, SPACING_MM).permute(1, 2, 3, 0)


def _paint(
    sources: Sources, number: int, at: torch.Tensor, generator: torch.Generator, *, wild: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tissues from the label map, then the habenulae and what lies around them, at places ``at``."""
    tissue = fields.read(sources.images[number], at, SPACING_MM, nearest=True)[0].long()
    left, right = (
        sources.centres[number] + fields.normal(generator, 0.4, (1, 3)) + fields.normal(generator, 0.3, (2, 3))
    )
    tissue, values = _surround(tissue, at, left, right, generator), _brightness(generator, wild)
    grain = fields.smooth_field(generator, at.shape[:3], 20, 0.03)[0]
    image = values[tissue] + grain * float(fields.uniform(generator, 0, 1.5)) * (tissue != FLUID)
    thalamus, white = float(values[THALAMUS]), float(values[WHITE])
    between = float(fields.uniform(generator, 0.25, 1.05))
    habenula = thalamus + between * (white - thalamus)
    tract = habenula + float(fields.normal(generator, 0.08)) * abs(white - thalamus)
    if wild:
        habenula, tract = fields.uniform(generator, 0, 1, (2,)).tolist()
    for part, value in _tracts(at, left, right, generator, tract):
        image = image + part * (value - image)
    parts = []
    for centre, mirrored in ((left, False), (right, True)):
        part = _habenula(sources, at, centre, mirrored, generator)
        image = image + part * (habenula - image)
        parts.append(part)
    return image, torch.stack(parts)


def _surround(
    tissue: torch.Tensor, at: torch.Tensor, left: torch.Tensor, right: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Thalamus beside each habenula, third ventricle between them, as anatomy has it."""
    for centre, outward in ((left, -1.0), (right, 1.0)):
        beside = centre + torch.tensor([outward * 2.4, 1.0, -0.5])
        near = (at - beside).norm(dim=-1) < float(fields.uniform(generator, 1.8, 2.6))
        tissue = torch.where(near & (tissue == FLUID), THALAMUS, tissue)
    gap = float((right - left).norm()) / 2
    radius = float(fields.uniform(generator, 0.4, 0.8)) * gap
    middle = (left + right) / 2
    front, back = middle + torch.tensor([0.0, 4.0, 1.0]), middle + torch.tensor([0.0, -1.0, 0.5])
    return torch.where(fields.from_segment(at, front, back) < radius, FLUID, tissue)


def _brightness(generator: torch.Generator, wild: bool) -> torch.Tensor:
    if wild:
        values = fields.uniform(generator, 0, 1, (len(TISSUES),))
    else:
        means = torch.tensor([mean for mean, _ in TISSUES.values()])
        values = means + fields.normal(generator, 0.04, (len(TISSUES),))
    values[0] = float(fields.uniform(generator, 0, 0.6)) if fields.chance(generator, 0.5) else 0.0
    return values


def _tracts(
    at: torch.Tensor, left: torch.Tensor, right: torch.Tensor, generator: torch.Generator, value: float
) -> list[tuple[torch.Tensor, float]]:
    """Stria medullaris of both sides, habenular and posterior commissure, pineal: part of each voxel and brightness."""

    def near(*offset: float, spread: float = 0.4) -> torch.Tensor:
        return torch.tensor(offset) + fields.normal(generator, spread, (3,))

    def tube(start: torch.Tensor, end: torch.Tensor, low: float, high: float) -> torch.Tensor:
        radius = float(fields.uniform(generator, low, high))
        return (0.5 + (radius - fields.from_segment(at, start, end)) / SPACING_MM).clamp(0, 1)

    middle, found = (left + right) / 2, []
    if fields.chance(generator, 0.8):
        for centre in (left, right):
            found.append((tube(centre + near(0, 1, 1), centre + near(0, 10, 3.5, spread=0.8), 0.3, 0.7), value))
    if fields.chance(generator, 0.7):
        drop = near(0, -2.2, -0.8)
        found.append((tube(left + drop, right + drop, 0.3, 0.8), value))
    if fields.chance(generator, 0.8):
        low = near(0, -1.5, -4.5)
        found.append((tube(left + low, right + low, 0.6, 1.2), value))
    if fields.chance(generator, 0.85):
        away = (at - middle - near(0, -6.5, -2.5, spread=0.9)) / fields.uniform(generator, 1.6, 3.5, (3,))
        part = (0.5 + 2.4 * (1 - away.norm(dim=-1)) / SPACING_MM).clamp(0, 1)
        found.append((part, float(fields.uniform(generator, 0.2, 0.95))))
    return found


def _habenula(
    sources: Sources, at: torch.Tensor, centre: torch.Tensor, mirrored: bool, generator: torch.Generator
) -> torch.Tensor:
    """Part of every voxel that is this habenula: a measured shape, turned, stretched and brought to a drawn volume."""
    mean, spread, least, most = VOLUME_MM3
    volume = float((mean + fields.normal(generator, spread)).clamp(least, most))
    pick = int(torch.randint(len(sources.shapes), (), generator=generator))
    turn = fields.rotation(fields.normal(generator, 0.15, (3,)))
    stretch = torch.exp(fields.normal(generator, 0.08, (3,)))
    size = (volume / float(sources.shape_volumes[pick])) ** (1 / 3)
    stretch = size * stretch / stretch.prod() ** (1 / 3)
    local = ((at - centre) @ turn.T) / stretch
    if mirrored:
        local = local * local.new_tensor([-1.0, 1.0, 1.0])
    distance = fields.read(sources.shapes[pick][None], local, SHAPE_SPACING_MM)[0] * size
    return (0.5 - distance / SPACING_MM).clamp(0, 1)
