"""Calibration from answers for people who trained no part of the member that answered: temperatures and thresholds."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import TrainingError
from bids_app.measure.calibration import fit_temperature, scaled_by_temperature
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan

#: Voxels per scan that the temperature is fitted on: near a region, and anywhere else.
NEAR, ELSEWHERE = 3000, 1000
#: How far from a region, or how probable one, makes a voxel near, voxels and probability.
REACH, DOUBTFUL = 3, 0.02
#: Thresholds that are tried.
THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.025), 3)


def calibrate_out_of_fold(
    recipe: Recipe, answers: Mapping[str, Path] | Iterable[Path], scans: Iterable[Scan], *, seed: int = 0
) -> dict[str, Any]:
    """What ``calibration.json`` of a trained bundle holds.

    Args:
        recipe: with the levels of its targets.
        answers: by a scan's key, or the folders ``answers`` of all folds; each scan answered by the fold that tests it.
        scans: read one at a time; those without an answer are passed over.
        seed: of the voxels that are looked at.

    Returns:
        ``temperature``; ``threshold`` (one for all regions) and ``thresholds`` (per region, by name); ``targets``: per
        target what its kind fits, see `TargetKind.calibrate`; ``fitted_on`` participants; ``out_of_fold``; ``notes``
        for the model card.

    Raises:
        TrainingError: an answer is damaged, or there is none.

    A temperature is fitted on single members. The mean of several is less sure than each of them, so that an ensemble's
    probabilities stay a little closer to a half than they need to be.
    """
    paths = answers if isinstance(answers, Mapping) else {p.stem: p for f in answers for p in Path(f).glob("*.npz")}
    people, voxels = set(), _Overlaps(recipe)
    samples: list[tuple[np.ndarray, ...]] = []
    outputs: dict[str, list[tuple[str, np.ndarray, float]]] = {target.name: [] for target in recipe.targets}
    answered = []
    for scan in scans:
        if scan.key not in paths:
            continue
        parts = read_answer(paths[scan.key])
        people.add(scan.participant)
        for column, target in enumerate(recipe.targets):
            if f"target_{target.name}" in parts and math.isfinite(scan.targets[column]):
                outputs[target.name].append((scan.participant, parts[f"target_{target.name}"], scan.targets[column]))
        if "probability" in parts and scan.labels is not None and recipe.regions:
            rng = np.random.default_rng([seed, len(samples)])
            samples.append(_sample(parts["probability"].astype(np.float32), scan.labels, rng))
            answered.append((paths[scan.key], scan.labels))
    if not people:
        raise TrainingError("none of the scans has an out-of-fold answer: did the folds finish?")
    calibration: dict[str, Any] = {"temperature": 1.0, "threshold": 0.5, "fitted_on": len(people), "out_of_fold": True}
    notes = []
    if samples:
        calibration["temperature"] = fit_temperature(*_joined(samples))
        for path, labels in answered:
            probability = read_answer(path)["probability"].astype(np.float32)
            voxels.add(scaled_by_temperature(probability, calibration["temperature"]), labels)
        calibration["threshold"], calibration["thresholds"] = voxels.best()
        if any(region.kind == "lesion" for region in recipe.regions):
            notes.append(
                "A lesion's threshold maximises mean Dice over scans, where a scan without lesion counts 1 if nothing"
                " is marked and 0 otherwise: it favours volume over the detection of every small lesion."
            )
    elif recipe.regions:
        notes.append("No segmentation was answered out of fold: temperature and thresholds were not fitted.")
    fits = {target.name: _fit_target(target, outputs[target.name]) for target in recipe.targets}
    return {**calibration, "targets": {n: f for n, f in fits.items() if f}, "notes": notes}


def read_answer(path: Path) -> dict[str, np.ndarray]:
    """Parts of an ``answers/KEY.npz``: ``probability`` and ``target_NAME``.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            return {name: parts[name] for name in parts.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"the answer {path} is damaged ({error}); delete its fold's folder and run again"
        ) from error


def _logs(probability: np.ndarray) -> np.ndarray:
    """Logarithms of the background's and every region's probability; background first."""
    rest = np.clip(1 - probability.sum(0, keepdims=True), 0, 1)
    return np.log(np.clip(np.concatenate([rest, probability]), 1e-7, 1))


def _sample(probability: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Voxels of one scan: log probabilities ``(n, classes)``, true class, and how many voxels each stands for."""
    from scipy import ndimage

    near = ndimage.binary_dilation(labels > 0, iterations=REACH) if labels.any() else np.zeros(labels.shape, bool)
    near |= probability.sum(0) > DOUBTFUL
    chosen, weights = [], []
    for part, most in ((near, NEAR), (~near, ELSEWHERE)):
        places = np.flatnonzero(part)
        picked = rng.choice(places, min(most, len(places)), replace=False) if len(places) else places
        chosen.append(picked)
        weights.append(np.full(len(picked), len(places) / max(len(picked), 1)))
    index = np.concatenate(chosen)
    logs = _logs(probability.reshape(len(probability), -1)[:, index]).T
    return logs, labels.ravel()[index].astype(int), np.concatenate(weights)


def _joined(samples: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(parts) for parts in zip(*samples, strict=True))


class _Overlaps:
    """Dice of every scan and region at every threshold, from counts alone."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.dice: list[np.ndarray] = []

    def add(self, probability: np.ndarray, labels: np.ndarray) -> None:
        """Count one scan; a voxel is the likeliest region's, as in the image that is written."""
        likeliest = probability.argmax(0)
        rows = []
        for position in range(len(probability)):
            own = np.where(likeliest == position, probability[position], 0)
            true = labels == position + 1
            marked, hit = _reaching(own), _reaching(own[true])
            both = marked + true.sum()
            rows.append(np.where(both > 0, 2 * hit / np.maximum(both, 1), 1.0))  # nothing there and nothing marked: 1
        self.dice.append(np.stack(rows))

    def best(self) -> tuple[float, dict[str, float]]:
        """One threshold for all regions, and one for each; of equally good ones that nearest a half."""
        mean = np.mean(self.dice, axis=0)
        names = [region.name for region in self.recipe.regions]
        return _highest(mean.mean(0)), {name: _highest(row) for name, row in zip(names, mean, strict=True)}


def _reaching(values: np.ndarray) -> np.ndarray:
    """How many values reach each threshold."""
    high = np.sort(values[values >= THRESHOLDS[0]])
    return len(high) - np.searchsorted(high, THRESHOLDS)


def _highest(dice: np.ndarray) -> float:
    good = THRESHOLDS[dice >= dice.max() - 1e-9]
    return float(good[np.argmin(np.abs(good - 0.5))])


def _fit_target(target: Target, known: Sequence[tuple[str, np.ndarray, float]]) -> dict[str, Any]:
    """What the target's kind fits: the temperature of levels, or the interval of a value."""
    people = len({participant for participant, _, _ in known})
    fit: dict[str, Any] = {"kind": target.kind, "fitted_on": people}
    if not known:
        return {**fit, "temperature": 1.0, "note": "nobody has a known value and an answer"}
    outputs = np.stack([np.atleast_1d(answer).astype(float) for _, answer, _ in known])
    truth = np.array([value for _, _, value in known])
    return {**fit, **target.behaviour.calibrate(outputs, truth, people)}
