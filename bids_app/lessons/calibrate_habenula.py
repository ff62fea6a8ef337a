"""Temperature, threshold and volume gain of a bundle, fitted on scans whose truth is known and that never trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.bundle.trial import trial_bundle
from bids_app.imaging.stacking import Grid
from bids_app.lessons.temperature import best_temperature
from bids_app.measure.calibration import scaled_by_temperature
from bids_app.measure.overlap import dice
from bids_app.predict.predict import predict
from bids_app.predict.regions import measure_regions
from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from bids_app.synthesis.habenula.scans import Sources

#: What calibration looks through.
THRESHOLDS = np.arange(0.25, 0.66, 0.05)
#: Voxels at which the simulator's Dice is told apart, mm, scans at each, and the seed of the first.
SHARPNESS, SHARPNESS_SCANS, SHARPNESS_SEED = (1.0, 0.7, 0.5), 24, 950_000_000
#: Volumes of one side outside this are worth a look, mm³ (1001 people: 2.5 % below 10.3, 97.5 % below 24.8).
USUAL_MM3 = (8.0, 30.0)
#: Centres of the two sides lie 6.0 mm apart on average in HCP's masks (lateral offsets 3.3 and 2.7 mm), in mm.
USUAL_APART_MM = (3.0, 12.0)


@dataclass(frozen=True)
class Pair:
    """One brain scanned twice: stacks ``(1, n, n, n)`` and true parts ``(regions, n, n, n)`` of both."""

    stacks: tuple[np.ndarray, np.ndarray]
    truths: tuple[np.ndarray, np.ndarray]


def draw_pairs(sources: Sources, members: Sequence[int], count: int, seed: int) -> list[Pair]:
    """Pairs of scans with numbers the training never drew."""
    from bids_app.synthesis.habenula.scans import HabenulaRanges, draw_scan

    how, pairs = HabenulaRanges(shift_mm=2.0, turn=0.15, wild=0.0, coarsest_mm=1.2), []
    for index in range(count):
        two = [draw_scan(sources, members[index % len(members)], seed + index, how, again) for again in (1, 2)]
        stacks, truths = zip(*[(image.numpy(), target[1:].numpy()) for image, target in two], strict=True)
        pairs.append(Pair(stacks, truths))
    return pairs


def dice_by_voxel(bundle: Bundle, sources: Sources, members: Sequence[int]) -> dict[str, float]:
    """Mean Dice of both sides on drawn scans of one voxel size each, mm as text; the same brains and heads at each."""
    from bids_app.synthesis.habenula.scans import HabenulaRanges, draw_scan

    found = {}
    for size in SHARPNESS:
        how = HabenulaRanges(shift_mm=2.0, turn=0.15, wild=0.0, finest_mm=size, coarsest_mm=size)
        scores = []
        for index in range(SHARPNESS_SCANS):
            image, target = draw_scan(sources, members[index % len(members)], SHARPNESS_SEED + index, how)
            answer = predict(bundle, image.numpy()) >= bundle.calibration["threshold"]
            scores += [dice(a, t >= 0.5) for a, t in zip(answer, target[1:].numpy(), strict=True)]
        found[f"{size:g}"] = round(float(np.mean(scores)), 4)
    return found


def calibrate(
    recipe: Recipe, networks: torch.nn.Module | Sequence[torch.nn.Module], pairs: Sequence[Pair]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit on ``pairs``; the calibration, and how good the networks together are on these very scans.

    Temperature: least cross-entropy. Threshold: hard volumes are right on average. ``volume_gain``: soft volumes are
    right on average. ``repeat_cv``: standard deviation of the difference of a pair's log volumes, divided by √2.
    """
    scans = [(s, t) for pair in pairs for s, t in zip(pair.stacks, pair.truths, strict=True)]
    trial = trial_bundle(recipe, networks, {"threshold": 0.5, "temperature": 1.0})
    answers, truths = [predict(trial, stacked) for stacked, _ in scans], [truth for _, truth in scans]
    best = best_temperature(zip(answers, truths, strict=True))
    answers = [scaled_by_temperature(answer, best) for answer in answers]
    true = sum(float(truth.sum()) for truth in truths)
    threshold = min(THRESHOLDS, key=lambda level: abs(sum(float((p >= level).sum()) for p in answers) - true))
    calibration = {
        "temperature": best,
        "threshold": round(float(threshold), 2),
        "volume_gain": 1.0,
        "usual_mm3": USUAL_MM3,
        "usual_apart_mm": USUAL_APART_MM,
    }
    trial = _with(trial, **calibration)
    spacing = recipe.needed_grid.spacing_mm
    soft = np.array([_volumes(trial, p, spacing) for p in answers])
    wanted = np.array([truth.sum((1, 2, 3)) * spacing**3 for truth in truths])
    found = soft > 0
    gain = float(wanted[found].mean() / soft[found].mean()) if found.any() else 1.0
    calibration["volume_gain"] = round(gain, 4)
    both = found[0::2] & found[1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.log(soft[0::2] / soft[1::2])[both]
    calibration["repeat_cv"] = round(float(apart.std() / np.sqrt(2)), 4) if both.sum() > 1 else 0.5
    overlaps = [dice(p >= threshold, t >= 0.5) for p, t in zip(answers, truths, strict=True)]
    figures = {
        "scans": len(scans),
        "found": float(found.mean()),
        "dice": float(np.mean(overlaps)),
        "volume_error_percent": float(100 * np.abs(gain * soft / wanted - 1).mean()),
        "volume_correlation": float(np.corrcoef(soft.ravel(), wanted.ravel())[0, 1]),
        "repeat_difference_percent": float(100 * np.abs(apart).mean()) if both.any() else float("nan"),
    }
    return calibration, {name: round(value, 4) for name, value in figures.items()}


def _with(bundle: Bundle, **changes: Any) -> Bundle:
    """The same network with another calibration."""
    return trial_bundle(bundle.recipe, bundle.networks, {**bundle.calibration, **changes})


def _volumes(bundle: Bundle, probability: np.ndarray, spacing: float) -> list[float]:
    grid = Grid(probability.shape[1:], np.diag([spacing, spacing, spacing, 1.0]))
    return [row["soft_mm3"] for row in measure_regions(bundle, probability, grid).rows]
