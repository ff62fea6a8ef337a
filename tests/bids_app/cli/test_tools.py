"""The commands beside the BIDS-App form."""

from __future__ import annotations

import json

import pytest

from bids_app.__main__ import main
from bids_app.bids.status import start_status, status_path, write_status
from bids_app.cli.tools import TOOLS
from bids_app.errors import CannotWrite
from bids_app.recipes.recipe import list_recipes, load_recipe
from bids_app.settings import DEFAULT_SEED


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
    assert main(["recipes", "habenula", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "habenula"


@pytest.mark.parametrize("name", list_recipes())
def test_a_printed_recipe_can_be_edited_and_used(name, tmp_path, capsys):
    assert main(["recipes", name]) == 0
    edited = tmp_path / "mine.toml"
    edited.write_text(capsys.readouterr().out.replace('title = "', 'title = "Mine: ', 1))
    recipe = load_recipe(edited)
    assert recipe.title.startswith("Mine: ")
    assert recipe.model_copy(update={"title": load_recipe(name).title}) == load_recipe(name)


def test_one_status_that_cannot_be_read_does_not_hide_the_others(out, capsys):
    for number, text in enumerate(["{", "[" * 100_000, '{"state": "done", "seconds": "long"}', '{"stages": {"a": 1}}']):
        path = status_path(out, f"sub-9{number}")
        path.parent.mkdir(parents=True)
        path.write_text(text)
    folder = out / "logs" / "sub-[bold]\x1b[31m[b]"
    folder.mkdir()
    (folder / "status.json").write_text("{}")
    assert main(["status", str(out)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    lines = said.splitlines()
    for number in range(4):
        assert any(f"sub-9{number}" in line and "unknown" in line for line in lines)
    assert any(line.startswith("sub-[bold]\\x1b[31m[b]") for line in lines)
    assert any(line.startswith("sub-01_ses-a") and "done" in line for line in lines)


def test_tables_are_not_cut_where_they_go_to_a_file(out, capsys):
    reason = "a reason " * 40 + "and its end"
    write_status(out, start_status("03").finish("failed", reason, 66))
    assert main(["status", str(out)]) == 0
    assert any(
        line.startswith("sub-03") and line.rstrip().endswith("and its end")
        for line in capsys.readouterr().out.splitlines()
    )


def test_help_names_every_tool_and_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for tool in TOOLS:
        assert f"tandem {tool}" in said, tool
    assert f"(default: {DEFAULT_SEED})" in said
    assert "(default: habenula)" in said


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


def test_recipes_says_what_a_bundle_does_not_answer(capsys):
    assert main(["recipes"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "targets outcome and nihss; bundle ships, without outcome and nihss" in text
    assert "targets age and sex; bundle ships hippocampus" in text
    assert "targets diagnosis and severity; no bundle: train it on a cohort of yours" in text
