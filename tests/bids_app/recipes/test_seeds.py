"""What a recipe may say of seeds and networks."""

from __future__ import annotations

import pytest

from bids_app.errors import RecipeError
from bids_app.recipes.recipe import load_recipe, parse_recipe
from bids_app.recipes.seeds import made_of
from bids_app.recipes.write import recipe_to_toml

T1W = {"name": "T1w", "suffix": "T1w"}
POINT = {"points_mm": [[0, -52, 26]]}
REGION = {"recipe": "habenula", "regions": ["left habenula"]}


def content(**changes):
    sequence = {"name": "cingulate", "suffix": "seedmap", "quantitative": True, "seed": POINT}
    return {"name": "mine", "title": "Mine", "sequences": [T1W, {**sequence, **changes}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "6 mm around (0, -52, 26)"),
        (
            {"seed": {"points_mm": [[-3, -24, 2], [3, -24, 2]], "radius_mm": 4}},
            "4 mm around (-3, -24, 2) and (3, -24, 2)",
        ),
        ({"seed": {**REGION, "radius_mm": 5}}, "left habenula of the bundle habenula and 5 mm around"),
        ({"seed": REGION}, "left habenula of the bundle habenula"),
        (
            {"suffix": "networkmap", "seed": None, "dual_regression": {"file": "a/n.nii", "volume": 3}},
            "network 3 of n.nii",
        ),
    ],
)
def test_a_seed_or_a_network_says_what_it_is(changes, words):
    recipe = parse_recipe(content(**changes), source="x")
    assert made_of(recipe.sequences[1]) == words
    assert made_of(recipe.sequences[0]) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": None}, "a sequence of the suffix seedmap needs seed"),
        ({"suffix": "alff"}, "and no other may have it"),
        ({"dual_regression": {"file": "n.nii"}}, "of the suffix networkmap needs dual_regression"),
        ({"seed": {}}, "a seed is points_mm, or a recipe and its regions"),
        ({"seed": {**POINT, **REGION}}, "and not both"),
        ({"seed": {"recipe": "habenula"}}, "needs both"),
        ({"seed": {**REGION, "recipe": "mine"}}, "a region of this recipe itself"),
        ({"name": "posterior cingulate"}, "letters and digits only"),
        ({"alternatives": ["T2w"]}, "nothing can stand for it"),
        ({"suffix": "networkmap", "seed": None, "dual_regression": {"file": "n.nii", "volume": 0}}, "volume"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, told):
    with pytest.raises(RecipeError, match=told):
        parse_recipe(content(**changes), source="x")


def test_such_a_map_needs_the_template():
    grid = {"grid": {"kind": "image", "spacing_mm": 3.0}}
    with pytest.raises(RecipeError, match="known in the template"):
        parse_recipe({**content(), **grid}, source="x")
    with pytest.raises(RecipeError, match="cannot be the reference"):
        parse_recipe({**content(), "reference": "cingulate"}, source="x")


def test_a_recipe_with_seeds_and_networks_survives_its_file(tmp_path):
    plain = content()
    network = {"name": "visual", "suffix": "networkmap", "dual_regression": {"file": "n.nii.gz", "volume": 2}}
    recipe = parse_recipe({**plain, "sequences": [*plain["sequences"], network]}, source="x")
    (tmp_path / "mine.toml").write_text(recipe_to_toml(recipe))
    read = load_recipe(tmp_path / "mine.toml")
    assert read.sequences[:2] == recipe.sequences[:2]
    assert read.sequences[2].dual_regression.file == str(tmp_path / "n.nii.gz")  # found wherever the program runs
