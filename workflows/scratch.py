"""Work folders: of a run and of a session; what may be deleted in them, and when they are stale."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bids_app.bids.files import check_private, told_plainly, write_text
from bids_app.bids.lock import Busy, only_one
from workflows.seal import clear_damaged

GRAPH = "session_wf"
OWNER = "owner.lock"
YOUNG_SECONDS = 60.0  # a run that has just begun may not have its lock yet
MARKER = "made_by.txt"
FAILURE_FILE = "tandem-failure.json"


def lock_of(work: Path, key: str) -> Path:
    """Whoever has the lock on this file uses the session's work folder."""
    return work / "locks" / f"{key}.lock"


@contextlib.contextmanager
def run_folder(work: Path, kind: str) -> Iterator[Path]:
    """A folder for the graph of one run, deleted at its end; those that killed runs of this computer left go too.

    Raises:
        CannotWrite, IOFailure: the work folder cannot be written.
    """
    prefix = f"{kind}_{socket.gethostname()}_"
    with told_plainly(work):
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=work))
        old = folder.stat().st_mtime - YOUNG_SECONDS
        for left in work.glob(f"{glob.escape(prefix)}*"):
            # in use, or another run that has just begun was quicker
            with contextlib.suppress(Busy, FileNotFoundError):
                if left.stat().st_mtime < old:
                    with only_one(left / OWNER):
                        shutil.rmtree(left, ignore_errors=True)
    try:
        with only_one(folder / OWNER):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_work(work: Path) -> None:
    """Delete a session's work files, and nothing else: ``-w`` may name a folder with other things in it."""
    shutil.rmtree(work / GRAPH, ignore_errors=True)
    with contextlib.suppress(OSError):
        (work / MARKER).unlink(missing_ok=True)
        (work / FAILURE_FILE).unlink(missing_ok=True)
        work.rmdir()  # only when it is empty


def prepare_work(work: Path) -> list[str]:
    """Make the work folder, or take up the one that is there if the same code made it: nodes' results change shape.

    Returns:
        What of it is done again, and why.

    Raises:
        CannotWrite, IOFailure: the work folder cannot be written, or others can write into it.
    """
    code, marker, told = code_digest(), work / MARKER, []
    with told_plainly(work):
        if work.is_dir():
            check_private(work, inner=True)
        if (work / GRAPH).is_dir():
            if _made_by(marker) == code:
                told = clear_damaged(work / GRAPH)
            else:
                told = ["work files of another version of Tandem are thrown away; every stage is done again"]
                clear_work(work)
        work.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir(mode=0o700, exist_ok=True)
        check_private(work, inner=True)
    write_text(marker, code)
    return told


def close_pickles(folder: Path) -> None:
    """Let nobody else read or write what Nipype pickled below a folder."""
    for path in folder.rglob("*.pklz"):
        with contextlib.suppress(OSError):
            path.chmod(0o600)


def _made_by(marker: Path) -> str:
    try:
        return marker.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def code_digest() -> str:
    """Changes with any line of the program."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for package in ("bids_app", "workflows"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
