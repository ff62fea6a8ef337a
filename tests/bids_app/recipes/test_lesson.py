"""The table ``[lesson]`` of a recipe."""

import pytest

from bids_app.errors import RecipeError, UsageError
from bids_app.lessons.lesson import taught_by
from bids_app.recipes.lesson import LessonSpec
from bids_app.recipes.recipe import list_recipes, load_recipe, parse_recipe
from bids_app.recipes.write import recipe_to_toml

TAUGHT = ("anatomy", "habenula", "healthy", "ms", "schwannoma", "stroke", "strokeseverity", "tbi", "tumour")


def test_recipes_whose_bundles_learned_from_drawn_scans_have_one():
    assert tuple(name for name in list_recipes() if load_recipe(name).lesson) == TAUGHT


@pytest.mark.parametrize("name", TAUGHT)
def test_it_is_written_and_read_again(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / "again.toml").write_text(recipe_to_toml(recipe))
    assert load_recipe(tmp_path / "again.toml") == recipe


@pytest.mark.parametrize(
    ("recipe", "lesson", "said"),
    [
        ("ms", {"kind": "lesions"}, "names its pathology"),
        ("ms", {"kind": "lesions", "pathology": "ms", "real_share": 1.2}, "lesson.real_share"),
        ("ms", {"kind": "lesions", "pathology": "ms", "painted_share": 0.2}, "painted_share is for structures"),
        ("ms", {"kind": "lesions", "pathology": "ms", "colour": 1}, "lesson.colour"),
        ("anatomy", {"kind": "structures", "mimics": 0.5}, "mimics are drawn in a lesson of lesions"),
        ("anatomy", {"kind": "structures", "real": [{"folder": "a", "licence": "b"}]}, "real_share is 0"),
        ("anatomy", {"kind": "structures", "real_share": 0.7, "painted_share": 0.5}, "more than all scans"),
        ("anatomy", {"kind": "structures", "label_maps": "../elsewhere"}, "lesson.label_maps"),
        ("habenula", {"kind": "habenula", "held_out": ["a"]}, "sources of its own"),
    ],
)
def test_what_does_not_fit_is_said(recipe, lesson, said):
    content = {**load_recipe(recipe).model_dump(mode="json"), "lesson": lesson}
    with pytest.raises(RecipeError, match=said):
        parse_recipe(content, source="mine.toml")


def test_a_folder_of_real_participants_lies_below_the_data():
    with pytest.raises(ValueError, match="folder"):
        LessonSpec.model_validate(
            {"kind": "structures", "real_share": 0.5, "real": [{"folder": "../a", "licence": "b"}]}
        )


@pytest.mark.parametrize(
    ("recipe", "lesson", "said"),
    [
        ("ms", {"kind": "structures"}, "wants a grid of kind 'head'"),
        ("ms", {"kind": "habenula"}, "wants one sequence"),
        ("anatomy", {"kind": "lesions", "pathology": "ms"}, "regions that are all lesions"),
        ("anatomy", {"kind": "people"}, "and targets"),
    ],
)
def test_what_the_recipe_does_not_fit_is_said_where_it_is_taught_and_nowhere_else(recipe, lesson, said):
    content = {**load_recipe(recipe).model_dump(mode="json"), "lesson": lesson}
    parsed = parse_recipe(content, source="mine.toml")
    with pytest.raises(UsageError, match=said):
        taught_by(parsed)


def test_a_recipe_that_ships_can_be_given_another_grid():
    content = {**load_recipe("ms").model_dump(mode="json"), "grid": {"kind": "image", "spacing_mm": 2.0}}
    assert parse_recipe(content, source="mine.toml").lesson is not None
