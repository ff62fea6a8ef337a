"""The group level: tables a statistician can read straight away, answers, and a page to look at."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.bids.files import write_bytes, write_text
from bids_app.errors import DataError
from bids_app.group.answers import Answers, answer
from bids_app.group.collect import STAGES, Collection, collect
from bids_app.group.design import MOST_LEVELS
from bids_app.group.names import DEFINITIONS, UNITS, column_name
from bids_app.group.participants import choose_group_column
from bids_app.group.plan import GroupPlan
from bids_app.group.results import explained
from bids_app.group.segmentation import answer_segmentation
from bids_app.group.tsv import tsv, write_tsv
from bids_app.group.volumes import BAD, LONG, PRIMARY, wide_frame
from bids_app.report.group import write_group_page
from bids_app.report.index import write_index

SHOWN = tuple(name for name in LONG if name != "key")
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


def write_group(output_dir: Path, plan: GroupPlan | None = None) -> list[Path]:
    """Write the tables of `bids_app.group` and ``group.html`` from what the participant level left in a folder.

    Everything is computed before anything is written.

    Args:
        output_dir: the derivatives folder; nothing outside it is read but what the plan names.
        plan: what is asked; without a group column the page shows the first of group, diagnosis, dx, sex, gender.

    Returns:
        The files written.

    Raises:
        InputMissing: no session has been run in the folder.
        DataError: sessions of several versions or bundles; a column, level or contrast that cannot be used.
        CannotWrite: a file cannot be written.
    """
    output_dir, plan = Path(output_dir), plan or GroupPlan()
    found = collect(output_dir)
    _check_makers(found, plan)
    column, warning = choose_group_column(found.participants, plan.group)
    if warning:
        raise DataError(warning)
    wide = merged(found, wide_frame(found.long))
    answers = answer(found, wide, plan)
    answer_segmentation(found, output_dir, plan, answers)
    found.warnings += answers.warnings
    long = merged_long(found)
    texts: dict[str, str] = {
        "group_volumes_wide.tsv": tsv(wide),
        "group_volumes.json": _json(dictionary(found, list(wide.columns))),
        "group_attrition.tsv": tsv(attrition_table(found)),
        **{name: tsv(table) for name, table in answers.tables.items()},
        **{name: _json(content) for name, content in answers.dictionaries.items()},
    }
    page = plain(found, column, answers, plan)
    writers: list[Callable[[], Path]] = [lambda: write_tsv(output_dir / "group_volumes.tsv", long)]
    written = [write() for write in writers]
    written += [write_text(output_dir / name, text) for name, text in texts.items()]
    written += [write_bytes(output_dir / name, packed(image)) for name, image in answers.images.items()]
    written += [write_bytes(output_dir / name, content) for name, content in answers.binaries.items()]
    for write_session in answers.later:
        written += write_session(output_dir)
    return [*written, write_group_page(output_dir, page), write_index(output_dir, found.listing)]


def _check_makers(found: Collection, plan: GroupPlan) -> None:
    if not found.made_by:
        return
    what = "; ".join(f"{name}: {', '.join(values)}" for name, values in found.made_by.items())
    if not plan.allow_mixed:
        raise DataError(
            f"sessions of this folder were made in different ways ({what}), so their numbers cannot be compared; run "
            "the older ones again, or say --allow-mixed"
        )
    found.warnings.append(f"Sessions were made in different ways, and are taken together as asked ({what}).")


def merged_names(found: Collection, taken: tuple[str, ...] | list[str]) -> dict[str, str]:
    """participants.tsv's columns -> their names in a table, told apart from the table's own."""
    return {c: f"participants_{c}" if c in taken else c for c in found.participants.columns}


def _people(found: Collection, table: pd.DataFrame, taken: tuple[str, ...] | list[str]) -> pd.DataFrame:
    """Columns of participants.tsv and sessions.tsv for each row of a table, as categories, None where not known."""
    known = found.participants
    person, session = (pd.Categorical(table[name]) for name in ("participant_id", "session_id"))
    number = person.codes.astype(np.int64) * max(len(session.categories), 1) + session.codes
    places, distinct = pd.factorize(number)
    pairs = [divmod(int(one), max(len(session.categories), 1)) for one in distinct]
    named = [(str(person.categories[p]), str(session.categories[s])) for p, s in pairs]
    columns: dict[str, Any] = {}
    for name, shown in merged_names(found, taken).items():
        cells = [known.value(*one, name) for one in named]
        own = pd.Categorical([None if cell == "n/a" else cell for cell in cells])
        codes = own.codes[places] if len(cells) else np.zeros(0, int)
        columns[shown] = pd.Categorical.from_codes(codes, own.categories)
    return pd.DataFrame(columns, index=table.index)


def merged_long(found: Collection) -> pd.DataFrame:
    """One row per number, with participants.tsv's columns."""
    long = found.long[list(SHOWN)]
    return pd.concat([long, _people(found, long, SHOWN)], axis=1)


def merged(found: Collection, wide: pd.DataFrame) -> pd.DataFrame:
    """One row per session, with participants.tsv's columns."""
    return pd.concat([wide, _people(found, wide, list(wide.columns))], axis=1)


def attrition_table(found: Collection) -> pd.DataFrame:
    """One row per session and recipe: how far it came, and why no further."""
    rows = []
    for s in found.sessions:
        reached = STAGES[s.reached - 1] if s.reached else "listed only"
        code = None if s.exit_code is None else str(s.exit_code)
        identity = [s.participant_id, s.session_id, s.recipe]
        rows.append([*identity, s.state, reached, s.reason, code, s.seconds, s.rating, s.comment, s.warnings])
    table = pd.DataFrame(rows, columns=list(ATTRITION))
    return table.assign(seconds=pd.to_numeric(table["seconds"]))


def dictionary(found: Collection, wide_header: list[str]) -> dict[str, Any]:
    """A BIDS data dictionary for the columns of both tables."""
    entries = explained(COLUMNS)
    entries["measure"]["Levels"] = DEFINITIONS
    for recipe, region, measure in (
        found.long[["recipe", "region", "measure"]].drop_duplicates().itertuples(index=False)
    ):
        name = column_name(recipe, region, measure)
        if name in wide_header and name not in entries:
            entries[name] = {
                "LongName": f"{region}: {measure.removesuffix(f'_{UNITS[measure]}').replace('_', ' ')}",
                "Description": DEFINITIONS[measure],
                "Units": UNITS[measure],
            }
    known = found.participants
    own = wide_header[: len(wide_header) - len(known.columns)]
    for column in found.participants.columns:
        source = "sessions" if column in known.session_columns else "participants"
        for table in (SHOWN, own):
            told = {
                "Description": f"{column}, as in {source}.tsv.",
                **found.participants.dictionary.get(column, {}),
            }
            entries.setdefault(merged_names(found, table)[column], told)
    return entries


def plain(found: Collection, column: str | None, answers: Answers, plan: GroupPlan) -> dict[str, Any]:
    """What the page needs, as plain data."""
    pages = {s.key: s.page for s in found.sessions}
    shown = found.long[(found.long["measure"] == PRIMARY) & found.long["value"].notna() & (found.long["qc"] != BAD)]
    values = shown.astype({name: object for name in LONG if name != "value"}).to_dict("records")
    known = found.participants
    for v in values:
        v["group"] = known.value(v["participant_id"], v["session_id"], column) if column else "all"
        v["page"] = pages.get(v["key"], "")
    return {
        "group_column": column,
        "warnings": found.warnings,
        "stages": [(name, len({s.key for s in found.sessions if s.reached > i})) for i, name in enumerate(STAGES)],
        "people": len({s.participant_id for s in found.sessions if s.reached}),
        "listed": sum(s.reached == 0 for s in found.sessions),
        "sessions": [s.__dict__ for s in found.sessions],
        "values": values,
        "answers": answers.shown,
        "methods": answers.methods,
        "filters": _filters(found, column, plan),
    }


def _filters(found: Collection, column: str | None, plan: GroupPlan) -> dict[str, dict[str, str]]:
    """What the page can be filtered by: group, site and sex, where there are two values or more; by participant."""
    rows, by_lower = found.participants.rows, {c.lower(): c for c in reversed(found.participants.columns)}
    names = [column, plan.site or by_lower.get("site"), by_lower.get("sex") or by_lower.get("gender")]
    people = {s.participant_id for s in found.sessions if s.reached}
    filters = {}
    for name in dict.fromkeys(one for one in names if one):
        values = {person: rows[person].get(name, "n/a") for person in people if person in rows}
        if 2 <= len(set(values.values())) <= MOST_LEVELS:
            filters[name] = values
    return filters


def packed(image: Any) -> bytes:
    """A NIfTI image as the bytes of a compressed file, the same on every run."""
    return gzip.compress(image.to_bytes(), mtime=0)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
