"""The group level: tables a statistician can read straight away, and a page to look at."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.group.collect import MEASURES, PRIMARY, STAGES, Collection, collect
from bids_app.group.participants import choose_group_column
from bids_app.report.group import write_group_page
from bids_app.report.index import write_index

LONG = ("participant_id", "session_id", "recipe", "region", "measure", "value", "unit", "qc")
WIDE = ("participant_id", "session_id", "outliers")
ATTRITION = ("participant_id", "session_id", "state", "reached", "reason", "exit_code", "seconds")
DEFINITIONS = {
    "soft_volume": "Calibrated probability, integrated over the prediction grid in and around the region's main "
    "piece, in the participant's own space; no threshold.",
    "soft_volume_low": "Lower end of the interval that holds 95 % of repeated scans of the same brain.",
    "soft_volume_high": "Upper end of the interval that holds 95 % of repeated scans of the same brain.",
    "hard_volume": "Voxels of the prediction grid, in the region's main piece, at or above the bundle's threshold.",
    "centre_x": "Centre of mass, to the right, in the reference image's world.",
    "centre_y": "Centre of mass, to the front, in the reference image's world.",
    "centre_z": "Centre of mass, upwards, in the reference image's world.",
    "mask_volume": "Volume of the brain mask; an estimate of brain size, not of the intracranial volume.",
}
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that measured the region; n/a for what is measured in every session.",
    "region": "Name of the region in the recipe.",
    "measure": "What was measured.",
    "value": "The number, in the unit of the column unit; n/a where the region was not found.",
    "unit": "Unit of the value.",
    "qc": "ok; outlier (modified z-score of the soft volume above 3.5 over all sessions, from 5 on); or not found.",
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
    """Header and one row per session that has numbers; columns ``recipe_region_measure``."""
    columns = list(dict.fromkeys(wide_name(v.recipe, v.region, v.measure) for v in found.values))
    names = merged_names(found, [*WIDE, *columns])
    rows: list[list[Any]] = [[*WIDE, *columns, *names.values()]]
    by_key: dict[str, dict[str, Any]] = {}
    for v in found.values:
        row = by_key.setdefault(v.key, {"participant_id": v.participant_id, "session_id": v.session_id, "outliers": 0})
        row[wide_name(v.recipe, v.region, v.measure)] = v.value
        row["outliers"] += v.measure == PRIMARY and "outlier" in v.qc
    for row in by_key.values():
        person = found.participants.rows.get(row["participant_id"], {})
        rows.append([*(row.get(c) for c in (*WIDE, *columns)), *(person.get(c, "n/a") for c in names)])
    return rows


def attrition_table(found: Collection) -> list[list[Any]]:
    """Header and one row per session: how far it came, and why no further."""
    rows: list[list[Any]] = [list(ATTRITION)]
    for s in found.sessions:
        reached = STAGES[s.reached - 1] if s.reached else "listed only"
        rows.append([s.participant_id, s.session_id, s.state, reached, s.reason or None, s.exit_code, s.seconds])
    return rows


def wide_name(recipe: str, region: str, measure: str) -> str:
    """A column name of letters, digits and underscores."""
    parts = [recipe, region, measure] if recipe != "n/a" else [region, measure]
    return re.sub(r"[^0-9A-Za-z]+", "_", "_".join(parts)).strip("_").lower()


def dictionary(found: Collection, wide_header: list[str]) -> dict[str, Any]:
    """A BIDS data dictionary for the columns of both tables."""
    units = dict([*MEASURES.values(), ("mask_volume", "ml")])
    entries: dict[str, Any] = {name: {"Description": text} for name, text in COLUMNS.items()}
    entries["measure"]["Levels"] = DEFINITIONS
    for v in found.values:
        name = wide_name(v.recipe, v.region, v.measure)
        if name in wide_header and name not in entries:
            entries[name] = {
                "LongName": f"{v.region}: {v.measure.replace('_', ' ')}",
                "Description": DEFINITIONS[v.measure],
                "Units": units[v.measure],
            }
    for column in found.participants.columns:
        for table in (LONG, [*WIDE, *wide_header[len(WIDE) : -len(found.participants.columns)]]):
            entries.setdefault(
                merged_names(found, table)[column], {"Description": f"{column}, as in participants.tsv."}
            )
    return entries


def plain(found: Collection, column: str | None) -> dict[str, Any]:
    """What the page needs, as plain data."""
    rows = found.participants.rows
    pages = {s.key: s.page for s in found.sessions}
    return {
        "group_column": column,
        "warnings": found.warnings,
        "stages": [(name, sum(s.reached > i for s in found.sessions)) for i, name in enumerate(STAGES)],
        "listed": sum(s.reached == 0 for s in found.sessions),
        "sessions": [s.__dict__ for s in found.sessions],
        "values": [
            {
                **v.__dict__,
                "group": rows.get(v.participant_id, {}).get(column, "n/a") if column else "all",
                "page": pages.get(v.key, ""),
            }
            for v in found.values
            if v.measure == PRIMARY and v.value is not None
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
