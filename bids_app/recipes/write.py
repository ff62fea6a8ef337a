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
            tables += [f"\n[{name}]", *_lines(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                tables += [f"\n[[{name}]]", *_lines(one)]
        else:
            top.append(f"{name} = {_value(value)}")
    return "\n".join([*top, *tables]) + "\n"


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
