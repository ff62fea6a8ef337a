"""``--dry-run``: what would be chosen for each session and why, as a table and as JSON."""

from __future__ import annotations

import json
import sys

from bids_app.errors import NothingSelected, TandemError
from bids_app.settings import Settings


def preview(settings: Settings, units: list) -> int:
    """Print a table (to a terminal) and JSON (otherwise) of every session's files; nothing is run or written.

    Raises:
        NothingSelected: no session has what the recipes require.
    """
    from workflows.run_session import choose, selection_record
    from workflows.wanted import load_recipes

    recipes = load_recipes(settings)
    rows = []
    for unit in units:
        row = {"session": unit.key, "steps": steps(settings, recipes)}
        try:
            row |= selection_record(settings, choose(settings, unit.participant, unit.session, recipes))
        except TandemError as error:
            row |= {"error": str(error), "steps": [], "sequences": []}
        rows.append(row)
    if sys.stdout.isatty():
        _table(rows)
    else:
        print(json.dumps(rows, indent=1))
    if all("error" in row for row in rows):
        raise NothingSelected(f"no session can be run: {rows[0]['error']}")
    return 0


def steps(settings: Settings, recipes: list) -> list[str]:
    """What a session goes through, in words."""
    nonlinear = any(space.split(":")[0] not in ("T1w", "orig") for space in settings.output_spaces)
    return [
        "conform", *(["denoise"] if settings.denoise else []), "N4", "brain mask", "rigid to the reference",
        "affine to the template" + (" and SyN" if nonlinear else ""),
        *[f"predict {recipe.name}" for recipe in recipes if recipe.regions], "write",
    ]  # fmt: skip


def _table(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("session", "sequence", "file", "why"):
        table.add_column(name, overflow="fold")
    for row in rows:
        if "error" in row:
            table.add_row(escape(row["session"]), "", "[red]cannot run[/]", escape(row["error"]))
        for number, choice in enumerate(row["sequences"]):
            first = row["session"] if number == 0 else ""
            cells = (first, choice["sequence"], choice["file"] or "-", choice["reason"])
            table.add_row(*map(escape, cells))
            for other in choice["rejected"]:
                table.add_row("", "", f"[dim]not {escape(other['file'])}[/]", f"[dim]{escape(other['reason'])}[/]")
    Console().print(table)
