"""What the phantom experiments share: cohorts that differ in anatomy and in scanner, one training, pooled rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from bids_app.cohort.split import Fold, Split
from bids_app.judge.answers import Evaluation
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan, save_scan
from bids_app.train.arms import Arm
from bids_app.train.fold import FoldTask, run_fold
from bids_app.train.plan import make_plan
from tests.learned.phantom_cohort import SHAPE, SPACING_MM, TEST, TRAIN, draw_cohort, scans_for

#: Of a run that only shows that everything fits together: a coarse grid, a handful of people, a few steps.
QUICK = {"train": 12, "test": 12, "steps": 4, "replicates": 2, "filters": 4, "coarse": True}
COARSE_MM = 5.0


def parser_of(doc: str, *, train: int, test: int, steps: int, replicates: int) -> argparse.ArgumentParser:
    """The options that the experiments share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--replicates", type=int, default=replicates, help="cohorts, trainings and tests drawn anew")
    parser.add_argument("--train", type=int, default=train, help="participants that each training sees")
    parser.add_argument("--test", type=int, default=test)
    parser.add_argument("--steps", type=int, default=steps, help="of every arm")
    parser.add_argument("--minutes", type=float, help="of every arm, where they end before the steps")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="+", default=(1, 1, 1))
    parser.add_argument("--fold", type=int, default=2, help="voxels folded into channels, so that a CPU gets there")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="show in a minute that it runs; its figures mean nothing")
    parser.set_defaults(coarse=False)
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    options = parser.parse_args()
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    return options


def spacing_of(options: argparse.Namespace) -> float:
    return COARSE_MM if options.coarse else SPACING_MM


def draw_both(
    recipe: Recipe, options: argparse.Namespace, replicate: int, *, dial: float = 1.0, truth: str = "anterior"
) -> tuple[list[Scan], list[Scan]]:
    """Those who train (template, 3 T) and those who are tested (procedural, 1.5 T, thick slices, other lesion sizes).

    Every replicate draws new people on both sides; the same replicate has the same people whatever the dial.
    """
    shape = tuple(int(n * SPACING_MM / COARSE_MM) + 1 for n in SHAPE) if options.coarse else SHAPE
    common = {"dial": dial, "truth": truth, "shape": shape, "spacing": spacing_of(options)}
    seed = 1000 * options.seed + 2 * replicate
    train = draw_cohort(
        options.train, seed=seed, anatomy="template", generator=TRAIN, prefix=f"T{replicate}x", **common
    )
    test = draw_cohort(
        options.test, seed=seed + 1, anatomy="procedural", generator=TEST, prefix=f"P{replicate}x", **common
    )
    return scans_for(train, recipe), scans_for(test, recipe)


def train_and_answer(
    arm: Arm,
    recipe: Recipe,
    train: Sequence[Scan],
    test: Sequence[Scan],
    out: Path,
    options: argparse.Namespace,
    *,
    seed: int,
    subsets: Iterable[Sequence[str]] = (),
    start: Path | None = None,
    scans_at: Path | None = None,
) -> Path:
    """Train one arm on all of ``train`` and answer for ``test``; one that is done already is left as it is.

    Args:
        out: of this arm; scans are kept beside it, for all arms of a replicate.
        seed: of weights, order and augmentation: the same for every arm.
        subsets: choices of sequences that are answered too.
        start: folder of the training whose encoder is frozen.
        scans_at: where scans are kept, in place of beside the arm.

    Returns:
        Folder of the training: ``answers``, and ``answers_T1w+T2w`` and so on for the subsets.
    """
    scans = scans_at or out.parent / "scans"
    for scan in (*train, *test):
        if not (scans / f"{scan.key}.npz").is_file():
            save_scan(scan, scans)
    task = task_of(arm, recipe, train, test, out, options, seed=seed, scans=scans, subsets=subsets, start=start)
    task.write()
    return run_fold(task)


def task_of(
    arm: Arm,
    recipe: Recipe,
    train: Sequence[Scan],
    test: Sequence[Scan],
    out: Path,
    options: argparse.Namespace,
    *,
    seed: int,
    scans: Path,
    subsets: Iterable[Sequence[str]] = (),
    start: Path | None = None,
) -> FoldTask:
    """What `train_and_answer` trains; ``scans``: folder where these are kept."""
    fold = Fold("fold-1", tuple(dict.fromkeys(s.participant for s in train)), (), tuple(s.participant for s in test))
    split = Split((fold,), {"kind": "another cohort"}).to_plain()
    plan = make_plan(recipe, train, memory_gb=16, device=options.device, fold_name=fold.name, steps=options.steps)
    return FoldTask(
        recipe=recipe.model_dump(mode="json"),
        levels={t.name: list(t.levels) for t in recipe.targets},
        plan=json.loads(json.dumps(asdict(plan))),
        fold=split["folds"][0],
        split=split["digest"],
        arm=arm.to_plain(),
        scans=str(scans),
        out=str(out),
        seed=seed,
        steps=options.steps,
        minutes=options.minutes,
        device=options.device,
        threads=options.threads,
        subsets=[list(s) for s in subsets],
        start=None if start is None else str(start),
    )


def pooled(evaluations: Iterable[Evaluation]) -> Evaluation:
    """The rows of several replicates, whose participants are all different, as one."""
    every = list(evaluations)
    return replace(
        every[0],
        regions=[row for e in every for row in e.regions],
        targets=[row for e in every for row in e.targets],
        unanswered=tuple(key for e in every for key in e.unanswered),
    )


def mean_with_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean over replicates with its 95 % interval by Student's t; the interval is NaN for a single one."""
    from scipy import stats

    values = np.asarray(values, float)
    mean, nan = float(values.mean()), float("nan")
    if len(values) < 2:
        return {"mean": mean, "low": nan, "high": nan, "replicates": len(values)}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half, "replicates": len(values)}


def said(interval: dict[str, float]) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"
