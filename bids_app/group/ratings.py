"""What people thought of sessions: the tables that session pages save, put into ``ratings/`` of the output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bids_app.bids.tables import read_table
from bids_app.text import TextError

#: From the best to the worst.
RATINGS = ("good", "usable", "bad")
FOLDER = "ratings"
COLUMNS = ("participant_id", "session_id", "recipe", "rating")

Key = tuple[str, str, str]  # participant_id, session_id, recipe


@dataclass(frozen=True)
class Rating:
    """One person's word on one recipe of one session."""

    rating: str
    comment: str


def read_ratings(output_dir: Path) -> tuple[dict[Key, Rating], list[str]]:
    """Every rating in ``ratings/*.tsv``; where several differ about one, the worst of them counts.

    Returns:
        Ratings by participant, session (``n/a`` without session folders) and recipe; and what was odd.
    """
    found: dict[Key, Rating] = {}
    told: list[str] = []
    for path in sorted((Path(output_dir) / FOLDER).glob("*.tsv")):
        try:
            table = read_table(path, "participant_id")
        except (OSError, TextError) as error:
            told.append(f"{FOLDER}/{path.name} cannot be read ({error}); its ratings are left out.")
            continue
        told += table.told + table.wrong
        if lacking := [name for name in COLUMNS if name not in table.columns]:
            told.append(f"{FOLDER}/{path.name} has no column {', '.join(lacking)} and was not used.")
            continue
        for row in table.rows:
            told += _take(found, row, path.name)
    return found, told


def _take(found: dict[Key, Rating], row: dict[str, str], name: str) -> list[str]:
    """Add one row; what is wrong with it."""
    key = (row["participant_id"], row["session_id"], row["recipe"])
    word = row["rating"].strip().lower()
    if word not in RATINGS:
        return [f"{FOLDER}/{name}: {row['rating']!r} is no rating ({', '.join(RATINGS)}); the row is left out."]
    mine = Rating(word, row.get("comment", "n/a"))
    before = found.get(key)
    if before is None or RATINGS.index(mine.rating) > RATINGS.index(before.rating):
        found[key] = mine
    if before is not None and before.rating != mine.rating:
        who = " ".join(part for part in key if part != "n/a")
        return [f"{who} is rated {before.rating} and {mine.rating}; the worse counts."]
    return []
