"""One session's numbers among people of the same age, sex and site: a profile for its page, by a fitted model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.bids.files import write_text
from bids_app.bids.naming import derivative_path
from bids_app.bids.record import SessionRecord
from bids_app.bids.record_part import Deviation, Profile
from bids_app.errors import DataError
from bids_app.group.collect import identity_of
from bids_app.group.names import UNITS
from bids_app.group.normative import Normative
from bids_app.group.normative_answers import COLUMNS, notes_on, table_for
from bids_app.group.normative_scores import score
from bids_app.group.plan import GroupPlan
from bids_app.group.results import explained
from bids_app.group.sessions import read_people
from bids_app.group.tsv import tsv
from bids_app.group.volumes import Volumes, column_names, wide_frame

SHOWN = ("measure", "value", "expected", "deviation", "z", "centile")


def profile_of(output_dir: Path, record: SessionRecord, model: Normative, *, site: str | None = None) -> Profile:
    """Where a session lies.

    Args:
        output_dir: the derivatives folder, with the copies of participants.tsv and sessions.tsv in ``logs``.
        record: of a session that is done.
        model: fitted by ``--normative-fit``; its own site column is looked for where ``site`` is not given.

    Raises:
        DataError: a column that the model needs is not in the tables, or the session has none of its measures.
    """
    identity = identity_of(record)
    volumes, warnings = Volumes(), list[str]()
    volumes.add(output_dir, record, identity, set(), warnings)
    long = volumes.frame()
    wide = wide_frame(long)
    measures = [name for name in wide.columns if name in model.curves]
    if wide.empty or not measures:
        raise DataError(f"{record.key} has none of the normative model's measures: {', '.join(list(model.curves)[:6])}")
    known = read_people(output_dir, [identity])
    for name in known.columns:
        if name not in wide.columns:
            cell = known.value(*identity, name)
            wide[name] = pd.Series([None if cell == "n/a" else cell], wide.index, dtype=object)
    table, at = table_for(model, wide, measures, GroupPlan(site=site))
    names, columns = column_names(long)
    first = {name: long.iloc[int(np.argmax(columns == place))] for place, name in enumerate(names)}
    rows = [row for name in measures if (row := _row(model, table, name, first[name], at)) is not None]
    if not rows:
        needs = ", ".join([model.age, *model.scale.covariates, *model.scale.levels])
        raise DataError(f"{record.key} cannot be placed: one of {needs} is not known of it, or not to the model")
    notes = [*warnings, notes_on(model, table, at)[0] or ""]
    return Profile(
        fitted_on=model.fitted_on, ages=[model.scale.low, model.scale.high], note="; ".join(n for n in notes if n),
        rows=sorted(rows, key=lambda row: row.z),
    )  # fmt: skip


def _row(
    model: Normative, table: pd.DataFrame, name: str, number: pd.Series, site: pd.Series | None
) -> Deviation | None:
    """None where the model cannot say what to expect."""
    from scipy.stats import norm

    found = score(model, table, name, site=site)
    if not np.isfinite(found.z[0]):
        return None
    return Deviation(
        measure=name, recipe=str(number["recipe"]), region=str(number["region"]),
        unit=UNITS.get(str(number["measure"]), ""), value=float(table[name].iloc[0]), expected=float(found.expected[0]),
        deviation=float(found.deviation[0]), z=float(found.z[0]), centile=float(100 * norm.cdf(found.z[0])),
    )  # fmt: skip


def add_profile(output_dir: Path, record: SessionRecord, model: Normative, *, site: str | None = None) -> None:
    """Put a session's profile into its record and write it as a table with its dictionary; a sentence in the record's
    warnings where there can be none.

    Raises:
        CannotWrite: a file cannot be written.
    """
    try:
        profile = profile_of(output_dir, record, model, site=site)
    except DataError as error:
        record.warnings = list(dict.fromkeys([*record.warnings, f"no normative profile: {error}"]))
        return
    path = derivative_path(
        record.participant, record.session, suffix="volumes", extension=".tsv", desc="normative"
    )  # fmt: skip
    rows = pd.DataFrame([row.model_dump() for row in profile.rows])[list(SHOWN)]
    told = explained({name: text for name, text in COLUMNS.items() if name in SHOWN})
    told["z"]["Description"] += f" Fitted on {profile.fitted_on}. Research use only: no finding about a person."
    write_text(Path(output_dir) / path, tsv(rows))
    write_text(Path(output_dir) / path.with_suffix(".json"), json.dumps(told, indent=2) + "\n")
    profile.file = path.as_posix()
    record.profile = profile
