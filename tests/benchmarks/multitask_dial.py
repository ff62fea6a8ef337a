"""Does learning lesions and outcome together help, and only where they belong together? Phantoms with a dial.

    python -m tests.benchmarks.multitask_dial OUT [--dials 0 1] [--replicates 5] [--steps 600] [--device cuda]

The outcome depends on the lesions (``--truth``: on their volume, or on how much of it lies in front or on the left) as
far as the dial says: 0 not at all, 1 wholly. Who trains and who is
tested differ in anatomy (template or procedural), field strength, noise, slice thickness and lesion sizes. Every arm
has the same people, seed and steps: multi-task, target-only, segmentation-only, frozen-encoder, permuted.

Gain: AUC of multi-task minus AUC of target-only. Told two ways: per replicate (new people, new weights) with an
interval by Student's t over replicates; and over the people of all replicates together, with a bootstrap over people
and DeLong's test. Must come out: gain above zero with its interval at dial 1, none at 0, permuted at chance. Arms that
are done are not trained again: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from bids_app.judge.answers import Evaluation, evaluate_answers
from bids_app.judge.compare import compare_arms
from bids_app.judge.rows import ComparisonRow
from bids_app.judge.statistics import plain
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe
from bids_app.train.arms import FROZEN, MULTI, PERMUTED, SEGMENTATION_ONLY, TARGET_ONLY, arms_of
from tests.benchmarks.phantom_trials import (
    draw_both,
    mean_with_interval,
    parser_of,
    pooled,
    read_options,
    said,
    spacing_of,
    train_and_answer,
)
from tests.learned.phantom_cohort import phantom_recipe

OUTCOME = "outcome"
ARMS = (MULTI, SEGMENTATION_ONLY, TARGET_ONLY, FROZEN, PERMUTED)


def run_dial(options: argparse.Namespace, recipe: Recipe, dial: float) -> dict[str, list[Evaluation]]:
    """Every arm on every replicate."""
    found: dict[str, list[Evaluation]] = {}
    for replicate in range(options.replicates):
        train, test = draw_both(recipe, options, replicate, dial=dial, truth=options.truth)
        home = options.out / f"dial-{dial:g}" / f"replicate-{replicate + 1}"
        for arm in arms_of(recipe, ["tasks"], controls=True):
            if arm.name not in options.arms:
                continue
            start = home / SEGMENTATION_ONLY if arm.frozen else None
            folder = train_and_answer(
                arm, recipe, train, test, home / arm.name, options, seed=options.seed + replicate, start=start
            )
            found.setdefault(arm.name, []).append(evaluate_answers(test, folder / "answers", recipe))
            print(
                f"dial {dial:g}, replicate {replicate + 1}, {arm.name}: {line(found[arm.name][-1], recipe)}", flush=True
            )
    return found


def auc_of(evaluation: Evaluation, recipe: Recipe) -> float:
    answers = answers_of(recipe.targets[0], evaluation.targets)
    return answers.scores().values["auc"] if answers.keys else float("nan")


def dice_of(evaluation: Evaluation) -> float:
    return float(np.nanmean([row["dice"] for row in evaluation.regions])) if evaluation.regions else float("nan")


def line(evaluation: Evaluation, recipe: Recipe) -> str:
    return f"AUC {auc_of(evaluation, recipe):.3f}, Dice {dice_of(evaluation):.3f}"


def judge(found: dict[str, list[Evaluation]], recipe: Recipe, seed: int) -> dict:
    """Gains per replicate and over everybody, and the verdict on permuted targets."""
    every = {arm: pooled(evaluations) for arm, evaluations in found.items()}
    aucs = {arm: [auc_of(e, recipe) for e in es] for arm, es in found.items() if arm != SEGMENTATION_ONLY}
    dices = {arm: [dice_of(e) for e in found[arm]] for arm in (MULTI, SEGMENTATION_ONLY)}
    answering = {arm: every[arm] for arm in (MULTI, FROZEN, PERMUTED, TARGET_ONLY) if arm in every}
    by_target = compare_arms(answering, TARGET_ONLY, recipe, seed)
    by_region = compare_arms({a: every[a] for a in (MULTI, SEGMENTATION_ONLY)}, SEGMENTATION_ONLY, recipe, seed)
    return {
        "auc": aucs,
        "dice": dices,
        "gain_auc": mean_with_interval(np.subtract(aucs[MULTI], aucs[TARGET_ONLY])),
        **{
            f"gain_auc_{arm}": mean_with_interval(np.subtract(aucs[arm], aucs[TARGET_ONLY]))
            for arm in (FROZEN,)
            if arm in aucs
        },
        "gain_dice": mean_with_interval(np.subtract(dices[MULTI], dices[SEGMENTATION_ONLY])),
        "everybody": [row_of(row) for row in (*by_target.rows, *by_region.rows)],
        "controls": by_target.controls.to_plain(),
    }


def row_of(row: ComparisonRow) -> dict:
    names = ("arm", "reference", "what", "measure", "value", "reference_value", "difference", "low", "high", "test")
    return {name: getattr(row, name) for name in (*names, "p", "p_holm", "participants", "shown")}


def tell(dial: float, found: dict) -> None:
    print(f"\ndial {dial:g}")
    for arm, aucs in found["auc"].items():
        print(f"  {arm:18} AUC {np.mean(aucs):.3f}   replicates {', '.join(f'{a:.3f}' for a in aucs)}")
    for arm, dices in found["dice"].items():
        print(f"  {arm:18} Dice {np.mean(dices):.3f}")
    print(f"  gain in AUC over replicates: {said(found['gain_auc'])}; in Dice {said(found['gain_dice'])}")
    if f"gain_auc_{FROZEN}" in found:
        print(f"  gain in AUC of the frozen encoder: {said(found[f'gain_auc_{FROZEN}'])}")
    for row in found["everybody"]:
        if row["measure"] in ("auc", "dice"):
            print(
                f"  everybody, {row['arm']} against {row['reference']}, {row['measure']}: {row['difference']:+.3f} "
                f"[{row['low']:+.3f}, {row['high']:+.3f}], {row['test']} p = {row['p']:.4f}"
            )
    print(f"  {found['controls']['text']}")


def main() -> None:
    parser = parser_of(__doc__, train=80, test=150, steps=600, replicates=5)
    parser.add_argument("--dials", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, help="fewer, where time is short")
    parser.add_argument("--truth", choices=("anterior", "left", "total"), default="total")
    options = read_options(parser)
    recipe = phantom_recipe(
        targets=(OUTCOME,),
        spacing=spacing_of(options),
        mirror=options.truth != "left",
        filters=options.filters,
        blocks=options.blocks,
        fold=options.fold,
        batch=options.batch,
        rate=options.rate,
        steps=options.steps,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for dial in options.dials:
        results[f"{dial:g}"] = judge(run_dial(options, recipe, dial), recipe, options.seed)
        kept = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        (options.out / "multitask_dial.json").write_text(json.dumps(plain({"how": kept, "dials": results}), indent=1))
        tell(dial, results[f"{dial:g}"])


if __name__ == "__main__":
    main()
