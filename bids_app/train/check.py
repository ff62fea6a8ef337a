"""What a training would refuse, found before anything is preprocessed or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bids_app.cohort.cohort import Cohort, CohortSession, load_cohort
from bids_app.cohort.raw import expected_sessions
from bids_app.cohort.split import Fold, Split
from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from bids_app.train.arms import Arm, arms_of, check_nested
from bids_app.train.plan import read_plan
from bids_app.train.splits import split_cohort, training_folder


@dataclass(frozen=True)
class Checked:
    """What would be trained: of whom, on which folds, in which arms; ``notes`` for a person."""

    cohort: Cohort
    splits: dict[str, Split]
    arms: list[Arm]
    notes: list[str]


def check_training(settings: Settings, recipe: Recipe, *, images: bool = False) -> Checked:
    """Look at recipe, options, tables, labels and folds as the training will; nothing is written.

    Sessions that are not preprocessed yet count as they are in the dataset.

    Args:
        images: read every image too, and find those that two participants share.

    Raises:
        UsageError, DataError, LeakageError, InputMissing, TrainingError: what the training would say, but for what only
            the scans on their grid can tell: memory, and structures outside the grid.
    """
    arms_of(recipe, settings.compare, controls=settings.controls)
    if settings.nested:
        check_nested(recipe)
    if settings.plan:
        read_plan(settings.plan, recipe)
    sessions, notes = expected_sessions(settings, recipe)
    cohort = load_cohort(
        recipe,
        settings.bids_dir,
        settings.derivatives,
        settings.output_dir,
        site_column=settings.site_column,
        group_column=settings.group_by,
        sessions=sessions,
        images=images,
    )
    arms = arms_of(cohort.recipe, settings.compare, controls=settings.controls)
    folder = training_folder(settings, recipe)
    splits = split_cohort(settings, cohort, folder, notes.append, keep=False)
    notes += check_folds(cohort, [fold for split in splits.values() for fold in split.folds])
    return Checked(cohort, splits, arms, [*notes, *cohort.notes])


def check_folds(cohort: Cohort, folds: Iterable[Fold]) -> list[str]:
    """Refuse folds whose training side has nothing to learn something from.

    Returns:
        What a test side lacks, so that some figures will not be defined.

    Raises:
        TrainingError: naming each fold and what its training side lacks.
    """
    recipe, wrong, notes = cohort.complete_recipe, [], []
    for fold in folds:
        train, test = (
            [s for s in cohort.sessions if s.participant in set(people)] for people in (fold.all_training, fold.test)
        )
        wrong += [f"{fold.name}: {text}" for text in _nothing_to_learn(recipe, train)]
        absent = [r.name for r in recipe.regions if not _labelled(test, r.index)]
        if absent and any(session.labels is not None for session in test):
            notes.append(f"{fold.name}: nobody who is tested has {', '.join(absent)}: no Dice of it from this fold")
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise TrainingError(
            f"the training side of these folds lacks something; use fewer --folds or more participants, or leave it "
            f"out of the recipe:\n{lines}"
        )
    return notes


def _nothing_to_learn(recipe: Recipe, train: list[CohortSession]) -> list[str]:
    """What the training side lacks for each target, covariate and region."""
    lacking = []
    for column, target in enumerate(recipe.targets):
        values = np.unique([s.targets[column] for s in train if np.isfinite(s.targets[column])])
        if len(values) < 2:
            named = [target.levels[int(v)] if target.levels else f"{v:g}" for v in values]
            lacking.append(
                f"everybody in training has the same {target.name}, {named[0]}"
                if named
                else f"nobody in training has a known {target.name}"
            )
    for column, name in enumerate(recipe.learning.covariates):
        if not any(np.isfinite(s.covariates[column]) for s in train):
            lacking.append(f"nobody in training has a known {name}, which is a covariate")
    labelled = any(s.labels is not None for s in train)
    for region in recipe.regions:
        if not _labelled(train, region.index) and (labelled or not recipe.targets):
            lacking.append(f"nobody in training has {region.name} labelled")
    return lacking


def _labelled(sessions: list[CohortSession], index: int) -> bool:
    return any(index in (session.regions or ()) for session in sessions)
