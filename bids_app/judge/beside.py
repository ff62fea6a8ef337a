"""Beside the arms of a comparison: what volumes, places, covariates, connectivity and confounds alone answer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bids_app.cohort.split import Split
from bids_app.errors import DataError
from bids_app.judge.answers import Evaluation, evaluate_answers, summarise
from bids_app.judge.baselines import answer_baseline, baselines_of, measured_volumes
from bids_app.judge.connectivity import answer_functional, evidence_of, functional_baselines
from bids_app.judge.places import LESION_PLACES, answer_places, measured_lesions
from bids_app.judge.suspicion import CONFOUNDS, answer_confounds, suspicions
from bids_app.scans.scan import Scan, load_scan
from bids_app.train.arms import SEGMENTATION_ONLY
from bids_app.train.course import Course
from bids_app.train.task import FULL, FoldTask, is_done


def scans_of(course: Course) -> Iterator[Scan]:
    """Every prepared scan, one at a time."""
    for session in course.cohort.sessions:
        yield load_scan(course.scans / f"{session.key}.npz")


def done(tasks: Sequence[FoldTask]) -> list[FoldTask]:
    """Those that were trained, and answered for all that is asked."""
    return [task for task in tasks if is_done(task)]


def repeat_of(name: str) -> str:
    """``repeat-2`` of ``repeat-2_fold-1``; empty where folds are drawn once."""
    found = re.match(r"(repeat-\d+)_", name)
    return found[1] if found else ""


def first_folds(split: Split) -> list[str]:
    first = repeat_of(split.folds[0].name)
    return [fold.name for fold in split.folds if repeat_of(fold.name) == first]


def first_split(split: Split) -> Split:
    """The folds that together test everybody once, as a split."""
    return Split(tuple(fold for fold in split.folds if fold.name in first_folds(split)), split.how)


def first_repeat(tasks: Sequence[FoldTask], split: Split) -> list[FoldTask]:
    """Folds that together test everybody once."""
    names = set(first_folds(split))
    return [task for task in tasks if task.fold["name"] in names]


def answered(
    course: Course, recipe: Any, split: str, baseline: str, scans: Sequence[Scan], answer: Callable[[Path], list[Path]]
) -> Evaluation:
    """What a baseline answers, in a folder of its own that is made anew, and how good that is."""
    folder = course.folder / "baselines" / split / baseline
    shutil.rmtree(folder, ignore_errors=True)
    return evaluate_answers(scans, answer(folder), recipe)


def baseline_evaluations(course: Course, recipe: Any, name: str, scans: Sequence[Scan]) -> dict[str, Evaluation]:
    """What volumes and covariates alone would answer, on the same folds; of lesions also where they lie; and where
    there are resting-state series, connectivity, and age, sex and motion alone.

    Volumes are those that an arm without targets measured, where there is one: a network that learned both has seen
    in its other folds the targets of those it is tested on.
    """
    split = course.splits[name]
    folds, found, volumes = first_split(split), {}, None
    segmenting = [arm.name for arm in course.arms if arm.segmentation and not arm.permuted]
    if recipe.regions and segmenting:
        arm = SEGMENTATION_ONLY if SEGMENTATION_ONLY in segmenting else segmenting[0]
        answers = [Path(task.out) / FULL for task in first_repeat(done(course.tasks_of(name, arm)), split)]
        if not (recipe.lesions_only and recipe.targets):
            volumes = measured_volumes(scans, answers, recipe)
        else:
            volumes, places = measured_lesions(scans, answers, recipe)
            answer = partial(answer_places, scans, folds, recipe, places=places, volumes=volumes)
            found[LESION_PLACES] = answered(course, recipe, name, LESION_PLACES, scans, answer)
    for baseline in baselines_of(recipe):
        answer = partial(answer_baseline, baseline, scans, folds, recipe, volumes=volumes)
        found[baseline] = answered(course, recipe, name, baseline, scans, answer)
    return found | functional_evaluations(course, recipe, name, folds, scans)


def doubted(
    course: Course,
    recipe: Any,
    name: str,
    scans: Sequence[Scan],
    evaluations: dict[str, Evaluation],
    baselines: dict[str, Evaluation],
    seed: int,
) -> list[str]:
    """What of the own arm's figures should be doubted. Age, sex and site alone are answered for here; they are no arm
    of the comparison, where each test makes Holm's correction harder on all."""
    own = evaluations.get(course.arms[0].name)
    if own is None or not own.targets:
        return []
    answer = partial(answer_confounds, scans, first_split(course.splits[name]), recipe)
    baselines[CONFOUNDS] = answered(course, recipe, name, CONFOUNDS, scans, answer)
    return suspicions(own, baselines, recipe, seed)


def functional_evaluations(
    course: Course, recipe: Any, name: str, folds: Split, scans: Sequence[Scan]
) -> dict[str, Evaluation]:
    """Those of resting-state series; what cannot be made is a note, for it must not cost a training its results."""
    found = {}
    try:
        evidence = evidence_of(course.cohort.sessions)
        for baseline in functional_baselines(recipe, evidence):
            answer = partial(answer_functional, baseline, scans, folds, recipe, evidence=evidence)
            found[baseline] = answered(course, recipe, name, baseline, scans, answer)
    except DataError as error:
        course.cohort.notes.append(f"baselines of resting-state series are left out: {error}")
    return found


def baseline_summaries(baselines: dict[str, dict[str, Evaluation]], recipe: Any, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, evaluations in baselines.items():
        for name, evaluation in evaluations.items():
            found.setdefault(name, {"splits": {}})["splits"][split] = {"summary": summarise(evaluation, recipe, seed)}
    return found
