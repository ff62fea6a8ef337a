"""Malformed files, drawn by hypothesis: every reader ends in a value or in one of the project's own errors.

Run in a process of its own (``python -m tests.faults.malformed --files N FOLDER``), which notes its peak memory and
every file that was opened for writing outside the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bids_app.bids.filters import read_filters
from bids_app.bids.gradients import read_bvalues
from bids_app.bids.preflight import check_image
from bids_app.bids.tables import read_table
from bids_app.cli.parser import parse
from bids_app.cohort.tables import read_tables
from bids_app.errors import TandemError
from bids_app.group.participants import read_participants
from bids_app.imaging.conform import conform
from bids_app.recipes.recipe import load_recipe
from bids_app.text import TextError, read_json
from tests.faults.bench import Bench, Lost, Outcome, finish
from tests.faults.test_damaged_headers import FIELDS
from tests.faults.test_texts import PIECES, TEXTS

#: No reader may need more than this above what the process takes with its libraries, however the file lies.
MOST_MB = 600
#: Nor longer for one file.
MOST_SECONDS = 20
#: Malformed images in one real run.
IMAGES = 12


def whole_image() -> bytes:
    values = np.random.default_rng(0).integers(0, 200, (14, 14, 14)).astype(np.int16)
    return nib.Nifti1Image(values, np.diag([5.0, 5, 5, 1])).to_bytes()


def edits(content: bytes, places: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """One to five changes of a file: a byte, a piece put in, a stretch taken out or said twice, an end cut off."""
    change = st.tuples(st.sampled_from("bpdrc"), places, st.integers(0, 255), st.sampled_from(PIECES))

    def edited(changes: list[tuple[str, int, int, bytes]]) -> bytes:
        made = bytearray(content)
        for how, place, number, piece in changes:
            place = min(place, max(len(made) - 1, 0))
            if how == "b" and made:
                made[place] = number
            elif how == "p":
                made[place:place] = piece
            elif how == "d":
                del made[place : place + 1 + number % 40]
            elif how == "r":
                made[place:place] = made[place : place + number]
            elif how == "c" and number > 200:
                del made[place:]
        return bytes(made)

    return st.lists(change, min_size=1, max_size=5).map(edited)


def anywhere(content: bytes) -> st.SearchStrategy[int]:
    return st.integers(0, len(content))


def headers() -> st.SearchStrategy[bytes]:
    """Images whose header says something else: single bytes, or whole fields of two and four."""
    place, value = st.sampled_from(FIELDS), st.one_of(st.binary(min_size=1, max_size=4), st.just(b"\xff\x7f"))

    def changed(changes: list[tuple[int, bytes]]) -> bytes:
        made = bytearray(whole_image())
        for where, what in changes:
            made[where : where + len(what)] = what
        return bytes(made)

    return st.lists(st.tuples(place, value), min_size=1, max_size=4).map(changed)


def packed() -> st.SearchStrategy[bytes]:
    """Compressed images: damaged after or before compression, or far longer than their header says."""
    whole = gzip.compress(whole_image(), mtime=0)
    bomb = gzip.compress(whole_image() + bytes(64 << 20), mtime=0)
    inside = headers().map(lambda content: gzip.compress(content, mtime=0))
    return st.one_of(edits(whole, anywhere(whole)), inside, st.just(bomb), st.binary(max_size=200))


def read_image(path: Path) -> None:
    check_image(path)
    conform(path, path.with_name("conformed.nii"))


def read_run(path: Path) -> None:
    parse(["--config-file", str(path), "in", "out", "participant"])


def read_participants_of(path: Path) -> None:
    for read in (lambda: read_table(path, "participant_id"), lambda: read_participants(path)):
        with contextlib.suppress(TandemError, TextError):
            read()
    read_tables(path.parent, [("01", None), ("02", None)])


def read_plain(path: Path) -> None:
    read_json(path)


def read_filter(path: Path) -> None:
    read_filters(path, {"T1w": "T1w"})


def read_bval(path: Path) -> None:
    read_bvalues(path.with_name("sub-01_dwi.nii.gz"), path.parent, 4)


def text(name: str) -> st.SearchStrategy[bytes]:
    return st.one_of(edits(TEXTS[name], anywhere(TEXTS[name])), st.binary(max_size=200))


#: Kind of file: its name, how it is drawn, and who reads it.
KINDS: dict[str, tuple[str, st.SearchStrategy[bytes], Callable[[Path], Any]]] = {
    "NIfTI": ("sub-01_T1w.nii", st.one_of(headers(), st.binary(max_size=400)), read_image),
    "gzip": ("sub-02_T1w.nii.gz", packed(), read_image),
    "JSON": ("participants.json", text("participants.json"), read_plain),
    "filter": ("filter.json", text("filter.json"), read_filter),
    "TSV": ("participants.tsv", text("participants.tsv"), read_participants_of),
    "TOML": ("run.toml", text("run.toml"), read_run),
    "recipe": ("recipe.toml", text("recipe.toml"), load_recipe),
    "bval": ("sub-01_dwi.bval", text("sub-01_dwi.bval"), read_bval),
}


def read_all(kind: str, folder: Path, files: int) -> None:
    """Write and read that many files of one kind; anything but the project's own errors comes through."""
    name, drawn, read = KINDS[kind]
    path = folder / name

    @seed(16)
    @settings(
        max_examples=files,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def one(content: bytes) -> None:
        path.write_bytes(content)
        began = time.monotonic()
        with contextlib.suppress(TandemError, TextError):
            read(path)
        if time.monotonic() - began > MOST_SECONDS:
            raise AssertionError(f"{kind}: one file took {time.monotonic() - began:.0f} s: {content[:100]!r}")

    one()
    path.unlink()


def watch_writes(folder: Path) -> list[str]:
    """A list that every file opened for writing outside ``folder`` joins from now on."""
    found: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not path.startswith((str(folder), "/dev/null")):
            found.append(path)

    sys.addaudithook(hook)
    return found


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=500, help="of each kind")
    options = parser.parse_args(words)
    warnings.simplefilter("ignore")
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(options.folder / ".hypothesis")
    for kind in KINDS:  # libraries that are imported late count as libraries
        read_all(kind, options.folder, 1)
    before, written = peak_mb(), watch_writes(options.folder)
    for kind in KINDS:
        read_all(kind, options.folder, options.files)
    print(json.dumps({"above_mb": round(peak_mb() - before), "written": sorted(set(written))}))
    return 0


def readers(bench: Bench) -> Outcome:
    """Every kind of file, `Bench.files` of each, in one process."""
    root, began = bench.dataset(), time.monotonic()
    command = [sys.executable, "-m", "tests.faults.malformed", "--files", str(bench.files), str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    except subprocess.TimeoutExpired as error:
        raise Lost("a reader does not end") from error
    if done.returncode:
        raise Lost(done.stderr[-4000:])
    found = json.loads(done.stdout.splitlines()[-1])  # readers may say something before
    if found["written"] or found["above_mb"] > MOST_MB:
        raise Lost(f"written outside: {found['written']}; {found['above_mb']} MB above the libraries")
    seconds = time.monotonic() - began
    told = f"{bench.files} files of each of {len(KINDS)} kinds in {seconds:.0f} s: a value or a sentence"
    return Outcome(f"{told}; memory rose by {found['above_mb']} MB at most")


def dataset(bench: Bench) -> Outcome:
    """A run over images that are all malformed in another way, beside two that are whole."""
    labels = tuple(f"{number:02}" for number in range(1, IMAGES + 3))
    root = bench.dataset(labels)
    images = sorted((root / "bids").glob("sub-*/anat/*.nii.gz"))
    drawn = np.random.default_rng(16)
    for image in images[2:]:
        content = bytearray(image.read_bytes())
        keep = int(drawn.integers(10, len(content)))
        for place in drawn.integers(0, keep, 4):
            content[place] = int(drawn.integers(256))
        image.write_bytes(bytes(content[:keep]))
    text = finish(bench.run(), 65, 66, 1)
    failed, done = text.count("FAILED"), text.count("SUCCESS")
    if (failed, done) != (IMAGES, 2):
        raise Lost(f"{done} sessions done and {failed} failed: {text[-2000:]}")
    left = [str(path) for path in bench.home.rglob("*")]
    if left:
        raise Lost(f"written outside output and work folder: {left}")
    said = next(line for line in text.splitlines() if "FAILED" in line).removeprefix("tandem: ")
    return Outcome(f"{IMAGES} sessions end by name, 2 are done; {said}")


if __name__ == "__main__":
    sys.exit(main())
