"""``index.html``: all sessions of the output folder with their state, each linked to its page."""

from __future__ import annotations

from pathlib import Path

from bids_app.bids.record_file import read_session, session_keys
from bids_app.report import view
from bids_app.report.render import render, write_page


def write_index(output_dir: Path) -> Path:
    """Write the list of sessions.

    Raises:
        CannotWrite: the page cannot be written.
    """
    output_dir = Path(output_dir)
    rows = []
    for key in session_keys(output_dir):
        record = read_session(output_dir, key)
        rows.append(
            {
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
        )
    counts = [(word, sum(r["state"] == state for r in rows)) for state, word in view.STATE_WORDS.items()]
    group = "group.html" if (output_dir / "group.html").is_file() else ""
    page = render("index.html.j2", title="Sessions", rows=rows, counts=[c for c in counts if c[1]], group=group)
    return write_page(output_dir / "index.html", page)
