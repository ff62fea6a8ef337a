"""participants.tsv as people make it."""

from __future__ import annotations

import pytest

from bids_app.group.participants import choose_group_column, fit_to, read_participants


@pytest.fixture
def written(tmp_path):
    def write(raw: bytes):
        path = tmp_path / "participants.tsv"
        path.write_bytes(raw)
        return read_participants(path)

    return write


def test_byte_order_mark_is_no_part_of_the_first_column(written):
    assert written("\ufeffparticipant_id\tage\nsub-01\t3\n".encode()).rows == {"sub-01": {"age": "3"}}


def test_latin_1_is_read_with_a_warning(written):
    found = written("participant_id\tsite\nsub-01\tMünchen\n".encode("latin-1"))
    assert found.rows["sub-01"]["site"] == "München"
    assert "Latin-1" in found.warnings[0]


def test_utf_16_is_read_with_a_warning(written):
    assert written("participant_id\tage\nsub-01\t3\n".encode("utf-16")).rows == {"sub-01": {"age": "3"}}


def test_windows_line_ends_blank_lines_and_short_rows(written):
    found = written(b"participant_id\tage\tsex\r\nsub-01\t3\r\n\r\n")
    assert found.rows == {"sub-01": {"age": "3", "sex": "n/a"}}


def test_prefix_is_added_and_missing_values_are_n_a(written):
    assert written(b"participant_id\tage\n01\tNaN\n").rows == {"sub-01": {"age": "n/a"}}


def test_repeated_participant_keeps_the_first_row(written):
    found = written(b"participant_id\tage\nsub-01\t3\nsub-01\t4\n")
    assert found.rows["sub-01"]["age"] == "3"
    assert "more than once" in found.warnings[0]


def test_table_without_identifiers_is_not_used(written):
    assert "participant_id" in written(b"name\tage\nx\t3\n").warnings[0]


def test_absent_and_empty_tables_give_a_warning(tmp_path, written):
    assert read_participants(tmp_path / "none.tsv").warnings
    assert written(b"").warnings


def test_group_column_is_the_one_asked_for_else_the_first_known(written):
    found = written(b"participant_id\tSex\tdiagnosis\tsite\nsub-01\tf\tx\ty\n")
    assert choose_group_column(found, "site") == ("site", "")
    assert choose_group_column(found, None) == ("diagnosis", "")
    assert choose_group_column(found, "no")[0] is None


def test_labels_of_another_spelling_are_given_those_of_the_sessions(written):
    found = written(b"participant_id\tage\nsub-1\t3\nSUB-02\t4\nsub-9\t5\n")
    fit_to(found, ["sub-001", "sub-02"])
    assert {who: row["age"] for who, row in found.rows.items()} == {"sub-001": "3", "sub-02": "4", "sub-9": "5"}
    assert "sub-1 for sub-001" in found.warnings[-1]


def test_a_word_that_the_json_names_is_a_value_and_no_other(tmp_path):
    (tmp_path / "participants.json").write_text('{"drug": {"Levels": {"none": "no drug", "ssri": ""}}}')
    (tmp_path / "participants.tsv").write_text("participant_id\tdrug\tsite\nsub-01\tnone\tnone\n")
    assert read_participants(tmp_path / "participants.tsv").rows["sub-01"] == {"drug": "none", "site": "n/a"}
