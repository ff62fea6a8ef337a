"""The group level: tables a statistician can read straight away, and a page to look at."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.group.collect import BAD, PRIMARY, STAGES, Collection, collect
from bids_app.group.names import DEFINITIONS, UNITS, column_name
from bids_app.group.participants import choose_group_column
from bids_app.report.group import write_group_page
from bids_app.report.index import write_index

LONG = ("participant_id", "session_id", "recipe", "region", "measure", "value", "unit", "qc")
WIDE = ("participant_id", "session_id", "outliers")
ATTRITION = (
    *("participant_id", "session_id", "recipe", "state", "reached", "reason", "exit_code", "seconds"),
    *("rating", "comment", "warnings"),
)
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that measured the region; n/a for what is measured in every session.",
    "region": "Name of the region in the recipe.",
    "measure": "What was measured.",
    "value": "The number, in the unit of the column unit; n/a where the region was not found.",
    "unit": "Unit of the value.",
    "qc": "ok; rated bad (by a person, in ratings/: left out of the page and of the table with one row per session); "
    "outlier (modified z-score of the soft volume above 3.5 over all sessions, from 5 on); or not found.",
    "outliers": "Number of regions of this session flagged as outlier.",
}


def write_group(output_dir: Path, *, group_column: str | None = None) -> list[Path]:
    """Write ``group_volumes.tsv``, ``group_volumes_wide.tsv``, ``group_volumes.json``, ``group_attrition.tsv`` and
    ``group.html`` from what the participant level left in the output folder.

    Args:
        output_dir: the derivatives folder; nothing outside it is read.
        group_column: column of participants.tsv to show groups by; without it the first of group, diagnosis, dx, sex,
            gender that is there.

    Returns:
        The files written.

    Raises:
        InputMissing: no session has been run in the folder.
        CannotWrite: a file cannot be written.
    """
    output_dir = Path(output_dir)
    found = collect(output_dir)
    column, warning = choose_group_column(found.participants, group_column)
    if warning:
        found.warnings.append(warning)
    long, wide = long_table(found), wide_table(found)
    written = [
        write_text(output_dir / "group_volumes.tsv", _tsv(long)),
        write_text(output_dir / "group_volumes_wide.tsv", _tsv(wide)),
        write_text(
            output_dir / "group_volumes.json",
            json.dumps(dictionary(found, wide[0]), indent=2, ensure_ascii=False) + "\n",
        ),
        write_text(output_dir / "group_attrition.tsv", _tsv(attrition_table(found))),
        write_group_page(output_dir, plain(found, column)),
    ]
    return [*written, write_index(output_dir)]


def merged_names(found: Collection, taken: tuple[str, ...] | list[str]) -> dict[str, str]:
    """participants.tsv's columns -> their names in a table, told apart from the table's own."""
    return {c: f"participants_{c}" if c in taken else c for c in found.participants.columns}


def long_table(found: Collection) -> list[list[Any]]:
    """Header and one row per number."""
    names = merged_names(found, LONG)
    rows: list[list[Any]] = [[*LONG, *names.values()]]
    for v in found.values:
        person = found.participants.rows.get(v.participant_id, {})
        rows.append([*(getattr(v, name) for name in LONG), *(person.get(c, "n/a") for c in names)])
    return rows


def wide_table(found: Collection) -> list[list[Any]]:
    """Header and one row per session that has numbers; columns as `bids_app.group.names` has them."""
    columns = list(dict.fromkeys(column_name(v.recipe, v.region, v.measure) for v in found.values))
    names = merged_names(found, [*WIDE, *columns])
    rows: list[list[Any]] = [[*WIDE, *columns, *names.values()]]
    by_key: dict[str, dict[str, Any]] = {}
    for v in found.values:
        row = by_key.setdefault(v.key, {"participant_id": v.participant_id, "session_id": v.session_id, "outliers": 0})
        row[column_name(v.recipe, v.region, v.measure)] = None if v.qc == BAD else v.value
        row["outliers"] += v.measure == PRIMARY and "outlier" in v.qc
    for row in by_key.values():
        person = found.participants.rows.get(row["participant_id"], {})
        rows.append([*(row.get(c) for c in (*WIDE, *columns)), *(person.get(c, "n/a") for c in names)])
    return rows


def attrition_table(found: Collection) -> list[list[Any]]:
    """Header and one row per session and recipe: how far it came, and why no further."""
    rows: list[list[Any]] = [list(ATTRITION)]
    for s in found.sessions:
        reached = STAGES[s.reached - 1] if s.reached else "listed only"
        identity = [s.participant_id, s.session_id, s.recipe]
        how = [s.state, reached, s.reason or None, s.exit_code, s.seconds, s.rating, s.comment, s.warnings or None]
        rows.append([*identity, *how])
    return rows


def dictionary(found: Collection, wide_header: list[str]) -> dict[str, Any]:
    """A BIDS data dictionary for the columns of both tables."""
    entries: dict[str, Any] = {name: {"Description": text} for name, text in COLUMNS.items()}
    entries["measure"]["Levels"] = DEFINITIONS
    for v in found.values:
        name = column_name(v.recipe, v.region, v.measure)
        if name in wide_header and name not in entries:
            entries[name] = {
                "LongName": f"{v.region}: {v.measure.removesuffix(f'_{UNITS[v.measure]}').replace('_', ' ')}",
                "Description": DEFINITIONS[v.measure],
                "Units": UNITS[v.measure],
            }
    for column in found.participants.columns:
        for table in (LONG, [*WIDE, *wide_header[len(WIDE) : -len(found.participants.columns)]]):
            told = {
                "Description": f"{column}, as in participants.tsv.",
                **found.participants.dictionary.get(column, {}),
            }
            entries.setdefault(merged_names(found, table)[column], told)
    return entries


def plain(found: Collection, column: str | None) -> dict[str, Any]:
    """What the page needs, as plain data."""
    rows = found.participants.rows
    pages = {s.key: s.page for s in found.sessions}
    return {
        "group_column": column,
        "warnings": found.warnings,
        "stages": [(name, len({s.key for s in found.sessions if s.reached > i})) for i, name in enumerate(STAGES)],
        "people": len({s.participant_id for s in found.sessions if s.reached}),
        "listed": sum(s.reached == 0 for s in found.sessions),
        "sessions": [s.__dict__ for s in found.sessions],
        "values": [
            {
                **v.__dict__,
                "group": rows.get(v.participant_id, {}).get(column, "n/a") if column else "all",
                "page": pages.get(v.key, ""),
            }
            for v in found.values
            if v.measure == PRIMARY and v.value is not None and v.qc != BAD
        ],
    }


def _tsv(rows: list[list[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(
        stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar=None, quotechar=None
    )
    writer.writerows([[_cell(v) for v in row] for row in rows])
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return re.sub(r"[\t\r\n]+", " ", str(value))
