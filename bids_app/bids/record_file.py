"""Reading and writing ``logs/<key>/record.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bids_app.bids.files import write_text
from bids_app.bids.record import FORMAT, SessionRecord, StageTime, empty_record
from bids_app.bids.record_old import converted
from bids_app.bids.status import Status, read_status, split_key
from bids_app.errors import DataError, InputMissing
from bids_app.text import read_json


def record_path(output_dir: Path, key: str) -> Path:
    return Path(output_dir) / "logs" / key / "record.json"


def session_keys(output_dir: Path) -> list[str]:
    """Keys of all sessions with a record or a status, sorted."""
    logs = Path(output_dir) / "logs"
    if not logs.is_dir():
        return []
    return sorted(d.name for d in logs.iterdir() if (d / "record.json").is_file() or (d / "status.json").is_file())


def read_record(output_dir: Path, key: str) -> SessionRecord | None:
    """The record of a session as it was written, of an earlier version too; None where there is none.

    Raises:
        DataError: it is damaged, nested too deep, of a later version, or has a field of another type; names the file.
    """
    path = record_path(output_dir, key)
    again = "run the participant level on this session again"
    try:
        plain, _ = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {again}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} must hold a JSON object, not a {type(plain).__name__}; {again}")
    if isinstance(plain.get("format"), int) and plain["format"] > FORMAT:
        raise DataError(f"{path} was written by a later version of Tandem ({plain.get('version')}); read it with that")
    try:
        return SessionRecord.model_validate(plain if "format" in plain else converted(plain, key))
    except (ValidationError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is no record of a session ({_first(error)}); {again}") from error


def read_session(output_dir: Path, key: str) -> SessionRecord:
    """The record of a session as it stands now: recipes that were running when their process ended have failed.

    A session that was killed may have left a status only, and a record that cannot be read is said to be so: the state
    is then ``unknown``, with the reason.

    Raises:
        InputMissing: there is neither record nor status.
    """
    status, participant_session = read_status(output_dir, key), split_key(key)
    try:
        record = read_record(output_dir, key)
    except DataError as error:
        record = empty_record(*participant_session)
        record.state, record.reason, record.key = "unknown", str(error), key
        return record
    if record is None and status is None:
        raise InputMissing(
            f"{Path(output_dir) / 'logs' / key} holds neither record.json nor status.json; run the participant level "
            f"on {key} first"
        )
    record = record or empty_record(*participant_session)
    return _brought_up_to_date(record, status) if status else record


def _brought_up_to_date(record: SessionRecord, status: Status) -> SessionRecord:
    """The status is written last, so it is right where the two differ (a session killed before its record)."""
    if status.state != "unknown" or record.state == "running":
        record.state, record.reason = status.state, status.reason or record.reason
    record.warnings = list(dict.fromkeys([*record.warnings, *status.warnings]))
    for name in ("exit_code", "seconds", "peak_rss_mb"):
        if getattr(record, name) is None:
            setattr(record, name, getattr(status, name))
    if not record.stages:
        record.stages = [StageTime(name=name, **entry) for name, entry in status.stages.items()]
    if record.state != "running":
        for part in record.recipes.values():
            if part.state == "running":
                part.fail(record.reason or "its run ended without a word", status.exit_code or 75, record.crash)
    return record


def write_record(output_dir: Path, record: SessionRecord) -> Path:
    """Write ``logs/<key>/record.json``, whole or not at all.

    Raises:
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    text = json.dumps(record.model_dump(mode="json", exclude_defaults=True) | {"format": FORMAT}, indent=1)
    return write_text(record_path(output_dir, record.key), text + "\n")


def _first(error: Exception) -> str:
    """The first field that is wrong, and what was given."""
    if not isinstance(error, ValidationError):
        return str(error)
    trouble = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in trouble["loc"])
    given = trouble["input"]
    shown = "" if isinstance(given, Mapping | list) else f", not {str(given)[:60]!r}"
    return f"{where}: {trouble['msg'][:1].lower()}{trouble['msg'][1:]}{shown}"
