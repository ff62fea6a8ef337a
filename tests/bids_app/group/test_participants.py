"""participants.tsv as people make it."""

from __future__ import annotations

import pytest

from bids_app.group.participants import choose_group_column, read_participants


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
