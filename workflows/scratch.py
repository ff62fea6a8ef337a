"""A session's work folder: what may be deleted in it, and when it is stale."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

GRAPH = "session_wf"
MARKER = "made_by.txt"
FAILURE_FILE = "tandem-failure.json"


def clear_work(work: Path) -> None:
    """Delete a session's work files, and nothing else: ``-w`` may name a folder with other things in it."""
    shutil.rmtree(work / GRAPH, ignore_errors=True)
    with contextlib.suppress(OSError):
        (work / MARKER).unlink(missing_ok=True)
        (work / FAILURE_FILE).unlink(missing_ok=True)
        work.rmdir()  # only when it is empty


def prepare_work(work: Path) -> None:
    """Make the work folder, or take up the one that is there if the same code made it: nodes' results change shape."""
    code = code_digest()
    marker = work / MARKER
    if (work / GRAPH).is_dir() and not (marker.is_file() and marker.read_text(encoding="utf-8") == code):
        clear_work(work)
    work.mkdir(parents=True, exist_ok=True)
    marker.write_text(code, encoding="utf-8")


def code_digest() -> str:
    """Changes with any line of the program."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for package in ("bids_app", "workflows"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
