"""Training scans from label maps: one deformation per scan, brightness of its own for every sequence.

Order and most ranges follow SynthSeg (Billot et al. 2023, Med Image Anal 86:102789): deform, crop, mirror; draw a
brightness for every label; blur, coil shading, gamma, resolution and slice thickness, noise. Beside its random
brightness there is one where tissues keep the order they have on T1w, T2w or FLAIR, so that fewer steps are needed.
All of a scan follows from its seed. Voxels are worked on where the label maps lie: CPU or GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from bids_app.errors import UsageError
from bids_app.synthesis.fields import blur, chance, normal, rotation, uniform
from bids_app.synthesis.heads.labelmaps import (
    LABELS,
    OUTSIDE,
    TISSUE,
    LabelMap,
    brain_table,
    is_tissue,
    mirror_table,
    tissue_table,
)
from bids_app.synthesis.scanner.acquisition import (
    Ghost,
    PointSpread,
    Resized,
    ScannerStep,
    Stretched,
    acquire,
    draw_exponent,
    draw_noise,
    draw_shading,
)

#: Brightness of fluid, cortex and white matter in contrasts that brains are looked at with, white 0 to 1.
CONTRASTS = {"T1w": (0.15, 0.55, 0.85), "T2w": (0.95, 0.58, 0.42), "FLAIR": (0.10, 0.65, 0.50)}
#: Brightness of what lies around the brain in these: bone, and skin with fat and muscle; lowest and highest.
AROUND = {
    "T1w": {"bone": (0.02, 0.4), "scalp": (0.4, 1.3)},
    "T2w": {"bone": (0.02, 0.3), "scalp": (0.15, 0.9)},
    "FLAIR": {"bone": (0.02, 0.25), "scalp": (0.15, 0.9)},
}
#: How often what lies around the brain looks so, and how much its brightness varies from place to place (logarithm).
SEEN, PATCHY = 0.8, 0.4
#: How often each of `CONTRASTS`, and last a random order of brightness, is taken where tissues keep an order.
USED = (0.4, 0.22, 0.23, 0.15)
#: Share of white matter in grey structures, as brightness between cortex and white matter on T1w shows it.
WHITENESS = {"cortex": 0.0, "limbic": 0.05, "striatum": 0.2, "thalamus": 0.5, "pallidum": 0.75, "brainstem": 0.9}


@dataclass(frozen=True)
class Ranges:
    """How far scans differ. Lengths in mm, turns in radians; shares of scans in [0, 1].

    Attributes:
        turn, scale, shear: standard ranges of the affine: uniform in +-turn, 1 +- scale, +- shear.
        bend_mm: largest spread of the smooth displacement, at nodes 16 and 32 mm apart.
        mirror: share of scans whose sides are swapped.
        near_brain: share of patches whose middle lies in the brain.
        shift_mm: how far at least the middle of a patch may lie from the brain's, along each axis.
        known: share of sequences with the order of brightness of `CONTRASTS` or of a random one among three tissues;
            the others have a random brightness for every label.
        texture: largest spread of brightness inside one label.
        bias: largest spread of the coil's shading (of its logarithm).
        gamma: spread of the logarithm of the exponent.
        noise: largest noise, as a share of the image's range.
        stripped: share of scans that come without a skull.
        thick: share of scans with slices thicker than in plane, up to ``thickest_mm``.
        coarsest_mm: largest voxel in plane.
        ghost: share of scans with a moved head's ghost.
        gain, offset: of brightness after standardisation: a patch's mean is not that of a whole head.
    """

    turn: float = 0.28
    scale: float = 0.18
    shear: float = 0.02
    bend_mm: float = 3.0
    mirror: float = 0.5
    near_brain: float = 0.85
    shift_mm: float = 8.0
    known: float = 0.65
    texture: float = 0.08
    bias: float = 0.45
    gamma: float = 0.35
    noise: float = 0.08
    stripped: float = 0.3
    thick: float = 0.4
    thickest_mm: float = 7.0
    coarsest_mm: float = 2.2
    ghost: float = 0.1
    gain: float = 0.25
    offset: float = 1.0


@dataclass(frozen=True)
class DrawnScans:
    """A batch of scans.

    Attributes:
        images: ``(n, sequences, x, y, z)``, float32, in [0, 1]; exactly 0 where a stripped scan has nothing.
        labels: positions in `labelmaps.LABELS`, uint8, ``(n, x, y, z)``.
        at: where in the label map each voxel lies, voxels, ``(n, 3, x, y, z)``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    at: torch.Tensor


#: Voxels larger than so many of the map's are painted at four places, the corners of a tetrahedron.
COARSE = 1.5
CORNERS = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))

#: Brightness of a scan's sequences before the scanner: labels and places to ``(sequences, x, y, z)``.
Painter = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]


def draw_scans(
    maps: Sequence[LabelMap],
    seeds: Sequence[int],
    *,
    shape: Sequence[int],
    spacing: float = 1.0,
    sequences: int = 1,
    how: Ranges | None = None,
    paint: Painter | None = None,
    units: Sequence[bool] | None = None,
) -> DrawnScans:
    """Draw one scan for every seed.

    Args:
        maps: what scans are drawn from; all on one device.
        seeds: the same seed gives the same scan, whatever lies beside it in the batch.
        shape, spacing: of the scans, voxels and mm.
        sequences: images per scan; they share the anatomy.
        how: ranges.
        paint: brightness before the scanner; random where not given.
        units: which sequences are maps with a unit, whose numbers only blur and noise change.

    Raises:
        UsageError: nothing to draw from, or nothing to draw.
    """
    how = how or Ranges()
    if not maps or not seeds:
        raise UsageError("scans are drawn from at least one label map, with at least one seed")
    if len(shape) != 3 or min(shape) < 1 or not 0 < spacing < math.inf or sequences < 1:
        raise UsageError(
            f"a scan needs 3 sides, a spacing and a sequence, not {tuple(shape)}, {spacing:g} mm, {sequences}"
        )
    images, labels, places = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        label_map = maps[int(torch.randint(len(maps), (), generator=generator))]
        at = draw_places(label_map, shape, spacing, how, generator)
        found = look_up(label_map.labels, at)
        mirrored = chance(generator, how.mirror)
        if mirrored:
            found, at = mirror_table().to(found.device)[found.long()].flip(0), at.flip(1)
        painter = paint or random_brightness(sequences, how)
        clean = painted(label_map, found, at, spacing, painter, generator, mirrored=mirrored)
        images.append(scan_all(clean, found, spacing, how, generator, units=units))
        labels.append(found)
        places.append(at)
    return DrawnScans(torch.stack(images), torch.stack(labels), torch.stack(places))


def painted(
    label_map: LabelMap,
    labels: torch.Tensor,
    at: torch.Tensor,
    spacing: float,
    paint: Painter,
    generator: torch.Generator,
    *,
    mirrored: bool = False,
) -> torch.Tensor:
    """Brightness before the scanner; where voxels are much larger than the map's, the mean of four places in each.

    Tissues mix in a coarse voxel. Every place is painted from the same random state, so that a label looks alike.
    """
    if spacing < COARSE * label_map.spacing:
        return paint(labels, at, generator)
    state, total, step = generator.get_state(), 0.0, 0.25 * spacing / label_map.spacing
    for corner in CORNERS:
        generator.set_state(state)
        near = at + step * at.new_tensor(corner).reshape(3, 1, 1, 1)
        found = look_up(label_map.labels, near)
        total = total + paint(mirror_table().to(found.device)[found.long()] if mirrored else found, near, generator)
    return total / len(CORNERS)


def draw_places(
    label_map: LabelMap, shape: Sequence[int], spacing: float, how: Ranges, generator: torch.Generator
) -> torch.Tensor:
    """Where in the label map a deformed patch's voxels lie, voxels of the map, ``(3, x, y, z)``."""
    device = label_map.labels.device
    turn = rotation(uniform(generator, -how.turn, how.turn, (3,)))
    shear = torch.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = uniform(generator, -how.shear, how.shear, (3,)).tolist()
    size = uniform(generator, 1 - how.scale, 1 + how.scale, (3,))
    matrix = (turn @ shear) / size * (spacing / label_map.spacing)
    low, high = label_map.brain.cpu().float()
    if not chance(generator, how.near_brain):
        low, high = torch.zeros(3), torch.tensor(label_map.labels.shape).float()
    reach = torch.tensor(shape).float() * spacing / label_map.spacing / 2
    room = ((high - low) / 2 - 0.6 * reach).clamp_min(how.shift_mm / label_map.spacing)
    centre = (low + high) / 2 + uniform(generator, -1, 1, (3,)) * room
    bend = how.bend_mm / label_map.spacing
    fine = [max(3, round(n * spacing / 16) + 1) for n in shape]
    broad = [max(3, round(n * spacing / 32) + 1) for n in shape]
    coarse = normal(generator, bend * float(uniform(generator, 0, 1)), (1, 3, *broad))
    coarse = F.interpolate(coarse, size=fine, mode="trilinear", align_corners=True)
    coarse = coarse + normal(generator, 0.35 * bend * float(uniform(generator, 0, 1)), (1, 3, *fine))
    at = F.interpolate(coarse.to(device), size=tuple(shape), mode="trilinear", align_corners=True)[0]
    for axis in range(3):
        steps = (torch.arange(shape[axis]) - (shape[axis] - 1) / 2).to(device)
        along = [-1 if axis == k else 1 for k in range(3)]
        for row in range(3):
            offset = centre[row] if axis == 0 else 0.0
            at[row] += (steps * matrix[row, axis] + offset).reshape(along)
    return at


def look_up(labels: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Nearest label at places ``(3, x, y, z)`` in voxels; outside, the map's outermost voxel; uint8 ``(x, y, z)``."""
    flat = torch.zeros(at.shape[1:], dtype=torch.int32, device=labels.device)
    for places, side in zip(at, labels.shape, strict=True):
        flat.mul_(side).add_(places.round().clamp_(0, side - 1).to(torch.int32))
    return labels.reshape(-1)[flat]


def random_brightness(sequences: int, how: Ranges) -> Painter:
    """A painter that gives every label a brightness and a texture, anew for every sequence."""

    def paint(labels: torch.Tensor, at: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        images = []
        for _ in range(sequences):
            mean, spread = draw_brightness(how, generator)
            images.append(_patchy(textured(labels, mean, spread, generator), labels, generator))
        return torch.stack(images)

    return paint


def _patchy(image: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fat, muscle and marrow, which one label holds, as brightness that varies over some voxels."""
    nodes = [max(2, side // 5) for side in labels.shape]
    field = normal(generator, float(uniform(generator, 0, PATCHY)), (1, 1, *nodes)).to(image.device)
    field = F.interpolate(field, size=labels.shape, mode="trilinear", align_corners=True)[0, 0]
    return torch.where(is_tissue(*OUTSIDE).to(labels.device)[labels.long()], image * field.exp_(), image)


def textured(
    labels: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """An image whose voxels vary by ``spread`` around ``mean``, both ``(labels,)``."""
    index = labels.long()
    noise = torch.randn(labels.shape, generator=generator).to(labels.device)
    return mean.to(labels.device)[index] + spread.to(labels.device)[index] * noise


def draw_brightness(how: Ranges, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread of every label's brightness in one sequence, ``(labels,)`` each."""
    n = len(LABELS)
    mean = uniform(generator, 0, 1, (n,))
    spread = uniform(generator, 0, how.texture, (n,))
    # Both sides of a structure look alike, and so do most parts of one tissue.
    if chance(generator, how.known):
        kinds = list(CONTRASTS)
        pick = int(torch.multinomial(torch.tensor(USED), 1, generator=generator))
        kind = kinds[pick] if pick < len(kinds) else None
        three = torch.tensor(CONTRASTS[kind]) + normal(generator, 0.07, (3,)) if kind else None
        around = AROUND[kind] if kind and chance(generator, SEEN) else {}
        fluid, cortex, white = (three if three is not None else uniform(generator, 0, 1, (3,))).tolist()
        of = tissue_table()
        for place, tissue in enumerate(TISSUE):
            if tissue == "fluid":
                level = fluid + normal(generator, 0.03, (n,))
            elif tissue == "white":
                level = white + normal(generator, 0.03, (n,))
            elif tissue in WHITENESS:
                whiteness = WHITENESS[tissue] + float(normal(generator, 0.12))
                level = cortex + whiteness * (white - cortex) + normal(generator, 0.03, (n,))
            elif tissue in around:
                level = uniform(generator, *around[tissue], (n,))
            else:
                continue
            mean = torch.where(of == place, level, mean)
    partner = mirror_table().long()
    first = torch.minimum(partner, torch.arange(n))
    mean, spread = mean[first], spread[first]
    air = float(torch.rand((), generator=generator))
    if air < 0.9:
        mean[0], spread[0] = (0.0, 0.0) if air < 0.35 else (float(uniform(generator, 0, 0.06)), 0.02)
    return mean, spread


def scan_all(
    clean: torch.Tensor,
    labels: torch.Tensor,
    spacing: float,
    how: Ranges,
    generator: torch.Generator,
    *,
    units: Sequence[bool] | None = None,
) -> torch.Tensor:
    """What scanners make of a head: every sequence by itself, all of them stripped or none.

    Args:
        clean: ``(sequences, x, y, z)``.
        labels: positions, ``(x, y, z)``.
        units: see `draw_scans`.

    Returns:
        In [0, 1] but for maps with a unit, ``(sequences, x, y, z)``.
    """
    keep = kept(labels, generator) if chance(generator, how.stripped) else None
    units = units or [False] * len(clean)
    return torch.stack(
        [scan(one, spacing, how, generator, keep=keep, unit=unit) for one, unit in zip(clean, units, strict=True)]
    )


def kept(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What stripping leaves: the whole brain, with or without its fluid, and a seam that is not exact, bool."""
    with_fluid = chance(generator, 0.5)
    inside = ~is_tissue("air", *OUTSIDE) if with_fluid else brain_table()
    mask = inside.to(labels.device)[labels.long()].float()
    width = float(uniform(generator, 1.0, 3.0))
    level = float(uniform(generator, 0.25, 0.6)) if with_fluid else float(uniform(generator, 0.1, 0.5))
    # What is asked for must be seen: a blurred seam alone would cut off up to a fortieth of a brain.
    return (blur(mask, [width] * 3) > level) | brain_table().to(labels.device)[labels.long()]


def scan(
    image: torch.Tensor,
    spacing: float,
    how: Ranges,
    generator: torch.Generator,
    *,
    keep: torch.Tensor | None = None,
    unit: bool = False,
) -> torch.Tensor:
    """One sequence ``(x, y, z)`` as a scanner gives it: resolution, slices, noise, ghost, shading, gamma; in [0, 1]."""
    steps = draw_scanner(image.shape, spacing, how, generator)
    if not unit:
        steps += draw_finish(how, generator, keep)
    image = acquire(image, steps)
    if not unit or keep is None:
        return image
    return torch.where(keep, torch.where(image == 0, 1e-4, image), 0.0)


def draw_scanner(shape: Sequence[int], spacing: float, how: Ranges, generator: torch.Generator) -> list[ScannerStep]:
    """Resolution, slice thickness, noise and ghost of one sequence."""
    voxel = uniform(generator, 0.7, how.coarsest_mm if chance(generator, 0.6) else 1.1).repeat(3)
    if chance(generator, how.thick):
        axis = int(torch.randint(3, (), generator=generator))
        voxel[axis] = float(uniform(generator, float(voxel[axis]), how.thickest_mm))
    sharp = float(uniform(generator, 0.75, 1.1))
    widths = tuple(max(float(v) * sharp, spacing) / spacing for v in voxel)
    counts = tuple(max(4, round(n * spacing / max(float(v), spacing))) for n, v in zip(shape, voxel, strict=True))
    noise = draw_noise(generator, counts, float(uniform(generator, 0.0, how.noise)), of_range=True)
    steps: list[ScannerStep] = [PointSpread(widths), Resized(counts), replace(noise, folded=chance(generator, 0.5))]
    if chance(generator, how.ghost):
        axis, share = int(torch.randint(3, (), generator=generator)), float(uniform(generator, 0.05, 0.25))
        steps.append(Ghost(axis, int(torch.randint(2, max(3, counts[axis] // 2), (), generator=generator)), share))
    return [*steps, Resized(tuple(shape))]


def draw_finish(how: Ranges, generator: torch.Generator, keep: torch.Tensor | None) -> list[ScannerStep]:
    """Coil shading, stripping to ``keep`` (where given) and gamma; what comes out lies in [0, 1]."""
    nodes = int(torch.randint(3, 6, (), generator=generator))
    shading = draw_shading(generator, nodes, float(uniform(generator, 0, how.bias)))
    return [shading, Stretched(draw_exponent(generator, how.gamma), keep)]


def jittered(images: torch.Tensor, how: Ranges, generator: torch.Generator) -> torch.Tensor:
    """Standardised images ``(sequences, x, y, z)`` with another gain and offset each; zeros stay zero."""
    n = len(images)
    gain = torch.exp(normal(generator, how.gain, (n,)))
    offset = uniform(generator, -0.6 * how.offset, how.offset, (n,))
    moved = images * gain.to(images.device)[:, None, None, None] + offset.to(images.device)[:, None, None, None]
    return torch.where(images == 0, 0.0, moved)
