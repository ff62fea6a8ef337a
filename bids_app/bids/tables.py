"""Tables as people make them: with a byte order mark, in Latin-1, in UTF-16, with short rows and blank lines."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """The columns and rows of a ``.tsv`` file, values as they are written but for blanks around them.

    Returns:
        Columns (blanks inside a name become ``_``), rows by column (``n/a`` where a row is too short), and what was
        odd about the file.

    Raises:
        OSError: the file is absent or may not be read.
    """
    told: list[str] = []
    text = _decode(Path(path).read_bytes(), Path(path).name, told)
    lines = [
        r for r in csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE) if any(c.strip() for c in r)
    ]
    if not lines:
        return [], [], told
    header = [re.sub(r"\s+", "_", c.strip()) for c in lines[0]]
    rows = [
        {name: value.strip() for name, value in zip(header, line + ["n/a"] * (len(header) - len(line)), strict=False)}
        for line in lines[1:]
    ]
    return header, rows, told


def _decode(raw: bytes, name: str, told: list[str]) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        told.append(f"{name} is UTF-16, not UTF-8 as BIDS asks; it was read as UTF-16.")
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        told.append(f"{name} is not UTF-8 as BIDS asks; it was read as Latin-1, so check accented letters.")
        return raw.decode("latin-1")
