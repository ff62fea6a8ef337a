"""Cells that a spreadsheet would run, that break lines, or that are missing."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_app.group.tsv import safe, tsv, write_tsv


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@x", "'@x"),
        ("+cmd", "'+cmd"),
        ("-2+3", "'-2+3"),
        ("-2.5", "-2.5"),
        ("+3", "+3"),
        ("a\tb\nc", "a b c"),
        ("", None),
        (None, None),
        ("<script>", "<script>"),
    ],
)
def test_a_cell_is_one_line_that_nothing_runs(text, expected):
    assert safe(text) == expected


def test_a_frame_of_texts_categories_and_numbers():
    frame = pd.DataFrame({"=a": ["=1+1", None], "b": pd.Categorical(["@x", "y"]), "c": [1.23456789, float("nan")]})
    assert tsv(frame) == "'=a\tb\tc\n'=1+1\t'@x\t1.23457\nn/a\ty\tn/a\n"


def test_a_large_table_is_written_in_parts_with_one_header(tmp_path):
    frame = pd.DataFrame({"n": range(450_001)})
    lines = write_tsv(tmp_path / "x.tsv", frame).read_text().splitlines()
    assert lines[0] == "n"
    assert len(lines) == 450_002
    assert lines[200_001] == "200000"
