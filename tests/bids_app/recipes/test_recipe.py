import pytest

from bids_app.errors import RecipeError
from bids_app.recipes.recipe import HERE, list_recipes, load_recipe, parse_recipe

REGIONS = [
    {"index": 1, "name": "left", "side": "left", "partner": 2},
    {"index": 2, "name": "right", "side": "right", "partner": 1},
]


def content(**changes):
    plain = {
        "name": "twin",
        "title": "Twin",
        "sequences": [{"name": "T1w", "suffix": "T1w"}],
        "grid": {"kind": "region", "centre_mm": [0, 0, 0], "size_mm": 32, "spacing_mm": 0.5},
        "regions": REGIONS,
    }
    return {**plain, **changes}


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_that_ship_can_be_loaded(name):
    assert load_recipe(name).name == name


#: Recipes with targets, the structures or lesions that they are about, and their covariates.
WITH_TARGETS = {
    "alzheimer": ({"diagnosis": "ordinal"}, ("hippocampus", "amygdala", "ventricle", "cortex"), ("age", "sex")),
    "depression": ({"diagnosis": "binary", "severity": "continuous"}, ("habenula", "hippocampus"), ("age", "sex")),
    "healthy": ({"age": "continuous", "sex": "binary"}, ("hippocampus",), ()),
    "restingstate": ({"diagnosis": "binary"}, ("altered activity",), ("age", "sex")),
    "restingstate4d": ({"diagnosis": "binary"}, ("altered activity",), ("age", "sex")),
    "schizophrenia": ({"diagnosis": "binary"}, ("hippocampus", "insula", "ventricle"), ("age", "sex")),
    "stroke": ({"outcome": "binary", "nihss": "continuous"}, ("infarct core",), ("age", "nihss")),
    "strokeseverity": ({"nihss": "continuous"}, ("infarct core",), ()),
    "tbi": ({"injured": "binary"}, ("lesion",), ()),
}


def test_every_recipe_with_targets_is_on_the_list():
    assert sorted(WITH_TARGETS) == [name for name in list_recipes() if load_recipe(name).targets]


@pytest.mark.parametrize("name", WITH_TARGETS)
def test_a_recipe_has_its_targets_structures_and_covariates_and_calls_answers_scores(name):
    recipe, (targets, structures, covariates) = load_recipe(name), WITH_TARGETS[name]
    assert {target.name: target.kind for target in recipe.targets} == targets
    for word in structures:
        assert any(word in region.name for region in recipe.regions), word
    assert recipe.learning.covariates == covariates
    assert "score" in recipe.description
    assert "diagnosis of" not in f"{recipe.title} {recipe.description}"


@pytest.mark.parametrize("name", ["alzheimer", "schizophrenia", "depression"])
def test_a_diagnosis_has_a_limit_above_which_it_is_doubted(name):
    assert load_recipe(name).targets[0].suspicious_above == 0.95


def test_the_nihss_is_hidden_from_its_own_head_and_read_for_the_outcome():
    recipe = load_recipe("stroke")
    assert [recipe.hidden_from(target) for target in recipe.targets] == [(), (1,)]


def test_a_recipe_without_a_target_reads_it_as_no_covariate_either():
    recipe = load_recipe("stroke")
    assert recipe.with_targets(["outcome"]).learning.covariates == ("age",)
    assert recipe.with_targets(()).learning.covariates == ()
    assert recipe.with_targets(["outcome", "nihss"]) is recipe


def test_habenula_swaps_left_and_right():
    assert load_recipe("habenula").swap() == [1, 0]


def test_habenula_refuses_contrast_agent():
    assert load_recipe("habenula").sequences[0].entities == {"ceagent": None}


def test_errors_name_the_field_and_the_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text((HERE / "habenula.toml").read_text().replace("spacing_mm = 0.5", "spacing_mm = -1"))
    with pytest.raises(RecipeError, match=r"own\.toml.*grid\.spacing_mm.*-1"):
        load_recipe(path)


def test_unknown_field_is_an_error():
    with pytest.raises(RecipeError, match="colour"):
        parse_recipe(content(colour="red"), source="a.toml")


def test_partners_must_name_each_other():
    with pytest.raises(RecipeError, match="partner"):
        parse_recipe(content(regions=[REGIONS[0], {**REGIONS[1], "partner": None}]), source="a.toml")


def test_reference_must_be_a_sequence():
    with pytest.raises(RecipeError, match="FLAIR"):
        parse_recipe(content(reference="FLAIR"), source="a.toml")


def test_a_region_needs_its_place():
    with pytest.raises(RecipeError, match="size_mm and centre_mm"):
        parse_recipe(content(grid={"kind": "region", "spacing_mm": 0.5}), source="a.toml")


def test_no_such_recipe_lists_those_that_ship():
    with pytest.raises(RecipeError, match="habenula"):
        load_recipe("amygdala")


def test_a_file_that_is_no_toml_is_an_error(tmp_path):
    (tmp_path / "own.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"own\.toml is not a TOML file"):
        load_recipe(tmp_path / "own.toml")


def test_any_one_sequence_can_go_into_the_anatomy_recipe():
    recipe = load_recipe("anatomy")
    assert recipe.grid.kind == "head"
    assert {"T2w", "FLAIR"} <= set(recipe.sequences[0].alternatives)
    assert len(recipe.swap()) == len(recipe.regions) > 30


@pytest.mark.parametrize("alternatives", [["FLAIR"], ["T1w"], ["T2w", "T2w"], ["T2w.nii"]])
def test_an_alternative_is_a_suffix_that_nothing_else_has(alternatives):
    sequences = [
        {"name": "T1w", "suffix": "T1w", "alternatives": alternatives},
        {"name": "FLAIR", "suffix": "FLAIR", "required": False},
    ]
    with pytest.raises(RecipeError, match=r"alternative|no BIDS suffix"):
        parse_recipe(content(sequences=sequences), source="test")


def test_a_head_is_seen_in_one_sequence():
    sequences = [{"name": name, "suffix": name} for name in ("T1w", "FLAIR")]
    with pytest.raises(RecipeError, match="takes one sequence"):
        parse_recipe(content(sequences=sequences, grid={"kind": "head", "spacing_mm": 1}), source="test")


@pytest.mark.parametrize(
    ("size", "kind"), [((35, 51, 35), "image"), ((35, 80, 35), "sides"), ((176, 240, 256), "sides")]
)
def test_the_size_of_an_image_decides_whether_it_is_a_crop(size, kind):
    settled = load_recipe("hippocampus").settled(size)
    assert settled.grid.kind == kind
    assert [region.index for region in settled.regions] == ([1, 2] if kind == "image" else [1, 2, 3, 4])
    assert load_recipe("habenula").settled(size) == load_recipe("habenula")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"grid": {"kind": "sides", "spacing_mm": 1.0}}, "in place of kind 'sides'"),
        ({"grid": {"kind": "whole", "spacing_mm": 1.0}}, "only a recipe whose grid has the kind 'image'"),
        ({"regions": [{"index": 1, "name": "one", "side": "left"}]}, "its regions no side"),
        ({"locate": {"left": 17, "right": 53, "size_mm": [36, 50, 36]}}, "locate.mirrored"),
    ],
)
def test_a_recipe_that_is_located_wrongly_is_refused(change, match):
    content = load_recipe("hippocampus").model_dump(mode="json") | change
    with pytest.raises(RecipeError, match=match):
        parse_recipe(content, source="own.toml")


@pytest.mark.parametrize(("name", "lesions"), [("stroke", True), ("tumour", True), ("healthy", False)])
def test_a_recipe_knows_whether_it_looks_for_lesions_alone(name, lesions):
    assert load_recipe(name).lesions_only is lesions
