from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import CannotWrite, IOFailure, UsageError
from bids_app.synthesis.datasets import phantom
from bids_app.synthesis.datasets.phantom import write_phantom_dataset
from tests.phantoms import checksums

COARSE = {"n": 2, "spacing": (4.0, 4.0, 4.0), "seed": 5}
COARSEST = {"n": 1, "spacing": (6.0, 6.0, 6.0), "two_sessions": 0, "whole_head": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_phantom_dataset(tmp_path_factory.mktemp("made") / "phantom", sequences=("T1w", "FLAIR"), **COARSE)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def labels(made, name):
    return nib.load(made["directory"] / "derivatives/manual" / name)


def test_every_session_has_its_scans(made):
    assert made["scans"] == [
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_FLAIR.nii.gz",
        "sub-02/ses-01/anat/sub-02_ses-01_T1w.nii.gz",
        "sub-02/ses-01/anat/sub-02_ses-01_FLAIR.nii.gz",
    ]
    assert all((made["directory"] / name).is_file() for name in made["scans"])


def test_same_seed_gives_the_same_bytes(made, tmp_path):
    again = write_phantom_dataset(tmp_path / "other_name", sequences=("T1w", "FLAIR"), **COARSE)
    assert checksums(again["directory"]) == checksums(made["directory"])


def test_other_seed_gives_another_participant(made, tmp_path):
    other = write_phantom_dataset(tmp_path / "d", seed=6, **COARSEST)
    assert other["truth"][0]["volume_mm3"] != made["truth"][0]["volume_mm3"]


def test_written_shares_add_up_to_the_drawn_volume(made):
    for row in made["truth"]:
        stem = f"sub-{row['participant']}_ses-{row['session']}"
        folder = f"sub-{row['participant']}/ses-{row['session']}/anat"
        image = labels(made, f"{folder}/{stem}_space-orig_seg-habenula_probseg.nii.gz")
        voxel = abs(np.linalg.det(image.affine[:3, :3]))
        soft = float(image.get_fdata()[..., row["index"] - 1].sum()) * voxel
        assert soft == pytest.approx(row["volume_mm3"], rel=0.01)


def test_labels_lie_on_the_grid_of_the_reference_scan(made):
    scan = nib.load(made["directory"] / made["scans"][0])
    mask = labels(made, "sub-01/ses-01/anat/sub-01_ses-01_space-orig_seg-habenula_dseg.nii.gz")
    assert mask.shape == scan.shape
    assert np.array_equal(mask.affine, scan.affine)
    assert np.array_equal(scan.get_qform(), mask.get_qform())


def test_both_sessions_share_the_anatomy_and_differ_in_the_scan(made):
    first, second = ([r for r in made["truth"] if (r["participant"], r["session"]) == ("01", s)] for s in ("01", "02"))
    assert [r["volume_mm3"] for r in first] == [r["volume_mm3"] for r in second]

    def gap(rows):
        centres = [[row[f"centre_{a}_mm"] for a in "xyz"] for row in rows]
        return np.linalg.norm(np.subtract(*centres))

    assert gap(first) == pytest.approx(gap(second), abs=1e-3)
    assert first[0]["centre_y_mm"] != second[0]["centre_y_mm"]


def test_participants_are_described(made):
    rows = table(made["directory"] / "participants.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    assert {row["diagnosis"] for row in rows} == {"control", "depression"}
    assert all(20 <= int(row["age"]) <= 70 and row["sex"] in "FM" for row in rows)


def test_one_half_shows_the_head_and_says_so(made):
    heads = [(nib.load(made["directory"] / name).get_fdata() > 0).mean() > 0.9 for name in made["scans"][::2]]
    assert heads == [False, False, True]


def test_without_second_sessions_there_are_no_session_folders(tmp_path):
    made = write_phantom_dataset(tmp_path / "d", **COARSEST)
    assert made["scans"] == ["sub-01/anat/sub-01_T1w.nii.gz"]


@pytest.mark.parametrize("part", [".", "derivatives/manual"])
def test_validator_finds_no_error(made, part):
    validator = shutil.which("bids-validator-deno") or str(Path(sys.executable).parent / "bids-validator-deno")
    if not Path(validator).exists():
        pytest.skip("bids-validator-deno is not installed")
    command = [validator, "--no-color", "--ignoreWarnings", str(made["directory"] / part)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout


def test_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CannotWrite, match="not an empty folder"):
        write_phantom_dataset(tmp_path, n=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "d").write_text("mine")
    with pytest.raises(CannotWrite, match="not an empty folder but a file"):
        write_phantom_dataset(tmp_path / "d", n=1)


def test_empty_folder_is_used(tmp_path):
    (tmp_path / "d").mkdir()
    write_phantom_dataset(tmp_path / "d", **COARSEST)
    assert (tmp_path / "d" / "participants.tsv").is_file()


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phantom, "save_image", full)
    with pytest.raises(IOFailure, match="no space is left"):
        write_phantom_dataset(tmp_path / "d", **COARSEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"n": -3},
        {"sequences": ("T1w", "PET")},
        {"sequences": ()},
        {"sequences": ("T1w", "T1w")},
        {"spacing": (1.0, 1.0)},
        {"spacing": (0.0, 1.0, 1.0)},
        {"two_sessions": 9},
        {"whole_head": 1.5},
        {"seed": -1},
        {"axes": "LLL"},
    ],
)
def test_impossible_request_is_refused_and_writes_nothing(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_phantom_dataset(tmp_path / "d", **wrong)
    assert list(tmp_path.iterdir()) == []
