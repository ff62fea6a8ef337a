"""Runs that are killed, stopped, started twice or sixteen times at once, or whose clock jumps."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.faults.bench import Bench, Lost, Outcome, finish, sentence, until
from tests.workflows.interrupts import KINDS, Interrupt, interrupt

MANY = 16
#: A clock that goes back by a day as soon as a file is there, for every Python process that finds this on its path.
JUMPING_CLOCK = """
import os, time
_real, _flag = time.time, os.environ["TANDEM_TEST_CLOCK"]
time.time = lambda: _real() - (86400 if os.path.exists(_flag) else 0)
for _name in ("localtime", "gmtime"):
    def _told(seconds=None, _made=getattr(time, _name)):
        return _made(time.time() if seconds is None else seconds)
    setattr(time, _name, _told)
_format = time.strftime
time.strftime = lambda how, when=None: _format(how, time.localtime() if when is None else when)
"""


def killed(bench: Bench) -> Outcome:
    """kill -9 at random moments, to the run or to one of its sessions; the same command follows at once."""
    expected, rng = bench.expected(), random.Random(16)
    bench.dataset()
    began = time.monotonic()
    finish(bench.run(), 0)
    seconds = time.monotonic() - began
    for number in range(bench.kills):
        victim = rng.choice(["parent", "child"])
        how = Interrupt(KINDS["session"], 2, victim, signal.SIGKILL, rng.uniform(0.02, 0.98))
        wrong = interrupt(how, bench.root, seconds, expected)
        if wrong:
            raise Lost(f"kill {number + 1} ({how}): {'; '.join(wrong)}")
    return Outcome(f"{bench.kills} runs killed (-9), each followed by the same command: 0, the same bytes")


def asked_to_stop(bench: Bench) -> Outcome:
    """SIGTERM to the run while its sessions are running, as a scheduler sends it before a time limit."""
    bench.expected()
    bench.dataset()
    run = bench.run()
    until(run.children, run)
    os.kill(run.process.pid, signal.SIGTERM)
    said = sentence(finish(run, 75), "asked to stop")
    bench.go_on()
    return Outcome(f"75: {said}")


def clock_goes_back(bench: Bench) -> Outcome:
    """The clock jumps back by a day while sessions run, and stays there for the next run."""
    bench.expected()
    root = bench.dataset()
    early = root / "clock"
    early.mkdir()
    (early / "sitecustomize.py").write_text(JUMPING_CLOCK)
    path = os.pathsep.join([str(early), *filter(None, [os.environ.get("PYTHONPATH")])])
    clock = {"PYTHONPATH": path, "TANDEM_TEST_CLOCK": str(early / "back")}
    run = bench.run(**clock)
    until(lambda: list((root / "out").glob("logs/sub-*/status.json")), run)
    (early / "back").touch()
    finish(run, 0)
    bench.check_complete()
    text = finish(bench.run(**clock), 0)
    if text.count("finished before, unchanged") != 2:
        raise Lost(f"sessions that were finished ran again: {text}")
    bench.check_complete()
    return Outcome("0: all sessions done; the next run finds both finished")


def two_at_once(bench: Bench) -> Outcome:
    """The same command twice at the same moment."""
    bench.expected()
    bench.dataset()
    runs = [bench.run(), bench.run()]
    texts = [finish(run, 0, 75) for run in runs]
    codes = sorted(run.process.returncode for run in runs)
    said = sentence("\n".join(texts), "process") if 75 in codes else "the second waited for the first"
    bench.go_on()
    return Outcome(f"{' and '.join(map(str, codes))}: {said}")


def many_at_once(bench: Bench) -> Outcome:
    """Sixteen runs, each of another participant, into one output folder and one work folder."""
    labels = tuple(f"{number:02}" for number in range(1, MANY + 1))
    bench.expected(labels)
    root = bench.dataset(labels)
    runs = [bench.run("--participant-label", label) for label in labels]
    for run in runs:
        finish(run, 0)
    bench.check_complete(labels)
    page = (root / "out" / "index.html").read_text()
    absent = [label for label in labels if f"sub-{label}" not in page]
    if absent or len(list((root / "out" / "logs" / "runs").iterdir())) != MANY:
        raise Lost(f"of {MANY} runs the page lacks {absent}, or options were not kept")
    return Outcome(f"0 of all {MANY}: the same bytes as one run of all")


def older_work_folder(bench: Bench) -> Outcome:
    """Work files of another version: its mark, and results that this version cannot read."""
    bench.expected()
    root = bench.dataset()
    finish(bench.run(), 0)
    for marker in (root / "work").glob("sub-*/made_by.txt"):
        marker.write_text("0" * 64)
    for result in (root / "work").rglob("*.pklz"):
        result.write_bytes(b"of another version")
    lose_outputs(root)
    finish(bench.run(), 0)
    log = (root / "out" / "logs" / "sub-01" / "session.log").read_text()
    bench.check_complete()
    return Outcome(f"0: {sentence(log, 'another version')}")


def lose_outputs(root: Path) -> None:
    """What is finished is not run again; so its images go."""
    for image in (root / "out").glob("sub-*/anat/*"):
        image.unlink()
