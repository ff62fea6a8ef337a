"""Tables as they are found."""

import pytest

from bids_app.bids.tables import read_rows


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
