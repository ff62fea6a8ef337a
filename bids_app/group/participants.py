"""participants.tsv as people make it: with a byte order mark, in Latin-1, without the prefix, with repeated rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bids_app.bids.tables import read_rows

MISSING = {"", "n/a", "na", "nan", "none", "null"}
#: looked for in this order when no group column is given
GROUP_COLUMNS = ("group", "diagnosis", "dx", "sex", "gender")


@dataclass
class Participants:
    """``rows`` by participant_id (``sub-01``), the other ``columns`` in their order, and what was odd."""

    columns: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_participants(path: Path) -> Participants:
    """Read a participants table; an absent or unusable one gives an empty result with a warning, never an error.

    The values stay text: ``n/a`` where one is missing. A file that is not UTF-8 is read as Latin-1.
    """
    found = Participants()
    try:
        header, rows, found.warnings = read_rows(path)
    except FileNotFoundError:
        found.warnings.append("There is no participants.tsv in the output folder, so there are no groups to compare.")
        return found
    except OSError as error:
        found.warnings.append(f"participants.tsv cannot be read ({error.strerror}).")
        return found
    if "participant_id" not in header:
        found.warnings.append("participants.tsv has no column participant_id and was not used.")
        return found
    found.columns = [c for c in header if c != "participant_id"]
    for row in rows:
        identity = row.pop("participant_id").strip()
        if not identity:
            continue
        identity = identity if identity.startswith("sub-") else f"sub-{identity}"
        if identity in found.rows:
            found.warnings.append(f"participants.tsv lists {identity} more than once; its first row was used.")
            continue
        found.rows[identity] = {k: clean(v) for k, v in row.items()}
    return found


def clean(value: str | None) -> str:
    """A value without surrounding blanks; ``n/a`` for each way of writing that it is missing."""
    value = (value or "").strip()
    return "n/a" if value.lower() in MISSING else value


def choose_group_column(participants: Participants, asked: str | None) -> tuple[str | None, str]:
    """The column to group by, and a sentence where the one asked for is not there."""
    if asked:
        if asked in participants.columns:
            return asked, ""
        known = ", ".join(participants.columns) or "none"
        absent = f"The group column {asked!r} is not in participants.tsv (its columns: {known})"
        return None, f"{absent}; sessions are shown as one group."
    by_lower = {c.lower(): c for c in reversed(participants.columns)}
    return next((by_lower[name] for name in GROUP_COLUMNS if name in by_lower), None), ""
