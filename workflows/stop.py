"""How a run ends when it is asked to: its processes end with it, and nothing is started any more."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from bids_app.errors import Stopped

#: What asks a run to stop: Ctrl-C, a job scheduler, a terminal that is closed.
ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How long a process may take to end by itself before it is killed; all it writes appears whole or not at all.
GRACE_SECONDS = 2.0
#: Tells a process which one started it.
PARENT = "TANDEM_PARENT"
LOOK_SECONDS = 0.05
MOMENT_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Stop:
    """The processes that this one started, and whether it was asked to stop.

    One object, `STOP`, for one process: signals know no other.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._running: set[int] = set()
        self._lock = threading.Lock()
        self._told_by_hand = False

    def check(self) -> None:
        """Raise where the run was asked to stop.

        Raises:
            Stopped: it was.
        """
        if self.number is not None:
            raise Stopped(self.number)

    def comes(self) -> int | None:
        """The signal that asked the run to stop, now or within `MOMENT_SECONDS`; None where none came.

        A signal to the whole group may end a process that was just starting before this one has heard of it.
        """
        ends = time.monotonic() + MOMENT_SECONDS
        while self.number is None and time.monotonic() < ends:
            time.sleep(LOOK_SECONDS)
        return self.number

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take over the signals that ask to stop; outside the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.number = None
        before = {number: signal.signal(number, self._asked) for number in ASKED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.number = None

    @contextlib.contextmanager
    def told_by_hand(self) -> Iterator[None]:
        """Inside, a signal is only noted, and whoever waits for processes looks at `check`.

        An exception out of nowhere would be swallowed by a node, or leave a process behind that was just started.
        """
        self._told_by_hand = True
        try:
            yield
        finally:
            self._told_by_hand = False
            self.check()

    def start(self, command: list[str], **how: Any) -> subprocess.Popen:
        """Start a process that ends when this one is asked to.

        Raises:
            Stopped: the run was asked to stop.
        """
        with self._lock:
            self.check()
            process = subprocess.Popen(command, **how)
            self._running.add(process.pid)
        return process

    def wait(self, process: subprocess.Popen) -> tuple[int, Any]:
        """Exit code (negative: the signal) and resource usage of a process, once it has ended."""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken: no other can be signalled
        with self._lock:
            self._running.discard(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage

    def _asked(self, number: int, frame: object) -> None:
        if self.number is None:
            self.number = number
            threading.Thread(target=self._end_all, daemon=True).start()
            if not self._told_by_hand:
                raise Stopped(number)

    def _end_all(self) -> None:
        """Ask every process to end, and kill those that do not within `GRACE_SECONDS`."""
        patience = time.monotonic() + GRACE_SECONDS
        asked: set[int] = set()
        while True:
            late = time.monotonic() > patience
            with self._lock:
                for pid in self._running if late else self._running - asked:
                    asked.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                if not self._running:  # and none can be started any more
                    return
            time.sleep(LOOK_SECONDS)


STOP = Stop()


def follow_parent() -> None:
    """For a process that a run started: end when its parent ends, whatever ends that, and leave Ctrl-C to the parent.

    Without a parent that says so, in a process that a person started, nothing is changed.
    """
    by_torchrun = str(os.getppid()) if "LOCAL_RANK" in os.environ else ""
    parent = os.environ.pop(PARENT, by_torchrun)
    if not parent.isdigit():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it; it outlives exec
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != int(parent):  # it ended before we could ask for that
        os._exit(Stopped.AGAIN)
