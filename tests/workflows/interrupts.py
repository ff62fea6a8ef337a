"""Random interrupts of real runs, each followed at once by the same command.

``python -m tests.workflows.interrupts --n 50`` prints one line for each and a count; it ends with 1 where one of them
changed a byte, left a process, or was answered with a traceback.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.workflows import prepared
from tests.workflows.small_cohort import write_small_cohort

MARK = "TANDEM_TEST_RUN"
PATIENCE = 300.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass
class Run:
    """One command as a process group of its own, whose processes can all be found by a mark in their environment.

    Attributes:
        words: after ``tandem``.
        before: a program that starts the command, with its own words (``setpriv``, ``unshare``, ``sh``).
        environment: variables beside those of this process.
        folder: where it runs; None: here.
    """

    words: list[str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    before: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment, MARK: self.mark}
        self.process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "bids_app", *self.words],
            cwd=self.folder,
            stdout=self.said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE)

    def text(self) -> str:
        self.said.seek(0)
        return self.said.read().decode(errors="replace")

    def children(self) -> list[int]:
        """Its sessions and folds that are running."""
        found = []
        for pid in self.left():
            words = _read(pid, "cmdline").split(b"\0")
            if pid != self.process.pid and b"bids_app" in words and {b"session", b"fold"} & set(words):
                found.append(pid)
        return found

    def left(self) -> list[int]:
        """All of its processes that are alive."""
        mark = f"{MARK}={self.mark}".encode()
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if mark in _read(pid, "environ").split(b"\0")]

    def all_gone(self, within: float = 10.0) -> bool:
        until = time.monotonic() + within
        while self.left() and time.monotonic() < until:
            time.sleep(0.05)
        return not self.left()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


@dataclass(frozen=True)
class Kind:
    """What is interrupted: how its folder is made, the words that run it, and what must not change by a byte."""

    name: str
    make: Callable[[Path], Path]
    words: Callable[[Path, int], list[str]]
    outputs: Callable[[Path], dict[str, bytes]]


def train_outputs(root: Path) -> dict[str, bytes]:
    """Weights, answers and tables of a training; what holds times or free memory is left out by whoever compares."""
    out = root / "out" / "training"
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def train_words(root: Path, nprocs: int) -> list[str]:
    folders = [
        str(root / "bids"),
        str(root / "out"),
        "train",
        "-w",
        str(root / "work"),
        "--recipe",
        f"{root}/balls.toml",
    ]
    manual = ["-d", f"manual={root}/bids/derivatives/manual"]
    return [*folders, *manual, "--folds", "2", "--steps", "40", "--nprocs", str(nprocs), "--omp-nthreads", "1"]


KINDS = {
    "session": Kind(
        "session",
        lambda root: prepared.prepared_dataset(root, ["01", "02"]),
        lambda root, nprocs: prepared.command(root, "--nprocs", str(nprocs), "--omp-nthreads", "1", "--mem", "16G"),
        prepared.outputs,
    ),
    "fold": Kind(
        "fold",
        lambda root: write_small_cohort(root, 8),
        train_words,
        train_outputs,
    ),
}


@dataclass(frozen=True)
class Interrupt:
    """What happens to a run: who gets which signal, and when, as a share of an undisturbed run's time."""

    kind: Kind
    nprocs: int
    victim: str  # parent, group (as Ctrl-C in a terminal does) or child
    number: signal.Signals
    when: float

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.nprocs} at a time, {self.number.name} to {self.victim} at {self.when:.2f}"


def draw(rng: random.Random, kinds: list[Kind]) -> Interrupt:
    victim = rng.choice(["parent", "parent", "group", "child"])
    number = rng.choice(SIGNALS)
    if victim == "group" and number == signal.SIGKILL:
        victim = "parent"
    return Interrupt(rng.choice(kinds), rng.choice([1, 2]), victim, number, rng.uniform(0.02, 0.98))


def undisturbed(kind: Kind, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Seconds of a run, and what two runs leave alike to the byte.

    The folder has the same name each time, for paths stand in what is written.
    """
    seconds, found = 0.0, []
    for _ in range(2):
        root = kind.make(fresh(folder))
        started = time.monotonic()
        run = Run(kind.words(root, 2))
        if run.wait() != 0:
            raise RuntimeError(run.text())
        seconds = time.monotonic() - started
        found.append(kind.outputs(root))
    first, second = found
    return seconds, {name: content for name, content in first.items() if second.get(name) == content}


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def interrupt(how: Interrupt, folder: Path, seconds: float, expected: dict[str, bytes]) -> list[str]:
    """Do it, run the same command at once, and return what is wrong."""
    words = how.kind.words(how.kind.make(fresh(folder)), how.nprocs)
    first = Run(words)
    time.sleep(how.when * seconds)
    sent = send(how, first)
    code = first.wait()
    second = Run(words)
    again = second.wait()
    wrong = []
    if sent and how.victim != "child" and code not in expected_codes(how.number):
        wrong.append(f"the interrupted run ended with {code}")
    if again != 0:
        wrong.append(f"the same command ended with {again}: {second.text()[-2000:]}")
    for name, run in (("interrupted", first), ("second", second)):
        if "Traceback" in run.text() or "defect" in run.text():
            wrong.append(f"the {name} run said: {run.text()[-3000:]}")
        if not run.all_gone():
            wrong.append(f"of the {name} run are left: {[_read(pid, 'cmdline') for pid in run.left()]}")
    made = how.kind.outputs(folder)
    wrong += [f"{name} differs" for name, content in expected.items() if made.get(name) != content]
    if how.kind.name == "session":
        wrong += [f"{name} is new" for name in made if name not in expected]
        wrong += [f"{path} is half written" for path in (folder / "out").rglob(".tandem-*")]
    return wrong


def send(how: Interrupt, run: Run) -> bool:
    """Send the signal; False where the run, or its child, had ended before."""
    if how.victim == "child":
        until = time.monotonic() + PATIENCE
        while not (children := run.children()) and run.process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        targets = children[:1]
    else:
        targets = [run.process.pid] if run.process.poll() is None else []
    for pid in targets:
        try:
            (os.killpg if how.victim == "group" else os.kill)(pid, how.number)
        except ProcessLookupError:
            return False
    return bool(targets)


def expected_codes(number: signal.Signals) -> set[int]:
    """Of a run that was asked to stop; 0 where it was about to end anyway, minus the signal before it could listen."""
    own = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGKILL: -9}[number]
    return {own, 0, -int(number)}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(words)
    rng, folder = random.Random(options.seed), options.folder or Path(tempfile.mkdtemp())
    kinds = [KINDS[name] for name in options.kinds]
    known = {kind.name: undisturbed(kind, folder / kind.name) for kind in kinds}
    bad = 0
    for number in range(options.n):
        how = draw(rng, kinds)
        wrong = interrupt(how, folder / how.kind.name, *known[how.kind.name])
        bad += bool(wrong)
        print(f"{number + 1:3} {'BAD' if wrong else 'ok '} {how}", *wrong, sep="\n      ", flush=True)
    files = ", ".join(f"{len(same)} files of {name}" for name, (_, same) in known.items())
    print(f"{options.n - bad} of {options.n} interrupts left nothing behind and the same bytes ({files})")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
