"""One session in this process, if no other run is working on it; and how it ends when it is asked to."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from bids_app.bids.files import remove_own_unfinished, remove_unfinished
from bids_app.bids.lock import Busy, beating, is_beating, only_one
from bids_app.bids.naming import session_key
from bids_app.bids.status import describe_holder, log_of, read_status, start_status, write_status
from bids_app.errors import Stopped, TandemError
from bids_app.settings import Settings
from workflows.run_session import run_session
from workflows.scratch import lock_of
from workflows.stop import ASKED

#: A process that was just killed needs a moment to be gone.
WAIT_SECONDS = 15.0


def run_alone(
    settings: Settings, participant: str, session: str | None, *, threads: int, wait: float = WAIT_SECONDS
) -> int:
    """`run_session`, refused where another run has this session or its work folder; returns the exit code."""
    key, out = session_key(participant, session), settings.output_dir
    log = log_of(out, key)
    try:
        with only_one(log, wait=wait):
            check_other_hosts(out, key)
            for folder in _folders(out, participant, session):
                remove_unfinished(folder)
            with beating(log), ending_when_asked(out, participant, session):
                return _in_own_work(settings, participant, session, threads, wait)
    except Busy:
        print(f"tandem: {key}: {describe_holder(read_status(out, key))}", flush=True)
        return Busy.exit_code


def _in_own_work(settings: Settings, participant: str, session: str | None, threads: int, wait: float) -> int:
    """A work folder may be shared by runs into several output folders."""
    key = session_key(participant, session)
    try:
        with only_one(lock_of(settings.work, key), wait=wait):
            return run_session(settings, participant, session, threads=threads)
    except Busy:
        reason = (
            f"another run, into another output folder, is using the work folder {settings.work / key}; "
            f"wait for that, or name another folder with -w"
        )
        print(f"tandem: {key}: {reason}", flush=True)
        status = start_status(participant, session).finish("failed", reason, Busy.exit_code)
        write_status(settings.output_dir, status)
        return Busy.exit_code


def check_other_hosts(output_dir: Path, key: str) -> None:
    """Not every network drive shows a lock to other computers: one that says it is running is watched for a while.

    Raises:
        Busy: it is running.
    """
    status = read_status(output_dir, key)
    foreign = status is not None and status.state == "running" and status.host not in ("", socket.gethostname())
    if foreign and is_beating(log_of(output_dir, key)):
        raise Busy(describe_holder(status))


@contextlib.contextmanager
def ending_when_asked(output_dir: Path, participant: str, session: str | None) -> Iterator[None]:
    """A signal that asks to stop ends the process at once, with nothing half written left and the reason in its status.

    The nodes of a graph would swallow an exception.
    """

    def asked(number: int, frame: object) -> None:
        stopped, key = Stopped(number), session_key(participant, session)
        with contextlib.suppress(TandemError, OSError, RuntimeError):  # what was interrupted may be in the way
            status = read_status(output_dir, key)
            if status and status.pid == os.getpid() and status.state == "running":
                write_status(output_dir, status.finish("failed", str(stopped), stopped.exit_code))
            for folder in _folders(output_dir, participant, session):
                remove_own_unfinished(folder)
            sys.stdout.flush()
        os._exit(stopped.exit_code)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in ASKED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, asked) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _folders(output_dir: Path, participant: str, session: str | None) -> list[Path]:
    """Where a session writes, but for its page."""
    home = output_dir / f"sub-{participant}"
    own = [home / f"ses-{session}"] if session else [home / "anat", home / "dwi"]
    return [*own, output_dir / "logs" / session_key(participant, session)]
