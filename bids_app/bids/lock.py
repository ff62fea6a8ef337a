"""One run at a time works on a session. The kernel gives the lock up when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bids_app.bids.files import told_plainly
from bids_app.errors import TemporaryFailure

LOOK_SECONDS = 0.1
#: How often a holder shows on a drive whose locks other computers do not see that it is still there.
BEAT_SECONDS = 5.0
#: After so long without a sign a holder on another computer is taken for dead; no step holds Python up for longer.
SILENCE_SECONDS = 30.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


class Busy(TemporaryFailure):
    """Another run has it."""


@contextlib.contextmanager
def only_one(path: Path, *, wait: float = 0.0, inherited: bool = False) -> Iterator[None]:
    """Hold a lock on a file, which is made where it is absent and stays where it is.

    Args:
        path: the file; folders are made.
        wait: seconds to wait for another holder: one that was just killed takes a moment to be gone.
        inherited: a program that this process turns into (``exec``) holds the lock on.

    Raises:
        Busy: another process has it.
        CannotWrite, IOFailure: the file cannot be made.
    """
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.set_inheritable(handle, inherited)
        _take(handle, path, wait)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:  # a drive without locks: what is running is then known by its status alone
                return
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                raise
            if time.monotonic() > until:
                raise Busy(f"{path} is in use by another run") from error
        else:
            return
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    """Touch a file every `BEAT_SECONDS` for those who cannot see its lock."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_beating(path: Path, *, silence: float = SILENCE_SECONDS) -> bool:
    """Whether somebody touches a file; takes up to ``silence`` seconds to say no. Compares no two clocks."""
    until = time.monotonic() + silence
    first = _touched(path)
    while time.monotonic() < until:
        if _touched(path) != first:
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _touched(path: Path) -> int:
    """Opened first: a network drive asks its server then."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
