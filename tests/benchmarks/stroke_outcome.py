"""Real lesions and outcomes, drawn images: ``python -m tests.benchmarks.stroke_outcome OUT [--arms ...]``.

Acute infarcts of `stroke_outcome` (real masks, NIHSS, mRS), folds dealt by both. First what the true masks tell
(`stroke_masks`), then what is left when the masks are a network's own, from trace and ADC that were drawn around the
real infarct (`stroke_people`): a network per fold, on the people whose mRS is known. The linear heads of the recipe's
own arm let no gradient into the network, so that its masks are those of segmentation alone; from them come the
two-stage answers. What is done is not done again: a run that was stopped goes on. About an hour on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_app.cohort.split import Fold, Split
from bids_app.judge.answers import Evaluation, evaluate_answers
from bids_app.judge.baselines import BOTH, COVARIATES, VOLUMES, answer_baseline
from bids_app.judge.compare import compare_arms
from bids_app.judge.places import LESION_PLACES, answer_places, cells_of, measured_lesions
from bids_app.judge.statistics import bootstrap, plain
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan
from bids_app.train.arms import MULTI, PERMUTED, TARGET_ONLY, Arm
from tests.benchmarks.phantom_trials import train_and_answer
from tests.benchmarks.stroke_masks import tell_true_masks
from tests.benchmarks.stroke_people import (
    SPACING_MM,
    Strokes,
    deal,
    keep_scans,
    load_heads,
    load_strokes,
    stroke_recipe,
)
from tests.data import data_root

FEATURES = "features taught"
ARMS = {
    MULTI: ("none", Arm(MULTI)),
    TARGET_ONLY: ("none", Arm(TARGET_ONLY, segmentation=False)),
    FEATURES: ("features", Arm(MULTI)),
    PERMUTED: ("none", Arm(PERMUTED, permuted=True)),
}
TRUE, OWN = "true masks: ", "own masks: "


def train_fold(arm: str, number: int, scans: Sequence[Scan], group: np.ndarray, options: argparse.Namespace) -> Path:
    """Train an arm without the people of a fold and answer for them; the folder of the answers."""
    gradient, how = ARMS[arm]
    train = [scan for scan, own in zip(scans, group, strict=True) if own != number]
    test = [scan for scan, own in zip(scans, group, strict=True) if own == number]
    folder = options.out / f"fold-{number + 1}" / arm.replace(" ", "-")
    recipe = stroke_recipe(options.steps, gradient=gradient)
    train_and_answer(how, recipe, train, test, folder, options, seed=options.seed, scans_at=options.out / "scans")
    return folder / "answers"


def split_of(scans: Sequence[Scan], group: np.ndarray) -> Split:
    """The same folds as `bids_app.judge` takes them."""
    people = np.array([scan.participant for scan in scans])
    folds = [
        Fold(f"fold-{k + 1}", tuple(people[group != k]), (), tuple(people[group == k])) for k in range(group.max() + 1)
    ]
    return Split(tuple(folds), {"kind": "k-fold"})


def from_masks(
    scans: Sequence[Scan], split: Split, recipe: Recipe, out: Path, people: Strokes, answers: Path | None = None
) -> dict[str, list[Path]]:
    """What volumes, covariates and places tell on the test sides of a split; folders of the answers by their name.

    Args:
        answers: of a network, for the people of the split's only fold: the models, fitted on the true masks of those
            who train, are asked with its masks. True masks (volumes at 1 mm) on both sides where it is not given.
    """
    title = TRUE if answers is None else OWN
    places = {scan.key: cells_of(scan.labels, 1) for scan in scans}
    volumes = {name: 1000 * people.volume[n : n + 1] for n, name in enumerate(people.names)}
    if answers is not None:
        volumes = {scan.key: np.array([scan.labels.sum() * SPACING_MM**3]) for scan in scans}
        own_volumes, own_places = measured_lesions(scans, answers, recipe)
        places, volumes = places | own_places, volumes | own_volumes
    logs = {key: np.log1p(one) for key, one in volumes.items()}
    found = {
        title + name: answer_baseline(name, scans, split, recipe, out / title[:4] / name, volumes=logs)
        for name in (VOLUMES, BOTH)
    }
    folder = out / title[:4] / LESION_PLACES
    return found | {title + LESION_PLACES: answer_places(scans, split, recipe, folder, places=places, volumes=volumes)}


def dealt_anew(scans: Sequence[Scan], group: np.ndarray, fold: int, seed: int) -> list[Scan]:
    """Everybody who trains has the targets of another who trains: a control, from which nothing may be learned."""
    rows = np.flatnonzero(group != fold)
    other = dict(zip(rows, np.random.default_rng(seed).permutation(rows), strict=True))
    return [replace(scan, targets=scans[other.get(n, n)].targets) for n, scan in enumerate(scans)]


def answer_all(
    people: Strokes,
    scans: Sequence[Scan],
    group: np.ndarray,
    split: Split,
    recipe: Recipe,
    options: argparse.Namespace,
) -> dict[str, list[Path]]:
    """Folders of answers by the name of an arm or baseline, one per fold."""
    home = options.out / "baselines"
    done: dict[str, list[Path]] = {}
    for number, fold in enumerate(split.folds):
        for arm in options.arms:
            done.setdefault(arm, []).append(train_fold(arm, number, scans, group, options))
            print(f"fold {number + 1}, {arm}: done", flush=True)
        alone = replace(split, folds=(fold,))
        for name, folders in from_masks(scans, alone, recipe, home, people, done[MULTI][-1]).items():
            done.setdefault(name, []).extend(folders)
        control = dealt_anew(scans, group, number, options.seed)
        name = TRUE + LESION_PLACES  # a model of one column keeps its order or turns it round, and says nothing
        dealt = from_masks(control, alone, recipe, home / "permuted", people)[name]
        done.setdefault(f"permuted, {name}", []).extend(dealt)
    done |= from_masks(scans, split, recipe, home, people)
    return done | {COVARIATES: answer_baseline(COVARIATES, scans, split, recipe, home / COVARIATES)}


def figures(evaluation: Evaluation, recipe: Recipe) -> dict[str, Any]:
    """r of the NIHSS, AUC of the favourable outcome, each with its interval; mean and median Dice."""
    found: dict[str, Any] = {}
    for target, measure in zip(recipe.targets, ("correlation", "auc"), strict=True):
        answers = answers_of(target, evaluation.targets)
        found[measure] = bootstrap(answers.statistics()[measure], answers.participants).to_plain()
    if evaluation.regions:
        dice = np.array([row["dice"] for row in evaluation.regions if row["truth_mm3"] > 0])
        found |= {"dice": float(dice.mean()), "median_dice": float(np.median(dice)), "with_a_voxel": len(dice)}
    return found


def coverage(scans: Sequence[Scan], evaluation: Evaluation, group: np.ndarray, people: Strokes) -> list[dict[str, Any]]:
    """How often sets and intervals that were calibrated on the other folds hold the truth, by subgroup.

    Sets and intervals of 95 % (`TargetKind.calibrate`), from answers for people whom their network never saw.
    """
    recipe, rows = stroke_recipe(1), []
    fold = {scan.key: number for scan, number in zip(scans, group, strict=True)}
    order = {name: n for n, name in enumerate(people.names)}
    for target in recipe.targets:
        answers = answers_of(target, evaluation.targets)
        own = np.array([fold[key] for key in answers.keys])
        if len(np.unique(own)) < 2:  # one fold alone: its two halves calibrate each other
            own = np.arange(len(own)) % 2
        hit, width = np.zeros(len(own), bool), np.zeros(len(own))
        logits = answers.value[:, None] if answers.probability is None else np.log(answers.probability)
        for number in np.unique(own):
            mine, others = own == number, own != number
            fit = target.behaviour.calibrate(logits[others], answers.truth[others], int(others.sum()))
            if answers.probability is None:
                hit[mine] = np.abs(answers.value - answers.truth)[mine] <= fit["half_width"]
                width[mine] = 2 * fit["half_width"]
            else:
                kept = target.behaviour.probabilities(logits[mine], fit["temperature"]) >= fit["set_level"]
                hit[mine] = kept[np.arange(mine.sum()), answers.truth[mine].astype(int)]
                width[mine] = kept.sum(1)
        at = np.array([order[key] for key in answers.keys])
        old, large = (x[at] > np.median(x[at]) for x in (people.age, people.volume))
        everybody = np.ones(len(at), bool)
        parts = {"all": everybody, "younger": ~old, "older": old, "small infarcts": ~large, "large infarcts": large}
        for who, part in parts.items():
            held, size = float(hit[part].mean()), float(width[part].mean())
            rows.append({"target": target.name, "who": who, "n": int(part.sum()), "held": held, "size": size})
    return rows


def tell(found: Mapping[str, Evaluation], recipe: Recipe) -> dict[str, Any]:
    """Print and return the table, and differences from the recipe's own arm."""
    rows = {name: figures(evaluation, recipe) for name, evaluation in found.items()}
    for name, row in rows.items():
        said = [
            f"{m} {row[m]['value']:.3f} ({row[m]['low']:.3f} to {row[m]['high']:.3f})" for m in ("correlation", "auc")
        ]
        dice = f", Dice {row['dice']:.3f}, median {row['median_dice']:.3f}" if "dice" in row else ""
        print(f"{name:40} {', '.join(said)}{dice}")
    compared = compare_arms({n: e for n, e in found.items() if "permuted" not in n}, MULTI, recipe)
    differences = [row for row in compared.rows if row.measure in ("auc", "r2", "dice")]
    for row in differences:
        print(
            f"  {row.arm} minus {MULTI}, {row.measure} of {row.what}: {row.difference:+.3f} "
            f"({row.low:+.3f} to {row.high:+.3f}), p {row.p:.4f}, corrected {row.p_holm:.4f}"
        )
    return {"rows": rows, "differences": [row.__dict__ for row in differences]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=3, help="of the networks; true masks have five, dealt three times")
    parser.add_argument("--tested", type=int, default=3, help="of these so many, the first, are trained and tested")
    parser.add_argument("--arms", nargs="+", default=[MULTI, TARGET_ONLY, FEATURES, PERMUTED], choices=list(ARMS))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, help="of people, to see that it runs")
    parser.add_argument("--masks-only", action="store_true", help="only what the true masks tell")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    everybody = load_strokes(data_root(), options.out, options.limit)
    if options.masks_only:
        (options.out / "true_masks.json").write_text(json.dumps(plain(tell_true_masks(everybody)), indent=1))
        return
    people = everybody.only(np.flatnonzero(np.isfinite(everybody.mrs)))
    group = deal(people, options.folds, options.seed)
    scans = keep_scans(people, lambda: load_heads(data_root()), group, options.out / "scans", options.seed)
    recipe, split = stroke_recipe(options.steps), split_of(scans, group)
    split = replace(split, folds=split.folds[: options.tested])
    done = answer_all(people, scans, group, split, recipe, options)
    tested = [scan for scan, own in zip(scans, group, strict=True) if own < len(split.folds)]
    found = {name: evaluate_answers(tested, folders, recipe) for name, folders in done.items()}
    results = tell(found, recipe)
    results["coverage"] = coverage(scans, found[MULTI], group, people)
    for row in results["coverage"]:
        print(row)
    (options.out / "stroke_outcome.json").write_text(json.dumps(plain(results), indent=1))


if __name__ == "__main__":
    main()
