import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bids_app.bids.digest import fingerprints
from bids_app.bids.status import (
    describe_death,
    is_current,
    read_all,
    read_status,
    split_key,
    start_status,
    status_path,
    write_status,
)


@pytest.fixture
def done(tmp_path):
    """A finished session with one input and one output."""
    (tmp_path / "in.nii").write_text("in")
    (tmp_path / "out.nii").write_text("out")
    inputs = fingerprints([tmp_path / "in.nii"])
    status = start_status("01", "a", settings_hash="h", inputs=inputs).finish("done", outputs={"out.nii": "0"})
    write_status(tmp_path, status)
    return status


def test_a_status_survives_its_file(tmp_path, done):
    assert read_status(tmp_path, "sub-01_ses-a") == done


def test_a_session_that_never_started_has_no_status(tmp_path):
    assert read_status(tmp_path, "sub-01") is None
    assert read_all(tmp_path) == []


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 3}', b'{"state": "done", "stages": 1}', b"\xff\xfe"])
def test_a_damaged_status_is_unknown_and_says_why(tmp_path, content):
    path = status_path(tmp_path, "sub-01_ses-a")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    status = read_status(tmp_path, "sub-01_ses-a")
    assert (status.state, status.participant, status.session) == ("unknown", "01", "a")
    assert "cannot be read" in status.reason


def test_fields_of_a_later_version_are_passed_by(tmp_path, done):
    path = status_path(tmp_path, done.key)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert read_status(tmp_path, done.key) == done


def test_all_are_read_by_key(tmp_path, done):
    write_status(tmp_path, start_status("00").finish("failed", "no T1w", 65))
    assert [status.key for status in read_all(tmp_path)] == ["sub-00", "sub-01_ses-a"]


@pytest.mark.faults
def test_a_running_session_whose_process_is_gone_has_failed(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    write_status(tmp_path, start_status("01", pid=int(ended.stdout)))
    status = read_status(tmp_path, "sub-01")
    assert (status.state, status.exit_code) == ("failed", 75)


def test_a_running_session_runs(tmp_path):
    write_status(tmp_path, start_status("01"))
    assert read_status(tmp_path, "sub-01").state == "running"


def test_a_later_process_with_the_same_number_is_another(tmp_path):
    write_status(tmp_path, start_status("01", pid=os.getpid(), pid_started=1))
    assert read_status(tmp_path, "sub-01").state == "failed"


def test_a_session_running_on_another_host_is_believed(tmp_path):
    write_status(tmp_path, start_status("01", pid=2**22 + 1, host="elsewhere"))
    assert read_status(tmp_path, "sub-01").state == "running"


def test_numbers_of_numpy_are_written(tmp_path):
    status = start_status("01", stages={"n4": {"seconds": np.float32(2.5), "peak_rss_mb": np.int64(3)}})
    write_status(tmp_path, status)
    assert read_status(tmp_path, "sub-01").stages["n4"] == {"seconds": 2.5, "peak_rss_mb": 3}


def test_an_unchanged_session_is_current(tmp_path, done):
    assert is_current(done, "h", fingerprints([tmp_path / "in.nii"]), tmp_path)


def test_other_settings_are_not_current(tmp_path, done):
    assert not is_current(done, "other", done.inputs, tmp_path)


def test_a_changed_input_is_not_current(tmp_path, done):
    (tmp_path / "in.nii").write_text("longer")
    assert not is_current(done, "h", fingerprints([tmp_path / "in.nii"]), tmp_path)


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text("")])
def test_a_missing_or_empty_output_is_not_current(tmp_path, done, spoil):
    spoil(tmp_path / "out.nii")
    assert not is_current(done, "h", done.inputs, tmp_path)


def test_checksums_find_a_changed_output(tmp_path, done):
    assert not is_current(done, "h", done.inputs, tmp_path, checksums=True)


def test_nothing_is_not_current(tmp_path):
    assert not is_current(None, "h", {}, tmp_path)


def test_a_killed_process_is_explained_with_its_memory():
    text = describe_death(-9, peak_mb=3.5 * 1024, limit_gb=4)
    assert text.startswith("killed by signal 9 (SIGKILL), likely out of memory")
    assert text.endswith("used 3.5 GB of 4.0 GB")


@pytest.mark.parametrize(
    ("code", "text"), [(137, "signal 9"), (-11, "a library crashed"), (3, "exit code 3"), (-99, "99")]
)
def test_other_deaths_are_explained(code, text):
    assert text in describe_death(code)


@pytest.mark.parametrize(("key", "parts"), [("sub-01", ("01", None)), ("sub-01_ses-a", ("01", "a"))])
def test_a_key_is_split(key, parts):
    assert split_key(key) == parts
