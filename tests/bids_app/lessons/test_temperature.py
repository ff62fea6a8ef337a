"""Which temperature a bundle of drawn scans gets."""

import numpy as np
import pytest

from bids_app.lessons.temperature import TEMPERATURES, best_temperature, cross_entropies
from bids_app.measure.calibration import scaled_by_temperature

SHAPE = (12, 12, 12)


def drawn(temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An answer that is right at ``temperature``, and classes drawn by it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (3, *SHAPE))
    right = np.exp(logits) / np.exp(logits).sum(0)
    classes = (rng.random(SHAPE) > right.cumsum(0)).sum(0)
    return scaled_by_temperature(right[1:], 1 / temperature), classes


@pytest.mark.parametrize("temperature", [0.8, 1.0, 1.4])
def test_the_temperature_that_spoilt_an_answer_is_found(temperature):
    assert best_temperature(drawn(temperature, seed) for seed in range(6)) == temperature


def test_classes_and_whole_shares_are_the_same_truth():
    answer, classes = drawn(1.25)
    shares = np.stack([classes == 1, classes == 2]).astype(float)
    np.testing.assert_allclose(cross_entropies(answer, classes), cross_entropies(answer, shares), rtol=1e-6)


def test_cross_entropy_is_that_of_its_definition():
    answer, classes = drawn(1.0)
    whole = np.concatenate([1 - answer.sum(0, keepdims=True), answer])
    expected = -np.log(np.take_along_axis(whole, classes[None], 0)).mean()
    assert cross_entropies(answer, classes)[TEMPERATURES.index(1.0)] == pytest.approx(expected)
