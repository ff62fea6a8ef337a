from __future__ import annotations

import numpy as np
import pytest

from bids_app.cohort.tables import Tables, code_target
from bids_app.recipes.recipe import Target

OUTCOME = Target(name="outcome", kind="binary", column="outcome", levels=("good", "poor"))
SCORE = Target(name="score", kind="continuous", column="score", unit="points")


def tables(column: str, *cells: str) -> tuple[Tables, list[tuple[str, None]]]:
    """A participants.tsv of one column."""
    rows = {f"{number:02d}": {column: cell} for number, cell in enumerate(cells, 1)}
    columns = {"participants": [column], "sessions": []}
    return Tables("data", participants=rows, columns=columns), [(name, None) for name in rows]  # type: ignore[arg-type]


def test_levels_become_their_places_and_what_is_missing_is_not_known():
    values, levels, wrong, _ = code_target(OUTCOME, *tables("outcome", "poor", "good", "n/a", ""))
    assert levels == ("good", "poor")
    assert wrong == []
    np.testing.assert_array_equal(values, [1, 0, np.nan, np.nan])


def test_a_value_that_is_no_level_is_named_with_its_participant(tmp_path):
    held, keys = tables("outcome", "good", "poor", "bad")
    held.bids_dir = tmp_path
    _, _, wrong, _ = code_target(OUTCOME, held, keys)
    assert "sub-03 has outcome 'bad'" in wrong[0]


def test_numbers_are_read_and_words_among_them_named(tmp_path):
    held, keys = tables("score", "1.5", "2", "many")
    held.bids_dir = tmp_path
    values, _, wrong, _ = code_target(SCORE, held, keys)
    assert values[:2].tolist() == [1.5, 2.0]
    assert np.isnan(values[2])
    assert "sub-03" in wrong[0]


def test_a_column_that_is_not_there_is_said_with_those_that_are(tmp_path):
    held, keys = tables("age", "30", "40")
    held.bids_dir = tmp_path
    _, _, wrong, _ = code_target(OUTCOME, held, keys)
    assert "has no column outcome" in wrong[0]
    assert wrong[0].endswith("it has age")


@pytest.mark.parametrize("cells", [("good", "good", "good")])
def test_one_level_alone_cannot_be_learned(tmp_path, cells):
    held, keys = tables("outcome", *cells)
    held.bids_dir = tmp_path
    assert code_target(OUTCOME, held, keys)[2]
