"""Maps of seeds and of networks: what is refused, the graph, the nodes on a simulated run, a session on real data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import Images, RecipePart, empty_record
from bids_app.bids.selection import Selection
from bids_app.errors import ImageError, InputMissing, UsageError
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import Recipe, load_recipe, parse_recipe
from bids_app.settings import Settings
from tests.bids_app.bids.samples import make_image
from tests.workflows.real_restingstate import run_real
from workflows.choosing import Ready, check_fits, choose, put_together, selection_record
from workflows.connections import FOR_A_SEED
from workflows.interfaces.connections import NetworkMap, SeedMap
from workflows.interfaces.outputs import made_how, own_entities
from workflows.seeds import check_connections, digests, seed_recipes
from workflows.session import init_group_wf
from workflows.wanted import expected_hash, load_recipes

T1W = {"name": "T1w", "suffix": "T1w"}
POINT = {"points_mm": [[0, -52, 26]]}
HABENULAE = {"recipe": "habenula", "regions": ["left habenula", "right habenula"], "radius_mm": 6}
THALAMUS = {"recipe": "anatomy", "regions": ["left thalamus"]}
SETTINGS = Settings(Path("in"), Path("out"))


def recipe_of(name: str = "mine", **seeds) -> Recipe:
    """A recipe with a seed map for each seed, and a map of a network for each file."""
    sequences = [
        {"name": key, "suffix": "seedmap", "seed": one}
        if isinstance(one, dict)
        else {"name": key, "suffix": "networkmap", "dual_regression": {"file": str(one), "volume": 2}}
        for key, one in seeds.items()
    ]
    return parse_recipe({"name": name, "title": "Mine", "sequences": [T1W, *sequences]}, source="x")


def networks(path: Path, volumes: int = 3) -> Path:
    """Blobs in the template's world, 6 mm."""
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = (-90, -126, -72)
    shape = (31, 37, 31)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * 6 + affine[:3, 3]
    middles = np.array([[0, -52, 26], [0, -85, 4], [0, 40, 20]])[:volumes]
    values = np.exp(-((places[..., None, :] - middles) ** 2).sum(-1) / (2 * 15**2))
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        ({"recipe": "nowhere", "regions": ["x"]}, "there is no such recipe"),
        ({"recipe": "alzheimer", "regions": ["x"]}, "needs its bundle, and none ships"),
        ({"recipe": "habenula", "regions": ["habenula"]}, "no region 'habenula'; it has left habenula, right habenula"),
        ({"recipe": "stroke", "regions": ["infarct core"]}, "needs trace, ADC: only what is found on T1w alone"),
        ({"recipe": "hippocampus", "regions": ["anterior hippocampus"]}, "looks at crops"),
    ],
)
def test_a_region_that_cannot_be_a_seed_is_refused_with_the_reason(seed, told):
    with pytest.raises(UsageError, match=told):
        check_connections(SETTINGS, [recipe_of(a=seed)])


def test_points_and_regions_of_bundles_that_ship_are_taken():
    recipe = recipe_of(a=POINT, b=HABENULAE, c=THALAMUS)
    check_connections(SETTINGS, [recipe])
    assert seed_recipes([recipe]) == ["anatomy", "habenula"]


def test_networks_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputMissing, match=r"a: .*n\.nii is not there"):
        check_connections(SETTINGS, [recipe_of(a=tmp_path / "n.nii")])
    with pytest.raises(ImageError, match=r"one\.nii has 1 volumes, volume 2 is wanted"):
        check_connections(SETTINGS, [recipe_of(a=networks(tmp_path / "one.nii", 1))])
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.nii cannot be read as an image"):
        check_connections(SETTINGS, [recipe_of(a=tmp_path / "text.nii")])
    check_connections(SETTINGS, [recipe_of(a=networks(tmp_path / "n.nii"))])


def test_another_content_of_the_networks_is_another_result(tmp_path):
    recipe = recipe_of(a=networks(tmp_path / "n.nii"))
    before = expected_hash(SETTINGS, recipe), digests(SETTINGS, recipe)
    networks(tmp_path / "n.nii", 2)
    assert expected_hash(SETTINGS, recipe) != before[0]
    assert digests(SETTINGS, recipe) != before[1]
    assert len(digests(SETTINGS, recipe_of(a=HABENULAE))[0]) == 64


def chosen(recipe: Recipe, folder: Path) -> Selection:
    """As `choose` has it for a session with a T1w and a series."""
    (folder / "sub-01" / "anat").mkdir(parents=True, exist_ok=True)
    (folder / "sub-01" / "func").mkdir(exist_ok=True)
    make_image(folder / "sub-01/anat/sub-01_T1w.nii.gz", shape=(8, 8, 8))
    make_image(folder / "sub-01/func/sub-01_task-rest_bold.nii.gz", shape=(8, 8, 8))
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return choose(Settings(folder, folder / "out"), "01", None, recipe)


def test_two_maps_of_one_series_have_names_of_their_own(tmp_path):
    recipe = recipe_of(a=POINT, b=HABENULAE, c=networks(tmp_path / "n.nii"))
    selection = chosen(recipe, tmp_path)
    assert [own_entities(selection, name)["label"] for name in "abc"] == ["a", "b", "c"]
    assert selection.choices["a"].suffix == "seedmap"
    assert made_how(selection, "c")["MadeOf"] == "network 2 of n.nii"
    assert Selection.from_plain(json.loads(json.dumps(selection.to_plain()))) == selection


def test_a_map_of_the_dataset_is_never_taken_for_one_of_this_seed(tmp_path):
    selection = chosen(recipe_of(a=POINT), tmp_path)
    make_image(tmp_path / "sub-01/func/sub-01_task-rest_seedmap.nii.gz", shape=(8, 8, 8))
    again = chosen(recipe_of(a=POINT), tmp_path)
    assert again.path_of("a") == selection.path_of("a")


def test_one_name_for_two_seeds_is_refused(tmp_path):
    one, other = recipe_of("one", a=POINT), recipe_of("other", a={"points_mm": [[1, 2, 3]]})
    same = recipe_of("same", a=POINT)
    ready = [Ready(recipe, chosen(recipe, tmp_path)) for recipe in (one, other, same)]
    groups, refused = put_together(ready)
    assert [recipe.name for recipe in groups[0].recipes] == ["one", "same"]
    assert "give the sequence another name" in str(refused["other"])


def test_another_seed_takes_no_map_away_from_a_recipe_of_an_earlier_run(tmp_path):
    settings = Settings(tmp_path, tmp_path / "out")
    before, record = chosen(recipe_of("one", a=POINT), tmp_path), empty_record("01", None)
    record.images["T1w"] = Images(reference="T1w", selection=selection_record(settings, before))
    assert record.images["T1w"].made_of() == {"a": "6 mm around (0, -52, 26)"}
    record.recipes["one"] = RecipePart(recipe="one", state="done", reference="T1w")
    other = recipe_of("other", a={"points_mm": [[1, 2, 3]]}, b=POINT)
    with pytest.raises(UsageError, match=r"a of one is 6 mm around \(0, -52, 26\), here 6 mm around \(1, 2, 3\)"):
        check_fits(settings, record, Ready(other, chosen(other, tmp_path)), {"other"})
    same = recipe_of("same", a=POINT)
    check_fits(settings, record, Ready(same, chosen(same, tmp_path)), {"same"})


@pytest.fixture
def nodes(tmp_path):
    """A function: names of a graph's nodes for some recipes."""

    def names(*recipes: Recipe, **options) -> set[str]:
        selection = chosen(recipes[0], tmp_path)
        choices = dict(selection.choices)
        for recipe in recipes[1:]:
            choices |= chosen(recipe, tmp_path).choices
        image = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
        workflow = init_group_wf(
            settings=SETTINGS.replace(**options), selection=Selection("01", None, "T1w", choices),
            recipes=list(recipes), threads=1, template=Template("MNI152NLin2009aSym", image, None, "for tests", {}),
        )  # fmt: skip
        return {node.fullname.removeprefix("session_wf.") for node in workflow._get_all_nodes()}

    return names


def test_a_bundle_runs_for_a_seed_where_the_run_has_not_its_recipe(nodes):
    mine = recipe_of(b=HABENULAE)
    alone = nodes(mine)
    assert {"map_b", f"{FOR_A_SEED}habenula_wf.measure"} <= alone
    assert not any(name.startswith("outputs_wf.recipe") for name in alone)
    both = nodes(mine, load_recipe("habenula"))
    assert "habenula_wf.measure" in both
    assert not any(name.startswith(FOR_A_SEED) for name in both)


def test_a_seed_of_the_anatomy_comes_with_the_brain_mask(nodes):
    found = nodes(recipe_of(c=THALAMUS), brain_mask="template")
    assert {"map_c", "reference_wf.anatomy"} <= found
    assert not any(name.startswith(FOR_A_SEED) for name in found)


def test_images_for_a_training_have_their_seeds_too(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "x"\n[[sequences]]\nname = "T1w"\nsuffix = "T1w"\n[[sequences]]\nname = "b"\n'
        'suffix = "seedmap"\nseed = { recipe = "habenula", regions = ["left habenula"] }\n'
    )
    (recipe,) = load_recipes(SETTINGS.replace(levels=("train",), recipe=(str(tmp_path / "mine.toml"),)))
    assert seed_recipes([recipe]) == ["habenula"]


AFFINE = np.array([[6.0, 0, 0, -90], [0, 6, 0, -126], [0, 0, 6, -72], [0, 0, 0, 1]])
IDENTITY = np.eye(4).tolist()


def series(folder: Path) -> dict:
    """Courses of a brain in the template's world whose voxels near the posterior cingulate go together."""
    mask = np.zeros((31, 37, 31), bool)
    mask[4:27, 4:33, 4:27] = True
    places = np.argwhere(mask) * 6 + AFFINE[:3, 3]
    rng = np.random.default_rng(1)
    near = np.linalg.norm(places - [0, -52, 26], axis=1) < 20
    courses = rng.normal(size=(len(places), 60)) + near[:, None] * 2 * rng.normal(size=60)
    np.save(folder / "courses.npy", (courses - courses.mean(1, keepdims=True)).astype(np.float32))
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "mask.nii")
    known = {"courses": str(folder / "courses.npy"), "mask": str(folder / "mask.nii")}
    return {**known, "sequence": "a", "words": "there", "matrix": IDENTITY, "to_template": IDENTITY}


def contrast(path: str) -> float:
    """Mean near the posterior cingulate less that of the rest of the brain."""
    values = np.asarray(nib.load(path).dataobj)
    places = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), -1) * 6 + AFFINE[:3, 3]
    near = np.linalg.norm(places - [0, -52, 26], axis=-1) < 20
    return float(values[near].mean() - values[~near & (values != 0)].mean())


def test_the_nodes_find_what_goes_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = series(tmp_path)
    done = SeedMap(points=[[0.0, -52.0, 26.0]], radius=9.0, **known).run().outputs
    assert contrast(done.out_file) > 0.7
    assert np.asarray(nib.load(done.out_file).dataobj)[0, 0, 0] == 0
    assert done.facts["connections"]["a"]["voxels"] > 10
    path = networks(tmp_path / "n.nii")
    found = NetworkMap(networks=str(path), digest="x", volume=1, freedom=59, **known).run().outputs
    assert contrast(found.out_file) > 3
    assert "3 networks at once" in found.facts["methods"][0]["text"]


def test_a_seed_among_labels_that_cannot_be_right_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = series(tmp_path)
    labels = np.zeros((31, 37, 31), np.uint8)
    labels[14:17, 11:14, 15:18] = 7  # about the posterior cingulate
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii")
    node = {"labels": str(tmp_path / "labels.nii"), "indices": [7], "radius": 0.0, **known}
    assert contrast(SeedMap(doubt="", **node).run().outputs.out_file) > 0.7
    with pytest.raises(ImageError, match=r"a, there, cannot be found: .*too small"):
        SeedMap(doubt="the brain is too small", **node).run()


@pytest.mark.slow
def test_a_real_session_has_a_map_for_every_seed_and_network(tmp_path):
    networks(tmp_path / "n.nii.gz")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "Connections"\n[[sequences]]\nname = "T1w"\nsuffix = "T1w"\n'
        '[[sequences]]\nname = "cingulate"\nsuffix = "seedmap"\nseed = { points_mm = [[0, -52, 26]], radius_mm = 8 }\n'
        '[[sequences]]\nname = "habenulae"\nsuffix = "seedmap"\n'
        'seed = { recipe = "habenula", regions = ["left habenula", "right habenula"], radius_mm = 6 }\n'
        '[[sequences]]\nname = "visual"\nsuffix = "networkmap"\ndual_regression = { file = "n.nii.gz", volume = 2 }\n'
    )
    record = run_real(tmp_path, str(tmp_path / "mine.toml"))
    images = record.images["T1w"]
    files = images.files.sequences["preproc"]
    assert files["cingulate"] == "sub-001/func/sub-001_task-rest_space-T1w_label-cingulate_desc-preproc_seedmap.nii.gz"
    assert files["visual"].endswith("_label-visual_desc-preproc_networkmap.nii.gz")
    assert len({os.path.realpath(tmp_path / "out" / path) for path in files.values()}) == 3
    assert images.files.carpet == "sub-001/figures/sub-001_task-rest_desc-carpet_bold.png"
    assert images.preprocessing.connections["habenulae"]["voxels"] >= 4
    assert set(record.recipes) == {"mine"}  # the bundle that ran for a seed is no recipe of the run
    about = json.loads((tmp_path / "out" / files["habenulae"].replace(".nii.gz", ".json")).read_text())
    assert about["MadeOf"] == "left habenula and right habenula of the bundle habenula and 6 mm around"
    values = nib.load(tmp_path / "out" / files["cingulate"]).get_fdata()
    assert np.isfinite(values).all()
    assert np.abs(values).max() > 0.3
    page = (tmp_path / "out" / "sub-001.html").read_text()
    assert "Nickerson et al., 2017" in page
    assert "Maps of the amplitude" not in page  # they were not asked for
