"""Outliers, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_app.errors import InputMissing
from bids_app.group.collect import collect
from bids_app.group.volumes import FEWEST_FOR_OUTLIERS, OUTLIER, PRIMARY, flag, scores


def numbers(*values: float | None, measure: str = PRIMARY) -> pd.DataFrame:
    keys = [f"sub-{place}" for place in range(len(values))]
    same = {"recipe": "habenula", "region": "left", "measure": measure, "qc": "ok"}
    return pd.DataFrame({"key": keys, "value": pd.array(values, float)}).assign(**same)


def test_the_modified_z_score_is_iglewiczs():
    assert scores(numbers(1.0, 2.0, 3.0, 4.0, 100.0)).tolist() == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 65.4265])


def test_few_numbers_and_numbers_without_spread_have_no_outlier():
    assert scores(numbers(*[1.0] * (FEWEST_FOR_OUTLIERS - 2), 1000.0)).tolist() == [0.0] * (FEWEST_FOR_OUTLIERS - 1)
    assert scores(numbers(*[7.0] * 6)).tolist() == [0.0] * 6


def test_every_measure_of_a_region_far_from_the_others_is_flagged():
    hard = numbers(1, 2, 3, 4, 5, measure="hard_mm3")
    flagged = flag(pd.concat([numbers(1.0, 2.0, 3.0, 4.0, 100.0), hard, numbers(None)], ignore_index=True))
    assert flagged.loc[flagged["qc"] == "outlier", "key"].tolist() == ["sub-4", "sub-4"]
    assert OUTLIER == 3.5


def test_what_is_rated_bad_sways_no_score():
    rated = numbers(1.0, 2.0, 3.0, 4.0, 5.0, 1000.0)
    rated.loc[5, "qc"] = "rated bad"
    assert scores(rated).iloc[:5].tolist() == scores(numbers(1.0, 2.0, 3.0, 4.0, 5.0)).tolist()


def test_an_output_folder_without_sessions_is_said(tmp_path):
    with pytest.raises(InputMissing, match="run the participant level first"):
        collect(tmp_path)
