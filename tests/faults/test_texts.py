"""Texts with bytes that have changed: every reader ends in a value or in a sentence, soon."""

import contextlib
import json
import time

import numpy as np
import pytest

from bids_app.bids.filters import read_filters
from bids_app.bids.gradients import read_bvalues
from bids_app.bids.tables import read_table
from bids_app.cohort.tables import read_tables
from bids_app.errors import TandemError
from bids_app.group.participants import read_participants
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import from_plain, read_toml
from bids_app.text import TextError, read_json

pytestmark = pytest.mark.faults

TABLE = 'participant_id\tage\tsex\tgroup\nsub-01\t34\tF\thc\nsub-02\t89+\tM\t"p\tt"\nsub-03\tn/a\t-\tpt\n'
RUN = """bids_dir = "in"
output_dir = "out"
levels = ["participant"]
nprocs = 2
derivatives = { a = "b" }
"""
RECIPE = """name = "x"
title = "X"
sequences = [{ name = "T1w", suffix = "T1w" }]
[grid]
kind = "image"
spacing_mm = 1.0
"""
TEXTS = {
    "participants.tsv": TABLE.encode(),
    "participants.json": json.dumps({"group": {"Levels": {"hc": "healthy", "pt": "patient"}}}).encode(),
    "filter.json": b'{"t1w": {"run": [1, null], "acquisition": "*"}}',
    "run.toml": RUN.encode(),
    "recipe.toml": RECIPE.encode(),
    "sub-01_dwi.bval": b"0 1000 1000 1000\n",
}
#: What is put in beside single bytes: marks of encodings, quotes, brackets, other line ends, other signs.
PIECES = [
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b'"',
    b"\t",
    b"\r",
    b"\r\n",
    b"[" * 500,
    b"{" * 3,
    b"\x80",
    b"\xc3\xbc",
]
PIECES += [
    b"\xc3\xbc",
    b",",
    b";",
    b"  ",
    b"1" * 400,
    b"1e999",
    b"NaN",
    b"\\ud800",
    b"null",
    b"'" * 3,
    b"#",
    b"=",
    b"\x1f\x8b",
]


def damaged(content: bytes, seed: int) -> bytes:
    draw, text = np.random.default_rng(seed), bytearray(content)
    for _ in range(draw.integers(1, 6)):
        place = int(draw.integers(0, len(text) + 1))
        how = draw.integers(4)
        if how == 0 and text:
            text[min(place, len(text) - 1)] = draw.integers(256)
        elif how == 1:
            text[place:place] = PIECES[draw.integers(len(PIECES))]
        elif how == 2:
            del text[place : place + int(draw.integers(1, 20))]
        else:
            text[place:place] = text[: int(draw.integers(0, 40))]
    content = bytes(text)
    if seed % 7 == 0:
        with contextlib.suppress(UnicodeDecodeError):
            content = content.decode("utf-8").encode(["utf-16", "utf-16-le", "utf-16-be", "utf-32"][seed % 4])
    return content


def read_all(folder):
    """Every reader of a text that a person writes; only the project's own errors may come out."""
    for read in (
        lambda: read_table(folder / "participants.tsv", "participant_id"),
        lambda: read_tables(folder, [("01", None), ("02", None)]),
        lambda: read_participants(folder / "participants.tsv"),
        lambda: read_json(folder / "participants.json"),
        lambda: read_filters(folder / "filter.json", {"T1w": "T1w"}),
        lambda: from_plain(read_toml(folder / "run.toml"), source="run.toml"),
        lambda: load_recipe(folder / "recipe.toml"),
        lambda: read_bvalues(folder / "sub-01_dwi.nii.gz", folder, 4),
    ):
        with contextlib.suppress(TandemError, TextError):
            read()


@pytest.mark.parametrize("part", range(8))
def test_every_reader_ends_in_a_value_or_a_sentence(tmp_path, part):
    begin = time.perf_counter()
    for seed in range(50 * part, 50 * (part + 1)):
        for name, content in TEXTS.items():
            (tmp_path / name).write_bytes(damaged(content, seed))
        try:
            read_all(tmp_path)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    assert time.perf_counter() - begin < 120
