"""Differences between groups, slopes, interactions and correlations of every measure, adjusted for covariates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.design import as_levels, as_numbers, design_of, find_columns, is_number
from bids_app.group.effects import Fitted, correlation, effect, fit, fit_repeated, freedman_lane, joint
from bids_app.group.plan import GroupPlan

#: All pairs of so many levels are compared; of more, each with the control group only.
MOST_PAIRED = 4
#: Fewest sessions of a group, and fewest beyond the model's coefficients, for a result.
FEWEST_IN_GROUP, FEWEST_SPARE = 3, 3
FEWEST_FOR_CORRELATION = 8
#: Part of a measure's spread below which what a model leaves over is rounding.
EXPLAINED = 1e-6
INTERCEPT = "intercept"
#: Order of the table's columns, and what each is.
COLUMNS = {
    "measure": "Column of group_volumes_wide.tsv, or the asymmetry of two of them: 2 (left - right) / (left + right).",
    "kind": "difference (of groups), groups (all at once), slope, category (of a covariate), interaction, correlation, "
    "side (asymmetry against zero), change per year.",
    "contrast": "What is compared: A-B is A less B.",
    "n": "Sessions in the model.",
    "participants": "Participants in the model.",
    "n_groups": "Sessions of each group in it.",
    "estimate": "Adjusted difference, slope or change in the measure's unit; of a correlation, the partial r.",
    "unit": "Unit of the estimate.",
    "standard_error": "Of the estimate.",
    "low": "Lower end of its 95 % interval.",
    "high": "Upper end of its 95 % interval.",
    "statistic": "t; F where several coefficients are tested at once.",
    "df": "Degrees of freedom of the residuals.",
    "p": "Two-sided p of the test named in test, not corrected.",
    "p_fdr": "p corrected over the measures of this contrast, by the false discovery rate (Benjamini and Hochberg).",
    "p_holm": "p corrected over the measures of this contrast, by Holm.",
    "p_permutation": "p by permutation of residuals (Freedman and Lane), not corrected; n/a where not asked for.",
    "hedges_g": "Adjusted difference in residual standard deviations, corrected for small samples.",
    "g_low": "Lower end of its 95 % interval (noncentral t).",
    "g_high": "Upper end of its 95 % interval.",
    "partial_eta2": "Part of the variance left by the other terms that this one explains.",
    "eta2_low": "Lower end of its 95 % interval (noncentral F).",
    "eta2_high": "Upper end of its 95 % interval.",
    "rho": "Spearman's rank correlation of the same residuals; of correlations only.",
    "detectable_g": "Smallest true difference, in residual standard deviations, found with 80 % power at 0.05.",
    "test": "The test that p comes from, and how the model was fitted.",
    "model": "Terms of the model.",
    "normal_p": "Shapiro and Wilk's p of the residuals (D'Agostino and Pearson's from 5000 sessions on).",
    "spread_p": "Breusch and Pagan's p of constant spread; the errors used do not need it.",
    "cook": "Largest of Cook's distances: above 1 one session moves the result.",
    "note": "What to know of this row.",
}


@dataclass(frozen=True)
class Question:
    """Rows of ``weights`` are what is asked of the coefficients, by name of column."""

    kind: str
    name: str
    weights: tuple[dict[str, float], ...]
    standardised: bool = True


@dataclass(frozen=True)
class Model:
    """A design with its questions.

    Attributes:
        columns: NaN where a session lacks something.
        terms: in words.
        questions: asked of it.
    """

    columns: pd.DataFrame
    terms: str
    questions: tuple[Question, ...]


def analyse(
    table: pd.DataFrame,
    measures: Sequence[str],
    plan: GroupPlan,
    *,
    years: pd.Series | None = None,
    units: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Every question of a plan, of every measure.

    Args:
        table: a row per session: ``participant_id``, measures as numbers, other columns as text.
        measures: columns.
        plan: what is asked.
        years: since each participant's first session; where it varies, change per year is asked too.
        units: of measures.

    Raises:
        DataError: a column or level that is not there, constant, or determined by others; one group only.
    """
    groups = groups_of(table, plan)
    models = models_of(table, groups, plan, years)
    people = table["participant_id"].astype(str).to_numpy()
    rows: list[dict[str, Any]] = []
    for measure in measures:
        if measure in plan.covariates:
            raise DataError(
                f"{measure} is a covariate and a measure at once; leave it out of --covariates or --measures"
            )
        y = table[measure].astype(float)
        asked = list(models)
        if measure.endswith("_asymmetry"):
            asked.append(_side_model(models[0]))
        for model in asked:
            rows += [{"measure": measure, **row} for row in answers(y, model, groups, people, plan)]
        rows += [{"measure": measure, **row} for row in _correlations(table, y, groups, people, plan)]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    unit = found["measure"].map(units or {})
    found["unit"] = unit.where(found["kind"] != "correlation", "1")
    return _correct(found)


def groups_of(table: pd.DataFrame, plan: GroupPlan) -> pd.Series | None:
    """Group of each session; None where none are asked for.

    Raises:
        DataError: no such column or control group, or one level only.
    """
    if plan.group is None:
        return None
    find_columns([plan.group], list(table.columns), "--group-column")
    groups = as_levels(table[plan.group])
    levels = sorted(groups.dropna().unique())
    if len(levels) < 2:
        shown = f"the one level {levels[0]!r}" if levels else "no known value"
        raise DataError(f"the group column {plan.group} has {shown} among these sessions: there is nothing to compare")
    if plan.control_group is not None and plan.control_group not in levels:
        raise DataError(
            f"the control group {plan.control_group!r} is no level of {plan.group}; those are {', '.join(levels)}"
        )
    return groups


def level_order(groups: pd.Series, plan: GroupPlan) -> list[str]:
    """Levels, the control group first."""
    levels = sorted(groups.dropna().unique())
    return sorted(levels, key=lambda level: (level != plan.control_group, level))


def models_of(table: pd.DataFrame, groups: pd.Series | None, plan: GroupPlan, years: pd.Series | None) -> list[Model]:
    """The main model, and one more for each interaction."""
    adjusted = [name for name in plan.covariates if name != plan.group]
    names = [*adjusted, *([plan.site] if plan.site and plan.site not in adjusted else [])]
    design = design_of(table, names, [plan.site] if plan.site else [])
    parts: dict[str, pd.Series] = {INTERCEPT: pd.Series(1.0, table.index)}
    questions: list[Question] = []
    levels = level_order(groups, plan) if groups is not None else []
    if groups is not None:
        for level in levels[1:]:
            parts[f"{plan.group}[{level}]"] = (groups == level).astype(float).where(groups.notna(), np.nan)
        questions += _group_questions(levels, plan)
    parts |= {name: design.columns[name] for name in design.columns}
    for name in adjusted:
        if name == plan.site:
            continue
        kind = "slope" if name in design.numeric else "category"
        questions += [Question(kind, column, ({column: 1.0},), kind != "slope") for column in design.terms[name]]
    varying = years is not None and years.groupby(table["participant_id"]).nunique().gt(1).any()
    if varying and years is not None:
        parts["years"] = years
        questions.append(
            Question("change per year", "everybody" if groups is None else levels[0], ({"years": 1.0},), False)
        )
        for level in levels[1:]:
            parts[f"{level}:years"] = parts[f"{plan.group}[{level}]"] * years
            questions.append(Question("change per year", f"{level}-{levels[0]}", ({f"{level}:years": 1.0},), False))
    base = pd.DataFrame(parts)
    terms = " + ".join([*([plan.group] if plan.group else []), *names, *(["years"] if varying else [])]) or "1"
    models = [Model(base, terms, tuple(questions))]
    for asked in (one for one in plan.contrasts if ":" in one and one not in _pair_names(levels)):
        models.append(_interaction(base, asked, design.terms, plan, levels, terms))
    return models


def _pair_names(levels: Sequence[str]) -> dict[str, tuple[str, str]]:
    return {f"{a}-{b}": (a, b) for a, b in itertools.permutations(levels, 2)}


def _group_questions(levels: list[str], plan: GroupPlan) -> list[Question]:
    """Pairs of levels as asked; else all of a few, or each with the first."""
    known = _pair_names(levels)
    asked = [one for one in plan.contrasts if one in known or ":" not in one]
    if wrong := [one for one in asked if one not in known]:
        raise DataError(
            f"--contrast {wrong[0]}: write A-B for two levels of {plan.group} ({', '.join(levels)}), or "
            f"{plan.group}:COVARIATE for an interaction"
        )
    if not asked:
        few = len(levels) <= MOST_PAIRED
        pairs = itertools.combinations(levels, 2) if few else ((levels[0], other) for other in levels[1:])
        asked = [f"{b}-{a}" for a, b in pairs]

    def weights(name: str) -> dict[str, float]:
        more, less = known[name]
        both = {f"{plan.group}[{more}]": 1.0, f"{plan.group}[{less}]": -1.0}
        return {k: v for k, v in both.items() if k != f"{plan.group}[{levels[0]}]"}

    questions = [Question("difference", name, (weights(name),)) for name in asked]
    if len(levels) > 2:
        every = tuple({f"{plan.group}[{level}]": 1.0} for level in levels[1:])
        questions.append(Question("groups", str(plan.group), every))
    return questions


def _interaction(
    base: pd.DataFrame, asked: str, terms: dict[str, list[str]], plan: GroupPlan, levels: list[str], words: str
) -> Model:
    """The main model with the products of group and a covariate."""
    sides = dict([(plan.group, [f"{plan.group}[{level}]" for level in levels[1:]]), *terms.items()])
    first, _, second = asked.partition(":")
    if first not in sides or second not in sides or first == second:
        known = ", ".join(str(name) for name in sides if name is not None)
        raise DataError(f"--contrast {asked}: an interaction is of two of the model's terms; those are {known}")
    columns, weights = base.copy(), []
    for a, b in itertools.product(sides[first], sides[second]):
        columns[f"{a}:{b}"] = base[a] * base[b]
        weights.append({f"{a}:{b}": 1.0})
    return Model(columns, f"{words} + {asked}", (Question("interaction", asked, tuple(weights), False),))


def _side_model(model: Model) -> Model:
    """The same, asked whether the mean over everybody is zero: the intercept at the means of all columns."""
    rest = [name for name in model.columns if name != INTERCEPT]
    known = model.columns.dropna()
    centred = model.columns.copy()
    centred[rest] = model.columns[rest] - known[rest].mean()
    return Model(centred, model.terms, (Question("side", "left-right", ({INTERCEPT: 1.0},), False),))


def answers(
    y: pd.Series, model: Model, groups: pd.Series | None, people: np.ndarray, plan: GroupPlan
) -> list[dict[str, Any]]:
    """A row per question of one model of one measure."""
    columns, rows, note = usable_design(y, model.columns)
    counts = {} if groups is None else groups[rows].value_counts().to_dict()
    participants = len(np.unique(people[rows]))
    head = {
        "n": int(rows.sum()),
        "participants": participants,
        "n_groups": ", ".join(f"{level} {counts[level]}" for level in sorted(counts)) or None,
        "model": model.terms,
    }
    small = [level for level, n in counts.items() if n < FEWEST_IN_GROUP]
    trouble = f"the group {small[0]} has {counts[small[0]]} usable session" if small else ""
    if rows.sum() < columns.shape[1] + FEWEST_SPARE:
        trouble = f"{int(rows.sum())} usable sessions for {columns.shape[1]} coefficients: too few"
    elif np.ptp(y[rows]) == 0:
        trouble = "the measure is the same in all usable sessions"
    if trouble:
        return [{**head, "kind": q.kind, "contrast": q.name, "note": trouble} for q in model.questions]
    x, values = columns[rows].to_numpy(float), y[rows].to_numpy(float)
    repeated = participants < rows.sum()
    left = values - x @ np.linalg.lstsq(x, values, rcond=None)[0]
    if left.std() < EXPLAINED * values.std():
        note = "the model explains the measure to the last digit: is it one of the covariates?"
        return [{**head, "kind": q.kind, "contrast": q.name, "note": note} for q in model.questions]
    fitted = fit_repeated(values, x, people[rows]) if repeated else fit(values, x)
    found = []
    for question in model.questions:
        row: dict[str, Any] = {**head, "kind": question.kind, "contrast": question.name}
        if all(name in columns for weights in question.weights for name in weights):
            row |= _answer(question, fitted, columns, values, x, plan, repeated)
        row["note"] = "; ".join(str(part) for part in (note, fitted.note, row.get("note")) if part) or None
        found.append(row)
    return found


def _answer(
    question: Question, fitted: Fitted, columns: pd.DataFrame, y: np.ndarray, x: np.ndarray, plan: GroupPlan,
    repeated: bool,
) -> dict[str, Any]:  # fmt: skip
    place = {name: i for i, name in enumerate(columns)}
    weights = np.zeros((len(question.weights), len(place)))
    for row, named in enumerate(question.weights):
        for name, value in named.items():
            weights[row, place[name]] = value
    if len(weights) > 1:
        return {**joint(fitted, weights), "test": f"Wald F test; {fitted.model}", **fitted.checks}
    found: dict[str, Any] = {**effect(fitted, weights[0]), **fitted.checks, "test": f"t test; {fitted.model}"}
    if not question.standardised:
        found |= dict.fromkeys(("hedges_g", "g_low", "g_high", "detectable_g"))
    if plan.permutations and question.kind in ("difference", "interaction"):
        if repeated:
            found["note"] = "sessions of one participant cannot be exchanged: no permutation"
        else:
            found["p_permutation"] = freedman_lane(y, x, weights[0], plan.permutations, plan.seed)
    return found


def usable_design(y: pd.Series, columns: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, str]:
    """The columns that vary among sessions with everything known, which sessions those are, and a note.

    A level that one session alone has tells nothing of anything else: that session is left out. A column of zeros (a
    site without such sessions) goes.

    Raises:
        DataError: columns determine each other.
    """
    rows = (y.notna() & np.isfinite(y) & columns.notna().all(axis=1)).to_numpy()
    binary = [name for name in columns if "[" in str(name) and ":" not in str(name)]
    alone = [name for name in binary if columns.loc[rows, name].sum() == 1]
    for name in alone:
        rows = rows & (columns[name].to_numpy() != 1)
    varying = [c for c in columns if c == INTERCEPT or (rows.any() and np.ptp(columns.loc[rows, c].to_numpy()) > 0)]
    kept = columns[varying]
    x = kept[rows].to_numpy(float)
    length = np.linalg.norm(x, axis=0)
    if rows.sum() > len(varying) and np.linalg.matrix_rank(x / np.where(length > 0, length, 1)) < len(varying):
        raise DataError(
            "these columns determine each other, so that their effects cannot be told apart: "
            f"{', '.join(_dependent(x, varying))}; leave one of them out"
        )
    return kept, rows, f"left out, as the only session of its level: {', '.join(alone)}" if alone else ""


def _dependent(x: np.ndarray, names: Sequence[str]) -> list[str]:
    """Names of the columns in the first dependency among them."""
    for place in range(1, x.shape[1]):
        solution, *_ = np.linalg.lstsq(x[:, :place], x[:, place], rcond=None)
        if np.allclose(x[:, :place] @ solution, x[:, place], atol=1e-8):
            return [n for n, s in zip(names, solution, strict=False) if abs(s) > 1e-8] + [names[place]]
    return list(names)


def _correlations(
    table: pd.DataFrame, y: pd.Series, groups: pd.Series | None, people: np.ndarray, plan: GroupPlan
) -> list[dict[str, Any]]:
    """Of one measure with every scale, over everybody and in each group; one session per participant, the first."""
    if not plan.scales:
        return []
    find_columns(plan.scales, list(table.columns), "--scales")
    first = ~table["participant_id"].duplicated().to_numpy()
    adjusted = [name for name in plan.covariates if name != plan.group]
    names = list(dict.fromkeys([*adjusted, *([plan.site] if plan.site else [])]))
    others = design_of(table, names, [plan.site] if plan.site else []).columns
    others.insert(0, INTERCEPT, 1.0)
    who: list[tuple[str, np.ndarray]] = [("", first)]
    if groups is not None:
        who += [(f" in {level}", first & (groups == level).to_numpy()) for level in level_order(groups, plan)]
    found: list[dict[str, Any]] = []
    for scale, (where, chosen) in itertools.product(plan.scales, who):
        if not is_number(table[scale]):
            as_numbers(table[scale], scale)
            raise DataError(f"--scales {scale}: the column is not known for anybody")
        x = as_numbers(table[scale], scale)
        known = x.where(pd.Series(chosen, table.index)) + y
        kept, rows, note = usable_design(known, others)
        row = {
            "kind": "correlation",
            "contrast": f"{scale}{where}",
            "n": int(rows.sum()),
            "participants": int(rows.sum()),
        }
        row |= {"model": " + ".join(names) or "1", "note": note or None}
        if rows.sum() < max(FEWEST_FOR_CORRELATION, kept.shape[1] + FEWEST_SPARE):
            row["note"] = "too few sessions"
        else:
            row |= correlation(x[rows].to_numpy(float), y[rows].to_numpy(float), kept[rows].to_numpy(float))
            row["test"] = "t test of Pearson's partial correlation"
        found.append(row)
    return found


def _correct(found: pd.DataFrame) -> pd.DataFrame:
    """False discovery rate and Holm over the measures of each contrast; asymmetries are a family of their own."""
    from statsmodels.stats.multitest import multipletests

    for column in [c for c in COLUMNS if c not in _TEXTS]:
        found[column] = pd.to_numeric(found[column])
    family = found["measure"].astype(str).str.endswith("_asymmetry")
    for _, rows in found.groupby([family, "kind", "contrast"], sort=False):
        tested = rows.index[rows["p"].notna()]
        for column, method in (("p_fdr", "fdr_bh"), ("p_holm", "holm")):
            if len(tested):
                found.loc[tested, column] = multipletests(found.loc[tested, "p"], method=method)[1]
    return found


_TEXTS = {"measure", "kind", "contrast", "n_groups", "unit", "test", "model", "note"}
