"""The table of a paper: who the groups are, and their adjusted means with difference, effect, interval and p."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_app.group.contrasts import FEWEST_SPARE, groups_of, level_order, models_of, usable_design
from bids_app.group.design import as_levels, as_numbers, is_number
from bids_app.group.effects import effect, fit, fit_repeated
from bids_app.group.plan import GroupPlan

TABLE1 = {
    "row": "Number of participants, a covariate, or a measure.",
    "unit": "Unit; mean (SD) of numbers, count (%) of categories, adjusted mean (95 % interval) of measures.",
    "difference": "Adjusted difference with its 95 % interval.",
    "hedges_g": "Hedges' g with its 95 % interval.",
    "p": "p of the test.",
    "p_fdr": "p corrected over measures by the false discovery rate.",
    "test": "Test that p comes from.",
}


def table_one(
    table: pd.DataFrame, measures: Sequence[str], plan: GroupPlan, contrasts: pd.DataFrame, units: Mapping[str, str]
) -> pd.DataFrame:
    """Rows of texts: participants, covariates and scales by group, then every measure.

    Args:
        table: a row per session.
        measures, plan: as asked.
        contrasts: `bids_app.group.contrasts.analyse` of them.
        units: of measures.

    Returns:
        Columns of `TABLE1`, and one per group. With three groups or more the difference is that of all at once.
    """
    groups = groups_of(table, plan)
    if groups is None:
        raise ValueError("a table of groups needs a group column")
    levels = level_order(groups, plan)
    people = table.assign(**{"_group": groups})[~table["participant_id"].duplicated().to_numpy()]
    rows: list[dict[str, Any]] = [{"row": "participants", "unit": "n"} | dict(people["_group"].value_counts())]
    for name in dict.fromkeys([*plan.covariates, *([plan.site] if plan.site else []), *plan.scales]):
        if name != plan.group:
            rows += _person_rows(people, name, levels, name == plan.site)
    means = adjusted_means(table, measures, plan)
    kind = "difference" if len(levels) == 2 else "groups"
    for measure in measures:
        row: dict[str, Any] = {"row": measure, "unit": units.get(measure, "")}
        for one in means[means["measure"] == measure].itertuples():
            if one.mean == one.mean:
                row[one.group] = f"{_short(one.mean)} ({_short(one.low)} to {_short(one.high)})"
        answer = contrasts[(contrasts["measure"] == measure) & (contrasts["kind"] == kind)]
        rows.append(row | (_answer(answer.iloc[0]) if len(answer) else {}))
    return pd.DataFrame(rows, columns=["row", "unit", *levels, *list(TABLE1)[2:]])


def _answer(found: pd.Series) -> dict[str, Any]:
    row: dict[str, Any] = {"test": found["test"], "p": found["p"], "p_fdr": found["p_fdr"]}
    for name, value, low, high in (
        ("difference", "estimate", "low", "high"),
        ("hedges_g", "hedges_g", "g_low", "g_high"),
    ):
        if pd.notna(found[value]):
            row[name] = f"{_short(found[value])} ({_short(found[low])} to {_short(found[high])})"
    return row


def _short(value: float) -> str:
    return (f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}").replace("-", "−")


def _person_rows(people: pd.DataFrame, name: str, levels: Sequence[str], category: bool) -> list[dict[str, Any]]:
    """One covariate by group: Welch's test (or analysis of variance) of numbers, chi-squared of categories."""
    from scipy.stats import chi2_contingency, f_oneway, ttest_ind

    row: dict[str, Any] = {"row": name}
    if not category and is_number(people[name]):
        values = as_numbers(people[name], name)
        parts = [values[people["_group"] == level].dropna().to_numpy() for level in levels]
        row |= {"unit": "mean (SD)"} | {
            level: f"{_short(part.mean())} ({_short(part.std(ddof=1))})"
            for level, part in zip(levels, parts, strict=True)
            if len(part) > 1
        }
        if all(len(part) > 1 for part in parts) and sum(np.ptp(part) > 0 for part in parts) == len(parts):
            two = len(parts) == 2
            row["p"] = float(ttest_ind(*parts, equal_var=False).pvalue if two else f_oneway(*parts).pvalue)
            row["test"] = "Welch's t test" if two else "analysis of variance"
        return [row]
    counts = pd.crosstab(as_levels(people[name]), people["_group"]).reindex(columns=list(levels), fill_value=0)
    if counts.shape[0] > 1 and (counts.sum() > 0).all():
        row |= {"p": float(chi2_contingency(counts.to_numpy()).pvalue), "test": "chi-squared test"}
    rows = [row]
    for level, found in counts.iterrows():
        shares = {g: f"{n} ({100 * n / max(int(counts[g].sum()), 1):.0f} %)" for g, n in found.items()}
        rows.append({"row": f"{name}: {level}", "unit": "n (%)", **shares})
    return rows


def adjusted_means(table: pd.DataFrame, measures: Sequence[str], plan: GroupPlan) -> pd.DataFrame:
    """Mean of each measure in each group at the means of all covariates, with its 95 % interval.

    Returns:
        ``measure``, ``group``, ``n``, ``mean``, ``low``, ``high``.
    """
    groups = groups_of(table, plan)
    names = ["measure", "group", "n", "mean", "low", "high"]
    if groups is None:
        return pd.DataFrame(columns=names)
    model, people = models_of(table, groups, plan, None)[0], table["participant_id"].astype(str).to_numpy()
    levels, found = level_order(groups, plan), []
    for measure in measures:
        y = table[measure].astype(float)
        columns, rows, _ = usable_design(y, model.columns)
        counts = {level: int((groups[rows] == level).sum()) for level in levels}
        if not all(counts.values()) or rows.sum() < columns.shape[1] + FEWEST_SPARE:
            found += [{"measure": measure, "group": level, "n": counts[level]} for level in levels]
            continue
        x, values = columns[rows].to_numpy(float), y[rows].to_numpy(float)
        repeated = len(np.unique(people[rows])) < rows.sum()
        fitted = fit_repeated(values, x, people[rows]) if repeated else fit(values, x)
        for level, at in itertools.product(levels, [columns[rows].mean()]):
            at = at.copy()
            for other in levels[1:]:
                at[f"{plan.group}[{other}]"] = float(other == level)
            answer = effect(fitted, at.to_numpy())
            row = {"measure": measure, "group": level, "n": counts[level], "mean": answer["estimate"]}
            found.append(row | {"low": answer["low"], "high": answer["high"]})
    return pd.DataFrame(found, columns=names)
