"""What a person sees of a run: plain lines in a file; stages and the time left on a terminal."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from bids_app.bids.status import Status, start_status, write_status
from bids_app.cli.console import make_console
from bids_app.cli.expected import Durations, in_words
from bids_app.cli.progress import Progress
from bids_app.settings import Settings
from workflows.cohort import Unit

STAGES = {"bias": {"seconds": 16.0}, "register": {"seconds": 6.0}, "write": {"seconds": 2.0}}


def done(participant: str = "01", seconds: float = 30.0) -> Status:
    return Status(participant, state="done", seconds=seconds, stages=STAGES)


def running(participant: str, *ended: str, begun: float) -> Status:
    stages = {name: STAGES[name] for name in ended}
    return start_status(participant, started=begun, stages=stages)


def test_nothing_is_promised_before_one_session_is_done():
    assert Durations().left(running("02", begun=0)) is None
    assert Durations().stage_of(None) == "starting"
    assert Durations().stage_of(running("02", "bias", begun=0)) == "after bias"


def test_the_time_left_is_that_of_the_stages_ahead():
    known = Durations([done()])
    assert known.stage_of(running("02", "bias", begun=0)) == "register (2 of 3)"
    assert known.left(running("02", begun=100), now=104) == pytest.approx(26)
    assert known.left(running("02", "bias", begun=100), now=116) == pytest.approx(14)
    assert known.left(running("02", *STAGES, begun=100), now=500) == 1  # a slow one is not said to be over


def test_a_usual_session_is_the_median_one():
    assert Durations([done(seconds=s) for s in (10, 20, 90)]).total == 20


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (150, "2 min"), (9000, "2 h 30 min"), (None, "")])
def test_times_are_said_in_words(seconds, words):
    assert in_words(seconds) == words


def progress(out: Path, units: list[Unit], console: Console) -> Progress:
    return Progress(Settings(out, out), units, console=console)


def test_lines_in_a_file_are_plain_and_stable(tmp_path):
    stream, unit = io.StringIO(), Unit("01", None)
    with progress(tmp_path, [unit], make_console(file=stream)) as shown:
        shown.told(unit, "start")
        write_status(tmp_path, start_status("01", started=time.time() - 40).finish("done"))
        shown.told(unit, "end")
        shown.told(unit, "end")
    assert stream.getvalue().splitlines() == ["tandem: started sub-01", "tandem: SUCCESS sub-01 40 s"]


def test_on_a_terminal_every_session_has_its_stage_and_the_time_left(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    units = [Unit("01", None), Unit("02", None), Unit("03", None)]
    write_status(tmp_path, done("01"))
    with progress(tmp_path, units, console) as shown:
        shown.ended(units[0], done("01"), again=False)
        shown.told(units[1], "start")
        shown.begun[units[1]] -= 16
        write_status(tmp_path, running("02", "bias", begun=time.time() - 16))
        shown.look()
        notes = {task.description: task.fields["note"] for task in shown.bars.tasks}
    assert notes["sub-02"].startswith("register (2 of 3), 1")
    assert notes["sub-02"].endswith("s left")
    assert notes["sessions"].startswith("1 of 3, 4")  # 14 s of the running one, 30 s of the one that waits
