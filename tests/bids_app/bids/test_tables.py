"""Tables as they are found."""

import pytest

from bids_app.bids.tables import match_labels, plain_label, read_rows, read_table, without_partner
from bids_app.text import TextError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_rows_are_read_in_every_encoding_that_occurs(tmp_path, encoding):
    path = tmp_path / "participants.tsv"
    path.write_bytes("participant_id\tsite\nsub-01\tMünchen\n".encode(encoding))
    columns, rows, told = read_rows(path)
    assert columns == ["participant_id", "site"]
    assert rows == [{"participant_id": "sub-01", "site": "München"}]
    assert bool(told) == (encoding in ("utf-16", "latin-1"))


def test_values_stay_as_they_are_written(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text('participant_id\tmain  lesion\tnote\nsub-01\t none \t"a\n\nsub-02\tnan\n')
    columns, rows, _ = read_rows(path)
    assert columns[1] == "main_lesion"
    assert [row["main_lesion"] for row in rows] == ["none", "nan"]
    assert [row["note"] for row in rows] == ['"a', "n/a"]


WANTED = [{"participant_id": "sub-01", "age": "34", "sex": "F"}, {"participant_id": "sub-02", "age": "n/a", "sex": "M"}]
FORMS = ["plain", "crlf", "cr", "empty_lines", "no_end", "tab_at_end", "blanks_at_end", "commas", "semicolons"]
FORMS += ["blanks", "blank_for_tab", "blank_in_header", "quoted", "other_key", "twice_the_same"]
PLAIN = "participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\tn/a\tM\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\n\n  \n"),
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "\t\n"),
        PLAIN.replace("\n", " \u00a0\n"),
        PLAIN.replace("\t", ","),
        PLAIN.replace("\t", ";"),
        PLAIN.replace("\t", "   "),
        PLAIN.replace("sub-02\tn/a", "sub-02 n/a"),
        PLAIN.replace("participant_id\t", "participant_id "),
        PLAIN.replace("\t", '"\t"').replace("\n", '"\n"')[:-1].join(['"', ""]),
        PLAIN.replace("participant_id", "Participant ID"),
        PLAIN.replace("\tsex", "\tsex\tsex").replace("F", "F\tF").replace("M", "M\tM"),
    ],
    ids=FORMS,
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_says_the_same_in_every_form_that_people_write(tmp_path, text, encoding):
    (tmp_path / "participants.tsv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "participants.tsv", "participant_id")
    assert (table.rows, table.wrong) == (WANTED, [])


def test_quoted_cells_may_hold_tabs_line_ends_and_quotes(tmp_path):
    (tmp_path / "t.tsv").write_text('id\tnote\na\t"one\ttwo\nthree"\nb\t"say ""no"""\n')
    assert [row["note"] for row in read_table(tmp_path / "t.tsv").rows] == ["one two three", 'say "no"']


def test_a_stray_quote_swallows_nothing(tmp_path):
    (tmp_path / "t.tsv").write_text('id\tnote\na\t"5 inches\nb\tx\nc\t6" tall\n')
    assert [row["id"] for row in read_table(tmp_path / "t.tsv").rows] == ["a", "b", "c"]


def test_a_column_twice_with_different_values_is_refused(tmp_path):
    (tmp_path / "t.tsv").write_text("id\tage\tage\na\t1\t2\n")
    table = read_table(tmp_path / "t.tsv")
    assert table.columns == ["id"]
    assert "age 2 times, with different values" in table.wrong[0]


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04", b"\x1f\x8b", b"/annex/objects/MD5", b"version https://git-lfs.github.com"]
)
def test_what_is_no_text_is_refused_with_what_to_do(tmp_path, start):
    (tmp_path / "participants.tsv").write_bytes(start + b"x" * 50)
    with pytest.raises(TextError, match=r"save|unpack|datalad get|git lfs pull"):
        read_table(tmp_path / "participants.tsv")


def test_a_link_without_content_is_not_an_absent_table(tmp_path):
    (tmp_path / "participants.tsv").symlink_to(".git/annex/objects/aa/bb")
    with pytest.raises(TextError, match="datalad get"):
        read_table(tmp_path / "participants.tsv")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("1", "001", True), ("S01", "s001", True), ("ctrl_01", "ctrl01", True), ("1.0", "01", True), ("1", "10", False),
     ("0", "00", True), ("100", "1", False), ("A1B02", "a01b2", True)],
)  # fmt: skip
def test_labels_are_the_same_but_for_zeros_case_and_signs(one, other, same):
    assert (plain_label(one) == plain_label(other)) is same


def test_labels_are_guessed_only_where_one_can_be_meant():
    found = match_labels(["1", "02", "3", "03x", "x9"], ["001", "02", "3", "03", "0003"], "sub-", "t.tsv")
    assert found.folder == {"1": "001", "02": "02", "3": "3"}
    assert "sub-1 for sub-001" in found.told[0]
    assert found.lost == ["03x", "x9"]
    told = without_partner(found.lost, ["001", "02", "3", "03", "0003"], "sub-", "t.tsv")
    assert any("sub-03x" in text and "is it sub-03?" in text for text in told)


def test_two_rows_are_never_taken_for_one_folder():
    found = match_labels(["1", "01"], ["001"], "sub-", "t.tsv")
    assert not found.folder
    assert found.lost == ["1", "01"]
