"""A recipe that is written is the recipe that is read."""

from __future__ import annotations

import pytest

from bids_app.recipes.recipe import list_recipes, load_recipe, parse_recipe
from bids_app.recipes.write import recipe_to_toml


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_survive_writing(tmp_path, name):
    (tmp_path / "r.toml").write_text(recipe_to_toml(load_recipe(name)), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == load_recipe(name)


def test_odd_words_survive_writing(tmp_path):
    recipe = parse_recipe(
        {
            "name": "odd",
            "sequences": [{"name": "T1w", "suffix": "T1w"}],
            "title": 'a "quoted" \\ título\nof two lines',
            "grid": {"kind": "whole", "spacing_mm": 1.0},
            "targets": [{"name": "sex", "kind": "binary", "levels": ["F", "M"]}, {"name": "age", "kind": "continuous"}],
            "labels": {"suffix": "mask", "entities": {"label": "lesion", "desc": ""}},
        },
        source="test",
    )
    (tmp_path / "r.toml").write_text(recipe_to_toml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == recipe
