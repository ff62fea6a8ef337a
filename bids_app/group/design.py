"""From columns of text to a design of numbers, with a sentence for each column that cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.text import TextError, is_missing, parse_number

#: More levels than this are no categories but names.
MOST_LEVELS = 50


@dataclass(frozen=True)
class Design:
    """Covariates as numbers.

    Attributes:
        columns: one row per session, NaN where a covariate is not known; numbers less their mean, categories as one
            column per level after the first.
        terms: covariate -> its columns.
        numeric: the covariates that are numbers.
    """

    columns: pd.DataFrame
    terms: dict[str, list[str]]
    numeric: tuple[str, ...]


def find_columns(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Check that columns are there.

    Raises:
        DataError: one is not; lists those that are.
    """
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.6)
            guess = f" (is it {close[0]}?)" if close else ""
            raise DataError(f"{what}: there is no column {name!r}{guess}; there are: {', '.join(known) or 'none'}")


def as_numbers(column: pd.Series, name: str) -> pd.Series:
    """A column of text as numbers, NaN where not known.

    Raises:
        DataError: a cell is no number; names column, row and cell.
    """
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    distinct = {cell: cell for cell in column.dropna().unique()}
    try:
        values = {c: float("nan") if is_missing(str(c)) else parse_number(str(c)) for c in distinct}
    except TextError as error:
        raise DataError(f"the column {name}: {error}") from error
    return column.map(values).astype(float)


def as_levels(column: pd.Series) -> pd.Series:
    """A column as names of levels, None where not known."""
    texts = {
        cell: None if cell is None or cell != cell or is_missing(str(cell)) else str(cell) for cell in column.unique()
    }
    return column.map(texts).astype(object).where(lambda c: c.notna(), None)


def is_number(column: pd.Series) -> bool:
    """Whether all that is known in a column are numbers."""
    try:
        return bool(as_numbers(column, "").notna().any())
    except DataError:
        return False


def as_column(values: pd.Series, name: str) -> pd.Series:
    """A column as numbers where all its cells are numbers, else as levels."""
    return as_numbers(values, name) if is_number(values) else as_levels(values)


def design_of(table: pd.DataFrame, covariates: Sequence[str], categories: Sequence[str] = ()) -> Design:
    """Covariates of a table.

    Args:
        table: a row per session.
        covariates: columns; numbers where all cells are, else categories.
        categories: those of them that are categories whatever their cells look like (a site of the number 3).

    Raises:
        DataError: a column is not there, not known for anybody, or the same for everybody.
    """
    find_columns(covariates, list(table.columns), "covariates")
    parts: dict[str, pd.Series] = {}
    terms: dict[str, list[str]] = {}
    numeric = []
    for name in covariates:
        if name not in categories and is_number(table[name]):
            found = {name: as_numbers(table[name], name)}
            _check(found[name], name)
            found[name] = found[name] - found[name].mean()
            numeric.append(name)
        else:
            found = _dummies(as_levels(table[name]), name)
        terms[name] = list(found)
        parts |= found
    return Design(pd.DataFrame(parts, index=table.index, dtype=float), terms, tuple(numeric))


def _check(column: pd.Series, name: str) -> None:
    known = column.dropna()
    if known.empty:
        raise DataError(f"the column {name} is not known for anybody; leave it out")
    if known.nunique() == 1:
        raise DataError(f"the column {name} is the same ({known.iloc[0]}) for everybody; leave it out")


def _dummies(levels: pd.Series, name: str) -> dict[str, pd.Series]:
    """A column per level after the first."""
    _check(levels, name)
    names = sorted(levels.dropna().unique())
    if len(names) > MOST_LEVELS:
        raise DataError(
            f"the column {name} has {len(names)} different values that are no numbers, for example {names[0]!r}: "
            "that is no category"
        )
    missing = levels.isna()
    return {f"{name}[{level}]": (levels == level).astype(float).where(~missing, np.nan) for level in names[1:]}
