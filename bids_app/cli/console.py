"""What a person sees: colours and the width of the window on a terminal; whole lines, however long, anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO, Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"done": "green", "failed": "red", "running": "yellow", "unknown": "magenta", "not run": "dim"}
#: Columns of a line that goes into a file or to another program: nothing is cut or wrapped there.
ENDLESS = 100_000
#: More rows than this are not folded at the width of a terminal: nobody reads them there, and it takes seconds.
FOLDED_AT_MOST = 1000
#: Of the table of sessions; the last one says why.
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("session", "left"),
    ("state", "left"),
    ("seconds", "right"),
    ("peak MB", "right"),
    ("warnings", "right"),
    ("", "left"),
)


def make_console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """A console that never cuts or wraps what goes to a file."""
    stream = file or (sys.stderr if stderr else sys.stdout)
    width = None if stream.isatty() else ENDLESS
    return Console(stderr=stderr, file=file, soft_wrap=True, highlight=False, width=width)


def print_statuses(statuses: dict[str, Any], console: Console) -> None:
    """One row per session: state, seconds, memory, how many warnings, and why it ended or the first of them.

    On a terminal rows are coloured, and folded at its width, where there are not too many to be looked at.
    """
    rows = [_row(key, status) for key, status in statuses.items()]
    if not console.is_terminal or len(rows) > FOLDED_AT_MOST:
        console.file.write("\n".join(_lines(rows)) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for name, justify in COLUMNS:
        table.add_column(name, justify=justify, overflow="fold")
    for key, state, *numbers, told in rows:
        table.add_row(Text(key), Text(state, STYLES.get(state, "")), *numbers, Text(told))
    console.print(table)


def _row(key: str, status: Any) -> tuple[str, ...]:
    if status is None:
        return one_line(key), "not run", "", "", "", ""
    numbers = [f"{value:.0f}" if value else "" for value in (status.seconds, status.peak_rss_mb)]
    told = status.reason or next(iter(status.warnings), "")
    return one_line(key), status.state, *numbers, str(len(status.warnings) or ""), one_line(told)


def _lines(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns under each other: 10 000 rows take a tenth of a second, and 6 s as a table of rich."""
    whole = [tuple(name for name, _ in COLUMNS), *rows]
    widths = [max(map(cell_len, column)) for column in zip(*whole, strict=True)]
    for row in whole:
        cells = []
        for text, width, (_, justify) in zip(row, widths, COLUMNS, strict=True):
            blank = " " * (width - cell_len(text))
            cells.append(blank + text if justify == "right" else text + blank)
        yield "  ".join(cells).rstrip()


def plain(text: str, style: str = "") -> Text:
    """Text as it is: no markup in it is followed, and no control character reaches the terminal."""
    return Text(one_line(text), style)


def one_line(text: str | None) -> str:
    """White space as single spaces; what cannot be printed as its escape (``\\\\x1b``)."""
    words = " ".join((text or "").split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in words)
