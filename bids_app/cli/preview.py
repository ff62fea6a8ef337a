"""``--dry-run``: what would be chosen for each session and why, as a table and as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from bids_app.bids.index import planning
from bids_app.cli.console import make_console
from bids_app.errors import NothingSelected, TandemError
from bids_app.settings import Settings


def preview(settings: Settings, units: list) -> int:
    """Every session's files as a table, and as JSON on a standard output that is no terminal; nothing is written.

    Raises:
        NothingSelected: no session has what the recipes require.
    """
    from workflows.wanted import load_recipes

    recipes = load_recipes(settings)
    known: dict[tuple, list[str]] = {}
    with planning(settings, len(units)) as fast:
        rows = [one for unit in units for one in session_rows(fast, unit, recipes, known)]
    _table(rows)
    if not sys.stdout.isatty():
        print(json.dumps(rows, indent=1))
    if all("error" in row for row in rows):
        raise NothingSelected(f"no session can be run: {rows[0]['error']}")
    return 0


def session_rows(settings: Settings, unit: Any, recipes: list, known: dict[tuple, list[str]]) -> list[dict]:
    """A row for every reference that the recipes of a session have, and one for every recipe that cannot be run.

    Args:
        known: steps of the sessions before; those of this one join them.
    """
    from workflows.choosing import Ready, choose, put_together, selection_record, settle

    ready, told, rows = [], {}, []
    wrong: dict[str, str] = {}
    for recipe in recipes:
        try:
            selection = choose(settings, unit.participant, unit.session, recipe)
            settled, taken_as = settle(settings, recipe, selection)
            ready.append(Ready(settled, selection))
            told[recipe.name] = taken_as
        except TandemError as error:
            wrong[recipe.name] = str(error)
    groups, refused = put_together(ready)
    for group in groups:
        chosen = selection_record(settings, group.selection)
        row = {"session": unit.key, **chosen.model_dump()}
        if texts := [told[recipe.name] for recipe in group.recipes if told[recipe.name]]:
            row["taken_as"] = texts
        others = [name for name in chosen.used() if name != group.reference]
        computed = [one.sequence for one in chosen.sequences if one.computed]
        # a recipe as it was settled for these images: of one name, crops and whole heads go other ways
        alike = (*(recipe.model_dump_json() for recipe in group.recipes), "with", *others, "of", *computed)
        if alike not in known:
            known[alike] = steps(settings, group.recipes, others, computed)
        row["steps"] = known[alike]
        rows.append(row)
    for name, reason in (wrong | {name: str(error) for name, error in refused.items()}).items():
        text = reason if len(recipes) == 1 else f"{name}: {reason}"
        rows.append({"session": unit.key, "steps": [], "sequences": [], "error": text})
    return rows


def steps(settings: Settings, recipes: list, others: list[str], computed: list[str] | None = None) -> list[str]:
    """What a session goes through, in words.

    Args:
        others: sequences beside the reference.
        computed: sequences that are made of a raw diffusion series.
    """
    from workflows.wanted import anatomy_of, is_prepared, maps_grey_matter, wants_bias_correction

    nonlinear = any(space.split(":")[0] not in ("T1w", "orig") for space in settings.output_spaces)
    prepared = is_prepared(recipes)
    anatomy = anatomy_of(settings, recipes)
    by = " by the network, where it is a whole head" if anatomy else ""
    cleaned = [*(["denoise"] if settings.denoise else []), *(["N4"] if wants_bias_correction(recipes) else [])]
    made = [f"compute {' and '.join(computed)} from the diffusion series"] if computed else []
    before = [*made, "conform", *([] if prepared else [f"brain mask{by}"]), *cleaned]
    predicted = [f"predict {r.name}" for r in recipes if r.predicts]
    if prepared:
        return [*before, *predicted, "write"]
    pair = "ADC" if recipes[0].reference == "trace" else None  # from one series: in place already
    registered = [
        f"{name} in one unit, in its place" if name == pair else f"{name} rigid to the reference" for name in others
    ]
    template = "affine to the template" + (" and SyN" if nonlinear else "")
    template = "placed in the template, not registered" if settings.fast else template
    template += ", grey matter carried there" if maps_grey_matter(settings, recipes) else ""
    found = dict.fromkeys(f"find the places by {r.locate.by}" for r in recipes if r.grid and r.grid.kind == "sides")
    return [*before, *registered, template, *found, *predicted, "write"]


def _table(rows: list[dict]) -> None:
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
    console = make_console(stderr=not sys.stdout.isatty())
    console.print(table)
    for row in rows:
        for text in row.get("taken_as", ()):
            console.print(f"{row['session']}: {text}", style="dim", markup=False)
    runs = [row for row in rows if row["steps"]]
    if runs:
        console.print("steps: " + ", ".join(runs[0]["steps"]), style="dim")
