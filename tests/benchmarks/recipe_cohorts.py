"""Recipes with a target on their demo cohorts: regions and targets together, and each alone. Simulated people.

    python -m tests.benchmarks.recipe_cohorts OUT [--recipes alzheimer schizophrenia depression stroke tbi] [--train 32]
    [--test 40] [--steps 120] [--quick]

Who trains has the scanners of the generator ``train``, who is tested those of ``test`` (other fields, timing, noise and
slices); two sites each, and the anatomy of the template, deformed anew for every person. Regions, targets, covariates
and sequences are the recipe's own; its grid is the image as it was drawn, coarse (``VOXELS``), for depression a cube
around its regions. Printed per recipe, with 95 % intervals by bootstrap over participants: Dice over all regions and
the foremost measure of every target, of multi-task learning and of each task alone, their differences, and what the
covariates alone answer. What was drawn and trained is kept, and the same command goes on from there.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_app.cohort.split import Fold, Split
from bids_app.judge.answers import Evaluation, evaluate_answers, over_regions
from bids_app.judge.baselines import COVARIATES, answer_baseline
from bids_app.judge.compare import compare_arms
from bids_app.judge.rows import TITLES
from bids_app.judge.statistics import bootstrap, mean_interval
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.scans.scan import Scan, load_scan, save_scan
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.datasets.demo_images import Participant, draw_participant
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.heads.structures import labelled_parts
from bids_app.train.arms import MULTI, SEGMENTATION_ONLY, TARGET_ONLY, arms_of
from tests.benchmarks.phantom_trials import parser_of, read_options, train_and_answer

RECIPES = ("alzheimer", "schizophrenia", "depression", "stroke", "tbi")
#: Voxels of the cohorts, mm; a habenula has a voxel of 2.5 mm.
VOXELS = {"depression": 2.5}
USUAL_MM = 5.0
SITES = 2


def recipe_of(name: str, options: Namespace) -> Recipe:
    """The recipe that ships, on images as they were drawn, with the network that the options say."""
    plain = load_recipe(name).model_dump()
    plain["grid"] = {"kind": "image", "spacing_mm": VOXELS.get(name, USUAL_MM)}
    plain["network"] |= {"filters": options.filters, "blocks": tuple(options.blocks), "fold": options.fold}
    plain["learning"] |= {"steps": options.steps, "rate": options.rate, "batch": options.batch}
    return Recipe.model_validate(plain)


def scan_of(person: Participant, recipe: Recipe, prefix: str) -> Scan:
    """A drawn participant as a training sees them; of a recipe for a region, the cube around it."""
    stack = np.stack([person.images[sequence.name] for sequence in recipe.sequences]).astype(np.float32)
    labels = labels_of(person, recipe)
    shipped = load_recipe(recipe.name).needed_grid
    if shipped.kind == "region":
        side = round(shipped.region_size_mm / recipe.needed_grid.spacing_mm)
        box = box_around(person, shipped.region_centre_mm, side)
        stack, labels = stack[(slice(None), *box)], labels[box]
    row = {**person.row, "sex": "FM".index(str(person.row["sex"]))}
    targets = [code(row.get(t.source, "n/a"), t.levels) for t in recipe.targets]
    covariates = [code(row.get(name, "n/a"), ()) for name in recipe.learning.covariates]
    who = f"{prefix}{person.label}"
    about = {"site": str(person.row["site"]), "sex": str(person.row["sex"]), "age": float(str(person.row["age"]))}
    there = np.ones(len(stack), bool)
    return Scan(
        f"sub-{who}", who, stack, there, labels, recipe.needed_grid.spacing_mm, np.array(targets), np.array(covariates),
        **about,
    )  # fmt: skip


def labels_of(person: Participant, recipe: Recipe) -> np.ndarray:
    """Position of each voxel's region, from 1."""
    if recipe.labels.suffix == "mask":
        return (person.pathology.labelled() >= 0.5).numpy().astype(np.uint8)
    numbers, _, shares = labelled_parts(person.varied)
    values = np.array(numbers)[shares.argmax(0).numpy()] * (shares.sum(0).numpy() >= 0.5)
    found = np.zeros(values.shape, np.uint8)
    for place, region in enumerate(recipe.regions, 1):
        found[values == region.index] = place
    return found


def box_around(person: Participant, centre_mni: tuple[float, ...], side: int) -> tuple[slice, ...]:
    """Voxels of a cube around a place."""
    away = (person.varied.brain.frame - torch.tensor(from_mni(centre_mni))).norm(dim=-1)
    middle = np.unravel_index(int(away.argmin()), tuple(away.shape))
    return tuple(slice(int(m) - side // 2, int(m) - side // 2 + side) for m in middle)


def code(value: object, levels: tuple[str, ...]) -> float:
    if value == "n/a":
        return float("nan")
    return float(levels.index(str(value))) if levels else float(str(value))


def draw(recipe: Recipe, options: Namespace, generator: str, n: int, folder: Path) -> list[Scan]:
    """A cohort; those who were drawn before are read."""
    plan = DemoPlan(
        recipe.name,
        n,
        SITES,
        1 + options.seed + 100 * (generator == "test"),
        spacing=recipe.needed_grid.spacing_mm,
        generator=generator,
        anatomy="template",
    )
    scans, prefix = [], {"train": "T", "test": "P"}[generator]
    for index in range(n):
        path = folder / f"sub-{prefix}{index + 1:0{max(2, len(str(n)))}d}.npz"
        if not path.is_file():
            save_scan(scan_of(draw_participant(plan, index), recipe, prefix), folder)
        scans.append(load_scan(path))
    return scans


def run(name: str, options: Namespace) -> dict:
    """What one recipe shows."""
    recipe, home = recipe_of(name, options), options.out / name
    train = draw(recipe, options, "train", options.train, home / "scans")
    test = draw(recipe, options, "test", options.test, home / "scans")
    found: dict[str, Evaluation] = {}
    for arm in arms_of(recipe, ["tasks"]):
        if arm.name in (MULTI, SEGMENTATION_ONLY, TARGET_ONLY):
            train_and_answer(arm, recipe, train, test, home / arm.name, options, seed=options.seed)
            found[arm.name] = evaluate_answers(test, home / arm.name / "answers", recipe)
    fold = Fold("fold-1", tuple(s.participant for s in train), (), tuple(s.participant for s in test))
    found |= without_images(recipe, [*train, *test], test, fold, home)
    return {"recipe": name, "train": len(train), "test": len(test), **judged(found, recipe, options.seed)}


def without_images(
    recipe: Recipe, everybody: list[Scan], test: list[Scan], fold: Fold, home: Path
) -> dict[str, Evaluation]:
    """What the covariates alone answer; nothing where the recipe has none."""
    if not recipe.learning.covariates:
        return {}
    split = Split((fold,), {"kind": "another cohort"})
    answered = answer_baseline(COVARIATES, everybody, split, recipe, home / COVARIATES)
    return {COVARIATES: evaluate_answers(test, answered, recipe)}


def judged(found: dict[str, Evaluation], recipe: Recipe, seed: int) -> dict:
    """Every arm's figures and the differences of multi-task learning from each task alone."""
    rows = {(row.arm, row.what, row.measure): row for row in compare_arms(found, MULTI, recipe, seed).rows}
    dice = {}
    for arm in (MULTI, SEGMENTATION_ONLY):
        mine = over_regions(found[arm].regions)
        dice[arm] = mean_interval([row["dice"] for row in mine], [row["participant"] for row in mine]).to_plain()
    one = "all regions" if len(recipe.regions) > 1 else recipe.regions[0].name
    targets = []
    for target in recipe.targets:
        measure, arms = target.behaviour.foremost, {}
        for arm in (name for name in (MULTI, TARGET_ONLY, COVARIATES) if name in found):
            answers = answers_of(target, found[arm].targets)
            arms[arm] = bootstrap(answers.statistics()[measure], answers.participants, seed=seed).to_plain()
        gain = turned(rows[TARGET_ONLY, target.name, measure])
        targets.append({"target": target.name, "measure": measure, "arms": arms, "gain": gain})
    return {"dice": dice, "dice_gain": turned(rows[SEGMENTATION_ONLY, one, "dice"]), "targets": targets}


def turned(row) -> dict[str, float]:
    """Multi-task minus the other arm."""
    return {"value": -row.difference, "low": -row.high, "high": -row.low}


def tell(interval: dict, sign: str = "") -> str:
    return f"{interval['value']:{sign}.3f} ({interval['low']:{sign}.3f} to {interval['high']:{sign}.3f})"


def table(results: list[dict]) -> str:
    """As the documentation has it."""
    lines = [
        "| recipe (people who train, are tested) | | multi-task | that task alone | difference | covariates alone |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        dice = one["dice"]
        lines.append(
            f"| `{one['recipe']}` ({one['train']}, {one['test']}) | Dice | {tell(dice[MULTI])} | "
            f"{tell(dice[SEGMENTATION_ONLY])} | {tell(one['dice_gain'], '+')} | |"
        )
        for row in one["targets"]:
            arms = row["arms"]
            lines.append(
                f"| | {row['target']}: {TITLES[row['measure']][0]} | {tell(arms[MULTI])} | "
                f"{tell(arms[TARGET_ONLY])} | {tell(row['gain'], '+')} | "
                f"{tell(arms[COVARIATES]) if COVARIATES in arms else ''} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__ or "", train=32, test=40, steps=120, replicates=1)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    parser.set_defaults(filters=8, fold=1, rate=5e-3, batch=2, threads=1)
    options = read_options(parser)
    torch.set_num_threads(options.threads)
    results = []
    for name in options.recipes:
        results.append(run(name, options))
        print(json.dumps(results[-1]), flush=True)
        (options.out / "recipe_cohorts.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


@pytest.mark.benchmark
def test_every_recipe_has_its_rows(tmp_path):
    quick = Namespace(
        out=tmp_path, train=12, test=12, steps=4, minutes=None, filters=4, blocks=(1, 1, 1), fold=2, batch=4, rate=2e-3,
        threads=1, device="cpu", seed=0,
    )  # fmt: skip
    found = run("schizophrenia", quick)
    assert np.isfinite(found["dice"][MULTI]["value"])
    assert [row["measure"] for row in found["targets"]] == ["auc"]
    assert "`schizophrenia` (12, 12)" in table([found])


if __name__ == "__main__":
    main()
