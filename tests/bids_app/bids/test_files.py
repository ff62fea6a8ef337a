import errno
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bids_app.bids.files import (
    check_private,
    full_disk,
    remove_abandoned,
    remove_own_unfinished,
    remove_unfinished,
    system_error,
    unfinished_name,
    whole_folder,
    write_arrays,
    write_bytes,
    write_text,
    write_whole,
)
from bids_app.errors import CannotWrite, InputMissing, IOFailure

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


def test_a_process_that_ends_removes_what_it_was_writing_itself(tmp_path):
    (tmp_path / "anat").mkdir()
    other = tmp_path / "anat" / ".tandem-12-ab"
    other.write_text("somebody else's")
    mine = tmp_path / "anat" / unfinished_name()
    mine.write_text("half")
    assert remove_own_unfinished(tmp_path) == [mine]
    assert list((tmp_path / "anat").iterdir()) == [other]


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


def test_arrays_are_compressed_where_that_is_asked_for(tmp_path):
    plain, small = (
        write_arrays(tmp_path / f"{squeezed}.npz", {"a": np.zeros(10_000)}, compressed=squeezed)
        for squeezed in (False, True)
    )
    assert plain.stat().st_size > 80_000 > 1_000 > small.stat().st_size
    assert np.load(small)["a"].shape == (10_000,)


def test_a_new_folder_appears_with_what_was_put_there_and_can_be_read_by_others(tmp_path):
    with whole_folder(tmp_path / "deep" / "new") as staging:
        (staging / "x").write_text("x")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "x").read_text() == "x"
    assert (tmp_path / "deep" / "new").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["new"]


def test_a_folder_in_use_a_file_and_a_link_are_not_replaced_unasked(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "used")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for name in ("used", "file", "link", "nowhere"):
        with pytest.raises(CannotWrite, match="not an empty folder"), whole_folder(tmp_path / name):
            pytest.fail("it was begun")


def test_every_file_of_a_folder_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    with whole_folder(tmp_path / "new") as staging:
        (staging / "inner").mkdir()
        (staging / "inner" / "x").write_text("x")
        (staging / "link").symlink_to(staging / "inner" / "x")
    assert [Path(path).name for path in synced] == ["x", tmp_path.name]


def test_no_handle_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        write_text(tmp_path / "x", str(number))
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_what_processes_that_are_gone_left_is_removed_beside_others(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    mine = unfinished_name()
    gone = mine.replace(f"-{os.getpid()}-", f"-{done.pid}-")
    elsewhere = f".tandem-00000000-{done.pid}-ab"
    for name in (mine, gone, elsewhere, ".tandem-odd-name-ab", "x.nii"):
        (tmp_path / name).write_text("half")
    assert [path.name for path in remove_abandoned(tmp_path)] == [gone]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine, elsewhere, ".tandem-odd-name-ab", "x.nii"])


@pytest.mark.parametrize(
    ("mode", "inner", "refused"),
    [
        (0o700, True, None),
        (0o755, True, None),
        (0o770, False, None),
        (0o1777, False, None),
        (0o777, False, "everybody"),
        (0o1777, True, "everybody"),
        (0o770, True, "group"),
    ],
)
def test_a_folder_whose_content_is_run_is_written_by_nobody_else(tmp_path, mode, inner, refused):
    folder = tmp_path / "work"
    folder.mkdir()
    folder.chmod(mode)
    if refused is None:
        check_private(folder, inner=inner)
        return
    with pytest.raises(CannotWrite, match=refused):
        check_private(folder, inner=inner)


def test_a_folder_of_another_user_holds_nothing_that_is_run(tmp_path, monkeypatch):
    owner = tmp_path.stat().st_uid
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    check_private(tmp_path)
    with pytest.raises(CannotWrite, match="another user"):
        check_private(tmp_path, inner=True)
    for user in (owner, 0):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        check_private(tmp_path, inner=True)


def test_an_error_of_the_system_is_told_where_a_person_can_mend_it(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("x")
    assert isinstance(system_error(OSError(errno.ENOSPC, "full")), IOFailure)
    assert isinstance(system_error(OSError(errno.EIO, "gone")), IOFailure)
    assert system_error(OSError(errno.EINVAL, "odd")) is None
    assert system_error(FileNotFoundError(errno.ENOENT, "absent", str(path))) is None
    assert isinstance(system_error(PermissionError(errno.EACCES, "no", str(tmp_path / "new"))), CannotWrite)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert isinstance(system_error(PermissionError(errno.EACCES, "no", os.fsencode(path))), InputMissing)


def test_a_full_disk_is_named_by_the_file_or_by_what_has_least_room(tmp_path, monkeypatch):
    room = {tmp_path / "out": 5e6, tmp_path / "work": 1e6}
    for folder in room:
        folder.mkdir()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(room.get(folder, 9e9)))
    folders = {"the output folder": tmp_path / "out", "the work folder": tmp_path / "work"}
    named = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out" / "a.nii"))
    assert "the disk of the output folder, mounted at /" in str(full_disk(named, folders))
    behind = RuntimeError("Traceback: OSError: [Errno 28] No space left on device")
    assert "the disk of the work folder" in str(full_disk(behind, folders))
    assert "has 1 MB left; make room there and run the same command again" in str(full_disk(behind, folders))
    elsewhere = OSError(errno.EDQUOT, "Disk quota exceeded", "/nowhere/b")
    assert "quota is used up: the disk of /nowhere/b" in str(full_disk(elsewhere, folders))
    assert full_disk(OSError(errno.EIO, "Input/output error"), folders) is None
    assert full_disk(ValueError("a defect"), folders) is None
