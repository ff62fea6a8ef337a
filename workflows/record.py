"""The record of a session: everything its page, its methods text and the group level need to know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.bids.files import write_text
from bids_app.settings import Settings


def empty_record(settings: Settings, participant: str, session: str | None) -> dict[str, Any]:
    """A record with every field, before anything is known."""
    return {
        "participant": participant,
        "session": session,
        "key": f"sub-{participant}" + (f"_ses-{session}" if session else ""),
        "state": "running",
        "reason": None,
        "version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "selection": {"reference": None, "sequences": [], "lesion_mask": None},
        "preflight": [],
        "preprocessing": {},
        "predictions": [],
        "scores": [],
        "methods": {"paragraphs": [], "references": []},
        "provenance": {},
        "stages": [],
        "warnings": [],
        "crash": None,
        "files": {},
    }


def write_record(settings: Settings, record: dict[str, Any]) -> Path:
    """Write ``logs/<key>/record.json``, whole or not at all."""
    path = settings.output_dir / "logs" / record["key"] / "record.json"
    return write_text(path, json.dumps(record, indent=1, default=str) + "\n")
