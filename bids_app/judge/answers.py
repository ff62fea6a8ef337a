"""From answers for people whom the network never saw to rows, and from rows to a summary with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bids_app.errors import TrainingError
from bids_app.judge.out_of_fold import read_answer
from bids_app.judge.statistics import DRAWS, bootstrap, by_participant, mean_interval, plain
from bids_app.judge.target_answers import answers_of
from bids_app.measure.calibration import reliability_bins
from bids_app.measure.lesions import Counts, detect, pooled
from bids_app.measure.overlap import compare_masks
from bids_app.measure.scores import bland_altman
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan

#: Columns of a region's row that are averaged.
OVERLAP = (
    "dice",
    "nsd",
    "hd95_mm",
    "volume_error_mm3",
    "absolute_volume_error_mm3",
    "relative_volume_error",
    "false_positive_mm3",
)
OUTCOMES = ("true positive", "false negative", "false positive", "true negative")
EMPTY_RULE = (
    "Dice, NSD and HD95 count only where the truth is not empty (an empty answer then has Dice 0, NSD 0 and the "
    "image's diagonal as HD95). Where nothing is there, an answer's volume is false-positive volume, and no answer is "
    "a true negative. A lesion is found, and an answer right, by any overlap."
)


class Person(Protocol):
    """Whose session a row is of."""

    @property
    def key(self) -> str: ...
    @property
    def participant(self) -> str: ...
    @property
    def site(self) -> str | None: ...
    @property
    def sex(self) -> str | None: ...
    @property
    def age(self) -> float: ...


@dataclass(frozen=True)
class Evaluation:
    """Rows as a table has them.

    Attributes:
        regions: one per session and region; see `region_rows`.
        targets: one per session and target that was answered; see `target_rows`.
        unanswered: keys of scans without an answer.
        tolerance_mm: of NSD.
    """

    regions: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    unanswered: tuple[str, ...] = ()
    tolerance_mm: float = 1.0

    @property
    def keys(self) -> set[str]:
        """Sessions that were answered for anything."""
        return {row["key"] for row in (*self.regions, *self.targets)}

    def only(self, keys: Iterable[str]) -> Evaluation:
        """The rows of some sessions."""
        wanted = set(keys)
        return replace(
            self,
            regions=[row for row in self.regions if row["key"] in wanted],
            targets=[row for row in self.targets if row["key"] in wanted],
        )


def evaluate_answers(
    scans: Iterable[Scan],
    answers: Path | Sequence[Path],
    recipe: Recipe,
    *,
    threshold: float | Mapping[str, float] = 0.5,
    tolerance_mm: float = 1.0,
    temperatures: Mapping[str, float] | None = None,
) -> Evaluation:
    """Measure every answer against what is known of its scan.

    A scan that nobody labelled brings no region rows and still its targets.

    Args:
        scans: read one at a time.
        answers: folder of ``KEY.npz``, or one per fold.
        recipe: with the levels of its targets.
        threshold: a voxel is the likeliest of the regions that reach it; one for all, or by name.
        tolerance_mm: surfaces this close count as equal in NSD.
        temperatures: by target; logits are divided by it.

    Raises:
        TrainingError: no scan has an answer, one has two, or an answer is damaged or lies on another grid.
    """
    paths = answer_paths([answers] if isinstance(answers, Path) else answers)
    regions, targets, unanswered = [], [], []
    for scan in scans:
        if scan.key not in paths:
            unanswered.append(scan.key)
            continue
        parts = read_answer(paths[scan.key])
        if scan.labels is not None and "probability" in parts:
            _same_grid(parts["probability"], scan.labels, paths[scan.key])
            regions += region_rows(
                scan, scan.labels, parts["probability"], recipe, threshold=threshold, tolerance_mm=tolerance_mm
            )
        targets += target_rows(scan, parts, recipe, temperatures or {})
    if not regions and not targets:
        raise TrainingError("no scan has both an answer and something known to compare it with: did the folds finish?")
    return Evaluation(regions, targets, tuple(unanswered), tolerance_mm)


def answer_paths(folders: Sequence[Path]) -> dict[str, Path]:
    """Key -> its answer.

    Raises:
        TrainingError: a session is answered in two folders (repeats of a split are evaluated one by one).
    """
    paths: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.npz"))):
        if path.name.startswith("."):
            continue
        if path.stem in paths:
            raise TrainingError(
                f"{path.stem} is answered twice, in {paths[path.stem].parent} and {path.parent}: "
                "evaluate each repeat on its own"
            )
        paths[path.stem] = path
    return paths


def decide(probability: np.ndarray, recipe: Recipe, threshold: float | Mapping[str, float]) -> np.ndarray:
    """Position of a voxel's region counted from 1, 0 for none: the likeliest of those that reach their threshold.

    Args:
        probability: ``(regions, x, y, z)``.
        threshold: one for all, or by the region's name.
    """
    names = [region.name for region in recipe.regions]
    levels = [threshold[name] if isinstance(threshold, Mapping) else threshold for name in names]
    reaching = np.where(probability >= np.reshape(levels, (-1, 1, 1, 1)), probability, 0)
    return np.where(reaching.max(0) > 0, reaching.argmax(0) + 1, 0)


def region_rows(
    scan: Scan,
    labels: np.ndarray,
    probability: np.ndarray,
    recipe: Recipe,
    *,
    threshold: float | Mapping[str, float],
    tolerance_mm: float,
) -> list[dict[str, Any]]:
    """Per region: who, every field of `MaskComparison`; for lesions ``detection`` too, and ``f1`` of this session."""
    decided = decide(probability.astype(np.float32), recipe, threshold)
    return label_rows(scan, decided, labels, recipe, (float(scan.spacing),) * 3, tolerance_mm=tolerance_mm)


def label_rows(
    whose: Person,
    answered: np.ndarray,
    true: np.ndarray,
    recipe: Recipe,
    spacing: Sequence[float],
    *,
    tolerance_mm: float,
) -> list[dict[str, Any]]:
    """`region_rows` from two label maps on one grid.

    Args:
        answered, true: position of each voxel's region in the recipe's list, from 1; 0 for none; ``(x, y, z)``.
        spacing: voxel sizes, mm, three numbers.
    """
    rows = []
    for position, region in enumerate(recipe.regions, 1):
        answer, truth = answered == position, true == position
        row = {**who(whose), "region": region.name, "kind": region.kind}
        row |= asdict(compare_masks(answer, truth, spacing, tolerance_mm=tolerance_mm))
        if region.kind == "lesion":
            found = detect(answer, truth, spacing)
            row |= {"detection": found, "f1": found.counts.f1, "precision": found.counts.precision}
            row |= {"recall": found.counts.recall, "count_error": found.counts.count_error}
        rows.append(row)
    return rows


def target_rows(
    scan: Scan, parts: Mapping[str, np.ndarray], recipe: Recipe, temperatures: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Per target that was answered: who, ``truth`` (NaN unknown), ``answer``, and ``probability`` of its levels."""
    rows = []
    for target, truth in zip(recipe.targets, scan.targets, strict=True):
        logits = parts.get(f"target_{target.name}")
        if logits is None:
            continue
        row = {**who(scan), "target": target.name, "kind": target.kind, "truth": float(truth)}
        kind = target.behaviour
        if not kind.has_levels:
            rows.append({**row, "answer": float(logits[0]), "probability": None})
            continue
        probability = kind.probabilities(logits, temperatures.get(target.name, 1.0))
        row |= {"answer": float(kind.decide(probability)), "probability": probability.tolist()}
        rows.append(row)
    return rows


def summarise(evaluation: Evaluation, recipe: Recipe, seed: int = 0, *, draws: int = DRAWS) -> dict[str, Any]:
    """Every measure with its interval and whom it rests on; ready for JSON (NaN is None).

    Intervals are drawn over participants. A mean is over participants of each one's mean over sessions.

    Returns:
        ``participants``, ``sessions``, ``unanswered``, ``rules``; ``regions`` by name and ``all regions`` together:
        the columns `OVERLAP` as intervals, ``outcomes``, ``bland_altman`` of the volume, ``detection`` of lesions,
        ``by_site``, ``by_sex``; ``targets`` by name: ``measures``, ``notes``, ``reliability``, ``by_site``, ``by_sex``.
    """
    people = {row["participant"] for row in (*evaluation.regions, *evaluation.targets)}
    found: dict[str, Any] = {
        "participants": len(people),
        "sessions": len(evaluation.keys),
        "unanswered": list(evaluation.unanswered),
        "rules": EMPTY_RULE,
        "tolerance_mm": evaluation.tolerance_mm,
        "regions": {},
        "targets": {},
    }
    for region in recipe.regions:
        rows = [row for row in evaluation.regions if row["region"] == region.name]
        if rows:
            found["regions"][region.name] = summarise_region(rows, seed, draws)
    if len(found["regions"]) > 1:
        found["regions"]["all regions"] = _grouped(over_regions(evaluation.regions), _overlaps, seed, draws)
    for target in recipe.targets:
        rows = [row for row in evaluation.targets if row["target"] == target.name]
        if rows:
            found["targets"][target.name] = summarise_target(target, rows, seed, draws)
    return plain(found)


def over_regions(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per session: mean over its regions of every column of `OVERLAP`, NaN left out."""
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
    who = ("key", "participant", "site", "sex", "age")
    return [
        {**{name: mine[0][name] for name in who}, "region": "all regions"}
        | {name: _mean([row[name] for row in mine]) for name in OVERLAP}
        for _, mine in sorted(by_key.items())
    ]


def summarise_region(rows: Sequence[Mapping[str, Any]], seed: int, draws: int = DRAWS) -> dict[str, Any]:
    """One region, from its rows."""
    found = _grouped(rows, _overlaps, seed, draws)
    found["outcomes"] = {name: sum(row["outcome"] == name for row in rows) for name in OUTCOMES}
    people = [row["participant"] for row in rows]
    volumes = [by_participant([row[name] for row in rows], people)[1] for name in ("truth_mm3", "answer_mm3")]
    found["bland_altman"] = bland_altman(*volumes) | {"truth": volumes[0].tolist(), "answer": volumes[1].tolist()}
    if "detection" in rows[0]:
        found["detection"] = _detection(rows, seed, draws)
    return found


def summarise_target(
    target: Target, rows: Sequence[Mapping[str, Any]], seed: int, draws: int = DRAWS
) -> dict[str, Any]:
    """One target, from its rows."""

    def measures(some: Sequence[Mapping[str, Any]], seed: int, draws: int) -> dict[str, Any]:
        answers = answers_of(target, some)
        scores, statistics = answers.scores(), answers.statistics() if answers.keys else {}
        people = len(set(answers.participants))
        whom = {"participants": people, "sessions": len(answers.keys)}
        found: dict[str, Any] = {"notes": list(scores.notes), **whom, "measures": {}}
        for name, value in scores.values.items():
            row = {"value": value, "low": None, "high": None, **whom}
            if name in statistics and np.isfinite(value):
                drawn = bootstrap(statistics[name], answers.participants, draws=draws, seed=seed)
                row |= {"low": drawn.low, "high": drawn.high}
            found["measures"][name] = row
        return found

    found = _grouped(rows, measures, seed, draws)
    answers = answers_of(target, rows)
    found["kind"] = target.kind
    if target.behaviour.figure == "reliability" and answers.keys:
        found["reliability"] = reliability_bins(answers.of_levels()[:, 1], answers.truth == 1)
    if target.behaviour.figure == "agreement":
        people = answers.participants
        truth, value = (by_participant(x, people)[1] for x in (answers.truth, answers.value))
        found["bland_altman"] = bland_altman(truth, value) | {"truth": truth.tolist(), "answer": value.tolist()}
    return found


def _overlaps(rows: Sequence[Mapping[str, Any]], seed: int, draws: int) -> dict[str, Any]:
    people = [row["participant"] for row in rows]
    columns = [name for name in (*OVERLAP, "f1") if name in rows[0]]
    return {
        name: mean_interval([row[name] for row in rows], people, seed=seed, draws=draws).to_plain() for name in columns
    }


def _grouped(rows: Sequence[Mapping[str, Any]], summary: Any, seed: int, draws: int) -> dict[str, Any]:
    """A summary of all rows, and of those of each site and sex where more than one is known."""
    found = dict(summary(rows, seed, draws))
    for column in ("site", "sex"):
        values = sorted({row[column] for row in rows if row[column]})
        if len(values) > 1:
            found[f"by_{column}"] = {
                value: summary([row for row in rows if row[column] == value], seed, draws) for value in values
            }
    return found


def _detection(rows: Sequence[Mapping[str, Any]], seed: int, draws: int) -> dict[str, Any]:
    """Lesions of all sessions together, over all sizes and by stratum; sessions without lesions count too."""
    people = [row["participant"] for row in rows]
    by_size = {"all": [row["detection"].counts for row in rows]}
    for name in rows[0]["detection"].strata:
        by_size[name] = [row["detection"].strata[name] for row in rows]
    found = {}
    for name, counts in by_size.items():
        table = np.array([_four(c) for c in counts], np.float64)
        total = pooled(counts)
        found[name] = asdict(total) | {"count_error": total.count_error}
        for measure in ("precision", "recall", "f1"):
            drawn = bootstrap(partial(_rate, table, measure), people, seed=seed, draws=draws)
            found[name][measure] = drawn.to_plain()
    errors = [row["detection"].counts.count_error for row in rows]
    found["mean_count_error"] = mean_interval(errors, people, seed=seed, draws=draws).to_plain()
    found["mean_absolute_count_error"] = mean_interval(np.abs(errors), people, seed=seed, draws=draws).to_plain()
    return found


def _four(counts: Counts) -> tuple[int, int, int, int]:
    """Lesions, found, answers, right."""
    return counts.lesions, counts.found, counts.answers, counts.right


def _rates(totals: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 per draw from summed counts ``(draws, 4)``, as `Counts` has them."""
    rows = [Counts(*row) for row in totals]
    return {name: np.array([getattr(row, name) for row in rows]) for name in ("precision", "recall", "f1")}


def _rate(table: np.ndarray, measure: str, weights: np.ndarray) -> np.ndarray:
    return _rates(weights @ table)[measure]


def who(whose: Person) -> dict[str, Any]:
    """What every row says of its session."""
    return {name: getattr(whose, name) for name in ("key", "participant", "site", "sex", "age")}


def _same_grid(probability: np.ndarray, labels: np.ndarray, path: Path) -> None:
    if probability.shape[1:] != labels.shape:
        raise TrainingError(
            f"the answer {path} has the shape {probability.shape[1:]} and its scan {labels.shape}: they belong to "
            "different preparations; delete the fold's folder and run again"
        )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
