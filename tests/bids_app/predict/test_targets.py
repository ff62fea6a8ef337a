"""Targets are answered by all members together, in their own units, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.errors import BundleError
from bids_app.networks.standardise import standardise
from bids_app.predict.predict import predict, predict_vote
from bids_app.predict.targets import fitted, predict_targets
from bids_app.predict.vote import Familiarity
from tests.learned.small_bundle import CALIBRATION, small_recipe, write_small

STACK = np.random.default_rng(0).normal(100, 20, (2, 16, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("b") / "b", members=3)


def strict(bundle, threshold):
    """The bundle with a familiarity of the plainest kind."""
    usual = Familiarity(np.zeros(24), np.ones(24), np.eye(24), threshold)
    calibration = {**CALIBRATION, "familiarity": usual.to_plain()}
    return type(bundle)(
        bundle.name, bundle.path, bundle.recipe, bundle.sha256, calibration, bundle.manifest, bundle.metrics
    )


def test_every_target_has_its_answer(bundle):
    found = predict_targets(bundle, STACK)
    assert list(found) == ["group", "stage", "age"]
    assert list(found["group"]["levels"]) == ["control", "depression"]
    for name in ("group", "stage"):
        assert sum(found[name]["levels"].values()) == pytest.approx(1, abs=1e-4)
        assert found[name]["members"] == 3
        assert found[name]["mutual_information"] >= 0
    assert found["age"]["unit"] == "years"
    assert found["age"]["members_sd"] > 0
    assert not any(answer["abstained"] for answer in found.values())


def test_a_segmentation_is_the_mean_of_its_members(bundle):
    whole = predict(bundle, STACK)
    singles = []
    for network in bundle.networks:
        one = strict(bundle, 1e9)
        one.__dict__.update(networks=[network], plans=[{}])
        singles.append(predict(one, STACK))
    np.testing.assert_allclose(whole, np.mean(singles, 0), atol=1e-6)
    assert predict_vote(bundle, STACK).mutual_information.max() > 0


@pytest.mark.faults
def test_a_member_that_fails_is_not_left_out(tmp_path):
    spoilt = write_small(tmp_path / "b", members=2)
    with torch.no_grad():
        for parameter in spoilt.networks[1].parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(BundleError, match="not finite"):
        predict_targets(spoilt, STACK)
    with pytest.raises(BundleError, match="member 1"):
        predict(spoilt, STACK)


def test_a_strange_scan_gets_a_reason_in_place_of_a_score(bundle):
    found = predict_targets(strict(bundle, 0.001), STACK)
    for answer in found.values():
        assert answer["abstained"]
        assert "unlike those that trained" in answer["reason"]
        assert answer.get("levels") is None
        assert answer.get("value") is None
    assert not predict_targets(strict(bundle, 1e6), STACK)["age"]["abstained"]


def test_a_continuous_target_comes_back_in_its_own_unit_with_its_interval(tmp_path):
    plain = write_small(tmp_path / "a")
    calibration = {**CALIBRATION, "targets": {"age": {"half_width": 4.0, "coverage": 0.95}}}
    scaled = write_small(tmp_path / "b", plan={"targets": {"age": {"mean": 50.0, "sd": 10.0}}}, calibration=calibration)
    raw, found = (predict_targets(one, STACK)["age"] for one in (plain, scaled))
    assert found["value"] == pytest.approx(50 + 10 * raw["value"], abs=1e-2)
    assert (found["low"], found["high"]) == (pytest.approx(found["value"] - 4), pytest.approx(found["value"] + 4))
    assert raw["low"] is None


def test_an_interval_ends_where_the_values_that_trained_end(tmp_path):
    calibration = {**CALIBRATION, "targets": {"age": {"half_width": 40.0, "coverage": 0.95}}}
    scaling = {"mean": 50.0, "sd": 1.0, "low": 30.0, "high": 80.0}
    bundle = write_small(tmp_path / "b", members=2, plan={"targets": {"age": scaling}}, calibration=calibration)
    found = predict_targets(bundle, STACK)["age"]
    assert (found["low"], found["high"]) == (30.0, 80.0)


def test_heat_brings_levels_together(tmp_path):
    hot = {**CALIBRATION, "targets": {"group": {"temperature": 5.0}}}
    plain, heated = write_small(tmp_path / "a"), write_small(tmp_path / "b", calibration=hot)
    away = [abs(predict_targets(one, STACK)["group"]["levels"]["control"] - 0.5) for one in (plain, heated)]
    assert away[1] < away[0]


def test_covariates_and_missing_sequences_change_the_answer(tmp_path):
    recipe = small_recipe(learning={"covariates": ["weight"]})
    bundle = write_small(tmp_path / "b", recipe=recipe, plan={"covariates": {"weight": {"mean": 70.0, "sd": 10.0}}})
    known, usual, unknown = (predict_targets(bundle, STACK, None, {"weight": w})["age"] for w in (90.0, 70.0, None))
    assert len({known["value"], usual["value"], unknown["value"]}) == 3
    without = predict_targets(bundle, STACK, [True, False], {"weight": 90.0})["age"]
    assert without["value"] != known["value"]


def test_an_image_gets_the_field_of_view_of_the_training():
    image = np.arange(2 * 5 * 8, dtype=np.float32).reshape(2, 5, 8, 1)
    found = fitted(image, (8, 4, 1), 4)
    assert found.shape == (2, 8, 4, 1)
    np.testing.assert_array_equal(found[:, 1:6], image[:, :, 2:6])
    assert fitted(image, None, 4).shape == (2, 8, 8, 1)


def test_a_bundle_without_regions_answers_too(tmp_path):
    bundle = write_small(tmp_path / "b", recipe=small_recipe(regions=False))
    assert set(predict_targets(bundle, STACK)) == {"group", "stage", "age"}


def test_an_image_smaller_than_the_training_patch_is_seen_as_in_training(tmp_path):
    recipe = small_recipe(targets=False, grid={"kind": "image", "spacing_mm": 1.0})
    bundle = write_small(tmp_path / "b", recipe=recipe, plan={"patch": [16, 20, 16]})
    small = STACK[:, :13, :16, :11]
    image = standardise(torch.from_numpy(small.copy()))
    around = torch.nn.functional.pad(image, [2, 3, 2, 2, 1, 2])
    with torch.inference_mode():
        wanted = (bundle.network(around[None]).logits[0] / CALIBRATION["temperature"]).softmax(1)[0, 1:]
    np.testing.assert_allclose(predict(bundle, small), wanted[:, 1:14, 2:18, 2:13].numpy(), atol=1e-6)


def test_a_flat_network_predicts_a_slice(tmp_path):
    recipe = small_recipe(
        network={"filters": 4, "blocks": [1, 1], "deep_supervision": 1, "dimensions": 2},
        grid={"kind": "image", "spacing_mm": 1.0, "flat": True},
    )
    bundle = write_small(tmp_path / "b", recipe=recipe, plan={"patch": [16, 16, 1]})
    assert predict(bundle, STACK[:, :13, :, :1]).shape == (2, 13, 16, 1)
    assert set(predict_targets(bundle, STACK[:, :13, :, :1])) == {"group", "stage", "age"}
