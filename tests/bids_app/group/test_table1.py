"""The table of a paper."""

from __future__ import annotations

import pytest

from bids_app.group.table1 import adjusted_means
from tests.bids_app.group.test_contrasts import BASE, cohort


def test_adjusted_means_differ_by_the_adjusted_difference():
    means = adjusted_means(cohort(), ["left_soft_mm3"], BASE).set_index("group")["mean"]
    assert means["patient"] - means["control"] == pytest.approx(-2, abs=0.5)
    assert means.mean() == pytest.approx(cohort()["left_soft_mm3"].mean(), abs=0.5)
