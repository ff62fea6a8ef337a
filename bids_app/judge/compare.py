"""Arms against one another on the same sessions: differences, tests, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from bids_app.errors import DataError
from bids_app.judge.answers import Evaluation, over_regions
from bids_app.judge.controls import Controls, judge_controls
from bids_app.judge.rows import TITLES, ComparisonRow
from bids_app.judge.statistics import (
    DRAWS,
    PERMUTATIONS,
    bootstrap,
    by_participant,
    delong,
    holm,
    paired_difference,
    plain,
    sign_flip,
)
from bids_app.judge.target_answers import TargetAnswers, answers_of
from bids_app.judge.wording import sentences
from bids_app.recipes.recipe import Recipe, Region, Target
from bids_app.targets.kind import Statistic
from bids_app.train.arms import PERMUTED

ALL_REGIONS = "all regions"
NO_SITES = (
    "Folds were drawn at random and no site was left out: whether the answers hold at another hospital or scanner was "
    "not tested."
)


@dataclass(frozen=True)
class Comparison:
    """Every arm against the reference.

    Attributes:
        reference: name of the arm that the others are compared with.
        arms: the others.
        rows: see `ComparisonRow`.
        controls: verdict on permuted targets; None where none was run.
        notes: what a reader must know: no control, no site left out, measures that could not be compared.
    """

    reference: str
    arms: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    controls: Controls | None = None
    notes: tuple[str, ...] = field(default=())

    def sentence(self) -> str:
        """What was and what was not shown, in plain words."""
        parts = sentences(self.rows) or ["There is nothing that two arms both answered: nothing was compared."]
        return " ".join([*parts, *([self.controls.text] if self.controls else []), *self.notes])

    def to_plain(self) -> dict[str, Any]:
        """For JSON; NaN is None."""
        rows = [asdict(row) | {"title": row.title, "shown": row.shown} for row in self.rows]
        found = {"reference": self.reference, "arms": list(self.arms), "rows": rows, "sentence": self.sentence()}
        return plain(
            found | {"controls": self.controls.to_plain() if self.controls else None, "notes": list(self.notes)}
        )


@dataclass(frozen=True)
class _How:
    """An arm and the reference by name, and how their difference is tested."""

    arm: str
    reference: str
    seed: int
    draws: int
    permutations: int


def compare_arms(
    evaluations: Mapping[str, Evaluation],
    reference: str,
    recipe: Recipe,
    seed: int = 0,
    *,
    splits: Sequence[str] = ("k-fold",),
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
) -> Comparison:
    """Compare every arm with the reference, measure by measure, on the same sessions.

    Args:
        evaluations: by the arm's name; baselines stand among them; ``permuted`` is judged as a control, not compared.
        reference: one of them.
        recipe: with the levels of its targets.
        seed: of bootstrap and permutations.
        splits: ``how["kind"]`` of every split that was run (``k-fold``, ``leave-one-site-out``).
        draws, permutations: how many.

    Raises:
        DataError: there is no such reference; or two arms were not evaluated on the same sessions or not with the same
            truth: named.
    """
    if reference not in evaluations:
        raise DataError(f"there is no arm {reference!r} to compare with; there are {', '.join(evaluations)}")
    arms = tuple(name for name in evaluations if name not in (reference, PERMUTED))
    rows: list[ComparisonRow] = []
    for arm in arms:
        pair = evaluations[arm], evaluations[reference]
        how = _How(arm, reference, seed, draws, permutations)
        for region in recipe.regions:
            rows += _compare_region(region, *pair, how)
        if len(recipe.regions) > 1:
            rows += _compare_all_regions(*pair, how)
        for target in recipe.targets:
            rows += _compare_target(target, *pair, how)
    adjusted = holm([row.p for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    control = evaluations.get(PERMUTED)
    controls = judge_controls(control, recipe, seed, draws=draws) if control is not None else None
    notes = _notes(evaluations, arms, reference, recipe, splits, controls)
    return Comparison(reference, arms, tuple(rows), controls, tuple(notes))


def on_common_sessions(evaluations: Mapping[str, Evaluation]) -> tuple[dict[str, Evaluation], list[str]]:
    """Every evaluation cut to the sessions that all of them have, and the keys that were left out.

    For arms that lack a sequence, which some sessions have nothing else than.
    """
    every = [evaluation.keys for evaluation in evaluations.values()]
    common = set.intersection(*every) if every else set()
    return {name: e.only(common) for name, e in evaluations.items()}, sorted(set().union(*every) - common)


def _compare_region(region: Region, one: Evaluation, other: Evaluation, how: _How) -> list[ComparisonRow]:
    rows = [[row for row in e.regions if row["region"] == region.name] for e in (one, other)]
    measures = ("dice", "f1") if region.kind == "lesion" else ("dice",)
    return [_paired(region.name, measure, rows[0], rows[1], how) for measure in measures if all(rows)]


def _compare_all_regions(one: Evaluation, other: Evaluation, how: _How) -> list[ComparisonRow]:
    rows = [over_regions(e.regions) for e in (one, other)]
    return [_paired(ALL_REGIONS, "dice", rows[0], rows[1], how)] if all(rows) else []


def _paired(
    what: str,
    measure: str,
    one: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    how: _How,
) -> ComparisonRow:
    """Mean over participants; sessions where either arm's measure is not defined do not count."""
    mine, theirs = ({row["key"]: row for row in rows} for rows in (one, other))
    _same_sessions(mine.keys(), theirs.keys(), how, what)
    keys = sorted(mine)
    if any(mine[key].get("truth_mm3") != theirs[key].get("truth_mm3") for key in keys):
        raise DataError(
            f"the arms {how.arm} and {how.reference} were evaluated with different labels of {what}: run both again"
        )
    values, others = (np.array([rows[key][measure] for key in keys], np.float64) for rows in (mine, theirs))
    # F1 is undefined in an arm that rightly answers nothing where nothing is: only what both define can be paired
    both = np.isfinite(values) & np.isfinite(others)
    values, others = values[both], others[both]
    people = [mine[key]["participant"] for key, used in zip(keys, both, strict=True) if used]
    apart = paired_difference(values, others, people, seed=how.seed, draws=how.draws)
    p = sign_flip(by_participant(values - others, people)[1], seed=how.seed, draws=how.permutations)
    mean, of_reference = (
        float(by_participant(x, people)[1].mean()) if people else float("nan") for x in (values, others)
    )
    return ComparisonRow(
        how.arm,
        how.reference,
        "region",
        what,
        measure,
        mean,
        of_reference,
        apart.value,
        apart.low,
        apart.high,
        TITLES[measure][1],
        apart.participants,
        apart.sessions,
        "permutation",
        p,
    )


def _compare_target(target: Target, one: Evaluation, other: Evaluation, how: _How) -> list[ComparisonRow]:
    pair = answers_of(target, one.targets), answers_of(target, other.targets)
    if not all(answers.keys for answers in pair):
        return []
    mine, theirs = pair
    _same_sessions(mine.keys, theirs.keys, how, target.name)
    if not np.array_equal(mine.truth, theirs.truth):
        raise DataError(
            f"the arms {how.arm} and {how.reference} were evaluated with different values of {target.name}: "
            "run both again"
        )
    return [_target_row(measure, mine, theirs, how) for measure in target.behaviour.tested]


def _target_row(measure: str, mine: TargetAnswers, theirs: TargetAnswers, how: _How) -> ComparisonRow:
    people, nan = mine.participants, float("nan")
    one, other = (answers.statistics().get(measure) for answers in (mine, theirs))
    value, of_reference = (float(f(np.ones((1, len(people))))[0]) if f else nan for f in (one, other))
    row = ComparisonRow(
        how.arm,
        how.reference,
        "target",
        mine.target.name,
        measure,
        value,
        of_reference,
        nan,
        nan,
        nan,
        TITLES[measure][1],
        len(set(people)),
        len(people),
        "none",
        nan,
    )
    if one is None or other is None or not np.isfinite((value, of_reference)).all():
        return row
    apart = bootstrap(difference(one, other), people, seed=how.seed, draws=how.draws)
    if measure == "auc":
        found = delong(mine.truth == 1, mine.of_levels()[:, 1], theirs.of_levels()[:, 1], people)
        # equal answers have no standard error, and no difference either
        test, p = "DeLong", 1.0 if found.difference == 0 and not np.isfinite(found.p) else found.p
    else:
        shares, others = mine.shares(measure), theirs.shares(measure)
        if shares is None or others is None:
            raise DataError(f"{measure} is no sum over participants: no permutation can test it")
        apart_by_person = by_participant(shares - others, people, total=True)[1]
        test, p = "permutation", sign_flip(apart_by_person, seed=how.seed, draws=how.permutations)
    return replace(row, difference=apart.value, low=apart.low, high=apart.high, test=test, p=p)


def difference(one: Statistic, other: Statistic) -> Statistic:
    """A statistic minus another."""
    return lambda weights: one(weights) - other(weights)


def _same_sessions(one: Any, other: Any, how: _How, what: str) -> None:
    only = [sorted(set(a) - set(b)) for a, b in ((one, other), (other, one))]
    if any(only):
        said = "; ".join(
            f"only in {name}: {', '.join(keys[:10])}{' and others' if len(keys) > 10 else ''}"
            for name, keys in zip((how.arm, how.reference), only, strict=True)
            if keys
        )
        raise DataError(
            f"{what}: the arms {how.arm} and {how.reference} were not evaluated on the same sessions ({said}); "
            "run both on the same split"
        )


def _notes(
    evaluations: Mapping[str, Evaluation],
    arms: Sequence[str],
    reference: str,
    recipe: Recipe,
    splits: Sequence[str],
    controls: Controls | None,
) -> list[str]:
    notes = []
    answered = {name: _answered(evaluation) for name, evaluation in evaluations.items()}
    lonely = sorted({what for name in arms for what in answered[name] ^ answered[reference]})
    if lonely:
        notes.append(f"Answered by some arms only, and compared among those: {', '.join(lonely)}.")
    if controls is None and recipe.targets:
        notes.append("There is no negative control (--controls): an answer that leaks would not have been noticed.")
    if "leave-one-site-out" not in splits:
        notes.append(NO_SITES)
    return notes


def _answered(evaluation: Evaluation) -> set[str]:
    return {row["region"] for row in evaluation.regions} | {row["target"] for row in evaluation.targets}
