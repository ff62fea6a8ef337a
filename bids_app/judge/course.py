"""After the last step: every arm on the people it never saw, the comparison, the bundle and the page."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app import __version__
from bids_app.bids.files import write_text
from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.bundle.manifest import training_manifest
from bids_app.bundle.write import TRAINED_CARD, TRAINED_LICENSE, write_bundle
from bids_app.cohort.cohort import describe
from bids_app.cohort.split import Split
from bids_app.judge.answers import Evaluation, evaluate_answers, summarise
from bids_app.judge.beside import (
    baseline_evaluations,
    baseline_summaries,
    done,
    doubted,
    first_folds,
    first_repeat,
    repeat_of,
    scans_of,
)
from bids_app.judge.compare import compare_arms, on_common_sessions
from bids_app.judge.out_of_fold import calibrate_out_of_fold
from bids_app.judge.suspicion import CONFOUNDS
from bids_app.predict.vote import fit_familiarity
from bids_app.settings import Settings
from bids_app.train.arms import FROZEN, MULTI, PERMUTED, SEGMENTATION_ONLY, TARGET_ONLY, Arm
from bids_app.train.course import Course
from bids_app.train.splits import FOLDS, SITES
from bids_app.train.state import read_weights
from bids_app.train.task import DONE, FULL, LOG, WEIGHTS, FoldTask, digest_of, subset_folder

DESCRIPTIONS = {
    MULTI: "regions and targets are learned together, from one encoder",
    SEGMENTATION_ONLY: "the same network without the targets",
    TARGET_ONLY: "the same encoder without the regions",
    FROZEN: "targets from the encoder of segmentation-only, which stays as it is",
    PERMUTED: "negative control: targets dealt anew among the training participants",
}
#: How a split was drawn, in a sentence.
HOW = {SITES: "Each site left out once", FOLDS: "Folds at random"}


def judge(settings: Settings, course: Course, failed: Sequence[str]) -> list[str]:
    """Evaluate, compare, calibrate, keep the bundle, write ``results.json`` and the page.

    Returns:
        What was found, in sentences.
    """
    from bids_app.report.training import write_training_report

    recipe = course.cohort.complete_recipe
    arms: dict[str, dict[str, Any]] = {
        arm.name: {"description": description_of(arm), "splits": {}} for arm in course.arms
    }
    comparisons, baselines, doubts = {}, {}, {}
    for name in course.splits:
        evaluations = arm_evaluations(course, recipe, name, arms, settings.random_seed)
        scans = list(scans_of(course))
        baselines[name] = baseline_evaluations(course, recipe, name, scans)
        doubts[name] = doubted(course, recipe, name, scans, evaluations, baselines[name], settings.random_seed)
        beside = {known: one for known, one in baselines[name].items() if known != CONFOUNDS}
        comparisons[name] = compared(course, recipe, {**evaluations, **beside}, settings.random_seed)
    results = {
        "recipe": {"name": recipe.name, "title": recipe.title},
        "research_use_only": True,
        "cohort": describe(course.cohort),
        "splits": {n: split_facts(s) for n, s in course.splits.items()},
        "plan": facts_in(course.folder / "plan.json"),
        "arms": arms,
        "baselines": baseline_summaries(baselines, recipe, settings.random_seed),
        "comparison": {n: c.to_plain() for n, c in comparisons.items() if c},
        "controls": next((c.controls.to_plain() for c in comparisons.values() if c and c.controls), None),
        "suspicions": [f"{HOW[n]}: {text}" for n, texts in sorted(doubts.items(), reverse=True) for text in texts],
        "nested": facts_in(course.folder / "nested.json"),
        "failed": list(failed),
        "notes": list(course.cohort.notes),
        "command": command_line(),
        "versions": versions(),
        "sentences": [
            f"{HOW[n]}: {c.sentence()}" for n, c in sorted(comparisons.items(), key=lambda pair: pair[0] != SITES) if c
        ],
    }
    bundle = keep_bundle(settings, course, recipe, results)
    megabytes = sum(path.stat().st_size for path in bundle.path.iterdir()) / 1e6
    results["calibration"] = bundle.calibration
    results["bundle"] = {"path": str(bundle.path), "sha256": bundle.sha256, "megabytes": round(megabytes, 1)}
    write_text(course.folder / "results.json", json.dumps(results, indent=1) + "\n")
    logs = {arm.name: [Path(t.out) / LOG for t in course.tasks if t.arm["name"] == arm.name] for arm in course.arms}
    page = write_training_report(results, settings.output_dir / f"training_{recipe.name}.html", logs=logs)
    return [*headlines(results), f"bundle: {bundle.path} ({megabytes:.1f} MB)", f"report: {page}"]


def arm_evaluations(
    course: Course, recipe: Any, name: str, arms: dict[str, dict[str, Any]], seed: int
) -> dict[str, Evaluation]:
    """Every arm on one kind of split, by its name; what is told of it is added to ``arms``.

    An arm with a failed fold is left out: half a test would not be that of the other arms.
    """
    evaluations = {}
    for arm in course.arms:
        finished = done(course.tasks_of(name, arm.name))
        tasks = first_repeat(finished, course.splits[name])
        if len(tasks) < len(first_folds(course.splits[name])):
            continue
        evaluations[arm.name] = evaluate_answers(scans_of(course), [Path(t.out) / FULL for t in tasks], recipe)
        arms[arm.name]["splits"][name] = {
            "summary": summarise(evaluations[arm.name], recipe, seed),
            "subsets": subset_summaries(course, recipe, tasks, seed),
            "folds": [fold_facts(task) for task in finished],
            "repeats": repeat_summaries(course, recipe, finished, seed),
        }
    return evaluations


def repeat_summaries(course: Course, recipe: Any, tasks: Sequence[FoldTask], seed: int) -> dict[str, Any]:
    """A summary per further repeat of the folds."""
    names = sorted({repeat_of(task.fold["name"]) for task in tasks} - {""})[1:]
    found = {}
    for name in names:
        mine = [Path(task.out) / FULL for task in tasks if repeat_of(task.fold["name"]) == name]
        found[name] = summarise(evaluate_answers(scans_of(course), mine, recipe), recipe, seed)
    return found


def subset_summaries(course: Course, recipe: Any, tasks: Sequence[FoldTask], seed: int) -> dict[str, Any]:
    """A summary per choice of sequences that was answered for."""
    found = {}
    for subset in tasks[0].subsets if tasks else []:
        folders = [Path(task.out) / subset_folder(subset) for task in tasks]
        found["+".join(subset)] = summarise(evaluate_answers(scans_of(course), folders, recipe), recipe, seed)
    return found


def compared(course: Course, recipe: Any, evaluations: dict[str, Evaluation], seed: int) -> Any:
    """Every arm against the recipe's own; None where there is nothing beside it."""
    reference = course.arms[0].name
    if reference not in evaluations or len(evaluations) < 2:
        return None
    common, _ = on_common_sessions(evaluations)
    kinds = [split.how.get("kind", "k-fold") for split in course.splits.values()]
    return compare_arms(common, reference, recipe, seed, splits=kinds)


def keep_bundle(settings: Settings, course: Course, recipe: Any, results: dict[str, Any]) -> Bundle:
    """The recipe's own arm, every fold a member, calibrated on people whom the member never saw."""

    from bids_app.networks.multitask import build_network

    split, arm = course.splits[FOLDS], course.arms[0]
    tasks = first_repeat(course.tasks_of(FOLDS, arm.name), split)
    folders = [Path(task.out) / FULL for task in tasks]
    calibration = calibrate_out_of_fold(recipe, folders, scans_of(course), seed=settings.random_seed)
    familiarity = fit_familiarity(recipe, scans_of(course))
    if familiarity is not None:
        calibration["familiarity"] = familiarity.to_plain()
    facts = [json.loads((Path(task.out) / DONE).read_text()) for task in tasks]
    states = [read_weights(Path(task.out) / WEIGHTS) for task in tasks]
    sessions = course.cohort.sessions
    counts = {
        k: v for k, v in results["cohort"].items() if k in ("participants", "sessions", "labelled", "with_lesion")
    }
    manifest = training_manifest(
        participants={s.participant for s in sessions},
        images=[h for s in sessions for h in s.hashes],
        sites=results["cohort"]["sites"],
        counts=counts,
        command=command_line(),
        seed=settings.random_seed,
        split=split.digest,
        plan=digest_of([task.plan for task in tasks]),
        arms=[a.name for a in course.arms],
        sex=results["cohort"]["sexes"],
        age=results["cohort"]["age_range"],
        steps=tasks[0].steps,
        covariate_levels={name: list(words) for name, words in course.cohort.covariate_levels.items()},
        suspicions=results["suspicions"],
        minutes=round(sum(fact["seconds"] for fact in facts) / 60, 1),
    )
    metrics = {
        ("leave_one_site_out" if name == SITES else "cross_validation"): trimmed(found["summary"])
        for name, found in results["arms"][arm.name]["splits"].items()
    }
    out = write_bundle(
        course.folder / "bundle",
        recipe=recipe,
        shape=build_network(facts[0]["shape"]).shape,
        states=states,
        plan=[task.plan for task in tasks],
        calibration=calibration,
        manifest=manifest,
        metrics=metrics,
        card=TRAINED_CARD.read_text(encoding="utf-8"),
        licence=TRAINED_LICENSE,
    )
    return load_bundle(out)


def trimmed(summary: Any) -> Any:
    """A summary without the numbers of single people."""
    if isinstance(summary, dict):
        return {k: trimmed(v) for k, v in summary.items() if k not in ("truth", "answer", "unanswered")}
    return summary


def choose_weights(
    settings: Settings, course: Course, inner: Sequence[tuple[str, float, FoldTask]], say: Callable[[str], None]
) -> list[FoldTask]:
    """The course's tasks with, per outer fold, the targets' weight that served best inside its training side.

    Best: the least of (1 - mean Dice) + the targets' mean standardised error, on people of the inner folds' tests.
    """
    recipe = course.cohort.complete_recipe
    chosen: dict[str, float] = {}
    tried: dict[str, dict[float, float]] = {}
    for fold, weight in dict.fromkeys((fold, weight) for fold, weight, _ in inner):
        folders = [Path(task.out) / FULL for f, w, task in inner if (f, w) == (fold, weight)]
        found = evaluate_answers(scans_of(course), folders, recipe)
        tried.setdefault(fold, {})[weight] = cost_of(found)
    for fold, costs in tried.items():
        chosen[fold] = min(costs, key=costs.__getitem__)
        say(f"{fold}: weight {chosen[fold]:g} of the targets, of {', '.join(f'{w:g}' for w in costs)}")
    plain = {
        fold: {"weight": chosen[fold], "cost": {f"{w:g}": c for w, c in costs.items()}} for fold, costs in tried.items()
    }
    write_text(course.folder / "nested.json", json.dumps(plain, indent=1) + "\n")
    tasks = []
    for task in course.tasks:
        best = chosen.get(task.fold["name"])
        arm = Arm.from_plain(task.arm)
        changed = best is not None and arm.targets and arm.segmentation
        tasks.append(replace(task, arm=replace(arm, target_weight=best).to_plain()) if changed else task)
    return tasks


def cost_of(evaluation: Evaluation) -> float:
    """See `choose_weights`: Brier score for classes, squared error over variance for values; a constant guess has 1."""
    dice = [row["dice"] for row in evaluation.regions if np.isfinite(row["dice"])]
    costs = [1 - float(np.mean(dice))] if dice else []
    for name in sorted({row["target"] for row in evaluation.targets}):
        rows = [row for row in evaluation.targets if row["target"] == name and np.isfinite(row["truth"])]
        truth = np.array([row["truth"] for row in rows])
        if rows and rows[0]["probability"] is None:
            errors = np.array([row["answer"] for row in rows]) - truth
            costs.append(float((errors**2).mean() / max(truth.var(), 1e-9)))
        elif rows:
            p = np.array([row["probability"] for row in rows])
            hit = np.eye(p.shape[1])[truth.astype(int)]
            prior = ((hit - hit.mean(0)) ** 2).sum(1).mean()
            costs.append(float(((p - hit) ** 2).sum(1).mean() / max(prior, 1e-9)))
    return float(np.sum(costs))


def headlines(results: dict[str, Any]) -> list[str]:
    """The recipe's own arm in a line per region and target, then what the comparison says."""
    said = []
    arm, found = next(iter(results["arms"].items()))
    for split, one in sorted(found["splits"].items(), key=lambda pair: pair[0] != SITES):
        where = "each site left out once" if split == SITES else "cross-validation"
        said += summary_lines(one["summary"], f"{arm}, {where}")
    return [*said, *results["suspicions"], *results["sentences"]]


def summary_lines(summary: dict[str, Any], whose: str) -> list[str]:
    """A summary in a line per region and target."""
    said = []
    for name, region in summary["regions"].items():
        said.append(f"{whose}: Dice of {name} {interval(region['dice'])}")
    for name, target in summary["targets"].items():
        for measure in ("auc", "balanced_accuracy", "mae", "r2"):
            if measure in target["measures"]:
                said.append(f"{whose}: {measure} for {name} {interval(target['measures'][measure])}")
    return said


def interval(row: dict[str, Any]) -> str:
    if row.get("value") is None:
        return "is not defined"
    wide = f" ({row['low']:.3f} to {row['high']:.3f})" if row.get("low") is not None else ""
    return f"{row['value']:.3f}{wide}, {row['participants']} participants"


def description_of(arm: Arm) -> str:
    if arm.sequences:
        return f"only {', '.join(arm.sequences)}"
    if arm.sequence_dropout:
        dropped = f"each sequence is left out of {arm.sequence_dropout:.0%} of training scans"
        return f"{DESCRIPTIONS[arm.name]}; {dropped}" if arm.name in DESCRIPTIONS else dropped
    return DESCRIPTIONS.get(arm.name, "no sequence is left out in training")


def fold_facts(task: FoldTask) -> dict[str, Any]:
    facts = json.loads((Path(task.out) / DONE).read_text(encoding="utf-8"))
    return {"fold": task.fold["name"], **{name: facts.get(name) for name in ("steps", "seconds", "peak_gb", "scans")}}


def split_facts(split: Split) -> dict[str, Any]:
    folds = [
        {"name": f.name, "train": len(f.train), "validation": len(f.validation), "test": len(f.test)}
        for f in split.folds
    ]
    return {"digest": split.digest, "how": split.how, "folds": folds}


def facts_in(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where it was not written."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def command_line() -> str:
    """As it was typed, without where the program lies."""
    return "tandem " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def versions() -> dict[str, str]:
    from importlib.metadata import version

    import torch

    return {"tandem": __version__, "torch": torch.__version__.split("+")[0], "monai": version("monai")}
