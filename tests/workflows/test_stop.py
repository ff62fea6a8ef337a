"""A run that is stopped takes its processes with it, says so in one line, and the same command goes on."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from bids_app.__main__ import main
from bids_app.bids.lock import only_one
from bids_app.bids.status import log_of, read_status, start_status, write_status
from bids_app.settings import Settings
from tests.workflows.interrupts import Run
from tests.workflows.prepared import command, outputs, prepared_dataset
from workflows.alone import run_alone
from workflows.failure import failure_of
from workflows.scratch import lock_of

pytestmark = pytest.mark.faults


def started(root: Path, nprocs: int) -> Run:
    """A run with a session in it."""
    run = Run(command(root, "--nprocs", str(nprocs), "--mem", "16G"))
    until = time.monotonic() + 120
    while not run.children() and time.monotonic() < until:
        time.sleep(0.02)
    assert run.children(), run.text()
    return run


def test_ctrl_c_with_one_process_stops_at_once_in_one_line(tmp_path):
    root = prepared_dataset(tmp_path, ["01", "02"])
    run = started(root, 1)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() == 130
    assert run.text().splitlines()[-1] == "tandem: interrupted; the same command goes on where it stopped"
    assert "Traceback" not in run.text()
    assert run.all_gone()
    assert read_status(root / "out", "sub-02") is None
    first = read_status(root / "out", "sub-01")
    assert first is None or (first.state, first.exit_code) == ("failed", 130)


def test_sigterm_ends_the_sessions_too_and_the_same_command_goes_on(tmp_path):
    root = prepared_dataset(tmp_path, ["01", "02"])
    run = started(root, 2)
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.wait() == 75
    assert run.text().splitlines()[-1].startswith("tandem: asked to stop (SIGTERM)")
    assert "Traceback" not in run.text()
    assert run.all_gone()
    again = Run(command(root, "--nprocs", "2", "--mem", "16G"))
    assert again.wait() == 0, again.text()
    assert {"sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "sub-02/anat/sub-02_desc-preproc_T1w.nii.gz"} <= set(
        outputs(root)
    )


def test_a_killed_parent_leaves_no_session_behind(tmp_path):
    run = started(prepared_dataset(tmp_path, ["01"]), 1)
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.wait() == -9
    assert run.all_gone(within=5)


def test_a_session_that_another_run_is_working_on_is_refused_and_left_as_it_is(tmp_path, capsys):
    root = prepared_dataset(tmp_path, ["01"])
    settings = Settings(root / "bids", root / "out", work_dir=root / "work", recipe=(str(root / "taken.toml"),))
    path = write_status(settings.output_dir, start_status("01"))
    before = path.read_bytes()
    with only_one(log_of(settings.output_dir, "sub-01")):
        assert run_alone(settings, "01", None, threads=1, wait=0.2) == 75
    said = capsys.readouterr().out
    assert f"process {os.getpid()}" in said
    assert "wait for that or end it" in said
    assert path.read_bytes() == before


def test_a_work_folder_that_a_run_into_another_folder_uses_is_refused(tmp_path):
    root = prepared_dataset(tmp_path, ["01"])
    settings = Settings(root / "bids", root / "out", work_dir=root / "work", recipe=(str(root / "taken.toml"),))
    with only_one(lock_of(settings.work, "sub-01")):
        assert run_alone(settings, "01", None, threads=1, wait=0.2) == 75
    status = read_status(settings.output_dir, "sub-01")
    assert (status.state, status.exit_code) == ("failed", 75)
    assert "-w" in status.reason


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 74), (errno.EROFS, 73), (errno.EIO, 74)])
def test_a_disk_that_is_full_or_read_only_is_no_defect(tmp_path, monkeypatch, capsys, number, code):
    def refuse(settings):
        raise OSError(number, os.strerror(number), str(tmp_path / "index.html"))

    monkeypatch.setattr("bids_app.cli.main.run", refuse)
    assert main([str(tmp_path), str(tmp_path / "out"), "group"]) == code
    said = capsys.readouterr().err
    assert "index.html" in said
    assert "defect" not in said


def test_what_is_behind_an_error_of_nipype_is_found_in_its_text():
    text = "Traceback ...\nOSError: [Errno 28] No space left on device: '/work/node/result.pklz'\n"
    assert failure_of(RuntimeError(text)).exit_code == 74
    assert "/work/node/result.pklz" in str(failure_of(RuntimeError(text)))
    assert failure_of(RuntimeError("TypeError: a defect")) is None
    assert failure_of(RuntimeError("FileNotFoundError: [Errno 2] No such file or directory: 'x'")) is None
