"""What every fault needs: two small participants, what an undisturbed run leaves, small disks, and an outcome."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.workflows import prepared
from tests.workflows.interrupts import Run, fresh

PATIENCE = 120.0
#: What no answer to a fault may hold.
CRASHES = ("Traceback", "defect in Tandem")


class NotRun(Exception):
    """A fault cannot be made here; says why. It never counts as passed."""


class Lost(AssertionError):
    """The program did not answer a fault as it should."""


@dataclass(frozen=True)
class Outcome:
    """One line of the table: what happened (exit code and sentence), and what was lost."""

    happened: str
    lost: str = "nothing"


@dataclass
class Bench:
    """A folder for all faults. Every run has the same paths, for paths stand in what is written."""

    folder: Path
    kills: int = 20
    files: int = 500
    _expected: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "run"

    @property
    def home(self) -> Path:
        """HOME, TMPDIR and the current folder of every run: nothing may be left in them."""
        return self.folder / "home"

    def dataset(self, labels: tuple[str, ...] = ("01", "02")) -> Path:
        """A fresh dataset without outputs or work files."""
        fresh(self.home)
        return prepared.prepared_dataset(fresh(self.root), list(labels))

    def run(self, *more: str, before: tuple[str, ...] = (), **environment: str) -> Run:
        """Start the participant level on it, two sessions at a time."""
        words = prepared.command(self.root, "--nprocs", "2", "--omp-nthreads", "1", "--mem", "16G", *more)
        return self.start(words, before=before, **environment)

    def start(self, words: list[str], *, before: tuple[str, ...] = (), **environment: str) -> Run:
        """Start any command of ``tandem``."""
        places = {"HOME": str(self.home), "TMPDIR": str(self.home)}
        return Run(words, before=before, environment={**places, **environment}, folder=self.home)

    def expected(self, labels: tuple[str, ...] = ("01", "02")) -> dict[str, bytes]:
        """Every file of an undisturbed run, but for logs and pages."""
        key = " ".join(labels)
        if key not in self._expected:
            self.dataset(labels)
            finish(self.run(), 0)
            self._expected[key] = prepared.outputs(self.root)
        return self._expected[key]

    def check_complete(self, labels: tuple[str, ...] = ("01", "02")) -> None:
        """The outputs are those of an undisturbed run to the byte, and nothing lies where nothing belongs.

        Raises:
            Lost: naming the files.
        """
        expected, made = self.expected_before(labels), prepared.outputs(self.root)
        wrong = sorted(name for name in expected.keys() | made.keys() if expected.get(name) != made.get(name))
        wrong += [str(path) for path in (self.root / "out").rglob(".tandem-*")]
        wrong += [str(path) for path in self.home.rglob("*")]
        if wrong:
            raise Lost(f"not as after an undisturbed run: {', '.join(wrong[:10])}")

    def expected_before(self, labels: tuple[str, ...]) -> dict[str, bytes]:
        """`expected`, which must have been asked for before the fault: it makes the dataset anew."""
        return self._expected[" ".join(labels)]

    def go_on(self, *more: str, labels: tuple[str, ...] = ("01", "02"), **environment: str) -> None:
        """The same command again: it ends with 0, and all is there as after an undisturbed run."""
        finish(self.run(*more, **environment), 0)
        self.check_complete(labels)


def finish(run: Run, *codes: int) -> str:
    """Wait for a run and return what it said.

    Raises:
        Lost: it ended with another code, spoke of a crash, or left a process.
    """
    try:
        code = run.wait()
    except subprocess.TimeoutExpired as error:
        os.killpg(run.process.pid, 9)
        raise Lost(f"a run did not end: {run.text()[-2000:]}") from error
    text = run.text()
    if code not in codes or any(word in text for word in CRASHES):
        raise Lost(f"a run ended with {code}, not {codes}: {text[-3000:]}")
    if not run.all_gone():
        raise Lost(f"processes are left: {run.left()}")
    return text


def sentence(text: str, *words: str) -> str:
    """The last line with all of these words, without the folder of the battery.

    Raises:
        Lost: there is none.
    """
    lines = [line.strip() for line in text.splitlines() if all(word in line for word in words)]
    if not lines:
        raise Lost(f"nothing is said of {words}: {text[-2000:]}")
    return lines[-1].removeprefix("tandem: ")


def until(condition: Callable[[], object], run: Run | None = None) -> None:
    """Wait for a moment of a run.

    Raises:
        Lost: it does not come, or the run ended before.
    """
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends or (run is not None and run.process.poll() is not None):
            raise Lost(f"the moment did not come: {run.text()[-2000:] if run else ''}")
        time.sleep(0.02)


@contextlib.contextmanager
def a_bench(**options: int) -> Iterator[Bench]:
    """A bench in a folder that every user may enter, deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tandem_faults_"))
    folder.chmod(0o755)
    try:
        yield Bench(folder, **options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A disk of its own at ``path``, while the block lasts.

    Raises:
        NotRun: this user may not mount one.
    """
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        raise NotRun("a disk cannot be mounted here")
    try:
        path.chmod(0o755)
        yield path
    finally:
        while path.is_mount():
            subprocess.run(["umount", "-l", path], check=True)


def need_root(what: str) -> None:
    """Raises:
    NotRun: this user is not root.
    """
    if os.geteuid() != 0:
        raise NotRun(f"{what} needs root")
