"""Templates to pages: one file each, with style, script and pictures inside, and written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import numbers
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.report.charts import short

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, scripts: tuple[str, ...] = ("page.js",), **context: Any) -> str:
    """A page as text. Whatever comes from data is escaped, and what a record lacks is blank: a page must not fail.

    ``scripts``: files beside the template, which become one script of the page.
    """
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = number
    environment.filters["figures"] = figures
    environment.filters["cell"] = cell
    environment.filters["tick"] = short
    environment.filters["duration"] = duration
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8").strip() for name in scripts)
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


def figures(value: Any, digits: int = 3) -> str:
    """A number of any size with so many digits that count, or a dash."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value != value:
        return "–"
    value = float(value)
    text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    if "e" in text:
        base, _, power = text.partition("e")
        text = f"{base} × 10^{int(power)}"
    return text.replace("-", "−")


def cell(value: Any) -> str:
    """Whatever stands in a table: a number with three digits, a text as it is, a dash for nothing."""
    return "–" if value is None else value if isinstance(value, str) else figures(value)


def duration(seconds: Any) -> str:
    """Seconds for people: 4.2 s, 1 min 05 s, 2 h 10 min."""
    if not isinstance(seconds, int | float) or seconds != seconds:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
