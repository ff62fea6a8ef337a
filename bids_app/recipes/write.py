"""A recipe as the TOML file that `load_recipe` reads."""

from __future__ import annotations

import json
from typing import Any

from bids_app.recipes.recipe import Recipe


def recipe_to_toml(recipe: Recipe) -> str:
    """Every field that is not at its default, in the order of the schema."""
    plain = recipe.model_dump(mode="json", exclude_defaults=True)
    top, tables = [], []
    for name, value in plain.items():
        if isinstance(value, dict):
            lists = {key: one for key, one in value.items() if _is_tables(one)}
            tables += [f"\n[{name}]", *_lines({key: one for key, one in value.items() if key not in lists})]
            tables += [line for key, one in lists.items() for line in _tables(f"{name}.{key}", one)]
        elif _is_tables(value):
            tables += _tables(name, value)
        else:
            top.append(f"{name} = {_value(value)}")
    return "\n".join([*top, *tables]) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _tables(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """An array of tables."""
    return [line for row in rows for line in (f"\n[[{name}]]", *_lines(row))]


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in table.items() if value is not None]


def _value(value: Any) -> str:
    """TOML has no null: an entity that must be absent is an empty string, as in the recipes that ship."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return repr(value)
