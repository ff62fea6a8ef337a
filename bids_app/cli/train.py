"""The train level as a person sees it: preprocess what is not, train every fold, say what was and was not shown."""

from __future__ import annotations

import contextlib
import csv
import os
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bids_app.cli.console import make_console, plain
from bids_app.cli.units import choose_units, keep_settings, run_units
from bids_app.errors import CannotWrite, InputMissing, TandemError, TrainingError, UsageError
from bids_app.settings import Settings

#: Seconds between looks at the folds' logs.
LOOK = 1.0


def train(settings: Settings) -> int:
    """Run the level; returns the exit code.

    Raises:
        UsageError: several recipes, or one that learns nothing.
    """
    from bids_app.cohort.raw import needs_nothing
    from bids_app.judge.course import judge
    from bids_app.predict.predict import resolve_device
    from bids_app.recipes.recipe import load_recipe
    from bids_app.train.check import check_training
    from bids_app.train.course import set_out
    from workflows.dataset import prepare_dataset
    from workflows.training import run_training, share_out_training

    if len(settings.recipe) != 1:
        raise UsageError("train takes one --recipe at a time")
    recipe = load_recipe(settings.recipe[0]).at_level(settings.slice_at)
    if not recipe.predicts:
        raise UsageError(f"the recipe {recipe.name} has neither regions nor targets: there is nothing to learn")
    settings = settings.replace(device=resolve_device(settings.device))
    if settings.dry_run:
        return preview(settings, recipe)
    if not needs_nothing(recipe):  # preprocessing takes hours, and would be in vain
        check_training(settings, recipe)
    told = Told()
    keep_settings(settings, f"train-{recipe.name}.toml")
    for warning in prepare_dataset(settings.replace(levels=("train",))):
        told.say(warning)
    preprocess(settings.replace(levels=("train",)), recipe)
    shared = share_out_training(settings, [])
    course = set_out(settings, recipe, memory_gb=max(1.0, shared.memory_gb / 2), threads=shared.cpus, say=told.say)
    tasks = weighed(settings, course, told) if settings.nested else course.tasks
    with told.following(tasks):
        failed = run_training(settings, tasks, told=told.event)
    for task in failed:
        told.say(f"FAILED {label_of(task)}: {reason_of(task)}")
    if any(task.arm["name"] == course.arms[0].name for task in failed):
        raise TrainingError(
            f"{len(failed)} of {len(tasks)} folds failed, the first: {label_of(failed[0])}: {reason_of(failed[0])}; "
            f"the same command goes on with what is missing"
        )
    told.say("measuring the answers, comparing, calibrating, writing bundle and page")
    for sentence in judge(settings, course, [f"{label_of(task)}: {reason_of(task)}" for task in failed]):
        told.say(sentence)
    return TandemError.exit_code if failed else 0


def preprocess(settings: Settings, recipe: Any) -> None:
    """The participant level's own preprocessing, for sessions without the images that the recipe learns from."""
    from bids_app.bids.record_file import read_session
    from bids_app.cohort.cohort import usable
    from bids_app.cohort.raw import needs_nothing

    if needs_nothing(recipe):
        return
    units = choose_units(settings)

    def has_images(key: str) -> bool:
        with contextlib.suppress(InputMissing):  # it was never run
            return usable(recipe, settings.output_dir, read_session(settings.output_dir, key))[0] is not None
        return False

    todo = [unit for unit in units if not has_images(unit.key)]
    if todo:
        run_units(settings, todo)  # sessions that fail are named again when the cohort is gathered


def weighed(settings: Settings, course: Any, told: Told) -> list[Any]:
    """The tasks with the targets' weight that folds inside each training fold chose."""
    from bids_app.judge.course import choose_weights
    from bids_app.train.course import inner_tasks
    from workflows.training import run_training

    inner = list(inner_tasks(course, settings))
    with told.following([task for _, _, task in inner]):
        failed = run_training(settings, [task for _, _, task in inner], told=told.event)
    if failed:
        raise TrainingError(f"{label_of(failed[0])} inside a training fold failed: {reason_of(failed[0])}")
    return choose_weights(settings, course, inner, told.say)


def preview(settings: Settings, recipe: Any) -> int:
    """What would be trained, with nothing run or written; what the run would refuse is refused here."""
    from bids_app.bids.dataset import check_owner
    from bids_app.train.check import check_training

    check_owner(settings.output_dir, settings)
    for folder in (settings.output_dir, settings.work):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise CannotWrite(f"{folder} could not be written: {there} may not be written by this user")
    found = check_training(settings, recipe, images=True)
    for note in found.notes:
        print(f"tandem: {note}")
    folds = sum(len(split.folds) for split in found.splits.values())
    sessions = found.cohort.sessions
    people = len({session.participant for session in sessions})
    print(
        f"tandem: would train {recipe.name}: {len(found.arms)} arms ({', '.join(arm.name for arm in found.arms)}), "
        f"{folds} folds, {settings.steps or recipe.learning.steps} steps each, on {len(sessions)} sessions of {people} "
        f"participants; nothing was run"
    )
    return 0


def label_of(task: Any) -> str:
    return f"{task.arm['name']} {task.fold['name']}"


def reason_of(task: Any) -> str:
    """The last line that a fold's process wrote."""
    log = Path(task.out) / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    said = [line.strip() for line in lines if line.strip() and "resource_tracker" not in line]
    return said[-1].removeprefix("tandem: ") if said else "it left no word; was it killed for memory?"


class Told:
    """Bars on a terminal, plain lines anywhere else."""

    def __init__(self) -> None:
        self.console = make_console()
        self.bars = self._new_bars()
        self.rows: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.begun: dict[str, float] = {}

    def say(self, text: str) -> None:
        self.console.print(plain(f"tandem: {text}"))

    def following(self, tasks: list[Any]) -> Told:
        self.tasks = {task.out: task for task in tasks}
        self.begun = {}
        return self

    def _new_bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Told:
        self.bars = self._new_bars()
        self.bars.start()
        self.total = self.bars.add_task("folds", total=len(self.tasks), loss="")
        self._stop = False
        import threading

        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop = True
        self._thread.join(timeout=2 * LOOK)
        self.bars.stop()

    def event(self, task: Any, event: str) -> None:
        """Called by the graph for the start and the end of a fold; the end may be told more than once."""
        name = label_of(task)
        if event == "start" and task.out not in self.begun:
            self.begun[task.out] = time.time()
            self.rows[task.out] = self.bars.add_task(name, total=task.steps, loss="")
            self.say(f"started {name}")
        elif event == "end" and task.out in self.rows:
            self.bars.remove_task(self.rows.pop(task.out))
            self.bars.advance(self.total)
            done = (Path(task.out) / "done.json").is_file()
            took = time.time() - self.begun[task.out]
            self.say(f"{'SUCCESS' if done else 'FAILED'} {name}" + (f" {took:.0f} s" if done else ""))

    def _follow(self) -> None:
        """Read the last row of each running fold's log."""
        while not self._stop:
            for out, row in list(self.rows.items()):
                last = last_row(Path(out) / "log.csv")
                if last:
                    self.bars.update(row, completed=int(last["step"]), loss=f"loss {float(last['loss'] or 'nan'):.3f}")
            time.sleep(LOOK)


def last_row(path: Path) -> dict[str, str] | None:
    """The newest row of a log that has a loss; None where there is none yet."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("loss")]
    except (OSError, ValueError):
        return None
    return rows[-1] if rows else None
