"""Every fault on real processes, and the table of what happened.

``python -m tests.faults.battery [--only NAME ...] [--markdown]`` ends with 1 where a fault was not answered as it
should be. A fault that cannot be made here (most need root) is "not run", which is not "passed".
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import disks, malformed, processes, surroundings
from tests.faults.bench import Bench, Lost, NotRun, Outcome, a_bench


@dataclass(frozen=True)
class Fault:
    """``title`` is how the table names it; ``quick`` ones are part of every test run."""

    title: str
    make: Callable[[Bench], Outcome]
    quick: bool = False


FAULTS = {
    "kill": Fault("kill -9 at random moments", processes.killed),
    "output-full": Fault("the disk of the output folder is full", disks.output_disk_full),
    "work-full": Fault("the disk of the work folder fills up half way", disks.work_disk_full),
    "read-only": Fault("the output folder turns read-only half way", disks.output_read_only),
    "clock": Fault("the clock jumps back by a day half way", processes.clock_goes_back),
    "older-work": Fault("a work folder of another version", processes.older_work_folder),
    "two-runs": Fault("two runs on the same sessions at once", processes.two_at_once),
    "bundle": Fault("a bundle that is cut off, changed, pickled or incomplete", surroundings.corrupt_bundle),
    "template": Fault("a template that is cut off", surroundings.truncated_template, quick=True),
    "sigterm": Fault("SIGTERM, as a scheduler sends it", processes.asked_to_stop),
    "no-terminal": Fault("stdin closed, no terminal, LANG=C", surroundings.no_terminal),
    "no-home": Fault("a user without name, HOME or TMPDIR", surroundings.no_home),
    "shm": Fault("/dev/shm of 64 MB", disks.small_shared_memory),
    "malformed": Fault("malformed NIfTI, gzip, JSON, TSV and TOML files, read by every reader", malformed.readers),
    "malformed-run": Fault("a dataset of malformed images", malformed.dataset),
    "sixteen": Fault("16 runs into one output folder at once", processes.many_at_once),
}


def answer(fault: Fault, bench: Bench) -> tuple[str, str, str]:
    """State (passed, FAILED, not run), what happened, what was lost."""
    try:
        outcome = fault.make(bench)
    except NotRun as why:
        return "not run", str(why), "-"
    except Lost as error:
        return "FAILED", str(error), "see there"
    except Exception as error:  # the faults that follow are made all the same
        return "FAILED", f"{type(error).__name__}: {error}", "not known"
    return "passed", outcome.happened.replace(str(bench.root), "..."), outcome.lost


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(FAULTS), default=list(FAULTS), metavar="NAME")
    parser.add_argument("--markdown", action="store_true", help="as rows of a table")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--files", type=int, default=500, help="malformed files of each kind")
    options = parser.parse_args(words)
    states = []
    if options.markdown:
        print("| fault | what happened (exit code: sentence) | what was lost |\n|---|---|---|")
    with a_bench(kills=options.kills, files=options.files) as bench:
        for name in options.only:
            began = time.monotonic()
            state, happened, lost = answer(FAULTS[name], bench)
            states.append(state)
            if options.markdown:
                told = happened if state == "passed" else f"{state}: {happened}"
                print(f"| {FAULTS[name].title} | {' '.join(told.split()).replace('|', '/')} | {lost} |", flush=True)
            else:
                seconds = time.monotonic() - began
                print(f"{state:8} {name:14} {seconds:4.0f} s  {happened}; lost: {lost}", flush=True)
    print(", ".join(f"{states.count(state)} {state}" for state in ("passed", "FAILED", "not run")), file=sys.stderr)
    return 1 if "FAILED" in states else 0


if __name__ == "__main__":
    sys.exit(main())
