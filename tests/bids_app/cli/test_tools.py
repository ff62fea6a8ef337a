"""The commands beside the BIDS-App form."""

from __future__ import annotations

import json

import pytest

from bids_app.__main__ import main
from bids_app.bids.status import start_status, write_status
from bids_app.errors import CannotWrite


@pytest.fixture
def out(tmp_path):
    """An output folder with one session that is done and one that failed."""
    done = start_status("01", "a").finish("done", peak_rss_mb=512.0)
    failed = start_status("02").finish("failed", "no T1w in sub-02", 66)
    for status in (done, failed):
        write_status(tmp_path, status)
    return tmp_path


def test_status_shows_every_session_and_why_it_failed(out, capsys):
    assert main(["status", str(out)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "sub-01_ses-a done" in text
    assert "sub-02 failed" in text
    assert "no T1w" in text


def test_status_as_json(out, capsys):
    assert main(["status", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["sub-02"]["exit_code"] == 66
    assert rows["sub-01_ses-a"]["state"] == "done"


def test_recipes_lists_those_that_ship(capsys):
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert "habenula" in text
    assert "anatomical" in text
    assert main(["recipes", "habenula"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "habenula"


def test_doctor_finds_this_installation_sound(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["troubles"] == []
    assert facts["torch"]
    assert "MNI152" in facts["template"]


def test_demo_refuses_a_folder_that_holds_something_else(tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids" / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path), "--only-data"]) == CannotWrite.exit_code
    assert (tmp_path / "bids" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("tool", ["demo", "recipes", "doctor", "status", "train-bundle"])
def test_every_tool_explains_itself(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        main([tool, "--help"])
    assert ended.value.code == 0
    assert f"tandem {tool}" in capsys.readouterr().out
