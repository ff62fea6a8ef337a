"""A real head changed at random: another shape, another contrast, another scanner. All of it follows from a generator.

Contrasts other than T1w are painted on the real head: brightness follows the T1w voxel by voxel along a curve through
fluid, cortex and white matter, mixed with a brightness per structure, so that borders, furrows and partial volumes are
those of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bids_app.synthesis.fields import blur, chance, normal, uniform
from bids_app.synthesis.heads.labelmaps import POSITION, LabelMap, mirror_table
from bids_app.synthesis.scanner.acquisition import acquire, draw_noise
from bids_app.synthesis.scanner.generator import Ranges, draw_brightness, draw_finish, draw_places, kept, look_up, scan

FLUID, CORTEX, WHITE = (POSITION[label] for label in (24, 3, 2))
WHITE_SIDES = (POSITION[2], POSITION[41])


@dataclass(frozen=True)
class Changes:
    """How far real heads are changed; shares of scans in [0, 1], lengths in mm.

    Attributes:
        wider_ventricles: least and most that ventricles are widened by.
        wider_outside: least and most that the fluid around the brain is.
        degraded: share that gets another resolution, thick slices or a ghost; the others only shading and noise.
        cut: share with a part of the field of view cut off, from ``cut_mm`` inside the brain to outside.
        around: spread of the logarithm of the brightness of what lies outside the skull.
        spots: share with spots in the white matter, as older people have.
        noise: largest noise, as a share of the image's range.
        as_it_lies: share of T1w heads that keep their shape and their voxels, but for whole voxels and a mirror: their
            labels are those of the map and not a half voxel beside them.
    """

    wider_ventricles: tuple[float, float] = (-2.5, 5.5)
    wider_outside: tuple[float, float] = (-1.0, 3.0)
    degraded: float = 0.35
    cut: float = 0.2
    cut_mm: tuple[float, float] = (-8.0, 30.0)
    around: float = 0.35
    spots: float = 0.25
    noise: float = 0.06
    as_it_lies: float = 0.0


def draw_real(
    label_map: LabelMap, image: torch.Tensor, levels: Sequence[float], fields: torch.Tensor, *, seed: int,
    shape: Sequence[int], spacing: float, how: Ranges, changes: Changes, painted: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """One scan of a real head, in [0, 1], and its labels (positions, uint8), both ``(x, y, z)``.

    Args:
        label_map, image, levels, fields: as `bids_app.lessons.real_heads.RealHead` holds them.
        seed: of everything.
        shape, spacing: of the scan, voxels and mm.
        how, changes: ranges.
        painted: another contrast than T1w.
    """
    generator = torch.Generator().manual_seed(seed)
    kept_whole = not painted and changes.as_it_lies > 0 and chance(generator, changes.as_it_lies)
    if kept_whole and label_map.spacing == spacing:
        at = whole_voxels(label_map, shape, how.shift_mm / spacing, generator)
    else:
        at = draw_places(label_map, shape, spacing, how, generator)
        amounts = [float(uniform(generator, *ends)) for ends in (changes.wider_ventricles, changes.wider_outside)]
        at = at + widening(at, label_map, fields, amounts)
    labels = look_up(label_map.labels, at)
    values = _read(image, at)
    if chance(generator, how.mirror):
        labels, values = mirror_table()[labels.long()].flip(0), values.flip(0)
    if painted:
        values, spot = _painted(values, labels, levels, how, generator)
    else:
        gain = torch.exp(normal(generator, changes.around))
        values = torch.where(labels > 0, values, values * gain)
        spot = levels[0] + float(uniform(generator, 0.3, 1.0)) * (levels[1] - levels[0])
    if chance(generator, changes.spots):
        values = _spotted(values, labels, spot, generator)
    keep = kept(labels, generator) if chance(generator, how.stripped) else None
    if chance(generator, changes.degraded):
        values = scan(values, spacing, how, generator, keep=keep)
    else:
        noise = draw_noise(generator, values.shape, float(uniform(generator, 0, changes.noise)), folded=True)
        values = acquire(values, [noise, *draw_finish(how, generator, keep)])
    return _cut(values, labels, spacing, changes, generator)


def whole_voxels(label_map: LabelMap, shape: Sequence[int], shift: float, generator: torch.Generator) -> torch.Tensor:
    """Places of a patch that lies on the map's own voxels around the middle of its brain, moved by up to ``shift``
    whole voxels along each axis, ``(3, x, y, z)``."""
    middle = label_map.brain.cpu().float().mean(0) + uniform(generator, -shift, shift, (3,))
    starts = [round(float(place) - side / 2) for place, side in zip(middle, shape, strict=True)]
    axes = [torch.arange(start, start + side).float() for start, side in zip(starts, shape, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def widening(at: torch.Tensor, label_map: LabelMap, fields: torch.Tensor, amounts: Sequence[float]) -> torch.Tensor:
    """What to add to places ``(3, x, y, z)`` (voxels) so that what ``fields`` widen becomes wider by ``amounts``."""
    field = sum(amount * one for amount, one in zip(amounts, fields, strict=True)) / label_map.spacing
    few = at[:, ::2, ::2, ::2]
    moved = torch.stack([_read(one, few, label_map.labels.shape) for one in field])
    return F.interpolate(moved[None], size=at.shape[1:], mode="trilinear", align_corners=False)[0]


def _read(volume: torch.Tensor, at: torch.Tensor, sides: Sequence[int] | None = None) -> torch.Tensor:
    """Values at places in voxels of a map with ``sides`` (its own where not given); 0 outside."""
    ends = at.new_tensor([n - 1 for n in sides or volume.shape]).reshape(3, 1, 1, 1)
    grid = (2 * at / ends - 1).flip(0).permute(1, 2, 3, 0)
    return F.grid_sample(volume[None, None], grid[None], padding_mode="zeros", align_corners=True)[0, 0]


def _painted(
    values: torch.Tensor, labels: torch.Tensor, levels: Sequence[float], how: Ranges, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """The head in another contrast, and how bright its spots are."""
    mean, _ = draw_brightness(how, generator)
    new = [float(mean[place]) for place in (FLUID, CORTEX, WHITE)]
    inside = curve(values, [0.0, *levels, 1.3 * levels[2]], [new[0], *new, new[2] + 0.3 * (new[2] - new[1])])
    mixed = blur(mean[labels.long()], [0.5] * 3)
    share = float(uniform(generator, 0.25, 0.9))
    inside = share * inside + (1 - share) * mixed
    most = max(new)
    tissue = [uniform(generator, low, high) * most for low, high in ((0, 0.35), (0.1, 1.0), (0.1, 1.1), (0.2, 1.4))]
    air = float(uniform(generator, 0, 0.05)) * most
    outside = curve(values, [0.0, *levels, 1.3 * levels[2]], [air, *(float(t) for t in tissue)])
    nodes = [max(2, side // 8) for side in values.shape]
    field = normal(generator, float(uniform(generator, 0, 0.5)), (1, 1, *nodes))
    outside = outside * F.interpolate(field, size=values.shape, mode="trilinear", align_corners=True)[0, 0].exp_()
    return torch.where(labels > 0, inside, outside).clamp_min(0), float(uniform(generator, 0.6, 1.2)) * most


def curve(values: torch.Tensor, knots: Sequence[float], heights: Sequence[float]) -> torch.Tensor:
    """Piecewise linear through knots and heights, level beyond the ends."""
    result = torch.full_like(values, heights[0])
    for a, b, low, high in zip(knots[:-1], knots[1:], heights[:-1], heights[1:], strict=True):
        result += ((values - a) / max(b - a, 1e-3)).clamp(0, 1) * (high - low)
    return result


def _spotted(values: torch.Tensor, labels: torch.Tensor, spot: float, generator: torch.Generator) -> torch.Tensor:
    """Spots of some millimetres in the white matter, labelled as white matter."""
    nodes = [max(2, round(side / float(uniform(generator, 3, 7)))) for side in values.shape]
    field = F.interpolate(normal(generator, 1.0, (1, 1, *nodes)), size=values.shape, mode="trilinear")[0, 0]
    broad = F.interpolate(normal(generator, 0.5, (1, 1, 5, 5, 5)), size=values.shape, mode="trilinear")[0, 0]
    share = ((field + broad - float(uniform(generator, 1.0, 2.2))) * 2).clamp(0, 1)
    white = (labels == WHITE_SIDES[0]) | (labels == WHITE_SIDES[1])
    return torch.where(white, values + share * (spot - values), values)


def _cut(
    values: torch.Tensor, labels: torch.Tensor, spacing: float, changes: Changes, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    if not chance(generator, changes.cut):
        return values, labels
    axis, end = int(torch.randint(3, (), generator=generator)), chance(generator, 0.5)
    there = torch.nonzero((labels > 0).any(dim=tuple(k for k in range(3) if k != axis))).flatten()
    more = round(float(uniform(generator, *changes.cut_mm)) / spacing)
    if not len(there):
        return values, labels
    side = values.shape[axis]
    low, high = (0, min(int(there[-1]) + 1 + more, side)) if end else (max(int(there[0]) - more, 0), side)
    inside = torch.zeros(side, dtype=torch.bool)
    inside[low:high] = True
    inside = inside.reshape([-1 if k == axis else 1 for k in range(3)])
    return torch.where(inside, values, 0.0), torch.where(inside, labels, 0)
