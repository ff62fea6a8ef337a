"""Intraclass correlations against the published table, repeatability against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.measure.reliability import icc, repeatability

TABLE = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_shrout_and_fleiss():
    found = icc(TABLE)
    published = {
        "icc_1_1": 0.1657, "icc_2_1": 0.2898, "icc_3_1": 0.7148, "icc_1_k": 0.4428, "icc_2_k": 0.6201, "icc_3_k": 0.9093
    }  # fmt: skip
    for name, value in published.items():
        assert found[name] == pytest.approx(value, abs=5e-5)
    # intervals as R's psych::ICC prints them for this table
    assert (found["icc_2_1_low"], found["icc_2_1_high"]) == pytest.approx((0.0188, 0.7611), abs=2e-3)
    assert (found["icc_3_1_low"], found["icc_3_1_high"]) == pytest.approx((0.3425, 0.9459), abs=2e-3)


def test_intervals_hold_the_truth():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        values = rng.normal(size=(30, 1)) * 2 + rng.normal(size=(30, 2))
        found = icc(values)
        held += found["icc_2_1_low"] <= 0.8 <= found["icc_2_1_high"]
    assert 0.92 <= held / 400 <= 0.98


def test_equal_repetitions_and_no_spread():
    assert icc(np.array([[1.0, 1], [2, 2], [5, 5]]))["icc_2_1"] == pytest.approx(1)
    assert np.isnan(icc(np.ones((3, 2)))["icc_2_1"])
    with pytest.raises(ValueError, match="two people"):
        icc(np.ones((1, 2)))


def test_repeatability_by_hand():
    found = repeatability(np.array([[10.0, 12.0], [20.0, 18.0], [30.0, 32.0]]))
    assert found["within_sd"] == pytest.approx(np.sqrt(2))
    assert found["repeatability"] == pytest.approx(1.959964 * 2)
    assert found["mean_change"] == pytest.approx(2 / 3)
    assert found["limit_high"] == pytest.approx(2 / 3 + 1.959964 * np.std([2, -2, 2], ddof=1))
