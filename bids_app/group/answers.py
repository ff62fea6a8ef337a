"""What is asked of all sessions together: harmonised volumes, contrasts, a table of the groups; and what was done."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.atrophy_answers import answer_atrophy
from bids_app.group.collect import Collection
from bids_app.group.contrasts import COLUMNS, analyse
from bids_app.group.design import as_levels, design_of, find_columns
from bids_app.group.harmonise import differences, entangled, fit_combat, negative
from bids_app.group.maps import LESIONS, LOAD, answer_maps, lesion_table, load_table
from bids_app.group.names import UNITS
from bids_app.group.normative_answers import answer_normative
from bids_app.group.performance import answer_performance
from bids_app.group.plan import GroupPlan
from bids_app.group.quality import answer_quality, in_doubt, sensitivity
from bids_app.group.reliability import answer_reliability, years_of
from bids_app.group.results import Answers, with_none
from bids_app.group.table1 import TABLE1, table_one
from bids_app.group.volumes import PRIMARY

#: Measures that questions are asked of, where none are named.
ASKED = (PRIMARY, "lesion_load_mm3")
SITES = {
    "measure": "Column of group_volumes_harmonised.tsv.",
    "site_before": "Part of the variance, less what covariates explain, between sites as measured.",
    "site_after": "The same after harmonisation.",
}


def answer(found: Collection, wide: pd.DataFrame, plan: GroupPlan) -> Answers:
    """Answer a plan.

    Args:
        found: the folder.
        wide: a row per session, measures as numbers, with participants.tsv's columns.
        plan: the questions.

    Raises:
        DataError: one of them cannot be answered; the sentence says why.
    """
    answers = Answers()
    answer_quality(found, answers)
    answer_performance(found, answers, plan.seed)
    if found.lesions:
        answers.add("group_lesions", lesion_table(found.lesions), LESIONS)
    if found.looked:
        answers.add("group_lesion_load", load_table(found.lesions, found.looked), LOAD)
    if plan.maps and len(wide):
        answer_maps(found.masks, wide, plan, answers)
    if plan.atrophy is not None:
        answer_atrophy(found.density, wide, plan, answers)
    measures = chosen_measures(wide, found, plan) if len(wide) else []
    years = years_of(wide, plan, found.participants.session_columns) if len(wide) else None
    answer_reliability(wide, measures, {name: unit_of(name) for name in measures}, years, answers)
    if not plan.asks and plan.harmonise == "none" and plan.normative is None:
        return answers
    if wide.empty:
        raise DataError("no finished session has a number, so that there is nothing to compare")
    if plan.site is not None:
        find_columns([plan.site], list(wide.columns), "--site-column")
        if plan.group is not None:
            find_columns([plan.group], list(wide.columns), "--group-column")
            answers.warnings += entangled(as_levels(wide[plan.group]), as_levels(wide[plan.site]))
    table = wide
    if plan.harmonise == "combat":
        table = _harmonise(wide, measures, plan, answers)
    if plan.asks:
        _contrasts(table, measures, plan, answers, years, in_doubt(found, wide))
    if plan.normative is not None:
        answer_normative(wide, measures, plan, answers)
    return answers


def chosen_measures(wide: pd.DataFrame, found: Collection, plan: GroupPlan) -> list[str]:
    """Columns that questions are asked of: those named, or that fit a pattern and are no covariate.

    Raises:
        DataError: a name or pattern fits no column; lists some that are there.
    """
    own = [c for c in wide.columns if c.endswith(tuple(UNITS))]
    if not plan.measures:
        return [c for c in own if c.endswith(ASKED) and c not in plan.covariates]
    chosen: list[str] = []
    for pattern in plan.measures:
        fits = [c for c in own if fnmatch.fnmatchcase(c, pattern)]
        if not fits:
            find_columns([pattern], own, "--measures")
        chosen += [c for c in fits if c not in chosen and (c == pattern or c not in plan.covariates)]
    return chosen


def unit_of(measure: str) -> str:
    """By the end of a column's name."""
    if measure.endswith("_asymmetry"):
        return "1"
    return max(((m, u) for m, u in UNITS.items() if measure.endswith(m)), key=lambda mu: len(mu[0]), default=("", ""))[
        1
    ]


def asymmetries(wide: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """2 (left - right) / (left + right) of each pair of measures that differ in the side alone."""
    found = {}
    for left in measures:
        right = left.replace("_left_", "_right_", 1)
        if "_left_" in left and right in measures:
            total = wide[left] + wide[right]
            name = f"{left.replace('_left_', '_', 1).removesuffix(f'_{PRIMARY}')}_asymmetry"
            found[name] = 2 * (wide[left] - wide[right]) / total.where(total > 0)
    return pd.DataFrame(found, index=wide.index)


def _harmonise(wide: pd.DataFrame, measures: list[str], plan: GroupPlan, answers: Answers) -> pd.DataFrame:
    """The table with harmonised measures; the measured ones stay in ``group_volumes_wide.tsv``."""
    if plan.site is None:
        raise DataError("--harmonize combat needs --site-column: the column that says where a session was scanned")
    site = as_levels(wide[plan.site])
    kept = [name for name in dict.fromkeys([*plan.covariates, plan.group]) if name and name != plan.site]
    fitted_on = pd.Series(True, wide.index)
    if plan.harmonise_on == "controls":
        if plan.group is None or plan.control_group is None:
            raise DataError("--harmonize-on controls needs --group-column and --control-group")
        kept.remove(plan.group)
        fitted_on = as_levels(wide[plan.group]) == plan.control_group
    covariates = design_of(wide, kept, [plan.group] if plan.group else []).columns
    combat = fit_combat(
        wide.loc[fitted_on, measures], site[fitted_on], covariates[fitted_on], reference=plan.harmonise_reference
    )
    known = site.isin([*combat.sites, *combat.left_out]) | site.isna()
    clean = combat.apply(wide[measures], site.where(known), covariates)
    answers.warnings += [*combat.left_out.values(), *negative(wide[measures], clean)]
    if not known.all():
        lost = ", ".join(sorted(set(site[~known])))
        answers.warnings.append(f"ComBat has not seen the site {lost}: not harmonised, n/a.")
    before, after = (differences(_residuals(part, covariates), site) for part in (wide[measures], clean))
    spread = pd.DataFrame(
        {"measure": measures, "site_before": before[measures].to_numpy(), "site_after": after[measures].to_numpy()}
    )
    table = wide.assign(**{name: clean[name] for name in measures})
    answers.tables["group_volumes_harmonised.tsv"] = table.drop(columns=["outliers"])
    answers.add("group_harmonisation", spread, SITES)
    answers.dictionaries["group_harmonisation.json"]["combat"] = combat.to_plain()
    answers.shown["harmonisation"] = {
        "rows": spread.to_dict("records"), "site": plan.site, "sites": list(zip(combat.sites, combat.rows, strict=True))
    }  # fmt: skip
    who = f"the group {plan.control_group} alone" if plan.harmonise_on == "controls" else "everybody"
    to = f", to the site {plan.harmonise_reference}" if plan.harmonise_reference else ""
    how = "with empirical Bayes" if combat.pooled else "without pooling over measures, as there is one"
    effects = f"; effects of {', '.join(kept)} were kept" if kept else ""
    answers.methods.append(
        f"Differences between {len(combat.sites)} sites ({plan.site}) were taken out by ComBat [@combat] [@combat-mri] "
        f"{how}, estimated on {who}{to}{effects}."
    )
    return table


def _residuals(values: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Values less what covariates explain, where all is known; a measure with a gap is left as it is less its mean."""
    design = covariates.assign(intercept=1.0)
    known = design.notna().all(axis=1)
    out = pd.DataFrame(np.nan, index=values.index, columns=values.columns)
    for name in values:
        rows = known & values[name].notna()
        if rows.any():
            x, y = design[rows].to_numpy(float), values.loc[rows, name].to_numpy(float)
            out.loc[rows, name] = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return out


def _contrasts(
    table: pd.DataFrame, measures: list[str], plan: GroupPlan, answers: Answers, years: pd.Series | None,
    doubtful: set[str],
) -> None:  # fmt: skip
    sides = asymmetries(table, measures)
    table = pd.concat([table, sides], axis=1)
    asked = [*measures, *sides.columns]
    units = {name: unit_of(name) for name in asked}
    found = analyse(table, asked, plan, years=years, units=units)
    answers.add("group_contrasts", found, COLUMNS)
    answers.shown["contrasts"] = with_none(found)
    if plan.group is not None:
        one = table_one(table, measures, plan, found, units)
        answers.add("group_table1", one, TABLE1)
        answers.shown["table1"] = {
            "columns": list(one.columns),
            "rows": one.astype(object).where(one.notna(), None).to_numpy().tolist(),
        }
    answers.methods.append(_methods(found, plan))
    short = replace(plan, permutations=0)

    def again(part: pd.DataFrame) -> pd.DataFrame:
        return analyse(part, asked, short, years=None if years is None else years[part.index], units=units)

    sensitivity(found, doubtful, table, again, answers)


def _methods(found: pd.DataFrame, plan: GroupPlan) -> str:
    """What was tested and how, from what ran."""
    tests = list(found["test"].dropna().unique())
    terms = [*([plan.group] if plan.group else []), *plan.covariates, *([plan.site] if plan.site else [])]
    says = [f"Each measure was modelled by {', '.join(dict.fromkeys(terms)) or 'its mean'} [@statsmodels]"]
    if any("HC3" in test for test in tests):
        says.append("by least squares with errors that hold where spread differs (HC3) [@hc3]")
    if any("mixed" in test for test in tests):
        says.append("by a mixed model with a random intercept per participant where sessions repeat")
    if any("clustered" in test for test in tests):
        says.append("by least squares with errors clustered by participant where the mixed model could not be fitted")
    text = " ".join([says[0], "; ".join(says[1:])]).strip() + "."
    text += " Sizes are Hedges' g and partial eta squared with 95 % intervals [@hedges] [@steiger]."
    text += " p was corrected over measures by the false discovery rate and by Holm [@fdr] [@holm]."
    if plan.permutations and found["p_permutation"].notna().any():
        text += f" {plan.permutations} permutations of residuals were drawn after Freedman and Lane [@freedman-lane]."
    return text
