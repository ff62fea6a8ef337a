"""Templates to pages: one file each, with style, script and pictures inside, and written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """A page as text. Whatever comes from data is escaped, and what a record lacks is blank: a page must not fail."""
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = number
    environment.filters["duration"] = duration
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8").strip()
    return environment.get_template(template).render(style=style, script=script, script_hash=digest, **context)


def write_page(path: Path, text: str) -> Path:
    """Write a page, whole or not at all.

    Raises:
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    return write_text(path, text)


def number(value: Any, digits: int = 1) -> str:
    """A number for people, or a dash."""
    if not isinstance(value, int | float) or value != value:
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def duration(seconds: Any) -> str:
    """Seconds for people: 4.2 s, 1 min 05 s, 2 h 10 min."""
    if not isinstance(seconds, int | float) or seconds != seconds:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
