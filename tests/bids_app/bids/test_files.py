import errno
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bids_app.bids.files import remove_unfinished, whole_folder, write_arrays, write_bytes, write_text, write_whole
from bids_app.errors import CannotWrite, IOFailure

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, IOFailure), (errno.EDQUOT, IOFailure), (errno.EIO, IOFailure)]
)
def test_a_failure_half_way_leaves_nothing_and_names_the_file(tmp_path, number, kind):
    def fail(stream):
        stream.write(b"half")
        raise OSError(number, os.strerror(number))

    (tmp_path / "x").write_text("old")
    with pytest.raises(kind, match=str(tmp_path / "x")) as caught:
        write_whole(tmp_path / "x", fail)
    assert caught.value.exit_code == 74
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_full_disk_is_told_as_such(tmp_path):
    """A file-size limit stands in for the disk: the kernel refuses the same write."""
    code = (
        "import resource, signal, pathlib\n"
        "from bids_app.bids.files import write_bytes\n"
        "from bids_app.errors import IOFailure\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n    write_bytes(folder / 'x', b'0' * 5000)\n"
        "except IOFailure as error:\n    assert not list(folder.iterdir()); print('told', error.exit_code)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "told 74\n"


def test_a_file_in_the_place_of_a_folder_cannot_be_written(tmp_path):
    (tmp_path / "sub-01").write_text("")
    with pytest.raises(CannotWrite) as caught:
        write_text(tmp_path / "sub-01" / "x", "x")
    assert caught.value.exit_code == 73


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_cannot_be_written(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(CannotWrite, match="as user"):
        write_text(tmp_path / "closed" / "x", "x")


def test_a_refused_folder_is_told_with_the_user(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CannotWrite, match="as user"):
        write_text(tmp_path / "x", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_the_same_is_left_alone(tmp_path):
    write_bytes(tmp_path / "x", b"same")
    os.utime(tmp_path / "x", ns=(1, 1))
    write_bytes(tmp_path / "x", b"same")
    assert (tmp_path / "x").stat().st_mtime_ns == 1


def test_many_writers_leave_one_whole_file(tmp_path):
    texts = [str(i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "x", text), texts))
    assert (tmp_path / "x").read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "anat").mkdir()
    (tmp_path / "anat" / ".tandem-12-ab").write_text("half")
    (tmp_path / "anat" / "whole.nii").write_text("")
    assert [p.name for p in remove_unfinished(tmp_path)] == [".tandem-12-ab"]
    assert [p.name for p in (tmp_path / "anat").iterdir()] == ["whole.nii"]


def test_a_folder_is_replaced_as_a_whole_or_kept(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").write_text("old")

    def fill(error: OSError | None) -> None:
        with whole_folder(tmp_path / "bundle", replace=True) as staging:
            (staging / "new").write_text("new")
            if error:
                raise error

    with pytest.raises(IOFailure, match="no space"):
        fill(OSError(errno.ENOSPC, "full"))
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "old"]
    fill(None)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bundle", "new"]


def test_the_file_before_is_kept_where_that_is_asked_for(tmp_path):
    for text in (b"one", b"two", b"three"):
        write_whole(tmp_path / "x", lambda stream, text=text: stream.write(text), keep=tmp_path / "x.previous")
    assert (tmp_path / "x").read_bytes() == b"three"
    assert (tmp_path / "x.previous").read_bytes() == b"two"


def test_arrays_are_written_whole(tmp_path, monkeypatch):
    write_arrays(tmp_path / "x.npz", {"a": np.arange(3)})

    def full(handle):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IOFailure, match="no space"):
        write_arrays(tmp_path / "x.npz", {"a": np.arange(4)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    assert np.load(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2]


def test_nobody_writes_whole_files_by_hand():
    """Renames stand in one module, so that every one is synced, and a full disk is told in one way."""
    root = Path(__file__).parents[3]
    by_hand = [
        str(path.relative_to(root))
        for package in ("bids_app", "workflows")
        for path in sorted((root / package).rglob("*.py"))
        if path.name != "files.py" and re.search(r"os\.(replace|rename)\(|\.part\b|\.part\.npz", path.read_text())
    ]
    assert by_hand == []
