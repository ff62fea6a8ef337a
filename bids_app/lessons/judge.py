"""Scans of label maps that never trained, drawn by another generator: what a bundle is calibrated on and judged by.

Two sets of seeds: on one temperature, thresholds and volume gain are fitted, on the other the figures are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.lessons.scarce import ScarceRegions
from bids_app.lessons.temperature import best_temperature
from bids_app.measure.calibration import scaled_by_temperature
from bids_app.measure.lesions import Counts, detect
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import likeliest
from bids_app.predict.predict import predict
from bids_app.predict.regions import label_map, weights_of, without_specks

#: First seeds of the scans that calibrate and of those that judge: no training counts so far.
CALIBRATE, JUDGE = 800_000_000, 900_000_000
THRESHOLDS = np.round(np.arange(0.2, 0.81, 0.05), 2)
#: Smallest lesions to keep that are tried, mm³.
LEAST_MM3 = (0.0, 10.0, 30.0, 60.0, 120.0, 250.0)
#: False volume that counts as none, ml.
NO_LESION_ML = 0.5


@dataclass(frozen=True)
class Truth:
    """One drawn scan: stack ``(sequences, x, y, z)``, which sequences are there, class of every voxel."""

    stack: np.ndarray
    present: np.ndarray
    classes: np.ndarray


#: The ``n``-th scan of a set.
Source = Callable[[int], Truth]


def calibrate_drawn(trial: Bundle, scans: Iterable[Truth]) -> dict[str, Any]:
    """Temperature of least cross-entropy; threshold of the best mean Dice per lesion; the smallest lesion to keep; of
    structures, what those weigh that would hardly be found (`bids_app.lessons.scarce`).

    The mean is over scans that have the lesion: with the voxels of all in one Dice, the largest lesions alone would
    decide. What is marked where there is none is left to the smallest size that is kept.

    Args:
        trial: with temperature 1.
        scans: that neither trained nor judge.
    """
    scans, recipe = list(scans), trial.recipe
    lesions = [n for n, region in enumerate(recipe.regions) if region.kind == "lesion"]
    answers: list[np.ndarray] = []
    scarce = ScarceRegions(recipe)

    def answered() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for scan in scans:
            answer = predict(trial, scan.stack, scan.present)
            if lesions:  # of many structures they would fill the memory
                answers.append(answer)
            else:
                scarce.count(answer, scan.classes)
            yield answer, scan.classes

    best = best_temperature(answered())
    calibration: dict[str, Any] = {"temperature": best, "threshold": 0.5}
    if not lesions:  # a temperature is a power of what regions are likelier by
        weights = {name: round(min(weight ** (1 / best), 100.0), 2) for name, weight in scarce.weights().items()}
        return calibration | ({"weights": weights} if weights else {})
    if best != trial.calibration.get("temperature", 1.0):
        answers = [scaled_by_temperature(answer, best) for answer in answers]
    scores = np.zeros((len(lesions), len(THRESHOLDS)))
    for answer, scan in zip(answers, scans, strict=True):
        for k, n in enumerate(lesions):
            truth = scan.classes == n + 1
            if truth.any():
                scores[k] += [dice(answer[n] >= threshold, truth) for threshold in THRESHOLDS]
    levels = THRESHOLDS[scores.argmax(1)]
    calibration["thresholds"] = {recipe.regions[n].name: float(h) for n, h in zip(lesions, levels, strict=True)}
    if len(lesions) == 1:
        calibration["threshold"] = float(levels[0])
    least = _least_mm3(replace(trial, calibration={**trial.calibration, **calibration}), scans, answers)
    return {**calibration, "least_mm3": least} if least else calibration


def _least_mm3(fitted: Bundle, scans: Sequence[Truth], answers: Sequence[np.ndarray]) -> float:
    """The size below which pieces are dropped that gives the best lesion-wise F1 for at most a hundredth of Dice."""
    voxel = fitted.recipe.needed_grid.spacing_mm**3
    rows = []
    for least in LEAST_MM3:
        fitted.calibration["least_mm3"] = least
        counts, overlaps = Counts(), []
        for answer, scan in zip(answers, scans, strict=True):
            labels = label_map(fitted, without_specks(fitted, answer, voxel)) > 0
            counts = counts + detect(labels, scan.classes > 0, (fitted.recipe.needed_grid.spacing_mm,) * 3).counts
            overlaps.append(dice(labels, scan.classes > 0))
        rows.append((0.0 if np.isnan(counts.f1) else counts.f1, float(np.mean(overlaps))))
    best = max(range(len(rows)), key=lambda n: rows[n][0] if rows[n][1] >= rows[0][1] - 0.01 else -1.0)
    return LEAST_MM3[best]


def judge_structures(
    bundle: Bundle, scans: Iterable[Truth], masks: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Dice of every structure, of the likeliest class of each voxel, and of what ``masks`` makes of classes (brain)."""
    names = [region.name for region in bundle.recipe.regions]
    rows: dict[str, list[float]] = {name: [] for name in names}
    brains = []
    count, weights = 0, weights_of(bundle)
    indices = [region.index for region in bundle.recipe.regions]
    place_of = np.zeros(max(indices) + 1, int)
    place_of[indices] = np.arange(1, len(indices) + 1)
    for scan in scans:
        answer = predict(bundle, scan.stack, scan.present)
        every = place_of[likeliest(bundle.recipe, answer, weights)]
        for place, name in enumerate(names):
            truth = scan.classes == place + 1
            if truth.sum() >= 20:  # fewer voxels are a cut edge of the structure
                rows[name].append(dice(every == place + 1, truth))
        brains.append(dice(masks(every), masks(scan.classes)))
        count += 1
    means = {name: round(float(np.mean(values)), 4) for name, values in rows.items() if values}
    return {
        "scans": count,
        "dice_brain": round(float(np.mean(brains)), 4),
        "dice_brain_least": round(min(brains), 4),
        "dice_mean": round(float(np.mean(list(means.values()))), 4),
        "dice": means,
    }


def judge_lesions(bundle: Bundle, scans: Sequence[Truth]) -> dict[str, Any]:
    """Per region: Dice over scans that have it, lesion-wise F1, volume error; false volume where there is none."""
    spacing = bundle.recipe.needed_grid.spacing_mm
    voxel_ml = spacing**3 / 1000
    answers = []
    for scan in scans:
        kept = without_specks(bundle, predict(bundle, scan.stack, scan.present), spacing**3)
        answers.append(label_map(bundle, kept))
    figures: dict[str, Any] = {"scans": len(scans)}
    for place, region in enumerate(bundle.recipe.regions):
        scores, errors, false, counts = [], [], [], Counts()
        for scan, labels in zip(scans, answers, strict=True):
            truth, said = scan.classes == place + 1, labels == region.index
            counts = counts + detect(said, truth, (spacing,) * 3).counts
            if truth.any():
                scores.append(dice(said, truth))
                errors.append(float(said.sum() - truth.sum()) * voxel_ml)
            else:
                false.append(float(said.sum()) * voxel_ml)
        figures[region.name] = {
            "with": len(scores),
            "dice": _mean(scores),
            "lesion_f1": round(counts.f1, 4),
            "recall": round(counts.recall, 4),
            "volume_error_ml": _mean(errors),
            "absolute_volume_error_ml": _mean(np.abs(errors)),
            "without": len(false),
            "false_ml_mean": _mean(false),
            "without_false_volume": _mean([ml <= NO_LESION_ML for ml in false]),
        }
    return figures


def _mean(values: Any) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None
