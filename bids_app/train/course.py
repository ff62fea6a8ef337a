"""The train level: cohort, split, plans, every arm on every fold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bids_app.cohort.cohort import Cohort, CohortSession, load_cohort
from bids_app.cohort.prepare import prepare_cohort, scan_parts
from bids_app.cohort.raw import needs_nothing, raw_sessions
from bids_app.cohort.split import Fold, Split, inner_folds
from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import load_scans
from bids_app.settings import Settings
from bids_app.train.arms import SEGMENTATION_ONLY, Arm, arms_of, base_arm, check_nested, subsets_of
from bids_app.train.check import check_folds
from bids_app.train.fold import Trial
from bids_app.train.plan import Plan, check_plan, make_plan, read_plan, write_plan
from bids_app.train.splits import FOLDS, split_cohort, training_folder
from bids_app.train.task import FoldTask, changes

#: Weights of the targets that `--nested` tries, beside the segmentation's 1.
WEIGHTS = (0.1, 0.3, 1.0, 3.0)
#: Folds inside a training fold for such a choice.
INNER = 3
#: So many lines say how far the laying of scans is.
TOLD = 10

Say = Callable[[str], None]


@dataclass(frozen=True)
class Course:
    """Everything that a training was made of, before the first step.

    Attributes:
        recipe: what is learned.
        cohort: of whom.
        folder: in the output folder, where everything about this training goes.
        scans: where prepared scans lie.
        splits: ``folds`` and, where there are two sites, ``sites``.
        arms: the recipe's own first.
        tasks: every arm on every fold.
    """

    recipe: Recipe
    cohort: Cohort
    folder: Path
    scans: Path
    splits: dict[str, Split]
    arms: list[Arm]
    tasks: list[FoldTask]

    def tasks_of(self, split: str, arm: str) -> list[FoldTask]:
        """One arm's folds of one split."""
        names = {fold.name for fold in self.splits[split].folds}
        return [task for task in self.tasks if task.arm["name"] == arm and task.fold["name"] in names]


def gather(settings: Settings, recipe: Recipe, say: Say) -> tuple[Cohort, Path]:
    """The cohort, checked, and the folder with its scans on the recipe's grid.

    Sessions must be preprocessed already, unless the recipe's images need nothing.
    """
    sessions: list[CohortSession] | None = None
    if needs_nothing(recipe):
        sessions, notes = raw_sessions(settings, recipe)
        for note in notes:
            say(note)
    say("reading the cohort: tables, labels and targets of every session are checked")
    cohort = load_cohort(
        recipe,
        settings.bids_dir,
        settings.derivatives,
        settings.output_dir,
        site_column=settings.site_column,
        group_column=settings.group_by,
        sessions=sessions,
    )
    for note in cohort.notes:
        say(note)
    say(f"{len(cohort.sessions)} sessions of {len({s.participant for s in cohort.sessions})} participants")
    return cohort, lay_scans(settings, cohort, cohort.recipe, say)


def lay_scans(settings: Settings, cohort: Cohort, recipe: Recipe, say: Say) -> Path:
    """Scans of the cohort at the recipe's spacing, in a folder of the work folder."""
    folder = settings.work / "training" / recipe.name / f"scans_{recipe.needed_grid.spacing_mm:g}mm"
    say(f"laying {len(cohort.sessions)} scans at {recipe.needed_grid.spacing_mm:g} mm")

    def told(done: int, of: int, key: str) -> None:
        if done == of or done * TOLD // of != (done - 1) * TOLD // of:
            say(f"laid {done} of {of} scans")

    prepare_cohort(cohort, recipe, folder, jobs=settings.nprocs or 2, told=told)
    say(f"scans are laid at {recipe.needed_grid.spacing_mm:g} mm in {folder}")
    return folder


def plan_folds(
    settings: Settings, recipe: Recipe, folds: Sequence[Fold], scans: Path, folder: Path, memory_gb: float, say: Say
) -> dict[str, Plan]:
    """A plan per fold, from its training side alone; a given plan is taken as it is but for what is fitted.

    Raises:
        TrainingError: the folds' plans would differ in their grid, which one preparation cannot serve.
    """
    given = read_plan(settings.plan, recipe) if settings.plan else None
    plans = {}
    for number, fold in enumerate(folds, 1):
        say(f"planning fold {number} of {len(folds)} ({fold.name}) from its {len(fold.all_training)} sessions")
        own = make_plan(
            recipe,
            load_scans(scans, fold.all_training),
            memory_gb=memory_gb,
            device=settings.device,
            fold_name=fold.name,
            steps=settings.steps,
        )
        if given is not None:  # what a person decides; what is fitted stays the fold's own
            fitted = {name: getattr(own, name) for name in ("normalisation", "targets", "covariates", "fitted_on")}
            own = replace(given, **fitted, steps=settings.steps or given.steps)
        plans[fold.name] = own
    for name, plan in plans.items():
        (folder / "plans").mkdir(parents=True, exist_ok=True)
        write_plan(plan, folder / "plans" / f"{name}.json")
    return plans


def try_plan(task: FoldTask, say: Say) -> Plan:
    """Ten real steps of one fold before anything is trained; nothing of them is kept."""
    import torch

    from bids_app.train.loop import Schedule, Worker
    from bids_app.train.tasks import TaskStep

    say(f"trying the plan: ten steps on {max(task.threads, 1)} threads")
    torch.set_num_threads(max(task.threads, 1))
    trial = Trial(task)
    patches = trial.patches(load_scans(Path(task.scans), trial.fold.all_training))
    state = trial.state()
    schedule = Schedule(task.steps, rate=trial.plan.rate, look_every=0, compile=False)
    augmentation, worker = trial.augmentation(), Worker(task.device)
    one = TaskStep(state, trial.losses(), schedule, task.seed, augmentation=augmentation, worker=worker)
    state.network.train()
    numbers = iter(range(10**6))
    plan = check_plan(trial.plan, lambda: one(patches.batch(next(numbers)))["loss"], device=task.device)
    say(f"the plan holds: {plan.checked['seconds_per_step']:.2f} s per step, {plan.checked['peak_gb']:.1f} GB at most")
    return plan


def make_tasks(
    settings: Settings,
    cohort: Cohort,
    splits: dict[str, Split],
    plans: dict[str, Plan],
    arms: Sequence[Arm],
    scans: Path,
    folder: Path,
) -> list[FoldTask]:
    """Every arm on every fold, all from the same seed and with the same number of steps."""
    recipe = cohort.recipe
    tasks: list[FoldTask] = []
    parts = {session.key: scan_parts(scans, session.key) for session in cohort.sessions}
    for split in splits.values():
        for fold, plain in zip(split.folds, split.to_plain()["folds"], strict=True):
            made: dict[str, FoldTask] = {}
            for arm in arms:
                start = folder / "arms" / SEGMENTATION_ONLY / fold.name if arm.frozen else None
                subsets = subsets_of(recipe, arm) if "sequences" in settings.compare and not arm.sequences else []
                made[arm.name] = FoldTask(
                    recipe=recipe.model_dump(mode="json"),
                    levels={k: list(v) for k, v in cohort.levels.items()},
                    plan=plain_plan(plans[fold.name]),
                    fold=plain,
                    split=split.digest,
                    arm=arm.to_plain(),
                    scans=str(scans),
                    out=str(folder / "arms" / arm.name / fold.name),
                    seed=settings.random_seed,
                    steps=plans[fold.name].steps,
                    minutes=settings.minutes,
                    patience=settings.patience,
                    device=settings.device,
                    subsets=[list(s) for s in subsets],
                    start=str(start) if start else None,
                    start_digest=made[SEGMENTATION_ONLY].digest if arm.frozen else None,
                    data=data_of(fold, cohort, parts),
                )
            tasks += made.values()
    return tasks


def data_of(fold: Fold, cohort: Cohort, parts: Mapping[str, dict[str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    """What is read of each scan on either side of a fold; see `FoldTask.data`."""
    sides = {"training": set(fold.all_training), "test": set(fold.test)}
    return {
        side: {s.key: parts[s.key] for s in cohort.sessions if s.participant in people}
        for side, people in sides.items()
    }


def plain_plan(plan: Plan) -> dict[str, Any]:
    """As JSON holds it; without what was measured, which must not change what is trained."""
    return json.loads(json.dumps({**asdict(plan), "checked": {}}))


def set_out(settings: Settings, recipe: Recipe, *, memory_gb: float, threads: int, say: Say) -> Course:
    """Everything before the first step: cohort, splits, plans, tasks; each written where a person can read it.

    Args:
        memory_gb: what one fold may take.
        threads: of the ten steps that try the plan.
    """
    folder = training_folder(settings, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    cohort, scans = gather(settings, recipe, say)
    splits = split_cohort(settings, cohort, folder, say)
    folds = [fold for split in splits.values() for fold in split.folds]
    for note in check_folds(cohort, folds):
        say(note)
    recipe = cohort.complete_recipe
    arms = arms_of(recipe, settings.compare, controls=settings.controls)
    cohort = replace(cohort, recipe=recipe)
    plans = plan_folds(settings, recipe, folds, scans, folder, memory_gb, say)
    spacings = {plan.spacing_mm for plan in plans.values()}
    if spacings != {recipe.needed_grid.spacing_mm}:  # a coarser grid is what fits: lay scans anew, alike for all folds
        coarser = recipe.needed_grid.model_copy(update={"spacing_mm": max(spacings)})
        recipe = recipe.model_copy(update={"grid": coarser})
        cohort = replace(cohort, recipe=recipe)
        scans = lay_scans(settings, cohort, recipe, say)
        plans = plan_folds(settings, recipe, folds, scans, folder, memory_gb, say)
        if {plan.spacing_mm for plan in plans.values()} != {recipe.needed_grid.spacing_mm}:
            raise TrainingError(f"no common grid fits into {memory_gb:g} GB; give a recipe with a coarser grid")
    for why in plans[folds[0].name].why:
        say(f"plan: {why}")
    tasks = make_tasks(settings, cohort, splits, plans, arms, scans, folder)
    for line in changes(tasks):
        say(line)
    if not (Path(tasks[0].out) / "state.pt").is_file():
        tried = try_plan(replace(tasks[0], threads=threads), say)
        write_plan(tried, folder / "plan.json")
    return Course(recipe, cohort, folder, scans, splits, arms, tasks)


def inner_tasks(course: Course, settings: Settings) -> Iterator[tuple[str, float, FoldTask]]:
    """For `--nested`: every candidate weight on folds inside each training fold; nothing of a test side is seen.

    Yields:
        The outer fold's name, the weight, and the task.

    Raises:
        UsageError: a recipe without both regions and targets has nothing to weigh.
    """
    check_nested(course.recipe)
    arm = base_arm(course.recipe)
    members = course.cohort.members()
    for task in course.tasks_of(FOLDS, arm.name):
        outer = Fold(task.fold["name"], *(tuple(task.fold[s]) for s in ("train", "validation", "test")))
        parts = task.data["training"]
        inner = inner_folds(outer, members, INNER, seed=settings.random_seed)
        for inside, plain in zip(inner.folds, inner.to_plain()["folds"], strict=True):
            plan = make_plan(
                course.recipe,
                load_scans(course.scans, plain["train"]),
                memory_gb=1e9,
                device=settings.device,
                fold_name=plain["name"],
                steps=task.steps,
                batch=task.plan["batch"],
            )
            for weight in WEIGHTS:
                out = course.folder / "nested" / outer.name / f"weight-{weight:g}" / plain["name"]
                own = replace(arm, target_weight=weight)
                yield (
                    outer.name,
                    weight,
                    replace(
                        task,
                        fold=plain,
                        split=inner.digest,
                        plan=plain_plan(plan),
                        arm=own.to_plain(),
                        out=str(out),
                        subsets=[],
                        data=data_of(inside, course.cohort, parts),
                    ),
                )
