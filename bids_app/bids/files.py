"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import socket
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bids_app.errors import CannotWrite, InputMissing, IOFailure, TandemError

UNFINISHED = ".tandem-"  # a leading dot: hidden from listings, from bids-validator and from pybids
NO_SPACE = {errno.ENOSPC: "no space is left on the device", errno.EDQUOT: "the disk quota is used up"}
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, keep: Path | None = None) -> Path:
    """Write a file beside its place, bring it to the disk, then rename it: readers see the old file or the new one.

    Args:
        path: where the file goes; folders are made.
        write: is handed an open binary stream.
        keep: where the file that was there before stays, once the new one is whole; None: nowhere.

    Raises:
        CannotWrite: folder or file may not be made.
        IOFailure: no space, quota, or the device failed half way; nothing is left behind.
    """
    path = Path(path)
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.parent / unfinished_name()
        try:
            with unfinished.open("xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if keep is not None and path.is_file():
                keep.unlink(missing_ok=True)
                os.link(path, keep)  # so that at no moment there is none under its own name
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        _sync_folder(path.parent)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """`write_whole` of what is already in memory; a file that holds exactly this is left as it is."""
    path = Path(path)
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return path
    return write_whole(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> Path:
    """`write_bytes` of UTF-8 text; what cannot be encoded (odd bytes of a file name) is escaped."""
    return write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> Path:
    """`write_whole` of NumPy arrays as ``.npz``, for `numpy.load`."""
    import numpy as np

    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return write_whole(path, lambda out: out.write(stream.getbuffer()))


@contextlib.contextmanager
def whole_folder(directory: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``directory`` once the block has ended without an error.

    Args:
        directory: its place.
        replace: a folder that is there is replaced as a whole, and kept where anything goes wrong.

    Raises:
        CannotWrite: ``directory`` is not an empty folder (and not to be replaced), or cannot be made.
        IOFailure: no space, or the device failed; nothing is left behind.
    """
    directory = Path(directory)
    with told_plainly(directory):
        if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
            raise CannotWrite(f"{directory} is not an empty folder but a file; name one that does not exist yet")
        if directory.is_dir() and not replace and any(directory.iterdir()):
            raise CannotWrite(f"{directory} is not an empty folder; name one that does not exist yet")
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            yield staging
            staging.chmod(0o755)
            _sync_all(staging)
            _put(staging, directory)
            _sync_folder(directory.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _put(staging: Path, directory: Path) -> None:
    """Put a finished folder in its place; what was there comes back where that fails."""
    if not directory.exists():
        os.replace(staging, directory)
        return
    before = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent)) / "before"
    try:
        os.replace(directory, before)
        try:
            os.replace(staging, directory)
        except OSError:
            os.replace(before, directory)
            raise
    finally:
        shutil.rmtree(before.parent, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    """Bring every file below a folder to the disk before the folder is renamed."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


def unfinished_name() -> str:
    """A file name that says which process of which computer is writing."""
    return f"{_own_prefix(os.getpid())}{os.urandom(4).hex()}"


def check_private(folder: Path, *, inner: bool = False) -> None:
    """Refuse a work folder in which somebody else could put files: pickles are read from it, and run as programs.

    Args:
        folder: that is there.
        inner: it holds the pickles itself, so that neither the group nor another owner may write either, and a folder
            that everybody may write in but not delete from (``/tmp``) will not do.

    Raises:
        CannotWrite: with what to do.
    """
    found = folder.stat()
    closed = f"run chmod go-w {folder}, or name another with -w"
    if found.st_mode & stat.S_IWOTH and (inner or not found.st_mode & stat.S_ISVTX):
        raise CannotWrite(f"everybody may write into the work folder {folder}, whose content is run: {closed}")
    if inner and found.st_mode & stat.S_IWGRP:
        raise CannotWrite(f"others of your group may write into the work folder {folder}: {closed}")
    if inner and os.geteuid() not in (0, found.st_uid):
        raise CannotWrite(f"the work folder {folder} belongs to another user: delete it, or name another with -w")


def remove_unfinished(folder: Path) -> list[Path]:
    """Delete what a killed process left below ``folder``; only call where nobody else is writing."""
    return _removed(sorted(Path(folder).rglob(f"{UNFINISHED}*-*")))


def remove_own_unfinished(folder: Path) -> list[Path]:
    """Delete what this process is writing below ``folder``; only for one that ends at once."""
    return _removed(sorted(Path(folder).rglob(f"{_own_prefix(os.getpid())}*")))


def remove_abandoned(folder: Path) -> list[Path]:
    """Delete what processes of this computer that are gone left directly in ``folder``; others may be writing there."""
    found = []
    for path in sorted(Path(folder).glob(f"{UNFINISHED}*-*")):
        pid = path.name.rpartition("-")[0].rpartition("-")[2]
        if pid.isdigit() and path.name.startswith(_own_prefix(int(pid))) and not Path(f"/proc/{pid}").exists():
            found.append(path)
    return _removed(found)


def _own_prefix(pid: int) -> str:
    return f"{UNFINISHED}{zlib.crc32(socket.gethostname().encode()):08x}-{pid}-"


def _removed(paths: list[Path]) -> list[Path]:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
    return paths


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing ``path`` into the project's errors, with what to do."""
    try:
        yield
    except OSError as error:
        raise plain_error(path, error) from error


def plain_error(path: Path, error: OSError) -> TandemError:
    """The project's error for an operating-system error met while writing ``path``."""
    if error.errno in NO_SPACE:
        return IOFailure(f"cannot write {path}: {NO_SPACE[error.errno]}; make room and run the same command again")
    if error.errno in _REFUSED:
        who = f" (as user {os.getuid()}:{os.getgid()})"
        return CannotWrite(f"cannot write {path}: {error.strerror}{who}; make the folder writable or choose another")
    return IOFailure(f"writing {path} failed: {error.strerror or error}; is the disk or network drive still there?")


def full_disk(error: BaseException, folders: Mapping[str, Path]) -> IOFailure | None:
    """Says which disk is full, where that is behind an error.

    Args:
        error: whatever ended; errors behind it count, and so does the text of one that Nipype hands on.
        folders: what may have been written to, by a name for people and what to do there.

    Returns:
        The disk of the file that the error names, else of the folder with least room; None where no disk was full.
    """
    cause: BaseException | None = error
    while cause is not None:
        for number, words in NO_SPACE.items():
            if getattr(cause, "errno", None) == number or f"[Errno {number}]" in str(cause):
                name, place = _fullest(getattr(cause, "filename", None), folders)
                left = f", mounted at {_mount_of(place)}, has {shutil.disk_usage(_there(place)).free / 1e6:.0f} MB left"
                return IOFailure(f"{words}: the disk of {name}{left}; make room there and run the same command again")
        cause = cause.__cause__ or cause.__context__
    return None


def _fullest(named: object, folders: Mapping[str, Path]) -> tuple[str, Path]:
    """The folder that a file lies in, else the one with least room on its disk."""
    if isinstance(named, str | bytes):
        path = Path(os.fsdecode(named)).absolute()
        inside = [(name, folder) for name, folder in folders.items() if folder.absolute() in path.parents]
        return inside[0] if inside else (str(path), path)
    return min(folders.items(), key=lambda item: shutil.disk_usage(_there(item[1])).free)


def _there(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _mount_of(path: Path) -> Path:
    return next(folder for folder in (_there(path), *_there(path).parents) if os.path.ismount(folder))


def system_error(error: OSError) -> TandemError | None:
    """The project's error for one of the operating system, met anywhere; None where it names no file."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is None:
        return (
            plain_error(Path("a file"), error) if error.errno in NO_SPACE | {errno.EIO: "", errno.EROFS: ""} else None
        )
    if error.errno in (errno.EACCES, errno.EPERM) and _is_closed(path):
        return InputMissing(f"{path} cannot be read: {error.strerror}")
    return None if error.errno in (errno.ENOENT, errno.EEXIST) else plain_error(path, error)


def _is_closed(path: Path) -> bool:
    """Whether a file is there that this user cannot read; it may lie in a folder that is closed itself."""
    try:
        return path.is_file() and not os.access(path, os.R_OK)
    except OSError:
        return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; some network drives refuse, which loses nothing else."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
