"""Tables as people make them: any encoding and line end, quoted cells, other separators, short rows, blank lines."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_app.errors import DataError
from bids_app.text import TextError, is_missing, read_text, stripped

#: What may stand between cells where there is no tab, in the order in which they are tried on the header.
_SEPARATORS = {";": "semicolons", ",": "commas", " ": "blanks"}

#: Comparisons of two labels beyond which no guess is made: a table of thousands beside a few folders.
MANY_PAIRS = 50_000


@dataclass
class Table:
    """A table whose first row names its columns.

    Attributes:
        columns: names in their order; blanks inside a name became ``_``.
        rows: values by column, ``n/a`` where a row is too short.
        told: what was odd and how it was read.
        wrong: what makes a column or the table useless.
    """

    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read_table(path: Path, key: str | None = None) -> Table:
    """Read a table of text.

    Args:
        path: of a ``.tsv`` (or ``.csv``) file.
        key: the column that names the rows; one of the same name in other letters (``Participant ID``) is taken for it.

    Raises:
        OSError: the file is absent or may not be read.
        TextError: it is no text.
    """
    path = Path(path)
    text, told = read_text(path)
    lines = [line for line in text.split("\n") if stripped(line)]
    table = Table(told=told)
    if not lines:
        return table
    cells = _split(lines, text, path.name, table)
    header = [re.sub(r"\s+", "_", name) for name in cells[0]]
    if key is not None and key not in header:
        header = _named(header, key, path.name, table)
    while header and not header[-1] and all(len(row) < len(header) or not row[len(header) - 1] for row in cells[1:]):
        header.pop()  # a tab at the end of each line
    table.columns = list(header)
    for number, row in enumerate(cells[1:], 2):
        if len(row) > len(header) and any(row[len(header) :]):
            table.told.append(
                f"{path.name}: row {number} has {len(row)} cells for {len(header)} columns; the last are not read."
            )
        table.rows.append(dict(zip(header, row + ["n/a"] * (len(header) - len(row)), strict=False)))
    _drop_repeated(table, cells, header, path.name)
    return table


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """Columns, rows and what was odd or wrong of `read_table`."""
    table = read_table(path)
    return table.columns, table.rows, table.told + table.wrong


def read_numbers(path: Path) -> tuple[list[str], np.ndarray]:
    """A table of numbers without names of rows, such as confounds or courses of parcels.

    Returns:
        Names of the columns; ``(rows, columns)``, NaN where a cell says that its value is not known.

    Raises:
        DataError: the file cannot be read, has no row, or a cell is no number; names file, column and row.
    """
    try:
        names, rows, _ = read_rows(path)
    except (OSError, TextError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not rows or not names:
        raise DataError(f"{path} has no row of numbers: make it again")
    values = np.full((len(rows), len(names)), np.nan)
    for at, row in enumerate(rows):
        for column, name in enumerate(names):
            cell = row.get(name, "")
            if not is_missing(cell):
                try:
                    values[at, column] = float(cell)
                except ValueError:
                    raise DataError(f"{path}: {name} of row {at + 1} is {cell!r}, not a number") from None
    return names, values


def _split(lines: list[str], text: str, name: str, table: Table) -> list[list[str]]:
    """Cells of every row; all rows as long as the header where blanks stand for a tab."""
    if "\t" in lines[0]:
        rows = _cells(text, lines, "\t")
        return _mended(rows, name, table)
    for mark, word in _SEPARATORS.items():
        if mark in lines[0].strip() and len(rows := _cells(text, lines, mark)) > 1:
            usual = len(rows[0])
            if all(len(row) == usual for row in rows[1:]) or mark != " ":
                table.told.append(f"{name} has {word} between its cells, not tabs; it was read with them.")
                return rows
    if any("\t" in line for line in lines[1:]):
        return _mended(_cells(text, lines, "\t"), name, table)
    return _cells(text, lines, "\t")


def _cells(text: str, lines: list[str], mark: str) -> list[list[str]]:
    """Cells by a separator. Quotes hold where the whole table is consistent with them, else only around a cell."""
    if mark == " ":
        return [[_unquoted(cell) for cell in line.split()] for line in lines]
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=mark, strict=True) if any(map(stripped, row))]
        if all(len(row) <= len(rows[0]) or not any(map(stripped, row[len(rows[0]) :])) for row in rows):
            return [[stripped(re.sub(r"[\n\t]+", " ", cell)) for cell in row] for row in rows]
    except csv.Error:
        pass
    return [[_unquoted(cell) for cell in line.split(mark)] for line in lines]


def _unquoted(cell: str) -> str:
    cell = stripped(cell)
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        cell = cell[1:-1].replace('""', '"')
    return stripped(cell)


def _mended(rows: list[list[str]], name: str, table: Table) -> list[list[str]]:
    """Rows in which blanks stand for a tab, split there where that gives as many cells as there are columns."""
    usual = max(set(map(len, rows[1:])), key=[len(row) for row in rows[1:]].count) if len(rows) > 1 else len(rows[0])
    if len(rows[0]) < usual and len(words := _words(rows[0], usual)) == usual:
        rows[0] = words
        table.told.append(f"{name}: blanks stand for a tab between the names of columns; they were read as one.")
    for number, row in enumerate(rows[1:], 1):
        if len(row) < len(rows[0]) and len(words := _words(row, len(rows[0]))) == len(rows[0]):
            rows[number] = words
            table.told.append(
                f"{name}: blanks stand for a tab in row {number + 1} ({words[0]}); they were read as one."
            )
    return rows


def _words(row: list[str], wanted: int) -> list[str]:
    """Cells split at runs of blanks, or at every blank where that gives the number that is wanted."""
    by_runs = [word for cell in row for word in (re.split(r"\s{2,}", cell) if cell else [""])]
    return by_runs if len(by_runs) == wanted else [word for cell in row for word in (cell.split() or [""])]


def _named(header: list[str], key: str, name: str, table: Table) -> list[str]:
    """The header with its column for ``key`` under that name, where another spelling of it is there once."""

    def plain(word: str) -> str:
        return re.sub(r"[^a-z0-9]", "", word.lower())

    same = [word for word in header if plain(word) == plain(key)]
    if len(same) != 1:
        return header
    table.told.append(f"{name} has {same[0]!r} where {key} is expected; it was read as that.")
    return [key if word == same[0] else word for word in header]


def _drop_repeated(table: Table, cells: list[list[str]], header: list[str], name: str) -> None:
    """A column that is there twice counts once where both say the same, else not at all."""
    for column in dict.fromkeys(word for word in header if header.count(word) > 1):
        places = [place for place, word in enumerate(header) if word == column]
        values = [[row[place] if place < len(row) else "n/a" for row in cells[1:]] for place in places]
        first = table.columns.index(column)
        table.columns = [word for place, word in enumerate(table.columns) if word != column or place == first]
        if all(one == values[0] for one in values):
            table.told.append(
                f"{name} has the column {column or 'without a name'} {len(places)} times, with the same values."
            )
            continue
        table.columns.remove(column)
        for row in table.rows:
            row.pop(column, None)
        if column:
            table.wrong.append(
                f"{name}: has the column {column} {len(places)} times, with different values; rename or delete one"
            )


def plain_label(label: str) -> str:
    """What two spellings of a label share: no case, no zeros in front of a number, letters and digits only.

    >>> plain_label("S-007") == plain_label("s7"), plain_label("10") == plain_label("1")
    (True, False)
    """
    label = re.sub(r"^([0-9]+)\.0+$", r"\1", stripped(label))  # a number that a spreadsheet has read
    label = re.sub(r"[^a-z0-9+]", "", label.lower())
    return re.sub(r"0*([0-9]+)", lambda found: found[1].lstrip("0") or "0", label)


def without_prefix(label: str, prefix: str) -> str:
    """A label without ``sub-`` (or ``ses-``), in whatever case that is written."""
    label = stripped(label)
    return label[len(prefix) :] if label.lower().startswith(prefix) else label


def nearest(label: str, known: list[str], shown: int = 1) -> list[str]:
    """The labels that come closest to one that is not there: the same but for zeros and case, else similar ones."""
    import difflib

    same = [one for one in known if plain_label(one) == plain_label(label)]
    return (same or difflib.get_close_matches(label, known, shown, 0.75))[:shown]


@dataclass(frozen=True)
class Matches:
    """Which label of a table means which folder.

    Attributes:
        folder: by label of the table, for those that have one.
        told: a sentence about what was guessed; empty where nothing was.
        lost: labels of the table that have no folder.
    """

    folder: dict[str, str]
    told: list[str]
    lost: list[str]


def match_labels(given: list[str], there: list[str], prefix: str, where: str) -> Matches:
    """Match labels of a table to labels of folders.

    A label that is a folder's is that folder's. Of the others, one that differs from exactly one free folder by zeros,
    case or signs alone is taken for it, unless two of them do.

    Args:
        given: labels of the table, without prefix.
        there: labels of the folders.
        prefix: ``sub-`` or ``ses-``.
        where: name of the table, for messages.
    """
    matched = {label: label for label in given if label in set(there)}
    free: dict[str, list[str]] = {}
    for label in there:
        if label not in matched:
            free.setdefault(plain_label(label), []).append(label)
    rivals: dict[str, list[str]] = {}
    for label in dict.fromkeys(given):
        if label not in matched:
            rivals.setdefault(plain_label(label), []).append(label)
    guessed, lost = [], []
    for plain, labels in rivals.items():
        places = free.get(plain, [])
        if plain and len(labels) == len(places) == 1:
            matched[labels[0]] = places[0]
            guessed.append(f"{prefix}{labels[0]} for {prefix}{places[0]}")
        else:
            lost += labels
    told = [
        f"{where}: these labels differ from the folders by zeros, case or signs alone and were taken for them: "
        f"{', '.join(guessed)}; mend the table if that is wrong"
    ]
    return Matches(matched, told if guessed else [], lost)


def without_partner(lost: list[str], there: list[str], prefix: str, where: str) -> list[str]:
    """Names every row that belongs to no folder: each with a guess where a label comes close, the others together."""
    told, far = [], []
    many = len(lost) * len(there) > MANY_PAIRS
    for label in lost:
        close = [] if many else nearest(label, there)
        if close:
            told.append(
                f"{where}: the row {prefix}{label} belongs to no folder and is not used; is it {prefix}{close[0]}?"
            )
        else:
            far.append(prefix + label)
    if far:
        told.append(f"{where}: these rows belong to no folder of the dataset and are not used: {', '.join(far)}")
    return told
