"""A bundle on people whom it never saw: the only figure that says how it does elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.files import write_arrays, write_text
from bids_app.bundle.bundle import Bundle
from bids_app.bundle.manifest import refuse_trained, was_trained_on
from bids_app.cohort.cohort import Cohort, describe
from bids_app.errors import DataError
from bids_app.judge.answers import evaluate_answers, summarise
from bids_app.predict.predict import predict_vote
from bids_app.predict.targets import predict_targets
from bids_app.scans.scan import Scan, load_scan


def evaluate_bundle(
    bundle: Bundle, cohort: Cohort, scans: Path, out: Path, *, device: str = "cpu", seed: int = 0
) -> dict[str, Any]:
    """Every session of a cohort by all members of a bundle, measured as the folds of its training were.

    Args:
        cohort: gathered with the bundle's own recipe.
        scans: folder of the cohort's prepared scans.
        out: gets ``answers/KEY.npz`` and ``results.json``.
        seed: of the intervals.

    Returns:
        ``summary`` as `bids_app.judge.answers.summarise` has it, ``abstained``, ``cohort``, ``notes``.

    Raises:
        LeakageError: an image of this cohort trained the bundle; named.
        DataError: the cohort has other levels of a target than the bundle.
    """
    sessions = cohort.sessions
    refuse_trained(bundle, (), [image for session in sessions for image in session.hashes])
    _same_levels(bundle, cohort)
    answers = out / "answers"
    shutil.rmtree(answers, ignore_errors=True)
    answers.mkdir(parents=True)
    abstained = []
    for session in sessions:
        scan = load_scan(scans / f"{session.key}.npz")
        parts, why = _answer(bundle, scan, device)
        if why:
            abstained.append(f"{session.key}: {why}")
        write_arrays(answers / f"{session.key}.npz", parts, compressed=True)
    thresholds = bundle.calibration.get("thresholds") or bundle.calibration["threshold"]
    loaded: Iterable[Scan] = (load_scan(scans / f"{session.key}.npz") for session in sessions)
    found = evaluate_answers(loaded, answers, bundle.recipe, threshold=thresholds)
    same_names = was_trained_on(bundle, {session.participant for session in sessions})
    notes = list(cohort.notes)
    if same_names:
        notes.append(
            f"the bundle's training had participants of the names {', '.join(same_names)}, with other images: if they "
            f"are the same people, leave them out"
        )
    results = {
        "research_use_only": True,
        "bundle": bundle.name,
        "weights_sha256": bundle.sha256,
        "cohort": describe(cohort),
        "summary": summarise(found, bundle.recipe, seed),
        "abstained": abstained,
        "notes": notes,
    }
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def _answer(bundle: Bundle, scan: Scan, device: str) -> tuple[dict[str, np.ndarray], str | None]:
    """What an answer's file holds, with the bundle's temperatures in it; and why no score is given, if none is."""
    parts, why = {}, None
    if bundle.recipe.regions:
        parts["probability"] = predict_vote(bundle, scan.stack, scan.present, device=device).mean.astype(np.float16)
    known = dict(zip(bundle.recipe.learning.covariates, map(float, scan.covariates), strict=True))
    said = predict_targets(bundle, scan.stack, scan.present, known, device=device) if bundle.recipe.targets else {}
    for target in bundle.recipe.targets:
        one = said[target.name]
        if one.get("abstained"):
            why = one.get("reason") or "abstained"
        elif target.behaviour.has_levels:
            p = np.array([one["levels"][level] for level in target.levels])
            parts[f"target_{target.name}"] = target.behaviour.logits(p).astype(np.float32)
        else:
            parts[f"target_{target.name}"] = np.array([one["value"]], np.float32)
    return parts, why


def _same_levels(bundle: Bundle, cohort: Cohort) -> None:
    for target in bundle.recipe.targets:
        levels = tuple(cohort.levels.get(target.name, ()))
        if levels != tuple(target.levels):
            raise DataError(
                f"{target.name} has the levels {', '.join(levels) or 'none'} in this cohort and "
                f"{', '.join(target.levels)} in the bundle {bundle.name}: give the JSON beside the table the bundle's"
            )
