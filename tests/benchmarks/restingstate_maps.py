"""Does the maps form of resting state find a region whose activity is altered, and answer who has one? Simulated runs.

``python -m tests.benchmarks.restingstate_maps OUT [--train 32] [--test 32] [--dials 1 0]``. At dial 1 half of the
people have a region of higher amplitude, higher coherence and lower coupling; at dial 0 nobody has, and the diagnosis
is drawn. Every run goes through the light path (motion, regression, maps) and, with ALFF, fALFF and ReHo as sequences,
trains the multi-task network and each task alone, on other people than are tested. Beside them: ridge-logistic
regression on the correlations of true parcels (fitted on those who train), and on age, sex and motion alone. Prints
Dice and AUC.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bids_app.imaging import functional
from bids_app.imaging.motion import estimate_motion, realigned
from bids_app.judge.answers import evaluate_answers
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.scans.scan import Scan
from bids_app.synthesis.bold.bold import Alteration, draw_bold
from bids_app.synthesis.datasets import demo_images
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.fields import stream
from bids_app.synthesis.heads.brains import draw_brain
from bids_app.train.arms import MULTI, SEGMENTATION_ONLY, TARGET_ONLY, arms_of
from tests.benchmarks.phantom_trials import parser_of, read_options, train_and_answer

MAPS = ("alff", "falff", "reho")
SPACING = 5.0


def recipe_of() -> Recipe:
    """The recipe that ships, less the T1w, on the grid of the simulated runs."""
    shipped = load_recipe("restingstate")
    sequences = tuple(s.model_copy(update={"required": s.name == "alff"}) for s in shipped.sequences if s.name in MAPS)
    grid = shipped.needed_grid.model_copy(update={"kind": "image", "spacing_mm": SPACING})
    learning = shipped.learning.model_copy(update={"mirror": True})
    return shipped.model_copy(update={"sequences": sequences, "reference": "alff", "grid": grid, "learning": learning})


def draw(seed: int, index: int, altered: bool) -> tuple[Scan, np.ndarray, np.ndarray]:
    """A person's scan, correlations of parcels, and age, sex and mean displacement."""
    plan = DemoPlan(cohort="restingstate", n=1, seed=seed, spacing=SPACING)
    rng = np.random.default_rng([seed, index])
    shape = [int(np.ceil(mm / SPACING)) for mm in demo_images.EXTENT_MM]
    brain = draw_brain(plan.family, stream(seed, index, 1), shape, SPACING)
    run = draw_bold(brain, SPACING, stream(seed, index, 2), alteration=Alteration() if altered else None)
    series, spacing = run.frames.numpy(), np.full(3, SPACING)
    mask = run.inside.numpy() > 0
    motion = estimate_motion(series, spacing, mask, series[..., series.shape[-1] // 2])
    still = realigned(series, spacing, motion)
    nuisance = functional.motion_columns(motion.parameters, still.shape[-1])
    maps = functional.maps_of(still, mask, run.tr_s, nuisance)
    age, sex = float(rng.uniform(20, 70)), int(rng.integers(2))
    key = f"sub-s{seed}x{index}"
    stack = np.stack([maps.alff, maps.falff, maps.reho])
    region = (run.altered.numpy() > 0).astype(np.uint8)
    about = {"targets": np.zeros(1), "covariates": np.array([age, sex], float), "sex": "FM"[sex], "age": age}
    scan = Scan(key, key[4:], stack, np.ones(3, bool), region, SPACING, **about)
    columns = np.concatenate([functional.outside_band(still.shape[-1], run.tr_s), nuisance], axis=1)
    courses = functional.without(still[mask].astype(float), columns)
    parcels = run.parcels.numpy()[mask]
    means = np.stack([courses[parcels == p].mean(0) for p in range(1, int(parcels.max()) + 1)])
    connected = np.arctanh(np.clip(np.corrcoef(means), -0.999, 0.999))[np.triu_indices(len(means), 1)]
    return scan, connected, np.array([age, sex, motion.displacement[1:].mean()])


def people(count: int, seed: int, dial: float) -> tuple[list[Scan], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sick = np.arange(count) % 2 == 1
    found = [draw(seed, i, bool(sick[i]) and dial > 0) for i in range(count)]
    told = sick if dial > 0 else rng.permutation(sick)
    scans = [replace(one, targets=np.array([float(t)])) for (one, _, _), t in zip(found, told, strict=True)]
    return scans, np.stack([c for _, c, _ in found]), np.stack([a for _, _, a in found])


def baseline(name: str, train: np.ndarray, test: np.ndarray, y: np.ndarray, truth: np.ndarray) -> None:
    ridge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000))
    area = roc_auc_score(truth, ridge.fit(train, y).decision_function(test))
    print(f"  {name}: AUC {area:.3f}", flush=True)


def run_dial(options: argparse.Namespace, dial: float) -> None:
    recipe = recipe_of()
    train, train_c, train_a = people(options.train, 10 * options.seed + 1, dial)
    test, test_c, test_a = people(options.test, 10 * options.seed + 2, dial)
    print(f"dial {dial:g}: {len(train)} people train, {len(test)} are tested", flush=True)
    y, truth = (np.array([s.targets[0] for s in some]) for some in (train, test))
    baseline("correlations of parcels", train_c, test_c, y, truth)
    baseline("age, sex and motion", train_a, test_a, y, truth)
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
            said.append(f"AUC {answers_of(recipe.targets[0], found.targets).scores().values['auc']:.3f}")
        print(f"  {arm.name}: {', '.join(said)}", flush=True)


def main() -> None:
    parser = parser_of(__doc__ or "", train=32, test=32, steps=400, replicates=1)
    parser.add_argument("--dials", type=float, nargs="+", default=(1.0, 0.0))
    parser.set_defaults(fold=1, filters=12)
    options = read_options(parser)
    torch.set_num_threads(options.threads)
    for dial in options.dials:
        run_dial(options, dial)


if __name__ == "__main__":
    main()
