"""Sessions are processes: one that is killed fails alone, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from bids_app.__main__ import main
from bids_app.bids.status import read_status
from tests.phantoms import checksums, damage
from tests.workflows.heads import small_heads

pytestmark = pytest.mark.faults


def kill_once_it_runs(output_dir, key: str) -> threading.Thread:
    """Kill -9 a session's process as soon as it says that it is running."""

    def watch() -> None:
        for _ in range(600):
            status = read_status(output_dir, key) if (output_dir / "logs" / key / "status.json").exists() else None
            if status and status.state == "running" and status.stages:
                os.kill(status.pid, signal.SIGKILL)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_killed_session_and_a_damaged_one_fail_alone_and_the_rest_finish(tmp_path, capsys):
    bids, out = small_heads(tmp_path / "bids", ["01", "02", "03"]), tmp_path / "out"
    damage(bids / "sub-03" / "anat" / "sub-03_T1w.nii.gz", "wrong_crc")
    before = checksums(bids)
    words = [str(bids), str(out), "participant", "--recipe", "anatomical", "--nprocs", "2", "--mem", "8G", "--sloppy"]
    watcher = kill_once_it_runs(out, "sub-02")
    assert main(words) == 1
    watcher.join(timeout=5)
    lines = capsys.readouterr().out
    assert "tandem: SUCCESS sub-01" in lines
    assert "tandem: FAILED sub-02 (killed by signal 9" in lines
    assert "tandem: FAILED sub-03" in lines
    killed = read_status(out, "sub-02")
    assert killed.exit_code == 75
    assert "memory" in killed.reason
    assert "used" in killed.reason
    assert killed.peak_rss_mb > 50
    assert (out / "sub-02.html").is_file()

    # the same command: what is finished is not run again, what was killed goes on, what is damaged still is
    finished = read_status(out, "sub-01").finished
    assert main(words) == 65
    assert read_status(out, "sub-01").finished == finished
    assert read_status(out, "sub-02").state == "done"
    assert checksums(bids) == before


def test_stop_on_first_crash_starts_no_further_session(tmp_path, capsys):
    bids, out = small_heads(tmp_path / "bids", ["01", "02"]), tmp_path / "out"
    damage(bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz", "truncate")
    words = [str(bids), str(out), "participant", "--recipe", "anatomical", "--nprocs", "1", "--stop-on-first-crash"]
    assert main(words) != 0
    assert read_status(out, "sub-01").state == "failed"
    assert read_status(out, "sub-02") is None
    assert "FAILED sub-02" not in capsys.readouterr().out
