"""participants.tsv as people make it: without the prefix, with repeated rows, with labels of another spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_app.bids.tables import match_labels, read_table, without_prefix
from bids_app.text import TextError, is_missing, read_json, stripped

#: looked for in this order when no group column is given
GROUP_COLUMNS = ("group", "diagnosis", "dx", "sex", "gender")


@dataclass
class Participants:
    """``rows`` by participant_id (``sub-01``), the other ``columns`` in their order, and what was odd.

    ``dictionary``: what the JSON beside the table says of each column (Description, Units, Levels and so on).
    ``sessions``: cells of sessions.tsv by participant_id and session_id; ``session_columns``: the columns that it has.
    """

    columns: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    dictionary: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    session_columns: list[str] = field(default_factory=list)

    def value(self, person: str, session: str, column: str) -> str:
        """A session's value of a column, else its participant's; ``n/a`` where neither is known."""
        own = self.sessions.get((person, session), {}).get(column, "n/a")
        return own if own != "n/a" else self.rows.get(person, {}).get(column, "n/a")


def read_participants(path: Path) -> Participants:
    """Read a participants table; an absent or unusable one gives an empty result with a warning, never an error.

    The values stay text: ``n/a`` where one is missing (`bids_app.text.MISSING`), but for words that the JSON beside
    the table names as levels of their column.
    """
    found = Participants()
    try:
        table = read_table(path, "participant_id")
    except FileNotFoundError:
        found.warnings.append("There is no participants.tsv in the output folder, so there are no groups to compare.")
        return found
    except OSError as error:
        found.warnings.append(f"participants.tsv cannot be read ({error.strerror}).")
        return found
    except TextError as error:
        found.warnings.append(f"{error}; there are no groups to compare.")
        return found
    found.warnings = table.told + table.wrong
    if "participant_id" not in table.columns:
        found.warnings.append("participants.tsv has no column participant_id and was not used.")
        return found
    found.columns = [c for c in table.columns if c != "participant_id"]
    found.dictionary = column_dictionary(path.with_suffix(".json"))
    levels = level_names(path.with_suffix(".json"))
    for row in table.rows:
        label = without_prefix(row.pop("participant_id"), "sub-")
        if is_missing(label):
            continue
        identity = f"sub-{label}"
        if identity in found.rows:
            found.warnings.append(f"participants.tsv lists {identity} more than once; its first row was used.")
            continue
        found.rows[identity] = {name: clean(value, levels.get(name, ())) for name, value in row.items()}
    return found


def fit_to(participants: Participants, identities: list[str]) -> None:
    """Give rows the identities of the sessions where they differ by zeros, case or signs alone; adds a warning."""
    labels = [identity.removeprefix("sub-") for identity in dict.fromkeys(identities)]
    given = [identity.removeprefix("sub-") for identity in participants.rows]
    matches = match_labels(given, labels, "sub-", "participants.tsv")
    participants.warnings += matches.told
    participants.rows = {
        f"sub-{matches.folder.get(label, label)}": row
        for label, row in zip(given, participants.rows.values(), strict=True)
    }


def column_dictionary(path: Path) -> dict[str, dict[str, Any]]:
    """What the JSON beside a table says of each column; empty where there is no such file to use."""
    try:
        content, _ = read_json(path)
    except (OSError, TextError):
        return {}
    columns = content.items() if isinstance(content, dict) else ()
    return {name: about for name, about in columns if isinstance(about, dict)}


def level_names(path: Path) -> dict[str, tuple[str, ...]]:
    """The values that the JSON beside a table names, by column; empty where there is no such file to use."""
    try:
        content, _ = read_json(path)
    except (OSError, TextError):
        return {}
    columns = content.items() if isinstance(content, dict) else ()
    return {
        name: tuple(map(str, about["Levels"]))
        for name, about in columns
        if isinstance(about, dict) and isinstance(about.get("Levels"), dict | list)
    }


def clean(value: str | None, levels: tuple[str, ...] = ()) -> str:
    """A value without surrounding blanks; ``n/a`` for each way of writing that it is missing, but for known levels."""
    value = stripped(value or "")
    return "n/a" if value not in levels and is_missing(value) else value


def choose_group_column(participants: Participants, asked: str | None) -> tuple[str | None, str]:
    """The column to group by, and a sentence where the one asked for is not there."""
    if asked:
        if asked in participants.columns:
            return asked, ""
        known = ", ".join(participants.columns) or "none"
        return None, f"the group column {asked!r} is not in participants.tsv; its columns are: {known}"
    by_lower = {c.lower(): c for c in reversed(participants.columns)}
    return next((by_lower[name] for name in GROUP_COLUMNS if name in by_lower), None), ""
