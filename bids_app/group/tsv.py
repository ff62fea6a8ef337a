"""Frames as BIDS tables: tabs, ``n/a``, six digits, and no cell that a spreadsheet would run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.bids.files import write_whole
from bids_app.text import TextError, parse_number

#: How a cell begins that a spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA = ("=", "+", "-", "@")


def safe(text: Any) -> Any:
    """A text for a cell: one line, ``n/a`` where empty, with an apostrophe before what would be run as a formula."""
    if text is None or text != text:
        return None
    plain = re.sub(r"[\t\r\n\x00]+", " ", str(text)).strip(" ")
    if not plain:
        return None
    if plain.startswith(FORMULA):
        try:
            parse_number(plain)
        except TextError:
            return f"'{plain}"
    return plain


def cells(column: pd.Series) -> list[str]:
    """A column as texts of cells: every distinct text once through `safe`, ``n/a`` where empty."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        texts = [safe(c) or "n/a" for c in column.cat.categories]
        return np.array([*texts, "n/a"], object)[column.cat.codes.to_numpy()].tolist()
    if pd.api.types.is_float_dtype(column):
        return six_digits(column.tolist())
    if pd.api.types.is_numeric_dtype(column):
        return [str(value) for value in column.astype(object).where(column.notna(), "n/a").tolist()]
    texts_of = {one: safe(one) or "n/a" for one in column.unique()}
    return [texts_of.get(one, "n/a") for one in column.tolist()]


def six_digits(values: list[float]) -> list[str]:
    """Numbers with six digits, ``n/a`` for NaN; one format for all of them is 20 times faster than pandas' own."""
    texts = ("%.6g\n" * len(values) % tuple(values)).split("\n")[:-1]
    return ["n/a" if text == "nan" else text for text in texts]


def tsv(frame: pd.DataFrame) -> str:
    """A frame, without its index, as the text of a table; more than twice as fast as pandas writes it."""
    names = "\t".join(safe(name) or "n/a" for name in frame.columns)
    columns = [cells(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return "\n".join([names, *map("\t".join, zip(*columns, strict=True)), ""])


def write_tsv(path: Path, frame: pd.DataFrame) -> Path:
    """Write a large frame in parts, whole or not at all.

    Raises:
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    size = 200_000

    def write(stream: Any) -> None:
        for start in range(0, max(len(frame), 1), size):
            text = tsv(frame.iloc[start : start + size])
            stream.write((text if start == 0 else text.partition("\n")[2]).encode("utf-8", errors="backslashreplace"))

    return write_whole(path, write)
