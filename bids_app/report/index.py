"""``index.html``: all sessions of the output folder with their state, each linked to its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.bids.record import SessionRecord
from bids_app.bids.record_file import read_session, session_keys
from bids_app.report import view
from bids_app.report.render import render, write_page


def write_index(output_dir: Path, rows: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Write the list of sessions.

    Args:
        output_dir: the derivatives folder.
        rows: of `index_row`, where every session was read already; read here where not given.

    Raises:
        CannotWrite: the page cannot be written.
    """
    output_dir = Path(output_dir)
    if rows is None:
        rows = [index_row(output_dir, key, read_session(output_dir, key)) for key in session_keys(output_dir)]
    counts = [(word, sum(r["state"] == state for r in rows)) for state, word in view.STATE_WORDS.items()]
    group = "group.html" if (output_dir / "group.html").is_file() else ""
    page = render("index.html.j2", title="Sessions", rows=rows, counts=[c for c in counts if c[1]], group=group)
    return write_page(output_dir / "index.html", page)


def index_row(output_dir: Path, key: str, record: SessionRecord) -> dict[str, Any]:
    """What the list says of one session."""
    return {
        "key": key,
        "page": f"{key}.html" if (output_dir / f"{key}.html").is_file() else "",
        "state": record.state,
        "state_word": view.state_word(record.state),
        "reason": record.reason,
        "recipes": view.recipe_rows(record),
        "warnings": len(record.all_warnings()),
        "seconds": view.total_seconds(record) or None,
        "volumes": view.volume_words(record),
    }
