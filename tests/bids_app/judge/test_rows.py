from __future__ import annotations

import pytest

from bids_app.judge.rows import ComparisonRow


def row(**changes) -> ComparisonRow:
    fields = {"arm": "multi", "reference": "single", "kind": "region", "what": "left", "measure": "dice"}
    fields |= {"value": 0.8, "reference_value": 0.7, "difference": 0.1, "low": 0.05, "high": 0.15, "better": True}
    fields |= {"participants": 20, "sessions": 20, "test": "permutation", "p": 0.01, "p_holm": 0.02}
    return ComparisonRow(**{**fields, **changes})


def test_a_title_names_measure_and_region_or_target():
    assert row().title == "Dice of left"
    assert row(kind="target", what="outcome", measure="auc").title == "AUC for outcome"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, True),
        ({"low": -0.15, "high": -0.05}, True),
        ({"p_holm": 0.05}, False),
        ({"low": -0.01}, False),
        ({"p_holm": float("nan")}, False),
    ],
)
def test_a_difference_is_shown_by_its_corrected_test_and_its_interval_together(changes, shown):
    assert row(**changes).shown is shown
