"""sessions.tsv of every participant, as the participant level copies them beside participants.tsv."""

from __future__ import annotations

from pathlib import Path

from bids_app.bids.tables import match_labels, read_table, without_prefix
from bids_app.group.participants import (
    Participants,
    clean,
    column_dictionary,
    fit_to,
    level_names,
    read_participants,
)
from bids_app.text import TextError, is_missing


def read_people(output_dir: Path, identities: list[tuple[str, str]]) -> Participants:
    """participants.tsv and every sessions.tsv, from the copies that the participant level leaves.

    Args:
        identities: participant_id and session_id of the sessions that are asked of.
    """
    copies = [output_dir / "participants.tsv", output_dir / "logs" / "participants.tsv"]
    found = read_participants(next((c for c in copies if c.is_file()), copies[0]))
    fit_to(found, [participant for participant, _ in identities])
    add_sessions(found, output_dir, identities)
    return found


def add_sessions(participants: Participants, output_dir: Path, keys: list[tuple[str, str]]) -> None:
    """Read the tables of the participants that were run, and put their columns beside those of participants.tsv.

    A value of a session goes before one of its participant in a column of the same name (age, say).

    Args:
        participants: gets ``sessions``, ``session_columns``, further ``columns`` and warnings.
        output_dir: the derivatives folder; the copies lie in ``logs``.
        keys: participant_id and session_id of every session.
    """
    by_person: dict[str, list[str]] = {}
    for person, session in keys:
        if session != "n/a":
            by_person.setdefault(person, []).append(session.removeprefix("ses-"))
    for person, labels in by_person.items():
        path = output_dir / "logs" / f"{person}_sessions.tsv"
        try:
            table = read_table(path, "session_id")
        except FileNotFoundError:
            continue
        except (OSError, TextError) as error:
            participants.warnings.append(f"{path.name} cannot be read ({error}); its columns are not known.")
            continue
        participants.warnings += table.told + table.wrong
        if "session_id" not in table.columns:
            participants.warnings.append(f"{path.name} has no column session_id and was not used.")
            continue
        _take(participants, person, labels, path, table.columns, table.rows)


def _take(
    participants: Participants, person: str, labels: list[str], path: Path, columns: list[str],
    rows: list[dict[str, str]],
) -> None:  # fmt: skip
    levels = level_names(path.with_suffix(".json"))
    given = [without_prefix(row.get("session_id", ""), "ses-") for row in rows]
    matches = match_labels([label for label in given if not is_missing(label)], labels, "ses-", path.name)
    participants.warnings += matches.told
    for label, row in zip(given, rows, strict=True):
        if is_missing(label):
            continue
        key = (person, f"ses-{matches.folder.get(label, label)}")
        if key in participants.sessions:
            participants.warnings.append(f"{path.name} lists {key[1]} more than once; its first row was used.")
            continue
        cells = {name: clean(value, levels.get(name, ())) for name, value in row.items() if name != "session_id"}
        participants.sessions[key] = cells
    own = [name for name in columns if name != "session_id"]
    participants.session_columns += [name for name in own if name not in participants.session_columns]
    participants.columns += [name for name in own if name not in participants.columns]
    for name, about in column_dictionary(path.with_suffix(".json")).items():
        participants.dictionary.setdefault(name, about)
