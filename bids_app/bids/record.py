"""What finished, failed and running sessions left in the output folder. Reads nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_app import text
from bids_app.errors import InputMissing


def session_keys(output_dir: Path) -> list[str]:
    """Keys of all sessions with a record or a status, sorted."""
    logs = output_dir / "logs"
    if not logs.is_dir():
        return []
    return sorted(d.name for d in logs.iterdir() if (d / "record.json").is_file() or (d / "status.json").is_file())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where the file is absent, half written or something else."""
    try:
        value, _ = text.read_json(path)
    except (OSError, text.TextError):
        return None
    return value if isinstance(value, dict) else None


def read_session(output_dir: Path, key: str) -> dict[str, Any]:
    """The record of a session, completed from its status: state, reason, exit code, times.

    A session that was killed may have left a status only; what is missing is then absent from the result.

    Raises:
        InputMissing: neither file is there.
    """
    folder = output_dir / "logs" / key
    record, status = read_json(folder / "record.json"), read_json(folder / "status.json")
    if record is None and status is None:
        raise InputMissing(
            f"{folder} holds neither record.json nor status.json; run the participant level on {key} first"
        )
    record = dict(record or {})
    status = status or {}
    participant, _, session = key.partition("_")
    record.setdefault("key", key)
    record.setdefault("participant", participant.removeprefix("sub-"))
    record.setdefault("session", session.removeprefix("ses-") or None)
    # the status is written last, so it is right where the two differ (a session killed after its record)
    record["state"] = str(status.get("state") or record.get("state") or "unknown")
    record["reason"] = status.get("reason") or record.get("reason") or ""
    record["warnings"] = list(dict.fromkeys([*(record.get("warnings") or []), *(status.get("warnings") or [])]))
    for name in ("exit_code", "started", "finished", "seconds", "peak_rss_mb"):
        if status.get(name) is not None:
            record.setdefault(name, status[name])
    if not record.get("stages"):
        record["stages"] = [{"name": name, **(entry or {})} for name, entry in (status.get("stages") or {}).items()]
    return record
