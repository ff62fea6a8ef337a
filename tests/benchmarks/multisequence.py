"""Do three sequences find lesions better than one, and does a network that learned to do without one lose less?

    python -m tests.benchmarks.multisequence OUT [--replicates 3] [--steps 800] [--device cuda]

Lesions have the contrast of real multiple sclerosis: FLAIR most, T2w less, T1w least. Who trains and who is tested
differ in anatomy, field strength, noise, slice thickness and lesion sizes. Arms, with the same people, seed and steps:
all sequences, each alone, and all with sequence dropout. The two networks of all sequences are also asked with each
sequence taken away. Must come out: all above FLAIR above T2w above T1w in Dice; with one missing, the dropout network
loses less. Two real participants are run through every network where their data are at hand, and told as they come out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bids_app.judge.answers import Evaluation, evaluate_answers
from bids_app.judge.compare import compare_arms
from bids_app.judge.statistics import paired_difference, plain, sign_flip
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan
from bids_app.train.arms import DROPOUT, SEGMENTATION_ONLY, arms_of
from bids_app.train.fold import subset_folder
from tests.benchmarks.phantom_trials import draw_both, parser_of, pooled, read_options, spacing_of, train_and_answer
from tests.data import data_root
from tests.learned.phantom_cohort import phantom_recipe

ALL = SEGMENTATION_ONLY
REAL = "real"


def real_scans(recipe: Recipe) -> list[Scan]:
    """The two real participants (1 mm, skull-stripped), averaged to the recipe's grid; none where they are absent."""
    import nibabel as nib
    from scipy import ndimage

    root, scans = data_root() / "ms", []
    for home in sorted(root.glob("sub-*")):
        label = home.name.removeprefix("sub-")
        mask = root / "derivatives" / "manual" / home.name / "anat" / f"{home.name}_space-orig_label-L_mask.nii.gz"
        images = [nib.load(home / "anat" / f"{home.name}_{s.name}.nii.gz") for s in recipe.sequences]
        stack = np.stack([np.asarray(image.dataobj, np.float32) for image in images])
        box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in np.nonzero(stack.all(0)))
        ratio = recipe.grid.spacing_mm / float(np.mean(images[0].header.get_zooms()[:3]))

        def coarse(array: np.ndarray, ratio: float = ratio) -> np.ndarray:
            return ndimage.zoom(ndimage.gaussian_filter(array.astype(np.float32), 0.42 * ratio), 1 / ratio, order=1)

        inside = coarse(stack.all(0)[box]) > 0.5
        stack = np.stack([np.maximum(coarse(image[box]), 1e-3) * inside for image in stack])
        labels = (coarse(np.asarray(nib.load(mask).dataobj)[box] > 0) >= 0.5).astype(np.uint8)
        scans.append(
            Scan(
                f"sub-{REAL}{label}",
                f"{REAL}{label}",
                stack,
                np.ones(len(stack), bool),
                labels,
                recipe.grid.spacing_mm,
                np.zeros(0),
                np.zeros(0),
            )
        )
    return scans


def run(options: argparse.Namespace, recipe: Recipe) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
    """Every arm and every gap, pooled over replicates: on phantoms, and on the real participants."""
    names = [sequence.name for sequence in recipe.sequences]
    gaps = [tuple(n for n in names if n != gone) for gone in names]
    phantom: dict[str, list[Evaluation]] = {}
    real: dict[str, list[Evaluation]] = {}
    people = [] if options.coarse else real_scans(recipe)
    for replicate in range(options.replicates):
        train, test = draw_both(recipe, options, replicate)
        home = options.out / f"replicate-{replicate + 1}"
        for arm in arms_of(recipe, ["sequences"]):
            subsets = [] if arm.sequences else gaps
            folder = train_and_answer(
                arm,
                recipe,
                train,
                [*test, *people],
                home / arm.name,
                options,
                seed=options.seed + replicate,
                subsets=subsets,
            )
            answered = {arm.name: folder / "answers"}
            answered |= {without(arm.name, s, names): folder / subset_folder(s) for s in subsets}
            for name, answers in answered.items():
                phantom.setdefault(name, []).append(evaluate_answers(test, answers, recipe))
                print(f"replicate {replicate + 1}, {name}: Dice {dice_of(phantom[name][-1]):.3f}", flush=True)
                if people and replicate == 0:
                    real.setdefault(name, []).append(evaluate_answers(people, answers, recipe))
    return {k: pooled(v) for k, v in phantom.items()}, {k: pooled(v) for k, v in real.items()}


def without(arm: str, kept: Sequence[str], names: Sequence[str]) -> str:
    return f"{arm} without {'+'.join(n for n in names if n not in kept)}"


def dice_of(evaluation: Evaluation) -> float:
    return float(np.nanmean([row["dice"] for row in evaluation.regions]))


def order(found: dict[str, Evaluation], recipe: Recipe, seed: int) -> list[dict]:
    """All against FLAIR alone, FLAIR against T2w, T2w against T1w: paired over people."""
    steps = [ALL, *(f"only-{name}" for name in ("FLAIR", "T2w", "T1w"))]
    rows = []
    for better, worse in pairwise(steps):
        compared = compare_arms({better: found[better], worse: found[worse]}, worse, recipe, seed)
        rows += [
            {
                "better": better,
                "worse": worse,
                "measure": r.measure,
                "value": r.value,
                "other": r.reference_value,
                "difference": r.difference,
                "low": r.low,
                "high": r.high,
                "p": r.p,
            }
            for r in compared.rows
        ]
    return rows


def losses(found: dict[str, Evaluation], names: Sequence[str], seed: int) -> list[dict]:
    """What each network loses in Dice when a sequence is missing, and how much less the dropout network loses."""
    rows = []
    for gone in names:
        dice = {arm: [by_person(found[name]) for name in (arm, f"{arm} without {gone}")] for arm in (ALL, DROPOUT)}
        people = sorted(set.intersection(*(set(one) for pair in dice.values() for one in pair)))
        lost = {arm: np.array([full[p] - gap[p] for p in people]) for arm, (full, gap) in dice.items()}
        saved = paired_difference(lost[ALL], lost[DROPOUT], people, seed=seed)
        rows.append(
            {
                "missing": gone,
                "lost_without_dropout": float(np.nanmean(lost[ALL])),
                "lost_with_dropout": float(np.nanmean(lost[DROPOUT])),
                "saved": saved.value,
                "low": saved.low,
                "high": saved.high,
                "p": sign_flip(lost[ALL] - lost[DROPOUT], seed=seed),
                "participants": saved.participants,
            }
        )
    return rows


def by_person(evaluation: Evaluation) -> dict[str, float]:
    return {row["participant"]: row["dice"] for row in evaluation.regions}


def main() -> None:
    options = read_options(parser_of(__doc__, train=80, test=60, steps=800, replicates=3))
    recipe = phantom_recipe(
        targets=(),
        spacing=spacing_of(options),
        filters=options.filters,
        blocks=options.blocks,
        fold=options.fold,
        batch=options.batch,
        rate=options.rate,
        steps=options.steps,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    phantom, real = run(options, recipe)
    names = [sequence.name for sequence in recipe.sequences]
    results = {
        "how": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "dice": {name: dice_of(evaluation) for name, evaluation in phantom.items()},
        "order": order(phantom, recipe, options.seed),
        "missing": losses(phantom, names, options.seed),
        "real": {n: {r["participant"]: {k: r[k] for k in ("dice", "f1")} for r in e.regions} for n, e in real.items()},
    }
    (options.out / "multisequence.json").write_text(json.dumps(plain(results), indent=1))
    for row in results["order"]:
        print(
            f"{row['better']} {row['value']:.3f} against {row['worse']} {row['other']:.3f}, {row['measure']}: "
            f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], p = {row['p']:.4f}"
        )
    for row in results["missing"]:
        print(
            f"without {row['missing']}: Dice lost {row['lost_without_dropout']:.3f}, with dropout learned "
            f"{row['lost_with_dropout']:.3f}; saved {row['saved']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], "
            f"p = {row['p']:.4f}"
        )
    for name, people in results["real"].items():
        print(f"real, {name}: " + ", ".join(f"{p} Dice {v['dice']:.3f} F1 {v['f1']:.3f}" for p, v in people.items()))


if __name__ == "__main__":
    main()
