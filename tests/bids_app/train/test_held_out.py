"""What a fold answers for people it did not learn from, where a patch is smaller than their scans."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bids_app.bundle.trial import trial_bundle
from bids_app.networks.multitask import MultiTaskNet, NetworkShape
from bids_app.networks.standardise import standardise
from bids_app.predict.predict import predict
from bids_app.scans.scan import Scan
from bids_app.train.batches import Patches
from bids_app.train.fold import whole_probability
from tests.learned.small_bundle import REGIONS, small_recipe

IMAGE = {"kind": "image", "spacing_mm": 1.0}
SLICE = {"kind": "image", "spacing_mm": 1.0, "flat": True}


def network_for(recipe) -> MultiTaskNet:
    torch.manual_seed(2)
    spec = recipe.network
    how = {"dimensions": spec.dimensions, "slices": spec.slices, "sided": spec.sided}
    how["partners"] = recipe.partners() if spec.sided else ()
    return MultiTaskNet(NetworkShape(2, 3, 4, spec.blocks, 1, **how)).eval()


def held_out(recipe, network: MultiTaskNet, stack: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    nothing = np.zeros(0)
    scan = Scan("sub-01", "01", stack, np.ones(2), None, 1.0, nothing, nothing, "A", "F", 20.0)
    flat = recipe.network.dimensions == 2
    patches = Patches([scan], patch, 1, 0, regions=len(REGIONS), normalise=standardise, flat=flat)
    batch = patches.collate([0])
    trial = SimpleNamespace(task=SimpleNamespace(device="cpu"), recipe=recipe)
    with torch.inference_mode():
        answer = network(batch.images, batch.present, batch.covariates)
    return whole_probability(trial, network, patches, 0, [], answer)


@pytest.mark.parametrize(
    ("grid", "network", "shape", "patch"),
    [
        (SLICE, {"dimensions": 2}, (20, 28, 1), (12, 16, 1)),
        (SLICE, {"dimensions": 2}, (20, 10, 1), (12, 16, 1)),
        (SLICE, {"dimensions": 2, "slices": 3}, (20, 28, 3), (12, 16, 1)),
        (IMAGE, {}, (20, 28, 18), (12, 16, 12)),
        (IMAGE, {}, (20, 9, 18), (12, 16, 12)),
        (IMAGE, {"sided": True}, (20, 28, 18), (12, 16, 12)),
        (IMAGE, {}, (10, 12, 9), (12, 16, 12)),
    ],
)
def test_who_is_held_out_gets_the_answer_that_a_person_gets(grid, network, shape, patch):
    spec = {"filters": 4, "blocks": [1, 1], "deep_supervision": 1, **network}
    recipe = small_recipe(targets=False, grid=grid, network=spec)
    made = network_for(recipe)
    stack = np.random.default_rng(1).gamma(2, 50, (2, *shape)).astype(np.float32)
    bundle = trial_bundle(recipe, made, {"threshold": 0.5, "temperature": 1.0}, {"patch": list(patch)})
    found = held_out(recipe, made, stack, patch)
    assert found.shape == (2, *shape[:2], 1 if recipe.flat else shape[2])
    assert found.std() > 0.01
    np.testing.assert_allclose(found, predict(bundle, stack), atol=1e-5)
