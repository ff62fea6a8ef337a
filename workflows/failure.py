"""How a session ends when it does not end well: the same record, page and status as any other."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from pathlib import Path
from tempfile import gettempdir

from bids_app import __version__
from bids_app.bids.files import full_disk, system_error
from bids_app.bids.naming import session_key
from bids_app.bids.record_file import read_session, write_record
from bids_app.bids.status import Status, describe_death, read_status, signal_behind, write_status
from bids_app.errors import CannotWrite, IOFailure, Stopped, TandemError, TemporaryFailure
from bids_app.settings import Settings
from workflows.scratch import FAILURE_FILE

#: Python's own error bears no text.
NO_MEMORY = "there was not enough memory; give the session more (--mem), run fewer side by side, or use --low-mem"

#: Names of folders whose disk may be full.
WORK, OUTPUT = "the work folder (-w names another)", "the output folder"
TEMPORARY = "the folder for temporary files (TMPDIR names another)"


def note_failure(folder: Path, error: BaseException) -> None:
    """Leave in a node's folder what went wrong: Nipype keeps only text of an exception, we need its exit code."""
    code = error.exit_code if isinstance(error, TandemError) else TandemError.exit_code
    folder.mkdir(parents=True, exist_ok=True)
    text = str(error) if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        code, text = TemporaryFailure.exit_code, NO_MEMORY
    if isinstance(error, OSError) and (full := full_disk(error, {WORK: folder, TEMPORARY: Path(gettempdir())})):
        code, text = full.exit_code, str(full)
    with contextlib.suppress(OSError):  # no space left even for this: the exception itself goes on to the caller
        (folder / FAILURE_FILE).write_text(json.dumps({"reason": text, "exit_code": code}))


def find_failure(work: Path) -> tuple[str, int] | None:
    """Reason and exit code of the newest failure noted under a work folder."""
    notes = sorted(work.rglob(FAILURE_FILE), key=lambda path: path.stat().st_mtime)
    if not notes:
        return None
    try:
        note = json.loads(notes[-1].read_text())
    except (OSError, ValueError):
        return None
    return note["reason"], note["exit_code"]


def failure_of(error: BaseException) -> TandemError | None:
    """What of the operating system is behind an error of Nipype's, which hands on only its text; None for a defect."""
    cause: BaseException | None = error
    text = ""
    while cause is not None:
        text = f"{cause}\n{text}"
        if isinstance(cause, OSError) and isinstance(told := system_error(cause), CannotWrite | IOFailure):
            return told
        cause = cause.__cause__ or cause.__context__
    numbered = re.findall(r"\[Errno (\d+)\] [^:\n]*(?:: '([^'\n]*)')?", text)
    if numbered:
        number, name = numbered[-1]
        behind = system_error(OSError(int(number), os.strerror(int(number)), name or None))
        return behind if isinstance(behind, CannotWrite | IOFailure) else None
    named = re.findall(r"bids_app\.errors\.(CannotWrite|IOFailure): ([^\n]*)", text)
    return {"CannotWrite": CannotWrite, "IOFailure": IOFailure}[named[-1][0]](named[-1][1]) if named else None


def forget_failures(work: Path, logs: Path) -> None:
    """Delete notes and crash files of an earlier run, so that they are not taken for this one's."""
    for path in [*work.rglob(FAILURE_FILE), *logs.glob("crash-*")]:
        path.unlink(missing_ok=True)


def record_death(
    settings: Settings,
    participant: str,
    session: str | None,
    code: int,
    *,
    peak_mb: float,
    limit_gb: float,
    started: float,
) -> None:
    """Status, record and page of a session whose process was ended from outside.

    An interrupt before the session could note it itself counts as one that it noted: 130; any other end is 75.
    """
    key = session_key(participant, session)
    before = read_status(settings.output_dir, key)
    reason = describe_death(code, peak_mb=peak_mb, limit_gb=limit_gb)
    reached = list(before.stages) if before else []
    if reached:
        reason += f"; the last stage it finished was {reached[-1]}"
    status = Status(participant, session, started=started, version=__version__)
    if before is not None:
        status.inputs, status.outputs, status.stages = before.inputs, before.outputs, before.stages
    ended = Stopped(signal_behind(code) or signal.SIGTERM).exit_code
    status.finish("failed", reason, ended, peak_rss_mb=peak_mb)
    write_status(settings.output_dir, status)
    record = read_session(settings.output_dir, key)  # recipes that were finished stay so
    record.crash = _tail(settings.output_dir / "logs" / key / "session.log")
    record.exit_code = ended
    for part in record.recipes.values():
        if part.state == "failed" and part.reason == reason:
            part.crash = record.crash
    write_record(settings.output_dir, record)
    write_page(settings, key)


def write_page(settings: Settings, key: str) -> str | None:
    """The session's page; returns what went wrong with it, for the page must not fail the session."""
    from bids_app.report.session import write_session_report

    try:
        write_session_report(settings.output_dir, key)
    except Exception as error:
        return f"the report could not be written: {type(error).__name__}: {error}"
    return None


def _tail(log: Path, lines: int = 40) -> str | None:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or None
    except OSError:
        return None
