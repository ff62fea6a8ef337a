"""What a person sees: colours and the width of the window on a terminal; whole lines, however long, anywhere else."""

from __future__ import annotations

import sys
from typing import IO, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"done": "green", "failed": "red", "running": "yellow", "unknown": "magenta", "not run": "dim"}
#: Columns of a line that goes into a file or to another program: nothing is cut or wrapped there.
ENDLESS = 100_000


def make_console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """A console that never cuts or wraps what goes to a file."""
    stream = file or (sys.stderr if stderr else sys.stdout)
    width = None if stream.isatty() else ENDLESS
    return Console(stderr=stderr, file=file, soft_wrap=True, highlight=False, width=width)


def status_table(statuses: dict[str, Any]) -> Table:
    """One row per session: state, seconds, memory, how many warnings, and why it ended or the first of them."""
    table = Table(box=None, pad_edge=False)
    columns: tuple[tuple[str, Literal["left", "right"]], ...] = (
        ("session", "left"),
        ("state", "left"),
        ("seconds", "right"),
        ("peak MB", "right"),
        ("warnings", "right"),
        ("", "left"),
    )
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")
    for key, status in statuses.items():
        state = status.state if status else "not run"
        number = [f"{v:.0f}" if v else "" for v in (status.seconds, status.peak_rss_mb)] if status else ["", ""]
        warnings = status.warnings if status else []
        told = (status.reason if status else "") or next(iter(warnings), "")
        count = str(len(warnings)) if warnings else ""
        table.add_row(plain(key), Text(state, STYLES.get(state, "")), *number, count, plain(told))
    return table


def plain(text: str, style: str = "") -> Text:
    """Text as it is: no markup in it is followed, and no control character reaches the terminal."""
    return Text(one_line(text), style)


def one_line(text: str | None) -> str:
    """White space as single spaces; what cannot be printed as its escape (``\\\\x1b``)."""
    words = " ".join((text or "").split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in words)
