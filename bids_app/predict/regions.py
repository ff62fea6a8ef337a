"""From a network's probabilities to the numbers of a report, with the bundle's calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.imaging.stacking import Grid, box_of, part_of
from bids_app.measure.volumes import centroid_mm, hard_volume, pieces, soft_volume
from bids_app.recipes.recipe import Region

#: Probability further than this from the region's main piece is not part of it, mm.
REACH_MM = 1.5
#: The same where voxels are large, in voxels: those that touch the piece, by a corner at least.
REACH_VOXELS = 1.8
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Measured:
    """``rows``: one per region; ``warnings``: sentences for the report."""

    rows: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)


def measure_regions(bundle: Bundle, probability: np.ndarray, grid: Grid, labels: np.ndarray | None = None) -> Measured:
    """Soft and hard volume, interval and centre of every region.

    Soft volume is the integral of the probability in and within `REACH_MM` of the region's main piece (of every piece
    that reaches the threshold, for a lesion, which may be absent and may be many), times the
    bundle's ``volume_gain`` (fitted on scans with known volume). The interval is soft ± 1.96 ``repeat_cv`` · soft:
    where 95 % of repeated scans of the same brain would fall.

    Args:
        bundle: with ``calibration`` of threshold, and optionally ``thresholds``, ``volume_gain`` and ``repeat_cv``.
        probability: shape ``(regions, x, y, z)``, values in [0, 1].
        grid: of the probability.
        labels: whole numbers of a dseg on the same grid, shape ``(x, y, z)``: a voxel then belongs to the region that
            it names, whatever its probability, and those that touch its main piece are always near enough; without
            them, to a region whose threshold it reaches.
    """
    calibration = bundle.calibration
    gain = calibration.get("volume_gain", 1.0)
    spread = NORMAL_95 * calibration["repeat_cv"] if "repeat_cv" in calibration else None
    reach = REACH_MM if labels is None else max(REACH_MM, REACH_VOXELS * float(grid.spacing.max()))
    rows, warnings = [], []
    for region, values in zip(bundle.recipe.regions, probability, strict=True):
        threshold, lesion = None if labels is not None else threshold_of(bundle, region), region.kind == "lesion"
        inside = values >= threshold if labels is None else labels == region.index
        found = bool(inside.any())
        row = {"index": region.index, "name": region.name, "color": region.color, "found": found}
        row |= {"threshold": threshold, "kind": region.kind}
        if found:
            box, part = _around(inside, grid, reach)
            piece = inside[box] if lesion else _heaviest(inside[box], values[box])
            near = np.where(within(piece, part, reach), values[box], 0)
            soft = soft_volume(near, part.affine) * gain
            row |= {"soft_mm3": soft, "hard_mm3": hard_volume(piece, part.affine)}
            row |= {"centre_mm": [float(c) for c in centroid_mm(near, part.affine)]}
            low, high = (max(0.0, soft * (1 - spread)), soft * (1 + spread)) if spread is not None else (None, None)
        else:
            if not lesion:
                why = "is the likeliest nowhere" if threshold is None else f"no probability reaches {threshold:.2f}"
                warnings.append(f"{region.name} was not found: {why}")
            row |= {"soft_mm3": 0.0, "hard_mm3": 0.0, "centre_mm": None}
            low = high = None
        rows.append(row | {"soft_low_mm3": low, "soft_high_mm3": high})
    usual = calibration.get("usual_mm3")
    if usual:
        warnings += [
            f"{row['name']}: {row['soft_mm3']:.1f} mm³ lies outside {usual[0]:g} to {usual[1]:g} mm³: look at it"
            for row in rows
            if row["found"] and not usual[0] <= row["soft_mm3"] <= usual[1]
        ]
    return Measured(rows, warnings + _far_apart(bundle, rows))


def without_specks(bundle: Bundle, probability: np.ndarray, voxel_mm3: float) -> np.ndarray:
    """Lesions smaller than the bundle's ``least_mm3`` are put below their threshold; there is nothing else to change.

    Args:
        probability: shape ``(regions, x, y, z)``; on the recipe's grid, where ``least_mm3`` was fitted.
        voxel_mm3: of that grid.
    """
    least = float(bundle.calibration.get("least_mm3", 0.0))
    if least <= voxel_mm3:
        return probability
    kept = probability.copy()
    for region, values in zip(bundle.recipe.regions, kept, strict=True):
        if region.kind == "lesion":
            threshold = threshold_of(bundle, region)
            labels, sizes = pieces(values >= threshold)
            small = np.concatenate([[False], sizes * voxel_mm3 < least])
            np.minimum(values, np.float32(0.99 * threshold), out=values, where=small[labels])
    return kept


def _far_apart(bundle: Bundle, rows: list[dict[str, Any]]) -> list[str]:
    """What to say of two sides whose centres cannot belong to one brain: at least one answer is wrong."""
    usual = bundle.calibration.get("usual_apart_mm")
    found = {row["index"]: row for row in rows if row["found"]}
    said = []
    for region in bundle.recipe.regions:
        left, right = found.get(region.index), found.get(region.partner)
        if usual and region.side == "left" and left and right:
            apart = float(np.linalg.norm(np.subtract(left["centre_mm"], right["centre_mm"])))
            if not usual[0] <= apart <= usual[1]:
                names = f"{left['name']} and {right['name']}"
                said.append(f"{names} are {apart:.1f} mm apart, not {usual[0]:g} to {usual[1]:g} mm: do not use them")
    return said


def main_piece(values: np.ndarray, threshold: float) -> np.ndarray:
    """The connected piece (26 neighbours) at or above ``threshold`` that holds the most probability."""
    return _heaviest(values >= threshold, values)


def _heaviest(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    if count < 2:
        return inside
    weight = ndimage.sum_labels(values, labels, range(1, count + 1))
    return labels == 1 + int(np.argmax(weight))


def _around(inside: np.ndarray, grid: Grid, reach: float) -> tuple[tuple[slice, ...], Grid]:
    """The box of a mask with so many mm of room on every side, and its grid: most of a head is far from a region."""
    box = box_of(inside, np.ceil(reach / grid.spacing).astype(int) + 1)
    return box, part_of(grid, box)


def within(piece: np.ndarray, grid: Grid, millimetres: float) -> np.ndarray:
    """Voxels no further than so many mm from a mask that is not empty."""
    from scipy import ndimage

    return ndimage.distance_transform_edt(~piece, sampling=grid.spacing) <= millimetres


def threshold_of(bundle: Bundle, region: Region) -> float:
    """The region's own probability threshold, or the bundle's one for all."""
    calibration = bundle.calibration
    return float((calibration.get("thresholds") or {}).get(region.name, calibration["threshold"]))


def weights_of(bundle: Bundle) -> list[float]:
    """What each region's probability is multiplied by before the likeliest is chosen; 1 but for scarce ones."""
    weights = bundle.calibration.get("weights") or {}
    return [float(weights.get(region.name, 1.0)) for region in bundle.recipe.regions]


def label_map(bundle: Bundle, probability: np.ndarray) -> np.ndarray:
    """Whole numbers of the dseg image: the likeliest region of those that reach their threshold; ``(x, y, z)``."""
    regions = bundle.recipe.regions
    levels = np.array([threshold_of(bundle, region) for region in regions])
    indices = np.array([region.index for region in regions])
    labels = np.zeros(probability.shape[1:], np.uint8 if indices.max() < 256 else np.int16)
    there = np.zeros(labels.shape, bool)
    for level, values in zip(levels, probability, strict=True):
        there |= (values >= level) & (values > 0)
    if not there.any():
        return labels
    box = box_of(there)  # a structure of 17 mm³ in a head: the rest is nothing
    part = probability[(slice(None), *box)]
    reaching = np.where(part >= levels.reshape(-1, 1, 1, 1), part, 0)
    labels[box] = np.where(there[box], indices[reaching.argmax(0)], 0)
    return labels
