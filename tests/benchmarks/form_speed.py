"""Seconds of a training step and of a session's network in every form: whole brain, one slice, maps, a series.

    python -m tests.benchmarks.form_speed OUT [--forms 3-D 2-D maps 4-D] [--timed 3]

Each form is a recipe that ships, with its own network, sequences and grid: `ms` (three sequences of 1 mm) as it is and
as a recipe of one slice, `restingstate` (T1w and three maps, 3 mm), `restingstate4d` (T1w and a series, windows of 20
frames, 4 mm). Scans are noise in a box of 144 x 180 x 144 mm with one cube as the lesion, the series has 100 frames;
the weights are random. CPU seconds of one thread, for a step after two that are not counted, and for a session the mean
of two; without what is done before the network. Memory is the highest of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.scans.scan import Scan, save_scan
from bids_app.train.arms import arms_of
from bids_app.train.fold import Trial, write_answers
from bids_app.train.task import FoldTask
from tests.benchmarks.phantom_trials import task_of
from tests.benchmarks.slice_forms import cpu_per_step, form_recipe

BOX_MM, FRAMES, PEOPLE = (144, 180, 144), 100, 4
FORMS = {"3-D": "ms", "2-D": "ms", "maps": "restingstate", "4-D": "restingstate4d"}


def recipe_of(form: str) -> Recipe:
    """The recipe that ships, of one slice for that form."""
    recipe = load_recipe(FORMS[form])
    return form_recipe(recipe, 1) if form == "2-D" else recipe


def scans_of(recipe: Recipe) -> list[Scan]:
    """Noise on the recipe's grid, half of the people with the second level of every target."""
    rng = np.random.default_rng(1)
    spacing = recipe.needed_grid.spacing_mm
    shape = [round(mm / spacing) for mm in BOX_MM[: 2 if recipe.flat else 3]] + ([1] if recipe.flat else [])
    channels = len(recipe.sequences) - (recipe.series is not None) + (FRAMES if recipe.series else 0)
    scans = []
    for index in range(PEOPLE):
        labels = np.zeros(shape, np.uint8)
        labels[tuple(slice(n // 3, n // 3 + max(1, round(15 / spacing))) for n in shape)] = 1
        stack = rng.normal(10, 1, (channels, *shape)).astype(np.float32)
        known = {
            "targets": np.array([float(index % 2)] * len(recipe.targets)),
            "sex": "FM"[index % 2],
            "age": 40.0 + index,
        }
        known["covariates"] = rng.normal(40, 10, len(recipe.learning.covariates))
        present = np.ones(len(recipe.sequences), bool)
        scans.append(Scan(f"sub-{index}", str(index), stack, present, labels, spacing, **known))
    return scans


def session_seconds(task: FoldTask, test: list[Scan], out: Path) -> float:
    """CPU seconds of one answer."""
    trial = Trial(task)
    network = trial.state().mean.eval()
    started = time.process_time()
    write_answers(trial, network, test, out)
    return (time.process_time() - started) / len(test)


def run_form(form: str, options: argparse.Namespace) -> str:
    """A row of the table."""
    recipe, out = recipe_of(form), options.out / form
    scans = scans_of(recipe)
    for scan in scans:
        save_scan(scan, out / "scans")
    how = argparse.Namespace(device="cpu", steps=10, minutes=None, threads=1)
    arm = arms_of(recipe, [])[0]
    task = task_of(arm, recipe, scans[:2], scans[2:], out, how, seed=1, scans=out / "scans")
    task.write()
    trial = Trial(task)
    step, answer = cpu_per_step(out, options.timed), session_seconds(task, scans[2:], out / "answers")
    patch = " x ".join(str(n) for n in trial.plan.patch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return f"| {form} | `{FORMS[form]}` | {trial.plan.batch} of {patch} | {step:.2f} | {answer:.2f} | {peak:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--timed", type=int, default=3)
    options = parser.parse_args()
    print("| form | recipe | a step sees | CPU s per step | CPU s per session, network | peak GB |")
    print("|---|---|---|---|---|---|")
    for form in options.forms:
        print(run_form(form, options), flush=True)


if __name__ == "__main__":
    main()
