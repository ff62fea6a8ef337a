"""A recipe that takes images as they are: no bias correction, brain mask or template, from the command to the page."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.__main__ import main
from bids_app.bids.record_file import read_session
from bids_app.cli.preview import steps
from bids_app.cohort.cohort import load_cohort
from bids_app.errors import UsageError
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.recipes.write import recipe_to_toml
from bids_app.report.methods import build_methods
from bids_app.settings import Settings
from tests.learned.small_bundle import write_small
from tests.phantoms import checksums, tiny_dataset
from workflows.wanted import load_recipes, settle

NAMES = {
    "sub-01_desc-uncorrected_T1w",
    "sub-01_space-T1w_seg-hippocampus_dseg",
    "sub-01_space-T1w_seg-hippocampus_probseg",
    "sub-01_desc-hippocampus_volumes",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One crop, predicted by a bundle with random weights; the folder with ``bids``, ``bundle`` and ``out``."""
    root = tmp_path_factory.mktemp("crops")
    tiny_dataset(root / "bids", ["sub-01/anat/sub-01_T1w.nii.gz"], shape=(14, 15, 6))
    recipe = load_recipe("hippocampus").model_dump(mode="json")
    recipe["grid"]["spacing_mm"] = 5.0  # as the images of tiny_dataset
    write_small(root / "bundle", recipe=Recipe.model_validate(recipe))
    before = checksums(root / "bids")
    words = [root / "bids", root / "out", "participant", "--bundle", root / "bundle", "-w", root / "work", "--tta"]
    assert main([*map(str, words), "--omp-nthreads", "1"]) == 0
    assert checksums(root / "bids") == before
    return root


@pytest.fixture(scope="module")
def record(run):
    return read_session(run / "out", "sub-01")


def test_segmentation_and_volumes_are_there_and_neither_mask_nor_transform(run):
    written = {path.name.split(".")[0] for path in (run / "out/sub-01/anat").iterdir()}
    assert written == NAMES


def test_the_image_is_not_changed(run):
    raw = nib.load(run / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    kept = nib.load(run / "out/sub-01/anat/sub-01_desc-uncorrected_T1w.nii.gz")
    np.testing.assert_array_equal(kept.dataobj, raw.dataobj)
    np.testing.assert_allclose(kept.affine, raw.affine)
    assert nib.load(run / "out/sub-01/anat/sub-01_space-T1w_seg-hippocampus_probseg.nii.gz").shape == (*raw.shape, 2)


def test_the_page_and_the_methods_describe_what_ran_and_nothing_else(run, record):
    page = (run / "out/sub-01.html").read_text()
    assert 'id="registration"' not in page
    assert 'id="brain"' not in page
    assert "anterior hippocampus" in page
    words = " ".join(build_methods(record).paragraphs)
    assert "taken as they came" in words
    assert "N4" not in words
    assert {stage.name for stage in record.stages} == {
        "reference conform",
        "hippocampus predict",
        "hippocampus measure",
        "outputs reference",
        "outputs recipe_hippocampus",
    }


def test_mirror_images_are_left_out_aloud_where_the_network_never_saw_one(record):
    assert any("--tta is left out" in warning for warning in record.recipes["hippocampus"].warnings)
    assert record.recipes["hippocampus"].prediction.tta is False


def test_the_bundle_brings_its_recipe(run, record):
    assert list(record.recipes) == ["hippocampus"]
    grid = record.recipes["hippocampus"].prediction.grid
    assert grid.model_dump() == {"shape": [14, 15, 6], "spacing": 5.0}


def test_a_cohort_can_be_gathered_from_what_was_written(run):
    labels = run / "manual/sub-01/anat"
    labels.mkdir(parents=True)
    image = nib.load(run / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    array = np.ones(image.shape, np.uint8)
    array[:, 7:] = 2
    nib.save(nib.Nifti1Image(array, image.affine), labels / "sub-01_space-orig_seg-hippocampus_dseg.nii.gz")
    cohort = load_cohort(load_recipe("hippocampus"), run / "bids", {"manual": run / "manual"}, run / "out")
    assert [session.key for session in cohort.sessions] == ["sub-01"]
    assert cohort.sessions[0].images["T1w"].is_file()


def settings(**changes) -> Settings:
    return Settings(Path("in"), Path("out"), **changes)


def test_two_recipes_of_one_name_are_refused(tmp_path):
    plain = load_recipe("anatomical").model_dump() | {"preprocessing": {"bias": False}}
    (tmp_path / "uncorrected.toml").write_text(recipe_to_toml(Recipe.model_validate(plain)))
    with pytest.raises(UsageError, match="two recipes have the name anatomical"):
        load_recipes(settings(recipe=("anatomical", str(tmp_path / "uncorrected.toml"))))


def test_a_crop_is_not_brought_to_the_template():
    wanted = settings(recipe=("hippocampus",), output_spaces=("T1w", "MNI152NLin2009cAsym"))
    with pytest.raises(UsageError, match="cannot be brought to MNI152NLin2009cAsym"):
        settle(wanted, load_recipes(wanted)[0], Path("sub-01_T1w.nii.gz"), (35, 51, 35))


def test_a_bundle_for_another_recipe_is_refused(run):
    with pytest.raises(UsageError, match="is for the recipe hippocampus, not for habenula"):
        load_recipes(settings(recipe=("habenula",), bundle=run / "bundle"))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("hippocampus", ["conform", "predict hippocampus", "write"]),
        (
            "anatomical",
            ["conform", "brain mask by the network, where it is a whole head", "N4", "affine to the template", "write"],
        ),
    ],
)
def test_the_dry_run_names_the_steps_of_the_recipe(recipe, expected):
    assert steps(settings(recipe=(recipe,)), [load_recipe(recipe)], []) == expected
