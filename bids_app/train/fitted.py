"""Numbers that are fitted on the training side of a fold, and on nobody else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.frames import channels_of

if TYPE_CHECKING:
    from bids_app.scans.scan import Scan


def fit_normalisation(recipe: Recipe, scans: Sequence[Scan]) -> dict[str, dict[str, Any]]:
    """Of each sequence; a quantitative one by all training voxels that are not zero, each scan weighing the same."""
    how: dict[str, dict[str, Any]] = {}
    for channel, sequence in enumerate(recipe.sequences):
        how[sequence.name] = {"kind": "scan"}
        if not sequence.quantitative:
            continue
        there = [scan for scan in scans if scan.present[channel]]
        images = [scan.stack[channels_of([channel], len(scan.present), len(scan.stack))] for scan in there]
        inside = [image[image != 0] for image in images]
        inside = [values.astype(float) for values in inside if len(values)]
        if not inside:
            raise TrainingError(
                f"no training scan has {sequence.name}, whose scale must be learned; drop it or add some"
            )
        mean = float(np.mean([values.mean() for values in inside]))
        sd = math.sqrt(np.mean([np.square(values - mean).mean() for values in inside]))
        how[sequence.name] = {"kind": "cohort", "mean": mean, "sd": max(sd, 1e-6)}
    return how


def fit_targets(targets: Sequence[Target], scans: Sequence[Scan]) -> dict[str, dict[str, Any]]:
    """What each target's kind fits; see `TargetKind.fit`."""
    found: dict[str, dict[str, Any]] = {}
    for column, target in enumerate(targets):
        values = np.array([scan.targets[column] for scan in scans], float)
        values = values[np.isfinite(values)]
        if not len(np.unique(values)) > 1:
            told = f"only the value {values[0]:g}" if len(values) else "no value"
            raise TrainingError(
                f"target {target.name}: the training side has {told}; a target needs two different ones to be learned: "
                "use more participants, fewer folds, or leave the target out"
            )
        found[target.name] = target.behaviour.fit(values, len(target.levels))
    return found


def fit_covariates(names: Sequence[str], scans: Sequence[Scan]) -> dict[str, dict[str, float]]:
    """Mean and spread of each where it is known."""
    found = {}
    for column, name in enumerate(names):
        values = np.array([scan.covariates[column] for scan in scans], float)
        values = values[np.isfinite(values)]
        if not len(values):
            raise TrainingError(f"covariate {name}: nobody on the training side has one; leave it out of the recipe")
        found[name] = {"mean": float(values.mean()), "sd": float(values.std()) or 1.0}
    return found


def describe_fold(scans: Sequence[Scan], fold_name: str) -> dict[str, Any]:
    """Who it was, without saying who."""
    people = sorted({scan.participant for scan in scans})
    digest = hashlib.sha256("\n".join(people).encode()).hexdigest()[:16]
    return {"fold": fold_name, "participants": len(people), "scans": len(scans), "digest": digest}
