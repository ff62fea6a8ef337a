import json
import shutil

import numpy as np
import pytest

from bids_app.bundle.bundle import SHIPPED, WEIGHTS, bundle_for, hash_weights, load_bundle
from bids_app.errors import BundleError
from bids_app.predict.predict import predict
from bids_app.recipes.recipe import load_recipe


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED / "habenula", tmp_path / "habenula")


def test_shipped_bundle_predicts_probabilities():
    found = predict(load_bundle("habenula"), np.random.default_rng(0).random((1, 64, 64, 64), np.float32))
    assert found.shape == (2, 64, 64, 64)
    assert found.min() >= 0
    assert found.max() <= 1


def test_weights_are_small_enough_to_ship():
    assert (SHIPPED / "habenula" / WEIGHTS).stat().st_size < 10e6


def test_card_and_licence_say_what_matters():
    card = (SHIPPED / "habenula" / "MODEL_CARD.md").read_text()
    assert "Research use only" in card
    assert "silver" in card
    assert "CIT168" in (SHIPPED / "habenula" / "LICENSE").read_text()


def test_other_weights_than_the_manifest_names_are_refused(folder):
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"0")
    with pytest.raises(BundleError, match="are not those of its manifest"):
        load_bundle(folder)


def test_a_missing_part_is_named(folder):
    (folder / "calibration.json").unlink()
    with pytest.raises(BundleError, match=r"lacks calibration\.json"):
        load_bundle(folder)


def test_a_damaged_part_is_named(folder):
    (folder / "calibration.json").write_text("{")
    with pytest.raises(BundleError, match=r"calibration\.json"):
        load_bundle(folder)


def test_a_threshold_outside_zero_to_one_is_refused(folder):
    (folder / "calibration.json").write_text('{"threshold": 0}')
    with pytest.raises(BundleError, match="threshold"):
        load_bundle(folder)


def test_weights_of_another_network_are_refused(folder):
    shape = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps({**shape, "filters": 8}))
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder).network  # noqa: B018


def test_hash_is_of_the_file(folder):
    assert hash_weights(folder) == load_bundle(folder).sha256


def test_no_such_bundle_is_an_error(tmp_path):
    with pytest.raises(BundleError, match="habenula"):
        load_bundle(tmp_path / "nothing")


def test_the_bundle_of_a_recipe_is_the_one_that_ships_or_the_one_that_is_given(folder):
    recipe = load_recipe("habenula")
    assert bundle_for(recipe, None).path == SHIPPED / "habenula"
    assert bundle_for(recipe, folder).path == folder


@pytest.mark.parametrize(("name", "maps"), [("restingstate", True), ("restingstate4d", True), ("alzheimer", False)])
def test_a_recipe_without_a_bundle_says_what_can_be_done(name, maps):
    with pytest.raises(BundleError, match=f"no bundle ships for the recipe {name}: train it") as told:
        bundle_for(load_recipe(name), None)
    assert ("--recipe functional" in str(told.value)) is maps
