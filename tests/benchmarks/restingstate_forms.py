"""Maps of a resting-state series, or the series itself: what either network finds and answers. Simulated runs.

``python -m tests.benchmarks.restingstate_forms OUT [--train 24] [--test 24] [--dials 1 0] [--forms maps 4-D]
[--spacing 5] [--frames 100] [--steps 200]``. The people are those of `tests.benchmarks.restingstate_maps`: at dial 1
half of them have a region of higher amplitude, higher coherence and lower coupling; at dial 0 nobody has, and the
diagnosis is drawn. The form ``maps`` learns ALFF, fALFF and ReHo, the form ``4-D`` the mean volume and windows of what
is left of the series. Prints Dice over those who have the region, AUC with its interval over the people tested (from
the bootstrap), seconds per step and per session answered, and the baselines on the same people. People that were drawn
and trainings that ended, or were stopped, are kept, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from bids_app.cohort.split import Fold, Split
from bids_app.judge.answers import evaluate_answers
from bids_app.judge.connectivity import answer_functional, functional_baselines
from bids_app.judge.statistics import bootstrap, mean_interval
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.scans.scan import Scan
from bids_app.train.arms import arms_of
from bids_app.train.fold import Trial, write_answers
from bids_app.train.state import read_weights
from bids_app.train.task import DONE, TASK, WEIGHTS, FoldTask
from tests.benchmarks import restingstate_maps
from tests.benchmarks.phantom_trials import parser_of, train_and_answer

FORMS = ("maps", "4-D")
#: Sessions that are answered to see how long one takes.
TIMED = 4


def series_of(made: dict[str, np.ndarray]) -> np.ndarray:
    """The stack of a person for the recipe of the series: mean volume, then every frame."""
    frames = np.moveaxis(made["frames"], -1, 0).astype(np.float32) * float(made["slope"])
    return np.concatenate([made["mean"][None], frames])


def recipe_of(form: str, options: argparse.Namespace) -> Recipe:
    """The recipe that ships, on the grid of the simulated runs; in place of the T1w the mean volume stands."""
    if form == FORMS[0]:
        maps = restingstate_maps.recipe_of(options.spacing)
        return maps.model_copy(update={"learning": maps.learning.model_copy(update={"batch": options.batch})})
    shipped = load_recipe("restingstate4d")
    grid = shipped.needed_grid.model_copy(update={"kind": "image", "spacing_mm": options.spacing})
    network = shipped.network.model_copy(update={"filters": options.filters_4d})
    learning = shipped.learning.model_copy(update={"batch": options.batch_4d})
    return shipped.model_copy(update={"grid": grid, "network": network, "learning": learning})


def area_of(test: list[Scan], answers: Path, recipe: Recipe) -> str:
    """AUC with its interval."""
    rows = answers_of(recipe.targets[0], evaluate_answers(test, answers, recipe).targets)
    found = bootstrap(rows.statistics()["auc"], rows.participants)
    return f"AUC {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def overlap_of(test: list[Scan], answers: Path, recipe: Recipe) -> str:
    """Dice over those who have the region, and how much is marked in those who have none."""
    rows = evaluate_answers(test, answers, recipe).regions
    dice = [(r["dice"], r["participant"]) for r in rows if np.isfinite(r["dice"]) and r["truth_mm3"] > 0]
    clear = [r["answer_mm3"] / 1000 for r in rows if r["truth_mm3"] == 0]
    said = [f"{np.median(clear):.1f} ml marked in the median of {len(clear)} without a region"] if clear else []
    if dice:
        found = mean_interval([d for d, _ in dice], [p for _, p in dice])
        said.insert(0, f"Dice {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) of {len(dice)} people")
    return ", ".join(said)


def seconds_of(folder: Path, test: list[Scan]) -> str:
    """Of a training step, on average, and of answering for a session, without what is done before the network."""
    done = json.loads((folder / DONE).read_text())
    trial = Trial(FoldTask.read(folder / TASK))
    network = trial.state().mean.eval()
    network.load_state_dict(read_weights(folder / WEIGHTS))
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        write_answers(trial, network, test[:TIMED], Path(out))
        took = (time.perf_counter() - started) / min(TIMED, len(test))
    return f"{done['seconds'] / done['steps']:.2f} s per step, {took:.2f} s per session, {done['peak_gb']:.1f} GB"


def run_form(options: argparse.Namespace, dial: float, form: str) -> None:
    """Train, answer, print."""
    recipe, stack_of = recipe_of(form, options), restingstate_maps.maps_of if form == FORMS[0] else series_of
    train, _ = restingstate_maps.people(options, options.train, 10 * options.seed + 1, dial, stack_of)
    test, _ = restingstate_maps.people(options, options.test, 10 * options.seed + 2, dial, stack_of)
    folder = options.out / f"dial{dial:g}" / form / "multi-task"
    folder = train_and_answer(arms_of(recipe, [])[0], recipe, train, test, folder, options, seed=options.seed)
    said = [area_of(test, folder / "answers", recipe), overlap_of(test, folder / "answers", recipe)]
    print(f"  {form}: {'; '.join(said)}; {seconds_of(folder, test)}", flush=True)


def run_dial(options: argparse.Namespace, dial: float) -> None:
    """Baselines, then every form."""
    recipe = recipe_of(FORMS[0], options)
    train, evidence = restingstate_maps.people(options, options.train, 10 * options.seed + 1, dial)
    test, more = restingstate_maps.people(options, options.test, 10 * options.seed + 2, dial)
    print(f"dial {dial:g}: {len(train)} people train, {len(test)} are tested, {options.steps} steps", flush=True)
    evidence |= more
    fold = Fold("fold-1", tuple(s.participant for s in train), (), tuple(s.participant for s in test))
    split = Split((fold,), {"kind": "another cohort"})
    for name in functional_baselines(recipe, evidence):
        folders = answer_functional(
            name, [*train, *test], split, recipe, options.out / f"dial{dial:g}" / name, evidence
        )
        print(f"  {name}: {area_of(test, folders[0], recipe)}", flush=True)
    for form in options.forms:
        run_form(options, dial, form)


def main() -> None:
    parser = parser_of(__doc__ or "", train=24, test=24, steps=200, replicates=1)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--filters-4d", type=int, default=8, help="of the network of the series, so that a CPU gets on")
    parser.add_argument("--batch-4d", type=int, default=4, help="windows per step")
    restingstate_maps.command(parser, frames=100, run=run_dial)


if __name__ == "__main__":
    main()
