"""Values of a record that may be anything."""

import math

import numpy as np
import pytest

from bids_app.report.values import as_matrix, flatten, is_number, is_point


@pytest.mark.parametrize(("value", "said"), [(1, True), (2.5, True), (True, False), (math.nan, False), ("3", False)])
def test_what_is_a_number(value, said):
    assert is_number(value) == said


def test_a_point_has_three_numbers():
    assert is_point([1, 2.0, 3])
    assert not is_point([1, 2])
    assert not is_point([1, None, 3])
    assert not is_point("123")


def test_a_matrix_can_be_inverted():
    np.testing.assert_array_equal(as_matrix(np.eye(4).tolist()), np.eye(4))
    for other in (None, "x", [[1, 2], [3, 4]], np.zeros((4, 4)).tolist(), np.full((4, 4), np.inf).tolist()):
        assert as_matrix(other) is None


def test_nested_facts_become_dotted_names():
    facts = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": None}, {"e": "x"}]}
    assert flatten(facts) == [("a.b", "1"), ("a.c", "1, 2"), ("d.0.e", ""), ("d.1.e", "x")]
