"""Columns of text as numbers and categories."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.design import as_levels, as_numbers, design_of, is_number


def test_numbers_as_people_write_them():
    column = pd.Series(["34,5", "−2", "n/a", None, "89+"])
    assert as_numbers(column, "age").tolist()[:2] == [34.5, -2.0]
    assert as_numbers(column, "age").isna().sum() == 2


def test_a_cell_that_is_no_number_is_named():
    with pytest.raises(DataError, match="the column age: '<40'"):
        as_numbers(pd.Series(["3", "<40"]), "age")
    assert not is_number(pd.Series(["3", "m"]))


def test_numbers_are_centred_and_categories_have_a_column_per_level_after_the_first():
    table = pd.DataFrame({"age": ["10", "20", "n/a"], "site": ["3", "1", None]}, dtype=object)
    design = design_of(table, ["age", "site"], ["site"])
    assert design.columns["age"].tolist()[:2] == [-5.0, 5.0]
    assert list(design.columns) == ["age", "site[3]"]
    assert design.columns.loc[2].isna().all()
    assert design.numeric == ("age",)


def test_categories_of_pandas_and_missing_words_are_levels():
    assert as_levels(pd.Series(["a", "n/a", None, "b"], dtype="category")).tolist() == ["a", None, None, "b"]


def test_names_are_no_category():
    with pytest.raises(DataError, match="that is no category"):
        design_of(pd.DataFrame({"name": [f"x{i}y" for i in range(60)]}), ["name"])
