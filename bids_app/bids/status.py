"""How a session stands: ``logs/<key>/status.json``, written whole each time and readable whatever happened to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bids_app.bids.digest import sha256_of
from bids_app.bids.files import write_text
from bids_app.bids.naming import session_key
from bids_app.text import read_json

if TYPE_CHECKING:
    from bids_app.bids.record import State

STATES = ("running", "done", "failed", "unknown")
_NUMBERS = ("exit_code", "started", "finished", "seconds", "peak_rss_mb", "pid", "pid_started")
KILLED, OUT_OF_TIME = int(signal.SIGKILL), int(signal.SIGXCPU)


@dataclass
class Status:
    """One session's state, and what it needs to be resumed, trusted or explained."""

    participant: str
    session: str | None = None
    state: State = "running"
    reason: str = ""
    exit_code: int | None = None
    started: float | None = None  # seconds since 1970
    finished: float | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    pid: int | None = None
    pid_started: int | None = None  # clock ticks since boot: tells a process from a later one with its number
    host: str = ""
    version: str = ""
    settings_hash: str = ""
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    inputs: dict[str, dict[str, int]] = field(default_factory=dict)  # path: size and mtime_ns
    outputs: dict[str, str] = field(default_factory=dict)  # path relative to the output folder: sha256
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return session_key(self.participant, self.session)

    def finish(self, state: State, reason: str = "", exit_code: int = 0, **measured: Any) -> Status:
        """Close the record in place: ``done`` or ``failed``, with times counted from ``started``."""
        self.state, self.reason, self.exit_code, self.finished = state, reason, exit_code, time.time()
        self.seconds = self.finished - self.started if self.started else None
        for name, value in measured.items():
            setattr(self, name, value)
        return self


_FIELDS = {item.name for item in fields(Status)}


def start_status(participant: str, session: str | None = None, **known: Any) -> Status:
    """A ``running`` status of this very process, not yet written."""
    from bids_app import __version__

    mine = {"pid": os.getpid(), "pid_started": _process_start(os.getpid()), "host": socket.gethostname()}
    return Status(participant, session, version=__version__, **({"started": time.time()} | mine | known))


def status_path(output_dir: Path, key: str) -> Path:
    return Path(output_dir) / "logs" / key / "status.json"


def log_of(output_dir: Path, key: str) -> Path:
    """What a session says goes here; whoever has the lock on it works on the session."""
    return Path(output_dir) / "logs" / key / "session.log"


def write_status(output_dir: Path, status: Status) -> Path:
    """Write the status of a session so that a reader sees the old one or the new one, never half.

    Raises:
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    if status.state not in STATES:
        raise ValueError(f"{status.state!r} is no state; known are {', '.join(STATES)}")
    text = json.dumps({"key": status.key, **asdict(status)}, indent=1, default=_plain)
    return write_text(status_path(output_dir, status.key), text + "\n")


def read_status(output_dir: Path, key: str) -> Status | None:
    """The status of a session; None where there is none, ``unknown`` with the reason where it cannot be read.

    A session that says it is running, but whose process on this host is gone, comes back as ``failed``.
    """
    path = status_path(output_dir, key)
    try:
        plain, _ = read_json(path)
        status = _from_plain(plain, key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        participant, session = split_key(key)
        return Status(participant, session, state="unknown", reason=f"{path} cannot be read ({error}); run it again")
    if status.state == "running" and is_gone(status):
        status.state = "failed"
        status.exit_code = 75
        status.reason = "the process ended without a word (killed, or the machine went down); run it again"
    return status


def read_all(output_dir: Path) -> list[Status]:
    """Every session's status below an output folder, by key."""
    try:
        with os.scandir(Path(output_dir) / "logs") as found:  # `read_status` sees for itself whether there is one
            keys = sorted(entry.name for entry in found if entry.name.startswith("sub-"))
    except OSError:
        keys = []
    return [status for key in keys if (status := read_status(output_dir, key)) is not None]


class Finished(Protocol):
    """What is known of something that ran."""

    state: Any
    settings_hash: str
    inputs: dict[str, dict[str, int]]
    outputs: dict[str, str]


def is_current(
    finished: Finished | None,
    settings_hash: str,
    inputs: Mapping[str, Mapping[str, int]],
    output_dir: Path,
    *,
    checksums: bool = False,
) -> bool:
    """True when what is finished need not run again: same settings, same inputs, all of its outputs still there.

    Args:
        finished: a session, or one recipe's part of its record.
        inputs: as `bids_app.bids.digest.fingerprints` gives them.
        checksums: read every output again and compare; else only that it is there and not empty.
    """
    if finished is None or finished.state != "done" or finished.settings_hash != settings_hash:
        return False
    if {k: dict(v) for k, v in inputs.items()} != finished.inputs:
        return False
    return outputs_there(finished.outputs, output_dir, checksums=checksums)


def outputs_there(outputs: Mapping[str, str], output_dir: Path, *, checksums: bool = False) -> bool:
    """Whether all these files are below the output folder and not empty; with ``checksums`` also unchanged."""
    return all(_intact(Path(output_dir) / name, digest, checksums) for name, digest in outputs.items())


def is_gone(status: Status) -> bool:
    """True when the process of a running session is known to have ended; False on another host, where nobody knows."""
    if status.pid is None or status.host != socket.gethostname():
        return False
    start = _process_start(status.pid)
    return start is None or (status.pid_started is not None and start != status.pid_started)


def describe_holder(status: Status | None) -> str:
    """One sentence on a session that another run is working on."""
    if status is None or status.state != "running" or status.pid is None:
        return "another run is working on it; wait for that, then run the same command again"
    since = time.strftime("%d %B %H:%M:%S", time.localtime(status.started)) if status.started else "an unknown time"
    return (
        f"another run is working on it (process {status.pid} on {status.host}, since {since}); "
        f"wait for that or end it, then run the same command again"
    )


def describe_death(code: int, *, peak_mb: float | None = None, limit_gb: float | None = None) -> str:
    """One sentence on a process that did not end by itself.

    Args:
        code: as `subprocess` gives it (negative: the signal), or a shell's 128 + signal.
        peak_mb: the most memory it used, MB.
        limit_gb: what it was given, GB.
    """
    number = signal_behind(code)
    used = f"; used {peak_mb / 1024:.1f} GB" + (f" of {limit_gb:.1f} GB" if limit_gb else "") if peak_mb else ""
    if not number:
        return f"ended with exit code {code}{used}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(number).name
        causes = {
            KILLED: ", likely out of memory (give it more with --mem, or use --low-mem or fewer --nprocs)",
            int(signal.SIGTERM): ", asked to stop (a job scheduler's time limit, or a person)",
            int(signal.SIGINT): ", interrupted",
            int(signal.SIGSEGV): ", a library crashed",
            int(signal.SIGBUS): ", a file it was reading went away or the disk is full",
            int(signal.SIGILL): ", a library was built for another processor",
            OUT_OF_TIME: ", out of CPU time",
        }
        return f"killed by signal {number} ({name}){causes.get(number, '')}{used}"
    return f"killed by signal {number}{used}"


def signal_behind(code: int) -> int:
    """The signal that ended a process; 0 where none did.

    Args:
        code: as `subprocess` gives it (negative: the signal), or a shell's 128 + signal.
    """
    return -code if code < 0 else code - 128 if code > 128 else 0


def split_key(key: str) -> tuple[str, str | None]:
    """The inverse of `bids_app.bids.naming.session_key`."""
    participant, mark, session = key.removeprefix("sub-").partition("_ses-")
    return participant, session if mark else None


def _from_plain(plain: dict[str, Any], key: str) -> Status:
    participant, session = split_key(key)
    values = {k: v for k, v in plain.items() if k in _FIELDS} | {"participant": participant, "session": session}
    status = Status(**values)
    right = status.state in STATES and isinstance(status.reason, str) and isinstance(status.warnings, list)
    if not right or not all(isinstance(d, dict) for d in (status.stages, status.inputs, status.outputs)):
        raise ValueError("a field is not of its kind")
    numbers = [getattr(status, name) for name in _NUMBERS]
    for stage in status.stages.values():
        numbers += dict(stage).values()
    if not all(value is None or (isinstance(value, int | float) and value == value) for value in numbers):
        raise ValueError("what should be a number is none")
    return status


def _intact(path: Path, digest: str, checksums: bool) -> bool:
    try:
        return sha256_of(path) == digest if checksums else path.stat().st_size > 0
    except OSError:
        return False


def _process_start(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (field 22 of ``/proc/PID/stat``); None when it is gone."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if values[0] == "Z" else int(values[19])


def _plain(value: Any) -> Any:
    """Numbers of NumPy and paths, for JSON."""
    return value.item() if hasattr(value, "item") else str(value)
