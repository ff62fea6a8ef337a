"""Does the maps form of resting state find a region whose activity is altered, and answer who has one? Simulated runs.

``python -m tests.benchmarks.restingstate_maps OUT [--train 32] [--test 32] [--dials 1 0] [--spacing 5]
[--frames 150]``. At dial 1
half of the people have a region of higher amplitude, higher coherence and lower coupling; at dial 0 nobody has, and the
diagnosis is drawn. Parcels and networks are the same for all people; which parcel is altered is drawn for each. Every
run goes through the light path (motion, regression, maps) and, with ALFF, fALFF and ReHo as sequences, trains the
multi-task network and each task alone, on other people than are tested. Beside them, fitted on those who train: the
baselines of functional recipes on the true parcels (correlations, tangent space), and age, sex and motion alone. Prints
Dice and AUC; people that were drawn and trainings that ended are kept, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bids_app.bids.files import write_arrays
from bids_app.cohort.split import Fold, Split
from bids_app.imaging import functional
from bids_app.imaging.motion import estimate_motion, realigned
from bids_app.imaging.series import FINEST, evenly_timed, in_one_spread, placed_frames
from bids_app.judge.answers import evaluate_answers
from bids_app.judge.connectivity import Evidence, answer_functional, functional_baselines
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.recipes.series import STEP_S
from bids_app.scans.scan import Scan
from bids_app.synthesis.bold.bold import Alteration, BoldSettings, Layout, draw_bold, draw_layout
from bids_app.synthesis.datasets import demo_images
from bids_app.synthesis.fields import stream
from bids_app.synthesis.heads.brains import draw_brain
from bids_app.train.arms import MULTI, SEGMENTATION_ONLY, TARGET_ONLY, arms_of
from tests.benchmarks.phantom_trials import parser_of, read_options, train_and_answer

MAPS = ("alff", "falff", "reho")
FAMILY = "template"
#: Of the parcels and networks that everybody has.
LAYOUT_SEED = 77


def recipe_of(spacing: float) -> Recipe:
    """The recipe that ships, less the T1w, on the grid of the simulated runs."""
    shipped = load_recipe("restingstate")
    sequences = tuple(s.model_copy(update={"required": s.name == "alff"}) for s in shipped.sequences if s.name in MAPS)
    grid = shipped.needed_grid.model_copy(update={"kind": "image", "spacing_mm": spacing})
    learning = shipped.learning.model_copy(update={"mirror": True})
    return shipped.model_copy(update={"sequences": sequences, "reference": "alff", "grid": grid, "learning": learning})


@cache
def layout_of(spacing: float) -> Layout:
    """Parcels and networks of everybody."""
    shape = [int(np.ceil(mm / spacing)) for mm in demo_images.EXTENT_MM]
    return draw_layout(draw_brain(FAMILY, stream(LAYOUT_SEED, 0, 1), shape, spacing), stream(LAYOUT_SEED, 0, 3))


def draw_person(
    seed: int, index: int, altered: bool, spacing: float, frames: int, folder: Path
) -> dict[str, np.ndarray]:
    """Maps, region, courses of parcels (``(t, parcels)``), age, sex and motion of a person, mean volume and what is
    left of the series (whole numbers, ``(x, y, z, t)``, and their slope); kept in a file."""
    name = f"s{seed}x{index}_{'altered' if altered else 'healthy'}_{spacing:g}mm_{frames}_series"
    path = folder / f"{name}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return dict(kept)
    rng = np.random.default_rng([seed, index])
    shape = [int(np.ceil(mm / spacing)) for mm in demo_images.EXTENT_MM]
    layout = layout_of(spacing)
    brain = draw_brain(FAMILY, stream(seed, index, 1), shape, spacing)
    what = Alteration() if altered else None
    how = BoldSettings(frames=frames)
    run = draw_bold(brain, spacing, stream(seed, index, 2), settings=how, alteration=what, layout=layout)
    series, sides = run.frames.numpy(), np.full(3, spacing)
    mask = run.inside.numpy() > 0
    motion = estimate_motion(series, sides, mask, series[..., series.shape[-1] // 2])
    still = realigned(series, sides, motion)
    nuisance = functional.motion_columns(motion.parameters, still.shape[-1])
    maps = functional.maps_of(still, mask, run.tr_s, nuisance)
    columns = np.concatenate([functional.outside_band(still.shape[-1], run.tr_s), nuisance], axis=1)
    courses = functional.without(still[mask].astype(float), columns)
    parcels = run.parcels.numpy()[mask]
    left = placed_frames(in_one_spread(evenly_timed(maps.courses, run.tr_s, STEP_S)), mask)
    made = {
        "frames": np.rint(left / FINEST).astype(np.int16),
        "slope": np.array(FINEST),
        "mean": np.where(mask, still.mean(-1), 0).astype(np.float32),
        "stack": np.stack([maps.alff, maps.falff, maps.reho]),
        "region": (run.altered.numpy() > 0).astype(np.uint8),
        "courses": np.stack([courses[parcels == p].mean(0) for p in range(1, 1 + len(layout.belongs))], axis=1),
        "known": np.array([rng.uniform(20, 70), rng.integers(2), motion.displacement[1:].mean()]),
    }
    write_arrays(path, made)
    return made


def maps_of(made: dict[str, np.ndarray]) -> np.ndarray:
    """The stack of a person for the recipe of maps."""
    return made["stack"]


def people(
    options: argparse.Namespace,
    count: int,
    seed: int,
    dial: float,
    stack_of: Callable[[dict[str, np.ndarray]], np.ndarray] = maps_of,
) -> tuple[list[Scan], dict[str, Evidence]]:
    """Scans, and what the baselines of functional recipes read of each."""
    rng = np.random.default_rng(seed)
    sick = np.arange(count) % 2 == 1
    told = sick if dial > 0 else rng.permutation(sick)
    scans, evidence = [], {}
    folder = options.out / "people"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        made = draw_person(seed, i, bool(sick[i]) and dial > 0, options.spacing, options.frames, folder)
        age, sex, moved = made["known"]
        key = f"sub-s{seed}x{i}"
        about = {"targets": np.array([float(told[i])]), "covariates": made["known"][:2], "sex": "FM"[int(sex)]}
        present = np.ones(3 if stack_of is maps_of else 2, bool)
        scans.append(Scan(key, key[4:], stack_of(made), present, made["region"], options.spacing, **about))
        evidence[key] = Evidence(made["courses"], np.array([age, sex, moved]))
    return scans, evidence


def area_of(test: list[Scan], answers: Path, recipe: Recipe) -> str:
    found = evaluate_answers(test, answers, recipe)
    return f"AUC {answers_of(recipe.targets[0], found.targets).scores().values['auc']:.3f}"


def run_dial(options: argparse.Namespace, dial: float) -> None:
    recipe = recipe_of(options.spacing)
    train, evidence = people(options, options.train, 10 * options.seed + 1, dial)
    test, more = people(options, options.test, 10 * options.seed + 2, dial)
    print(f"dial {dial:g}: {len(train)} people train, {len(test)} are tested", flush=True)
    everybody, evidence = [*train, *test], evidence | more
    fold = Fold("fold-1", tuple(s.participant for s in train), (), tuple(s.participant for s in test))
    for name in functional_baselines(recipe, evidence):
        out = options.out / f"dial{dial:g}" / name
        folders = answer_functional(name, everybody, Split((fold,), {"kind": "another cohort"}), recipe, out, evidence)
        print(f"  {name}: {area_of(test, folders[0], recipe)}", flush=True)
    for arm in arms_of(recipe, ["tasks"]):
        if arm.name not in (MULTI, SEGMENTATION_ONLY, TARGET_ONLY):
            continue
        out = options.out / f"dial{dial:g}" / arm.name
        folder = train_and_answer(arm, recipe, train, test, out, options, seed=options.seed)
        found = evaluate_answers(test, folder / "answers", recipe)
        said = []
        if found.regions:
            dice = [r["dice"] for r in found.regions if np.isfinite(r["dice"]) and r["truth_mm3"] > 0]
            said.append(f"Dice {np.mean(dice):.3f}" if dice else "nobody has the region")
        if found.targets:
            said.append(area_of(test, folder / "answers", recipe))
        print(f"  {arm.name}: {', '.join(said)}", flush=True)


def command(parser: argparse.ArgumentParser, *, frames: int, run: Callable[[argparse.Namespace, float], None]) -> None:
    """Read the options that every benchmark on these people has, and run each dial.

    Args:
        parser: of `parser_of`, with options of the benchmark's own.
        frames: of each run, where the command line says nothing.
        run: what is done at a dial.
    """
    parser.add_argument("--spacing", type=float, default=5.0, help="of the simulated runs, mm; at most 5")
    parser.add_argument("--frames", type=int, default=frames, help="of each run, 2 s apart")
    parser.add_argument("--dials", type=float, nargs="+", default=(1.0, 0.0))
    parser.set_defaults(fold=1, filters=12)
    options = read_options(parser)
    torch.set_num_threads(options.threads)
    for dial in options.dials:
        run(options, dial)


def main() -> None:
    command(parser_of(__doc__ or "", train=32, test=32, steps=400, replicates=1), frames=150, run=run_dial)


if __name__ == "__main__":
    main()
