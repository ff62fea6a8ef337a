import json

import pytest

from bids_app.bids.record_file import read_record
from bids_app.errors import UsageError
from bids_app.imaging.templates import find_template
from bids_app.imaging.transforms import read_matrix
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import Settings
from tests.phantoms import tiny_dataset
from workflows.anatomical import init_template_wf
from workflows.choosing import options_of
from workflows.interfaces.imaging import BY_PLACE, said_of_template
from workflows.run_session import run_session
from workflows.wanted import expected_hash, load_recipes


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "bids", tmp_path / "out", recipe=("anatomical",), work_dir=tmp_path / "work", fast=True)


def test_a_run_with_fast_is_another_preprocessing(settings):
    recipe, usual = load_recipe("anatomical"), settings.replace(fast=False)
    assert expected_hash(settings, recipe) != expected_hash(usual, recipe)
    assert options_of(settings)["fast"] != options_of(usual)["fast"]


def test_only_the_registration_to_the_template_is_left_out(settings):
    assert init_template_wf(settings=settings).get_node("register").inputs.fast
    assert not init_template_wf(settings=settings.replace(fast=False)).get_node("register").inputs.fast


def test_images_in_the_template_s_space_cannot_be_had_as_well(settings):
    with pytest.raises(UsageError, match="--fast makes no deformation"):
        load_recipes(settings.replace(output_spaces=("T1w", "MNI152NLin2009cAsym:res-1")))


@pytest.mark.parametrize(("kind", "words"), [("most alike", "most similar of many"), ("by structures", "structures")])
def test_the_methods_say_that_nothing_was_registered(kind, words):
    (said,) = said_of_template({"moving": "T1w"}, find_template(), kind, masked=False)
    assert kind in BY_PLACE.values()
    assert words in said["text"]
    assert "was laid on" in said["text"]
    assert "registered" not in said["text"]


def test_a_session_says_in_its_sidecars_and_record_that_it_was_fast(settings):
    bids = tiny_dataset(settings.bids_dir)
    assert run_session(settings.replace(bids_dir=bids), "01", None, threads=1) == 0
    record = read_record(settings.output_dir, "sub-01")
    (images,) = record.images.values()
    assert images.preprocessing.registrations[0].kind in BY_PLACE.values()
    assert images.provenance["fast"] is True
    (sidecar,) = settings.output_dir.glob("sub-01/anat/*_desc-preproc_T1w.json")
    assert '"fast": true' in json.dumps(json.loads(sidecar.read_text()))
    (transform,) = settings.output_dir.glob("sub-01/anat/*_xfm.txt")
    assert read_matrix(transform).shape == (4, 4)
