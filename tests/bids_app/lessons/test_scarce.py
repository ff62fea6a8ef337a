"""Regions that would hardly be found weigh more, the others as much as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_app.lessons import judge
from bids_app.lessons.judge import Truth, calibrate_drawn, judge_structures
from bids_app.lessons.scarce import WEIGHTS, ScarceRegions
from bids_app.predict.regions import weights_of
from tests.learned.small_bundle import write_small
from tests.learned.small_head import head_recipe


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball that is sure, and a sliver in it of which a third of the probability is known."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((32, 32, 32), np.int64)
    classes[3:29, 3:29, 3:29] = 1
    classes[4:12, 8, 7:10] = 2
    probability = np.zeros((len(head_recipe().regions), 32, 32, 32), np.float32)
    probability[0][classes > 0] = 0.95
    near = classes == 2
    probability[0][near], probability[1][near] = 0.65, 0.25
    wrong = (classes == 1) & (rng.random(classes.shape) < 0.005)
    probability[1][wrong] = 0.02
    return probability, classes


def test_a_sliver_weighs_more_and_a_ball_does_not():
    recipe = head_recipe()
    counts = ScarceRegions(recipe)
    for seed in range(3):
        counts.count(*scan(seed))
    found = counts.weights()
    name = recipe.regions[1].name
    assert found[name] in WEIGHTS
    assert 2 < found[name] <= 16
    assert recipe.regions[0].name not in found


def test_a_large_structure_that_is_not_found_does_not_weigh_more():
    counts = ScarceRegions(head_recipe())
    probability, classes = scan(0)
    counts.count(probability, np.where(classes == 1, 2, classes))
    assert counts.weights() == {}


def test_what_is_found_already_or_never_there_weighs_as_before():
    counts = ScarceRegions(head_recipe())
    probability, classes = scan(0)
    sure = probability.copy()
    sure[0][classes == 2], sure[1][classes == 2] = 0.1, 0.9
    counts.count(sure, classes)
    assert counts.weights() == {}
    none = ScarceRegions(head_recipe())
    none.count(probability, np.where(classes == 2, 1, classes))
    assert none.weights() == {}


def test_a_bundle_of_structures_is_calibrated_and_judged_with_weights(tmp_path, monkeypatch):
    bundle = write_small(tmp_path / "bundle", recipe=head_recipe())
    scans = [Truth(np.zeros((1, 32, 32, 32), np.float32), np.ones(1), scan(n)[1]) for n in range(2)]
    monkeypatch.setattr(judge, "predict", lambda *_: scan(0)[0].copy())
    fitted = calibrate_drawn(bundle, scans)
    name = head_recipe().regions[1].name
    assert fitted["weights"][name] > 1
    plain = replace(bundle, calibration={**bundle.calibration, "weights": {}})
    better = replace(bundle, calibration={**bundle.calibration, "weights": fitted["weights"]})
    assert weights_of(better)[1] == fitted["weights"][name]
    assert weights_of(plain) == [1.0] * len(weights_of(plain))
    before, after = (judge_structures(one, scans, lambda classes: classes > 0) for one in (plain, better))
    assert before["dice"][name] == 0
    assert after["dice"][name] > 0.6
