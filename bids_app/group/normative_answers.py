"""Who stands out among people of the same age, sex, head size and site: the group level's answer of that question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.design import as_column, as_levels, as_numbers, find_columns
from bids_app.group.normative import Normative, fit_normative
from bids_app.group.normative_scores import read_normative, score, to_plain, unseen
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers, with_none
from bids_app.judge.statistics import delong

#: z beyond which a share of 5 % is expected, and one that is shown by name.
BEYOND, SHOWN = 1.959964, 2.5
#: Fewest of a group for the area under the curve.
FEWEST_FOR_AUC = 5
#: How a row was scored.
LEFT_OUT, NEW, AGAIN = "leave-one-out", "new", "another session of a control"
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "measure": "Column of group_volumes_wide.tsv.",
    "value": "As measured, not harmonised.",
    "expected": "Mean of people of the same age, covariates and site, in the measure's unit.",
    "deviation": "Standard deviation of a person around it, the uncertainty of the model included.",
    "z": "(value - expected) / deviation.",
    "centile": "Share of such people that have less, in per cent, by the normal distribution.",
    "scored": "leave-one-out: a control, by the model without it; new: by the whole model; another session of a "
    "control: by a model that has seen this participant.",
    "note": "age outside the controls' (taken as the nearest age of theirs); site that the model has not seen.",
}
SUMMARY = {
    "measure": "Column of group_volumes_wide.tsv.",
    "group": "Group; n/a where the group is not known, all where no group column was given.",
    "n": "Sessions with a z-score.",
    "mean_z": "Mean.",
    "sd_z": "Standard deviation; of controls about 1 where the model holds.",
    "below": "Share with z below -1.96; 0.025 is expected of controls.",
    "above": "Share with z above 1.96.",
    "auc": "Area under the curve of z against the controls' z: above 0.5 where the group has more.",
    "auc_low": "Lower end of its 95 % interval (DeLong).",
    "auc_high": "Upper end.",
}


def answer_normative(wide: pd.DataFrame, measures: list[str], plan: GroupPlan, answers: Answers) -> None:
    """Fit a normative model on the controls, or read one, and score everybody.

    Args:
        wide: a row per session: ``participant_id``, ``session_id``, measures as measured, participants.tsv's columns.
        measures: asked for; those that the model has are scored.
        plan: ``normative``: ``fit`` or the path of a model.
        answers: gets tables, what the page shows, sentences and warnings.

    Raises:
        DataError: a column is not there, the file is no model, or controls are too few.
    """
    groups = control_groups(wide, plan)
    controls = np.ones(len(wide), bool) if plan.control_group is None else (groups == plan.control_group).to_numpy()
    expected = pd.DataFrame(np.nan, index=wide.index, columns=measures)
    left_out = expected.copy()
    first = controls & ~wide["participant_id"].where(controls).duplicated().to_numpy()
    if plan.normative is None or plan.normative == "fit":
        table, site = _table(wide, measures, plan)
        model, left_out.loc[first], expected.loc[first] = fit_normative(
            table[first], measures, plan.age,
            covariates={name: table.loc[first, name] for name in other_covariates(plan)},
            site=None if site is None else site[first], fitted_on=_who(plan, int(first.sum())),
        )  # fmt: skip
        answers.dictionaries["group_normative_model.json"] = to_plain(model)
        taught = first
    else:
        model = read_normative(Path(plan.normative))
        table, site = table_for(model, wide, measures, plan)
        taught = np.zeros(len(wide), bool)
    if not (scored := [name for name in measures if name in model.curves]):
        raise DataError(
            f"the normative model has none of these measures: {', '.join(measures)}; it has {', '.join(model.curves)}"
        )
    notes = notes_on(model, table, site)
    own = pd.Series(controls if plan.control_group is not None else False, index=wide.index)
    people = wide["participant_id"].astype(str)
    seen = people.isin(set(people[taught])).to_numpy()
    how = np.where(taught, LEFT_OUT, np.where(seen & controls, AGAIN, NEW))
    rows = []
    for name in scored:
        found = score(model, table, name, site=site, own=own)
        z = np.where(taught, left_out[name], found.z)
        mean = np.where(taught, expected[name], found.expected)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.where(taught & (z != 0), (table[name] - mean) / z, found.deviation)
        rows.append(_rows(wide, name, table[name], mean, deviation, z, how, notes))
    long = pd.concat(rows, ignore_index=True)
    summary = summarise(long, np.tile(groups.to_numpy(object), len(scored)), plan.control_group)
    answers.add("group_normative", long, COLUMNS)
    answers.add("group_normative_summary", summary, SUMMARY)
    answers.shown["normative"] = _shown(wide, long, summary, model)
    answers.methods.append(_methods(model, plan))
    if site is not None and (new := unseen(model, site)):
        answers.warnings.append(
            f"The normative model has not seen the site{'s' if len(new) > 1 else ''} {', '.join(new)}: z-scores there "
            "take in the sites' controls, or the spread between sites where there are none."
        )


def control_groups(wide: pd.DataFrame, plan: GroupPlan) -> pd.Series:
    """Group of every row; ``all`` where no group column was given.

    Raises:
        DataError: the column is not there, nobody said who the controls are, or there are none.
    """
    if plan.group is None:
        return pd.Series("all", index=wide.index)
    find_columns([plan.group], list(wide.columns), "--group-column")
    if plan.control_group is None:
        raise DataError("a normative model is one of controls: say which group they are with --control-group")
    groups = as_levels(wide[plan.group])
    if not (groups == plan.control_group).any():
        raise DataError(f"nobody is in the control group {plan.control_group!r}")
    return groups


def other_covariates(plan: GroupPlan) -> list[str]:
    """Covariates of a normative model beside age and site."""
    return [name for name in plan.covariates if name not in (plan.age, plan.group, plan.site)]


def _who(plan: GroupPlan, n: int) -> str:
    return f"{n} participants" + (f" of the group {plan.control_group}" if plan.control_group else "")


def _table(wide: pd.DataFrame, measures: list[str], plan: GroupPlan) -> tuple[pd.DataFrame, pd.Series | None]:
    """Age and covariates as numbers, or texts for categories; and the site."""
    own = [plan.age, *other_covariates(plan)]
    find_columns(own, list(wide.columns), "--normative")
    columns = {n: as_numbers(wide[n], n) if n == plan.age else as_column(wide[n], n) for n in own}
    site = as_levels(wide[plan.site]).rename(plan.site) if plan.site else None
    return pd.DataFrame(columns | {name: wide[name].astype(float) for name in measures}), site


def table_for(
    model: Normative, wide: pd.DataFrame, measures: list[str], plan: GroupPlan
) -> tuple[pd.DataFrame, pd.Series | None]:
    """The columns that a model which was read needs."""
    numbers = [model.age, *model.scale.covariates]
    find_columns([*numbers, *model.scale.levels], list(wide.columns), "--normative: the model needs it")
    columns = {name: as_numbers(wide[name], name) for name in numbers}
    columns |= {name: as_levels(wide[name]) for name in model.scale.levels}
    columns |= {name: wide[name].astype(float) for name in measures}
    site = None
    if model.site is not None:
        name = plan.site or model.site
        find_columns([name], list(wide.columns), "--normative: the model has sites, whose column --site-column names")
        site = as_levels(wide[name]).rename(name)
    return pd.DataFrame(columns), site


def notes_on(model: Normative, table: pd.DataFrame, site: pd.Series | None) -> np.ndarray:
    """Per row: an age outside the controls', a site that the model has not seen; None for nothing."""
    ages = table[model.age].to_numpy(float)
    outside = (ages < model.scale.low) | (ages > model.scale.high)
    notes = np.where(outside, f"age outside {model.scale.low:g} to {model.scale.high:g}", "").astype(object)
    if site is not None and (new := unseen(model, site)):
        fresh = site.isin(new).to_numpy()
        notes = np.where(fresh & (notes != ""), notes + "; new site", np.where(fresh, "new site", notes))
    return np.array([note or None for note in notes], object)


def _rows(
    wide: pd.DataFrame, name: str, value: pd.Series, expected: np.ndarray, deviation: np.ndarray, z: np.ndarray,
    how: np.ndarray, notes: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    from scipy.stats import norm

    return pd.DataFrame(
        {
            "participant_id": wide["participant_id"].to_numpy(), "session_id": wide["session_id"].to_numpy(),
            "measure": name, "value": value.to_numpy(float), "expected": expected, "deviation": deviation, "z": z,
            "centile": 100 * norm.cdf(z), "scored": how, "note": notes,
        }
    )  # fmt: skip


def summarise(long: pd.DataFrame, groups: np.ndarray, control: str | None) -> pd.DataFrame:
    """A row per measure and group; columns of `SUMMARY`.

    Args:
        long: rows of `COLUMNS`.
        groups: group of each row.
        control: group that the others' z are compared with.
    """
    rows: list[dict[str, Any]] = []
    known = long[["measure", "participant_id", "z"]].assign(group=groups).dropna(subset=["z"])
    known["group"] = known["group"].fillna("n/a")
    for measure, part in known.groupby("measure", sort=False):
        of_control = part[part["group"] == control]
        for group, own in part.groupby("group", sort=True):
            z = own["z"].to_numpy()
            row = {
                "measure": measure, "group": group, "n": len(z), "mean_z": z.mean(),
                "sd_z": z.std(ddof=1) if len(z) > 1 else np.nan,
                "below": (z < -BEYOND).mean(), "above": (z > BEYOND).mean(),
            }  # fmt: skip
            if control is not None and group != control and min(len(z), len(of_control)) >= FEWEST_FOR_AUC:
                both = pd.concat([own, of_control])
                truth = np.repeat([1, 0], [len(own), len(of_control)])
                chance, people = np.zeros(len(both)), both["participant_id"].astype(str).tolist()
                found = delong(truth, both["z"].to_numpy(), chance, people)
                half = BEYOND * found.standard_error
                row |= {"auc": found.auc_one, "auc_low": max(found.auc_one - half, 0.0)}
                row["auc_high"] = min(found.auc_one + half, 1.0)
            rows.append(row)
    return pd.DataFrame(rows, columns=list(SUMMARY))


def _shown(wide: pd.DataFrame, long: pd.DataFrame, summary: pd.DataFrame, model: Normative) -> dict[str, Any]:
    """For the page: the summary, and a row per session that stands out somewhere, with its z of every measure."""
    measures = list(dict.fromkeys(long["measure"]))
    z = long["z"].to_numpy().reshape(len(measures), len(wide)).T
    far = np.nanmax(np.abs(np.where(np.isfinite(z), z, 0)), axis=1)
    order = np.argsort(-far)[: int((far > SHOWN).sum())][:50]
    people = [
        {
            "key": str(wide.index[i]), "z": [None if not np.isfinite(v) else round(float(v), 2) for v in z[i]],
            "note": long["note"].iloc[i] or "",
        }
        for i in order
    ]  # fmt: skip
    return {
        "summary": with_none(summary), "measures": measures, "people": people, "beyond": int((far > SHOWN).sum()),
        "fitted_on": model.fitted_on, "ages": [model.scale.low, model.scale.high],
    }  # fmt: skip


def _methods(model: Normative, plan: GroupPlan) -> str:
    others = [*model.scale.covariates, *model.scale.levels]
    terms = f"a cubic B-spline of {model.age}" + (f", {', '.join(others)}" if others else "")
    site = ", and a shift per site that was drawn to zero by restricted maximum likelihood" if model.site else ""
    bent = any(curve.spread[1] != 0 for curve in model.curves.values())
    spread = "; the spread changes with age where the likelihood asks for it [@statsmodels]" if bent else ""
    source = "" if plan.normative == "fit" else ", read from a file"
    return (
        f"A normative model{source}, fitted on {model.fitted_on}, has {terms}{site}{spread}. Controls were scored by "
        f"the model without them; ages were kept inside {model.scale.low:g} to {model.scale.high:g}."
    )
