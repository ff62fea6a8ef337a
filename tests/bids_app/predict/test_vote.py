"""Members vote together, none is left out, and a scan that is unlike the others is told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from bids_app.errors import BundleError
from bids_app.predict.vote import (
    MOST_FEATURES,
    Familiarity,
    combine,
    fit_familiarity,
    image_features,
)
from bids_app.scans.scan import Scan
from bids_app.targets.kinds import kind_of
from tests.learned.small_bundle import small_recipe

RECIPE = small_recipe()


def test_members_that_agree_share_no_information_however_unsure():
    vote = combine([np.array([0.5, 0.5])] * 3)
    assert vote.mutual_information == pytest.approx(0)
    assert vote.members == 3


def test_members_that_contradict_each_other_share_one_bit():
    vote = combine([np.array([1.0, 0.0]), np.array([0.0, 1.0])])
    np.testing.assert_allclose(vote.mean, [0.5, 0.5])
    assert vote.mutual_information == pytest.approx(np.log(2), abs=1e-6)


def test_the_background_counts_as_a_class():
    one, other = np.zeros((2, 1, 1, 1)), np.zeros((2, 1, 1, 1))
    other[0] = 1
    assert combine([one, other], background=True).mutual_information == pytest.approx(np.log(2), abs=1e-6)


@pytest.mark.faults
def test_a_failing_member_is_named_and_not_left_out():
    with pytest.raises(BundleError, match="member 1"):
        combine([np.array([0.5, 0.5]), np.array([np.nan, 0.5])])


def test_cumulative_logits_become_probabilities_of_levels():
    found = kind_of("ordinal").probabilities(np.array([2.0, -1.0]))
    assert found.sum() == pytest.approx(1)
    assert found[0] == pytest.approx(1 / (1 + np.exp(2.0)))
    assert (kind_of("ordinal").probabilities(np.array([-1.0, 2.0])) >= 0).all()


def test_heat_brings_probabilities_together():
    sure, unsure = (kind_of("binary").probabilities(np.array([0.0, 3.0]), heat)[1] for heat in (1, 3))
    assert sure > unsure > 0.5


def scan(index: int, change=lambda image, rng: image, *, second: bool = True) -> Scan:
    """A smooth random image of 24 voxels with a bright ball and an empty border, and a second one like it."""
    rng = np.random.default_rng(index)
    away = np.linalg.norm(np.indices((24, 24, 24)) - 11.5 - rng.normal(0, 0.5, (3, 1, 1, 1)), axis=0)
    stack = []
    for _ in range(2):
        image = 100 + 60 * (away < 5) + ndimage.gaussian_filter(rng.normal(0, 60, away.shape), 1.5)
        stack.append(np.where(away < 11, change(image, rng) * rng.uniform(0.5, 2), 0).astype(np.float32))
    stack[1] *= second
    return Scan(
        f"sub-{index}", str(index), np.stack(stack), np.array([True, second]), None, 1.0, np.zeros(0), np.zeros(0)
    )


@pytest.fixture(scope="module")
def usual() -> Familiarity:
    return fit_familiarity(RECIPE, [scan(i, second=i % 4 > 0) for i in range(80)])


def distance(usual: Familiarity, one: Scan) -> float:
    return usual.distance(image_features(RECIPE, one.stack, one.present))


def test_new_scans_of_the_same_kind_are_familiar_and_others_are_not(usual):
    new = np.array([distance(usual, scan(1000 + i, second=i % 4 > 0)) for i in range(100)])
    assert (new > usual.threshold).mean() < 0.1
    noisy = scan(5000, lambda image, rng: image + rng.normal(0, 60, image.shape))
    inverted = scan(5001, lambda image, rng: 300 - image)
    blurred = scan(5002, lambda image, rng: ndimage.gaussian_filter(image, 3))
    for odd in (noisy, inverted, blurred):
        assert distance(usual, odd) > usual.threshold


def test_brightness_scale_does_not_matter(usual):
    one = scan(7)
    darker = Scan(one.key, "7", one.stack / 1000, one.present, None, 1.0, one.targets, one.covariates)
    assert distance(usual, darker) == pytest.approx(distance(usual, one), rel=1e-3)


def test_a_margin_of_training_scans_is_not_looked_at():
    inner = np.random.default_rng(0).random((2, 16, 16, 16)) + 1
    wide = np.pad(inner, [(0, 0)] + [(5, 5)] * 3, constant_values=3)
    np.testing.assert_allclose(image_features(RECIPE, wide, [1, 1]), image_features(RECIPE, inner, [1, 1]))


def test_what_a_bundle_keeps_is_small_and_comes_back(usual):
    text = json.dumps(usual.to_plain())
    assert len(text) < 20_000
    again = Familiarity.from_plain(json.loads(text))
    assert distance(again, scan(3)) == pytest.approx(distance(usual, scan(3)), rel=1e-2)


def test_many_sequences_keep_to_the_limit():
    stack = np.random.default_rng(0).random((7, 8, 8, 8))
    assert len(image_features(RECIPE, stack, np.ones(7))) <= MOST_FEATURES


def test_few_participants_say_nothing_about_what_is_usual():
    assert fit_familiarity(RECIPE, [scan(i) for i in range(5)]) is None


def test_a_scan_without_any_image_is_unfamiliar(usual):
    assert usual.distance(np.full(len(usual.mean), np.nan)) == np.inf


@pytest.mark.faults
def test_a_damaged_familiarity_is_an_error():
    with pytest.raises(BundleError, match="familiarity"):
        Familiarity.from_plain({"mean": [0.0], "scale": [1.0], "covariance": [[1.0, 0.0]], "threshold": 1})
