"""Names of columns are part of the interface: they never change, and no two numbers share one."""

from __future__ import annotations

import pytest

from bids_app.group.names import DEFINITIONS, OF_ALL, UNITS, column_name
from bids_app.recipes.recipe import list_recipes, load_recipe

#: Published names of the first measure of every region; a name may be added, none may be changed or taken away.
PUBLISHED = {
    "habenula": ["habenula_left_soft_mm3", "habenula_right_soft_mm3"],
    "hippocampus": ["hippocampus_anterior_soft_mm3", "hippocampus_posterior_soft_mm3"],
    "ms": ["ms_lesion_soft_mm3"],
    "schwannoma": ["schwannoma_tumour_soft_mm3"],
    "stroke": ["stroke_infarct_core_soft_mm3"],
    "tbi": ["tbi_lesion_soft_mm3"],
    "tumour": ["tumour_core_soft_mm3", "tumour_oedema_soft_mm3", "tumour_enhancing_soft_mm3"],
}
SIDES = [f"hippocampus_{side}_{part}_soft_mm3" for side in ("left", "right") for part in ("anterior", "posterior")]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_names_stay(name):
    regions = load_recipe(name).regions
    assert [column_name(name, region.name, "soft_mm3") for region in regions] == PUBLISHED[name]


def test_both_sides_of_a_recipe_that_is_located_have_their_names():
    regions = load_recipe("hippocampus").on_both_sides().regions
    assert [column_name("hippocampus", region.name, "soft_mm3") for region in regions] == SIDES


def test_no_two_numbers_share_a_name():
    measures = [measure for measure in UNITS if measure not in OF_ALL]
    for recipe in map(load_recipe, list_recipes()):
        for regions in (recipe.regions, recipe.on_both_sides().regions if recipe.locate else ()):
            names = [column_name(recipe.name, region.name, measure) for region in regions for measure in measures]
            assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("recipe", "region", "measure", "expected"),
    [
        ("habenula", "Left habenula", "soft_low_mm3", "habenula_left_soft_low_mm3"),
        ("anatomy", "left thalamus", "hard_mm3", "anatomy_left_thalamus_hard_mm3"),
        ("my recipe", "Left-thalamus (all)", "soft_mm3", "my_recipe_left_thalamus_all_soft_mm3"),
        ("ms", "lesions", "lesion_load_mm3", "ms_lesion_load_mm3"),
        ("n/a", "brain", "brain_mask_ml", "brain_mask_ml"),
        ("tumour", "tumour", "soft_mm3", "tumour_soft_mm3"),
    ],
)
def test_a_name_says_recipe_place_measure_and_unit(recipe, region, measure, expected):
    assert column_name(recipe, region, measure) == expected


def test_every_measure_is_defined():
    assert set(DEFINITIONS) == set(UNITS)
