"""How alike the sessions of one participant are, for every measure; and the years between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_app.group.design import as_numbers, is_number
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers, with_none
from bids_app.measure.reliability import icc, repeatability

#: Fewest participants with two sessions.
FEWEST = 5
#: Column of sessions.tsv with the time of a session (BIDS).
TIME = "acq_time"
DAYS_PER_YEAR = 365.25
COLUMNS = {
    "measure": "Column of group_volumes_wide.tsv.",
    "unit": "Unit of the measure.",
    "participants": "Participants with two sessions that have the number; their first two are taken.",
    "years": "Median time between these sessions; n/a where not known.",
    "icc_2_1": "Intraclass correlation, absolute agreement of single sessions (Shrout and Fleiss).",
    "icc_2_1_low": "Lower end of its 95 % interval.",
    "icc_2_1_high": "Upper end.",
    "icc_3_1": "Intraclass correlation, consistency of single sessions.",
    "icc_3_1_low": "Lower end of its 95 % interval.",
    "icc_3_1_high": "Upper end.",
    "within_sd": "Standard deviation within a participant.",
    "repeatability": "95 % of differences between two sessions of one participant lie below it.",
    "within_cv": "Standard deviation within a participant, in per cent of the mean.",
    "mean_change": "Mean of the second session less the first.",
    "limit_low": "Lower of Bland and Altman's limits of agreement.",
    "limit_high": "Upper.",
}


def years_of(table: pd.DataFrame, plan: GroupPlan, of_sessions: Sequence[str]) -> pd.Series | None:
    """Years since each participant's first session: from `TIME`, else from ages that sessions.tsv gives; else None.

    Args:
        table: a row per session, with ``participant_id``.
        plan: names the column of ages.
        of_sessions: columns that come from sessions.tsv.
    """
    people = table["participant_id"].astype(str)
    if not people.duplicated().any():
        return None
    if TIME in of_sessions:
        times = pd.to_datetime(table[TIME].astype(object), errors="coerce", utc=True, format="ISO8601")
        years = (times - times.groupby(people).transform("min")).dt.total_seconds() / (86400 * DAYS_PER_YEAR)
    elif plan.age in of_sessions and is_number(table[plan.age]):
        ages = as_numbers(table[plan.age], plan.age)
        years = ages - ages.groupby(people).transform("min")
    else:
        return None
    return years if years.groupby(people).max().gt(0).any() else None


def reliability_table(
    wide: pd.DataFrame, measures: Sequence[str], units: Mapping[str, str], years: pd.Series | None
) -> pd.DataFrame:
    """A row per measure; columns of `COLUMNS`. Empty where fewer than `FEWEST` participants have two sessions.

    Args:
        wide: a row per session, as measured.
        measures: columns.
        units: of measures.
        years: see `years_of`.
    """
    people = wide["participant_id"].astype(str).to_numpy()
    rows: list[dict[str, Any]] = []
    for measure in measures:
        values = wide[measure].to_numpy(float)
        known = np.flatnonzero(np.isfinite(values))
        frame = pd.DataFrame({"who": people[known], "row": known})
        frame["turn"] = frame.groupby("who", sort=False).cumcount()
        pairs = frame[frame["turn"] < 2].pivot(index="who", columns="turn", values="row").dropna()
        if pairs.shape[1] < 2 or len(pairs) < FEWEST:
            continue
        places = pairs.to_numpy(int)
        both = values[places]
        found = icc(both)
        row: dict[str, Any] = {"measure": measure, "unit": units.get(measure, ""), "participants": len(both)}
        if years is not None:
            row["years"] = float(np.nanmedian(np.diff(years.to_numpy(float)[places], axis=1)))
        rows.append(row | {name: found[name] for name in found if name in COLUMNS} | repeatability(both))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def answer_reliability(
    wide: pd.DataFrame, measures: Sequence[str], units: Mapping[str, str], years: pd.Series | None, answers: Answers
) -> None:
    """The table, where sessions repeat."""
    table = reliability_table(wide, measures, units, years)
    if table.empty:
        return
    answers.add("group_reliability", table, COLUMNS)
    answers.shown["reliability"] = with_none(table)
    answers.methods.append(
        "Repeated sessions were compared by intraclass correlations with their intervals [@icc] and by the "
        "repeatability coefficient and limits of agreement [@bland-altman], from the first two sessions of each "
        "participant."
    )
