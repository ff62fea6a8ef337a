import pytest

from bids_app.bids.filters import allows_session, describe, matches, read_filters
from bids_app.errors import UsageError

SEQUENCES = {"T1w": "T1w", "T1wGd": "T1w", "FLAIR": "FLAIR"}


@pytest.mark.parametrize("wanted", [1, "1", "01", "run-1", 1.0, [2, "01"]])
def test_a_run_matches_however_it_is_written(wanted):
    assert matches("01", wanted, "run")


@pytest.mark.parametrize(("wanted", "found"), [(None, None), ("*", "x"), ("x", "x"), (["y", None], None)])
def test_null_is_absent_and_a_star_is_any_value(wanted, found):
    assert matches(found, wanted, "acq")


@pytest.mark.parametrize(("wanted", "found"), [(None, "x"), ("*", None), ("x", "X"), (1, "01")])
def test_labels_match_exactly(wanted, found):
    assert not matches(found, wanted, "ses")


def test_a_key_is_a_sequence_or_its_suffix_in_any_case(filter_file):
    filters = read_filters(filter_file({"t1w": {"run": 1}, "flair": {"acq": None}}), SEQUENCES)
    assert filters == {"T1w": {"run": 1}, "FLAIR": {"acq": None}}


def test_a_filter_file_for_another_program_may_name_other_sequences(filter_file):
    assert read_filters(filter_file({"bold": {"task": "rest"}}), SEQUENCES) == {}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"tw1": {}}, "'tw1' is no sequence"),
        ({"T1w": {"acquisitoin": "x"}}, "'acquisitoin' under 'T1w'"),
        ({"T1w": {"run": {}}}, "'run' under 'T1w'"),
        ({"T1w": {"run": True}}, "'run' under 'T1w'"),
        ({"T1w": "x"}, "must hold entities"),
        ([], "must hold sequences"),
        ("{", "not a JSON file"),
    ],
)
def test_a_mistake_is_named_with_the_file(filter_file, content, named):
    path = filter_file(content)
    with pytest.raises(UsageError, match=named) as caught:
        read_filters(path, SEQUENCES)
    assert str(path) in str(caught.value)


def test_a_filter_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.json"):
        read_filters(tmp_path / "none.json", SEQUENCES)


def test_a_session_in_the_reference_filter_leaves_out_the_others():
    filters = {"T1w": {"ses": "02"}}
    assert [s for s in ("01", "02", None) if allows_session(filters, "T1w", s)] == ["02"]


def test_a_wanted_value_reads_as_in_a_file_name():
    assert describe([1, None], "run") == "run-1 or no run-"
