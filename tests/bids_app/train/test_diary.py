"""The log of a training."""

from __future__ import annotations

import csv
import math

from bids_app.train.diary import Diary
from tests.learned.small import small_state


def test_a_row_is_the_mean_of_ten_steps_and_of_what_is_known(tmp_path):
    state, path, told = small_state(), tmp_path / "log.csv", []
    diary = Diary(path, told.append)
    for step in range(1, 21):
        state.step, state.drawn = step, 100 + step
        row = {"loss": float(step), "dice": float("nan") if step < 15 else 0.5}
        diary.note(state, row | ({"norm": 2.0} if step == 20 else {}))
    assert [row["loss"] for row in told] == [5.5, 15.5]
    assert math.isnan(told[0]["dice"])
    assert told[1]["dice"] == 0.5
    assert told == state.history
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20"]
    assert [row["drawn"] for row in rows] == ["110", "120"]
    assert [row["norm"] for row in rows] == ["", "2.0"]
