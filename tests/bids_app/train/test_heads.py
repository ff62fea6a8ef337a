"""Linear heads get the exact solution of their training side, from what carries the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
from bids_app.recipes.recipe import Target
from bids_app.train.heads import COVARIATES, Readings, fit_heads, read_scans

PEOPLE = [f"sub-{n:02d}" for n in range(60)]


def network_for(*heads: HeadShape) -> MultiTaskNet:
    torch.manual_seed(0)
    return MultiTaskNet(NetworkShape(1, 2, filters=4, blocks=(1, 1), heads=heads, covariates=1, reads_features=True))


def drawn(network: MultiTaskNet, seed: int = 0) -> tuple[Readings, np.random.Generator]:
    rng = np.random.default_rng(seed)
    late = np.concatenate([np.ones((60, 1)), rng.normal(size=(60, 1)), np.ones((60, 1))], 1)
    return Readings(rng.normal(3, 2, (60, network.shape.readings)), late), rng


def told_by(network: MultiTaskNet, read: Readings, name: str) -> np.ndarray:
    image, late = torch.from_numpy(read.image).float(), torch.from_numpy(read.late).float()
    with torch.no_grad():
        return network.heads[name].eval()(image, late).numpy()


AGE = Target(name="age", kind="continuous", column="age", unit="years")
SEX = Target(name="sex", kind="binary", column="sex", levels=("F", "M"))


@pytest.mark.parametrize("block", ["amounts", "places", "brightness", "features", COVARIATES])
def test_what_carries_a_target_is_what_its_head_looks_at(block):
    network = network_for(HeadShape("age", "continuous", 1), HeadShape("sex", "binary", 2))
    read, rng = drawn(network)
    places = network.shape.blocks_read
    first = 2 * read.late[:, 1] if block == COVARIATES else read.image[:, places[block].start]
    value = first - first.mean() + rng.normal(0, 0.1, 60)
    truth = np.stack([50 + 10 * value, (value > 0).astype(float)], 1)
    scalings = {"age": AGE.behaviour.fit(truth[:, 0], 0)}
    told = fit_heads(network, [AGE, SEX], truth, PEOPLE, read, scalings=scalings, levels={"sex": 2})
    assert told["age"]["blocks"] == [block]
    assert told["age"]["people"] == 60
    assert told["age"]["errors"][block] < 0.3
    said = AGE.behaviour.in_unit(told_by(network, read, "age")[:, 0], scalings["age"])
    assert np.corrcoef(said, truth[:, 0])[0, 1] > 0.9
    right = SEX.behaviour.decide(SEX.behaviour.probabilities(told_by(network, read, "sex"))) == truth[:, 1]
    assert right.mean() > 0.85


def test_of_readings_that_are_as_good_those_of_fewest_columns_are_taken():
    network = network_for(HeadShape("age", "continuous", 1))
    read, rng = drawn(network, 7)
    blocks, value = network.shape.blocks_read, rng.normal(size=60)
    features = range(blocks["features"].start, blocks["features"].stop)
    off = rng.normal(0, 0.3, 60)
    read.image[:, blocks["amounts"].start] = value + off + rng.normal(0, 0.03, 60)
    for column in features:  # what the amount says, a little better
        read.image[:, column] = value + off + rng.normal(0, 0.03, 60)
    truth = value[:, None]
    told = fit_heads(network, [AGE], truth, PEOPLE, read, scalings={"age": AGE.behaviour.fit(value, 0)}, levels={})
    assert told["age"]["errors"]["features"] < told["age"]["errors"]["amounts"]
    assert told["age"]["blocks"] == ["amounts"]


def test_a_covariate_alone_is_enough_where_the_image_tells_nothing():
    network = network_for(HeadShape("age", "continuous", 1))
    read, rng = drawn(network, 4)
    truth = (3 * read.late[:, 1] + rng.normal(0, 0.3, 60))[:, None]
    told = fit_heads(network, [AGE], truth, PEOPLE, read, scalings={"age": AGE.behaviour.fit(truth, 0)}, levels={})
    assert told["age"]["blocks"] == [COVARIATES]
    weight = network.heads["age"].image.weight
    assert float(weight.abs().sum()) == 0


def test_where_nothing_carries_a_target_the_answer_is_the_same_for_everybody():
    constant = 0
    for seed in range(10):
        network = network_for(HeadShape("sex", "binary", 2))
        read, rng = drawn(network, seed)
        truth = rng.permutation(np.arange(60) % 2).astype(float)[:, None]
        told = fit_heads(network, [SEX], truth, PEOPLE, read, scalings={}, levels={"sex": 2})
        if told["sex"]["blocks"]:
            continue
        constant += 1
        said = SEX.behaviour.probabilities(told_by(network, read, "sex"))[:, 1]
        assert said == pytest.approx(0.5, abs=0.05)
    assert constant >= 8


def test_people_whose_target_is_not_known_are_left_out_and_few_change_nothing():
    network = network_for(HeadShape("sex", "binary", 2))
    read, _ = drawn(network)
    truth = np.full((60, 1), np.nan)
    truth[:8, 0] = [0, 1] * 4
    before = network.heads["sex"].image.weight.clone()
    told = fit_heads(network, [SEX], truth, PEOPLE, read, scalings={}, levels={"sex": 2})
    assert "too few" in told["sex"]["note"]
    assert torch.equal(before, network.heads["sex"].image.weight)
    truth[:, 0] = 1.0
    assert (
        "one answer only"
        in fit_heads(network, [SEX], truth, PEOPLE, read, scalings={}, levels={"sex": 2})["sex"]["note"]
    )
    truth[:12, 0] = [0, 1] * 6
    truth[12:, 0] = np.nan
    assert fit_heads(network, [SEX], truth, PEOPLE, read, scalings={}, levels={"sex": 2})["sex"]["people"] == 12


def test_every_scan_of_the_training_side_is_read_as_prediction_sees_it():
    from bids_app.scans.scan import Scan
    from bids_app.train.batches import Patches

    network = network_for(HeadShape("age", "continuous", 1))
    rng = np.random.default_rng(0)
    scans = [
        Scan(f"sub-{n}", f"{n}", rng.normal(size=(1, 16, 16, 16)).astype(np.float32), np.ones(1),
             np.zeros((16, 16, 16), np.uint8), 2.0, np.array([40.0 + n]), np.array([1.0]))
        for n in range(3)
    ]  # fmt: skip
    patches = Patches(scans, (16, 16, 16), 1, 0, regions=1, normalise=lambda stack: stack)
    read = read_scans(network, patches)
    assert read.image.shape == (3, network.shape.readings)
    torch.nn.init.normal_(network.heads["age"].image.weight)
    with torch.no_grad():
        direct = network(torch.from_numpy(scans[2].stack)[None], torch.ones(1, 1), torch.ones(1, 1)).targets["age"]
    assert told_by(network, read, "age")[2, 0] == pytest.approx(float(direct), rel=1e-4)


def test_a_head_is_not_solved_by_a_covariate_that_is_hidden_from_it():
    network = network_for(HeadShape("age", "continuous", 1, hidden=(0,)))
    read, rng = drawn(network, 4)
    truth = (3 * read.late[:, 1] + rng.normal(0, 0.3, 60))[:, None]
    fit_heads(network, [AGE], truth, PEOPLE, read, scalings={"age": AGE.behaviour.fit(truth, 0)}, levels={})
    assert not network.heads["age"].late.weight[:, 1:].any()
