from __future__ import annotations

import pytest

from bids_app.errors import InputMissing
from bids_app.group.collect import FEWEST_FOR_OUTLIERS, OUTLIER, PRIMARY, Value, collect, flag, modified_z


def values(*numbers: float | None, measure: str = PRIMARY) -> list[Value]:
    return [
        Value(f"sub-{place}", f"sub-{place}", "n/a", "habenula", "left", measure, number, "mm3")
        for place, number in enumerate(numbers)
    ]


def test_the_modified_z_score_is_iglewiczs():
    scores = modified_z([1.0, 2.0, 3.0, 4.0, 100.0])
    assert scores == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 65.4265])


def test_few_numbers_and_numbers_without_spread_have_no_outlier():
    assert modified_z([1.0] * (FEWEST_FOR_OUTLIERS - 2) + [1000.0]) == [0.0] * (FEWEST_FOR_OUTLIERS - 1)
    assert modified_z([7.0] * 6) == [0.0] * 6


def test_every_measure_of_a_region_far_from_the_others_is_flagged():
    hard = values(1, 2, 3, 4, 5, measure="hard_volume")
    flagged = flag([*values(1.0, 2.0, 3.0, 4.0, 100.0), *hard, *values(None)])
    assert [value.key for value in flagged if value.qc == "outlier"] == ["sub-4", "sub-4"]
    assert OUTLIER == 3.5


def test_an_output_folder_without_sessions_is_said(tmp_path):
    with pytest.raises(InputMissing, match="run the participant level first"):
        collect(tmp_path)
