"""A run that is stopped takes its processes with it, says so in one line, and the same command goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bids_app.__main__ import main
from bids_app.bids.lock import only_one
from bids_app.bids.record_file import read_session
from bids_app.bids.status import log_of, read_status, start_status, write_status
from bids_app.settings import Settings
from tests.workflows.interrupts import Run
from tests.workflows.prepared import command, outputs, prepared_dataset
from workflows.alone import run_alone
from workflows.failure import failure_of, record_death
from workflows.scratch import lock_of, run_folder
from workflows.stop import Stop

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
    images = {f"sub-{label}/anat/sub-{label}_desc-uncorrected_T1w.nii.gz" for label in ("01", "02")}
    assert images <= set(outputs(root))


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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 96 KB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_an_output_disk_that_fills_up_and_one_that_turns_read_only(tmp_path, small_disk, capfd):
    root = prepared_dataset(tmp_path, ["01"])
    words = command(root, "--nprocs", "1", "--mem", "16G")
    words[1] = str(small_disk / "out")
    assert main(words) == 74
    said = capfd.readouterr()
    assert "make room and run the same command again" in said.err
    assert "defect" not in said.err
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert main(words) == 73
    assert "Read-only" in capfd.readouterr().err


def test_what_killed_runs_left_in_the_work_folder_goes_and_what_is_in_use_stays(tmp_path):
    with run_folder(tmp_path, "cohort") as used:
        left = used.with_name(used.name + "_of_a_killed_run")
        left.mkdir()
        for folder in (used, left):
            os.utime(folder, (time.time() - 3600,) * 2)
        with run_folder(tmp_path, "cohort") as own:
            assert own.is_dir()
            assert used.is_dir()
            assert not left.exists()
    assert not list(tmp_path.glob("cohort_*"))


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


@pytest.mark.parametrize(("code", "ended"), [(-2, 130), (130, 130), (-9, 75), (-15, 75), (3, 75)])
def test_a_session_that_an_interrupt_ended_before_it_could_say_so_is_interrupted_too(tmp_path, code, ended):
    settings = Settings(tmp_path / "bids", tmp_path / "out")
    log_of(settings.output_dir, "sub-01").parent.mkdir(parents=True)
    record_death(settings, "01", None, code, peak_mb=100.0, limit_gb=4.0, started=time.time())
    status = read_status(settings.output_dir, "sub-01")
    assert (status.state, status.exit_code) == ("failed", ended)
    assert read_session(settings.output_dir, "sub-01").exit_code == ended


def test_a_signal_that_is_heard_a_moment_later_counts_as_one():
    stop = Stop()
    assert not stop.comes()
    threading.Timer(0.1, lambda: setattr(stop, "number", int(signal.SIGINT))).start()
    assert stop.comes()
