"""Disks that fill up or turn read-only while a run is writing to them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.faults.bench import Bench, Outcome, finish, need_root, sentence, small_disk, until


def output_disk_full(bench: Bench) -> Outcome:
    """The output folder is a disk of 96 KB, which is made larger afterwards."""
    bench.expected()
    root = bench.dataset()
    with small_disk(root / "out", "96k") as disk:
        text = finish(bench.run(), 74)
        said = sentence(text, "no space is left")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        bench.go_on()
    return Outcome(f"74: {said}")


def work_disk_full(bench: Bench) -> Outcome:
    """The disk of the work folder fills up once the first stage has begun."""
    bench.expected()
    root = bench.dataset()
    with small_disk(root / "work", "520m") as disk:
        run = bench.run()
        until(lambda: list(disk.glob("sub-*/made_by.txt")), run)
        fill(disk)
        said = sentence(finish(run, 74), "FAILED", "disk of the work folder", "make room there")
        (disk / "filler").unlink()
        bench.go_on()
    return Outcome(f"74: {said}")


def fill(disk: Path) -> None:
    """Take every byte that is left."""
    size, taken = 1 << 29, 0
    with (disk / "filler").open("wb") as stream:
        while size >= 4096:
            try:
                os.posix_fallocate(stream.fileno(), taken, size)
                taken += size
            except OSError:
                size //= 2


def output_read_only(bench: Bench) -> Outcome:
    """The output folder turns read-only once a session runs; open files, as in life, can still be written."""
    need_root("a read-only mount")
    bench.expected()
    out = bench.dataset() / "out"
    with small_disk(out, "64m"):
        run = bench.run()
        until(lambda: list(out.glob("logs/sub-*/status.json")), run)
        subprocess.run(["mount", "-o", "bind,ro", out, out], check=True)
        said = sentence(finish(run, 73), "Read-only")
        subprocess.run(["umount", "-l", out], check=True)
        bench.go_on()
    return Outcome(f"73: {said}")


def small_shared_memory(bench: Bench) -> Outcome:
    """``/dev/shm`` of 64 MB, as in a container: a whole cohort, and a training."""
    from tests.workflows.interrupts import KINDS, fresh

    need_root("another /dev/shm")
    shell = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", shell, "sh")
    bench.expected()
    bench.dataset()
    finish(bench.run(before=before), 0)
    bench.check_complete()
    fold = KINDS["fold"]
    root = fold.make(fresh(bench.root))
    finish(bench.start(fold.words(root, 2), before=before), 0)
    return Outcome("0: sessions and a training in two processes run as ever")
