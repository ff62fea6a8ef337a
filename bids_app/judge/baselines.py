"""What a network has to beat: a linear model of volumes, of covariates, or of both, on the very same folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_app.bids.files import write_arrays
from bids_app.cohort.split import Fold, Split
from bids_app.errors import DataError, TrainingError
from bids_app.judge.answers import answer_paths, decide
from bids_app.judge.out_of_fold import read_answer
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan

#: Rows of numbers of those who train and of those who are tested, for a target.
Columns = Callable[[Sequence[Scan], Sequence[Scan], Target], tuple[np.ndarray, np.ndarray]]
#: Target, columns and values of those who train, columns of others: logits or values of the others, ``(m, outputs)``.
Fit = Callable[[Target, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
VOLUMES, COVARIATES, BOTH = "volumes", "covariates", "volumes-and-covariates"


def baselines_of(recipe: Recipe) -> list[str]:
    """Which baselines a recipe has anything for."""
    found = [VOLUMES] if recipe.regions else []
    found += [COVARIATES] if recipe.learning.covariates else []
    return ([*found, BOTH] if len(found) == 2 else found) if recipe.targets else []


def measured_volumes(
    scans: Sequence[Scan],
    answers: Path | Sequence[Path],
    recipe: Recipe,
    *,
    threshold: float | Mapping[str, float] = 0.5,
) -> dict[str, np.ndarray]:
    """Volume of every region in every scan, mm³, shape ``(regions,)`` by key, from out-of-fold masks.

    Give the answers of an arm that learned no target: a network that learned both has seen, in its other folds, the
    targets of those it is tested on here, and its masks could tell.
    """
    masks = decided_masks(scans, answers, recipe, threshold=threshold)
    return {scan.key: volumes_of(mask, len(recipe.regions), scan.spacing) for scan, mask in masks}


def volumes_of(mask: np.ndarray, regions: int, spacing: float) -> np.ndarray:
    """Volume of every region, mm³, ``(regions,)``, of a mask ``(x, y, z)`` that holds positions of regions from 1."""
    volumes: np.ndarray = np.bincount(mask.ravel(), minlength=regions + 1)[1:] * float(spacing) ** 3
    return volumes


def decided_masks(
    scans: Sequence[Scan],
    answers: Path | Sequence[Path],
    recipe: Recipe,
    *,
    threshold: float | Mapping[str, float] = 0.5,
) -> Iterator[tuple[Scan, np.ndarray]]:
    """Every scan that was answered, and the region of each voxel: its position from 1, 0 for none, ``(x, y, z)``.

    Raises:
        TrainingError: an answer has no regions.
    """
    paths = answer_paths([answers] if isinstance(answers, Path) else answers)
    for scan in scans:
        if scan.key not in paths:
            continue
        parts = read_answer(paths[scan.key])
        if "probability" not in parts:
            raise TrainingError(f"the answer {paths[scan.key]} has no regions; give those of an arm that segments")
        yield scan, decide(parts["probability"].astype(np.float32), recipe, threshold)


def answer_baseline(
    name: str,
    scans: Sequence[Scan],
    split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    volumes: Mapping[str, np.ndarray] | None = None,
) -> list[Path]:
    """Fit on each fold's training side, answer its test side, and leave the answers as a network does.

    Missing values are filled and columns scaled by what the training side holds; the model is that of the target's
    kind, see `TargetKind.baseline`.

    Args:
        name: one of `VOLUMES`, `COVARIATES`, `BOTH`.
        scans: every session of the split.
        split: whose folds the arms used.
        recipe: with the levels of its targets.
        folder: answers go to ``FOLD/answers/KEY.npz`` below it.
        volumes: see `measured_volumes`; needed unless covariates stand alone.

    Returns:
        The folders ``answers``, one per fold.

    Raises:
        DataError: no such baseline, or nothing to learn it from.
    """

    def both(known: Sequence[Scan], test: Sequence[Scan], target: Target) -> tuple[np.ndarray, np.ndarray]:
        hidden = recipe.hidden_from(target)
        mine, other = (np.stack([_columns(name, scan, volumes, hidden) for scan in some]) for some in (known, test))
        return mine, other

    return answer_with(both, scans, split, recipe, folder)


def answer_with(
    columns: Columns, scans: Sequence[Scan], split: Split, recipe: Recipe, folder: Path, *, fit: Fit | None = None
) -> list[Path]:
    """As `answer_baseline`, with columns that may be fitted on those who train.

    Args:
        columns: given the scans that train and those that are tested, a row of numbers for each of either; NaN where
            not known. It sees no value of the target.
        fit: the model; `fit_and_answer` where not given.
    """
    folders = []
    for fold in split.folds:
        train, test = (
            [scan for scan in scans if scan.participant in set(people)] for people in (fold.all_training, fold.test)
        )
        answers: dict[str, dict[str, np.ndarray]] = {scan.key: {} for scan in test}
        for position, target in enumerate(recipe.targets):
            known = [scan for scan in train if np.isfinite(scan.targets[position])]
            if not known or not test:
                continue
            (x, new), y = columns(known, test, target), np.array([scan.targets[position] for scan in known])
            logits = (fit or fit_and_answer)(target, x, y, new)
            for scan, row in zip(test, logits, strict=True):
                answers[scan.key][f"target_{target.name}"] = row.astype(np.float32)
        folders.append(_write(folder, fold, answers))
    return folders


def fit_and_answer(target: Target, x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Logits (or values) of new rows, as a network's head gives them.

    Args:
        x: ``(n, columns)`` of the training side, NaN where not known.
        y: ``(n,)``, known all.
        new: ``(m, columns)``.

    Returns:
        ``(m, outputs)``. A level that nobody in training has gets the logit of half a participant.
    """
    levels = max(len(target.levels), int(y.max()) + 1, 2) if target.behaviour.has_levels else 0
    return target.behaviour.baseline(x, y, new, levels)


def _columns(name: str, scan: Scan, volumes: Mapping[str, np.ndarray] | None, hidden: Sequence[int] = ()) -> np.ndarray:
    """A row of numbers; a covariate that is hidden is nothing for everybody."""
    if name not in (VOLUMES, COVARIATES, BOTH):
        raise DataError(f"there is no baseline {name!r}; there are {VOLUMES}, {COVARIATES} and {BOTH}")
    parts = []
    if name != COVARIATES:
        if volumes is None or scan.key not in volumes:
            raise DataError(f"the baseline {name} has no volumes for {scan.key}: did its fold finish?")
        parts.append(np.asarray(volumes[scan.key], np.float64))
    if name != VOLUMES:
        if not len(scan.covariates):
            raise DataError(f"the baseline {name} needs learning.covariates in the recipe")
        read = np.array(scan.covariates, np.float64)
        read[list(hidden)] = 0.0
        parts.append(read)
    return np.concatenate(parts)


def _write(folder: Path, fold: Fold, answers: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    here = folder / fold.name / "answers"
    here.mkdir(parents=True, exist_ok=True)
    for key, parts in answers.items():
        write_arrays(here / f"{key}.npz", parts)
    return here
