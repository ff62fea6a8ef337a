from __future__ import annotations

import pytest

from bids_app.cli.demo import demo
from bids_app.errors import UsageError


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-n", "0"], "at least 1"),
        (["--sites", "2"], "--sites: only together with --cohort"),
        (["--cohort", "flu"], "there is no cohort 'flu'"),
        (["--cohort", "ms", "--spacing", "0.1"], "voxels can be"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_file_is_made(tmp_path, words, says):
    with pytest.raises(UsageError, match=says):
        demo([str(tmp_path / "new"), *words])
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_is_written_and_the_next_command_is_said(tmp_path, capsys):
    folder = tmp_path / "stroke cohort"
    assert demo([str(folder), "--cohort", "stroke", "-n", "1", "--spacing", "6"]) == 0
    said = capsys.readouterr().out
    assert f"tandem '{folder}' '{folder}-out' participant --recipe stroke" in said
    assert sorted(path.name for path in folder.iterdir()) == [
        "README",
        "dataset_description.json",
        "derivatives",
        "participants.json",
        "participants.tsv",
        "sub-01",
    ]


def test_the_phantoms_are_written_alone_and_used_again(tmp_path, capsys):
    words = [str(tmp_path / "demo"), "-n", "1", "--only-data"]
    assert demo(words) == 0
    table = (tmp_path / "demo" / "bids" / "participants.tsv").read_bytes()
    capsys.readouterr()
    assert demo(words) == 0
    assert "is there already and is used as it is" in capsys.readouterr().out
    assert (tmp_path / "demo" / "bids" / "participants.tsv").read_bytes() == table
