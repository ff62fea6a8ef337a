"""A bundle on people whom it never saw: the only figure that says how it does elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.files import write_text
from bids_app.bids.record_file import read_session
from bids_app.bundle.bundle import Bundle
from bids_app.bundle.manifest import refuse_trained, was_trained_on
from bids_app.cohort.cohort import Cohort, CohortSession, describe
from bids_app.errors import DataError, InputMissing, TrainingError
from bids_app.imaging.slices import slice_to_grid
from bids_app.imaging.stacking import Grid
from bids_app.judge.answers import Evaluation, Person, label_rows, summarise, who
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.lay import lay_labels

#: Surfaces this close count as equal in NSD, mm.
TOLERANCE_MM = 1.0


def refuse_participants(bundle: Bundle, cohort: Cohort) -> None:
    """Refuse a cohort that the bundle must not be evaluated on.

    Raises:
        LeakageError: an image of this cohort trained the bundle; named.
        DataError: the cohort has other levels of a target than the bundle.
    """
    refuse_trained(bundle, (), [image for session in cohort.sessions for image in session.hashes])
    for target in cohort.recipe.targets:
        levels = tuple(cohort.levels.get(target.name, ()))
        if levels != tuple(target.levels):
            raise DataError(
                f"{target.name} has the levels {', '.join(levels) or 'none'} in this cohort and "
                f"{', '.join(target.levels)} in the bundle {bundle.name}: give the JSON beside the table the bundle's"
            )


def evaluate_bundle(bundle: Bundle, cohort: Cohort, output_dir: Path, out: Path, *, seed: int = 0) -> dict[str, Any]:
    """Measure what the participant level wrote for every session of a cohort.

    The masks and scores that are measured are those that a person gets: nothing is predicted here.

    Args:
        cohort: gathered with the bundle's own recipe; checked by `refuse_participants`.
        output_dir: of the participant level.
        out: gets ``results.json``.
        seed: of the intervals.

    Returns:
        ``summary`` as `bids_app.judge.answers.summarise` has it, ``abstained``, ``cohort``, ``notes``.

    Raises:
        TrainingError: no session has an answer.
    """
    regions, targets, abstained, unanswered = [], [], [], []
    for session in cohort.sessions:
        try:
            record = read_session(output_dir, session.key)
            part = next((one for one in record.done() if one.recipe == bundle.recipe.name), None)
        except InputMissing:  # its process never began
            part = None
        dseg, scores = (part.files.dseg, part.scores) if part else (None, None)
        if not dseg and not scores:
            unanswered.append(session.key)
        if dseg and session.labels is not None:
            about = part.prediction.slice if part and part.prediction else None
            regions += region_rows(session, session.labels, output_dir / dseg, bundle.recipe, about)
        answers = scores.targets if scores else {}
        for place, target in enumerate(cohort.recipe.targets if scores else ()):
            answer = answers[target.name]
            if answer.get("abstained"):
                abstained.append(f"{session.key}: {answer.get('reason') or 'abstained'}")
            else:
                targets.append(target_row(session, target, session.targets[place], answer))
    if not regions and not targets:
        raise TrainingError("no session has both an answer and something known to compare it with")
    found = Evaluation(regions, targets, tuple(unanswered), TOLERANCE_MM)
    notes = [*cohort.notes, *(f"{key} has no answer and is left out" for key in unanswered)]
    if same_names := was_trained_on(bundle, {session.participant for session in cohort.sessions}):
        notes.append(
            f"the bundle's training had participants of the names {', '.join(same_names)}, with other images: if they "
            f"are the same people, leave them out"
        )
    results = {
        "research_use_only": True,
        "bundle": bundle.name,
        "weights_sha256": bundle.sha256,
        "cohort": describe(cohort),
        "summary": summarise(found, cohort.recipe, seed),
        "abstained": list(dict.fromkeys(abstained)),
        "notes": notes,
    }
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def region_rows(
    session: Person, labels: Path, dseg: Path, recipe: Recipe, about: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of a session's regions from the image that was written, on its own grid; of a recipe of one slice, which
    ``about`` describes, only what was looked at counts."""
    import nibabel as nib

    grid = Grid.of(dseg)
    values = np.asarray(nib.load(dseg).dataobj).reshape(grid.shape)
    answered = np.zeros(grid.shape, np.uint8)
    for position, region in enumerate(recipe.regions, 1):
        answered[values == region.index] = position
    true = lay_labels(labels, recipe, grid)
    if about:
        shape: tuple[int, int, int] = tuple(about["shape"])
        true[~slice_to_grid(np.zeros((0, *shape)), Grid(shape, np.array(about["affine"])), grid)[1]] = 0
    return label_rows(session, answered, true, recipe, tuple(grid.spacing), tolerance_mm=TOLERANCE_MM)


def target_row(session: CohortSession, target: Target, truth: float, answer: Mapping[str, Any]) -> dict[str, Any]:
    """A target's row from the score that was written."""
    row = {**who(session), "target": target.name, "kind": target.kind, "truth": float(truth)}
    if not target.behaviour.has_levels:
        return {**row, "answer": float(answer["value"]), "probability": None}
    probability = np.array([answer["levels"][level] for level in target.levels], np.float64)
    probability /= probability.sum()  # they are written with five digits
    return {**row, "answer": float(target.behaviour.decide(probability)), "probability": probability.tolist()}
