"""What the program refuses before it starts, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_app.__main__ import main
from tests.bids_app.bids.samples import make_image

pytestmark = pytest.mark.faults


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two participants, one T1w each."""
    root = tmp_path / "bids"
    for label in ("01", "02"):
        make_image(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "two", "BIDSVersion": "1.10.0"}))
    return root


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_dataset_that_is_not_there(tmp_path, capsys):
    assert run(tmp_path / "nowhere", tmp_path / "out", "participant") == 66
    assert "nowhere" in capsys.readouterr().err


def test_no_dataset_description(dataset, tmp_path, capsys):
    (dataset / "dataset_description.json").unlink()
    assert run(dataset, tmp_path / "out", "participant") == 16
    assert "dataset_description.json" in capsys.readouterr().err


def test_output_equal_to_input(dataset, capsys):
    assert run(dataset, dataset, "participant") == 64
    assert "derivatives" in capsys.readouterr().err


def test_output_among_the_participants(dataset):
    assert run(dataset, dataset / "sub-01" / "out", "participant") == 64


def test_dataset_inside_the_output(dataset):
    assert run(dataset, dataset.parent, "participant") == 64


def test_work_folder_inside_the_dataset(dataset, tmp_path, capsys):
    assert run(dataset, tmp_path / "out", "participant", "-w", dataset / "work") == 64
    assert "-w" in capsys.readouterr().err
    assert not (dataset / "work").exists()


def test_output_that_cannot_be_written(dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(dataset, tmp_path / "file" / "out", "participant") == 73
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_an_unknown_participant(dataset, tmp_path, capsys):
    assert run(dataset, tmp_path / "out", "participant", "--participant-label", "03") == 66
    assert "03" in capsys.readouterr().err


def test_a_session_nobody_has(dataset, tmp_path):
    assert run(dataset, tmp_path / "out", "participant", "--session-label", "post") == 18


def test_a_filter_that_selects_nothing(dataset, tmp_path, capsys):
    (tmp_path / "filter.json").write_text(json.dumps({"t1w": {"acquisition": "none"}}))
    code = run(dataset, tmp_path / "out", "participant", "--dry-run", "--bids-filter-file", tmp_path / "filter.json")
    assert code == 18


def test_an_unknown_recipe_is_named_with_those_that_ship(dataset, tmp_path, capsys):
    assert run(dataset, tmp_path / "out", "participant", "--recipe", "cochlea") == 65
    assert "cochlea" in (text := capsys.readouterr().err)
    assert "habenula" in text


def test_a_gpu_that_is_not_there_is_an_error(dataset, tmp_path, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(dataset, tmp_path / "out", "participant", "--device", "cuda") == 64
    assert "CUDA" in capsys.readouterr().err


def test_group_level_without_anything_to_read(tmp_path):
    assert run(tmp_path, tmp_path / "empty", "group") == 66


def test_status_of_a_folder_that_is_none(tmp_path):
    assert run("status", tmp_path) == 66


def test_nothing_was_written_into_the_dataset(dataset, tmp_path):
    before = sorted(str(p) for p in dataset.rglob("*"))
    run(dataset, tmp_path / "out", "participant", "--dry-run")
    run(dataset, tmp_path / "out", "participant", "--participant-label", "03")
    assert sorted(str(p) for p in dataset.rglob("*")) == before


def test_dry_run_tells_what_is_chosen_and_why(dataset, tmp_path, capsys):
    assert run(dataset, tmp_path / "out", "participant", "--dry-run") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["session"] for row in rows] == ["sub-01", "sub-02"]
    assert rows[0]["sequences"][0]["file"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert rows[0]["sequences"][0]["reason"]
    assert not (tmp_path / "out").exists()
