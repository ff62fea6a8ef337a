"""Text that people write: bytes to characters, JSON and TOML of a sane depth, what counts as not known, numbers."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: A table, sidecar or recipe is far smaller; what is larger was not written by a person.
MAX_BYTES = 256 << 20
#: Objects and lists inside each other. Deeper ones exhaust the stack of whatever walks through them later.
MAX_DEPTH = 100
#: How a cell says that its value is not known, in any case of letters. BIDS asks for ``n/a``
#: (https://bids-specification.readthedocs.io, "Tabular files"); the others are what R, pandas, Excel and people write.
#: A word that the JSON beside a table or a recipe names as a level is a value all the same ("none" of a medication).
MISSING = frozenset({
    "", "n/a", "na", "n.a.", "n.a", "n\\a", "nan", "-nan", "<na>", "#n/a", "#na", "#value!", "#ref!", "#div/0!",
    "#num!", "#null!", "#name?", "none", "null", "nil", "missing", "unknown", "not available", "not known", "-", "--",
    ".", "?",
})  # fmt: skip
#: Invisible characters that spreadsheets and web pages leave around a value, beside blanks.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\x00"
_BLANK = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: How files begin that only have the name of a text.
_OTHER = (
    (b"PK\x03\x04", "is a spreadsheet (.xlsx, .ods) or another zip archive: save it as text"),
    (b"\xd0\xcf\x11\xe0", "is an old spreadsheet (.xls): save it as text"),
    (b"\x1f\x8b", "is compressed (gzip): unpack it"),
    (b"%PDF", "is a PDF: save it as text"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file: run `git lfs pull` in the dataset"),
    (b"/annex/objects/", "is a git-annex pointer, not the file: run `datalad get {path}`"),
    (b"../.git/annex/objects/", "is a git-annex pointer, not the file: run `datalad get {path}`"),
    (b".git/annex/objects/", "is a git-annex pointer, not the file: run `datalad get {path}`"),
)


class TextError(ValueError):
    """A text that cannot be read as what it should be; the sentence says what to do, and names no file twice."""


def read_text(path: Path) -> tuple[str, list[str]]:
    """A text file with ``\\n`` at the end of each line, whatever wrote it.

    Returns:
        The text, and what was odd about its encoding.

    Raises:
        OSError: the file is absent or may not be read.
        TextError: it is no text: content that was not fetched, a spreadsheet, something enormous.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise TextError(f"{path} is a link to content that is not here: run `datalad get {path}`, or mend the link")
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TextError(f"{path} is larger than {MAX_BYTES >> 20} MB: that is no text that a person wrote")
    for beginning, trouble in _OTHER:
        if raw.startswith(beginning):
            raise TextError(f"{path} {trouble.format(path=path)}")
    told: list[str] = []
    text = _decode(raw, path.name, told)
    return text.replace("\r\n", "\n").replace("\r", "\n"), told


def _decode(raw: bytes, name: str, told: list[str]) -> str:
    wide = _wide_encoding(raw)
    if wide:
        told.append(f"{name} is {wide.upper()[:6]}, not UTF-8; it was read as {wide.upper()[:6]}.")
        return raw.decode(wide, errors="replace").removeprefix("\ufeff")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        told.append(f"{name} is not UTF-8; it was read as Latin-1 (Windows-1252), so check accented letters.")
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:  # five bytes that Windows does not use
        return raw.decode("latin-1")


def _wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32 by the byte order mark, or by every other byte of the beginning being zero."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if raw.startswith(mark):
            return encoding
    start = raw[:512]
    if b"\x00" not in start:
        return None
    zeros = [start[half::2].count(0) / max(len(start[half::2]), 1) for half in (0, 1)]
    if len(start) >= 4 and zeros[1] > 0.6 > 0.1 > zeros[0]:
        return "utf-16-le"
    return "utf-16-be" if len(start) >= 4 and zeros[0] > 0.6 > 0.1 > zeros[1] else None


def parse_json(text: str) -> Any:
    """What a JSON text holds, at most `MAX_DEPTH` deep.

    Raises:
        TextError: no JSON, or nested too deeply.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise TextError(f"is nested more than {MAX_DEPTH} deep: it is damaged, or was made to do harm") from error
    except ValueError as error:
        raise TextError(f"is not a JSON file: {error}") from error
    if text.count("{") + text.count("[") > MAX_DEPTH:  # fewer cannot be nested so deep
        _check_depth(content)
    return content


def read_json(path: Path) -> tuple[Any, list[str]]:
    """What a JSON file holds, and what was odd about its encoding.

    Raises:
        OSError: the file is absent or may not be read.
        TextError: it is no JSON text.
    """
    text, told = read_text(path)
    try:
        return parse_json(text), told
    except TextError as error:
        raise TextError(f"{path} {error}") from error


def read_toml(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What a TOML file holds, and what was odd about its encoding.

    Raises:
        OSError: the file is absent or may not be read.
        TextError: it is no TOML text.
    """
    text, told = read_text(path)
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise TextError(f"{path} is nested more than {MAX_DEPTH} deep: it is damaged") from error
    except ValueError as error:  # tomllib's own error, and numbers of too many digits
        raise TextError(f"{path} is not a TOML file: {error}") from error
    try:
        _check_depth(content)
    except TextError as error:
        raise TextError(f"{path} {error}") from error
    return content, told


def _check_depth(content: Any) -> None:
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise TextError(f"is nested more than {MAX_DEPTH} deep: it is damaged, or was made to do harm")
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [below for one in inner for below in (one.values() if isinstance(one, dict) else one)]


def stripped(text: str) -> str:
    """A value without blanks and invisible characters around it."""
    return _BLANK.sub("", text)


def is_missing(text: str | None) -> bool:
    """Whether a cell says that its value is not known; see `MISSING`."""
    return text is None or stripped(text).lower() in MISSING


def parse_number(text: str) -> float:
    """A number as people write it: ``34.5``, ``34,5``, ``1e-3``, ``−2``, and ``89+``, which BIDS asks for above 89.

    Raises:
        TextError: anything else; the sentence says what (a unit, a thousands separator, a range) and what to write.
    """
    plain = stripped(text).replace("\u2212", "-")
    shown = repr(text)
    if plain.endswith("+"):
        plain = plain[:-1]
    if _NUMBER.fullmatch(plain):
        value = float(plain)
        if value in (float("inf"), float("-inf")):
            raise TextError(f"{shown} is not finite; write n/a where it is not known")
        return value
    comma = re.fullmatch(r"([+-]?)([0-9]+),([0-9]+)", plain)
    if comma and (len(comma[3]) != 3 or comma[2].startswith("0")):
        return float(f"{comma[1]}{comma[2]}.{comma[3]}")
    raise TextError(f"{shown} {_why_no_number(plain)}")


def _why_no_number(plain: str) -> str:
    digits = re.sub(r"[.,'\s\u00a0\u202f_]", "", plain)
    if plain.lower().lstrip("+-") in ("inf", "infinity", "nan"):
        return "is not finite; write n/a where it is not known"
    if re.fullmatch(r"[+-]?[0-9]+", digits):
        return (
            "may have a thousands separator or a decimal comma; write the digits with a point only, for example 1234.5"
        )
    if re.fullmatch(r"[<>≤≥~≈]\s*[0-9.,]+", plain) or re.fullmatch(r"[0-9.,]+\s*[-–/]\s*[0-9.,]+", plain):
        return "is a range or a limit, not a number; write one number, or n/a where it is not known"
    if re.match(r"[+-]?[0-9.,]+\s*[^0-9.,\s]", plain):
        return (
            "has a unit or a word behind its number; write the number alone, in the unit that the JSON beside it names"
        )
    return "is no number; write n/a where it is not known"


def some(things: Sequence[object], shown: int = 10) -> str:
    """The first of a list with commas, and how many more there are."""
    more = f" and {len(things) - shown} more" if len(things) > shown else ""
    return ", ".join(map(str, things[:shown])) + more
