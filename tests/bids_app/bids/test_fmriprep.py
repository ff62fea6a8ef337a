"""Finding and reading what fMRIPrep made."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.fmriprep import (
    MOTION,
    check_beside,
    choose_prepared,
    confounds_beside,
    made_by_fmriprep,
    mask_beside,
    read_confounds,
    sidecar_of,
    template_of,
)
from bids_app.bids.selection import Choice
from bids_app.errors import DataError, ImageError

NAMES = [*MOTION, "framewise_displacement", "dvars"]
NONE = Choice("alff", None, "no alff")


def write(home: Path, start: str = "sub-01_task-rest", spaces=("T1w",), volumes: int = 12) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(900, 50, (40, 40, 30, volumes)).astype(np.float32)
    for space in spaces:
        path = home / f"{start}_space-{space}_desc-preproc_bold.nii.gz"
        nib.save(nib.Nifti1Image(values, np.diag([4, 4, 4, 1])), path)
        nib.save(nib.Nifti1Image((values[..., 0] > 900).astype(np.uint8), np.diag([4, 4, 4, 1])), mask_beside(path))
    rows = [NAMES, *[["0.1"] * 6 + (["0.2", "15"] if t else ["n/a", "n/a"]) for t in range(volumes)]]
    text = "\n".join("\t".join(row) for row in rows) + "\n"
    (home / f"{start}_desc-confounds_timeseries.tsv").write_text(text)
    return home / f"{start}_space-{spaces[0]}_desc-preproc_bold.nii.gz"


def chosen(root: Path, raw: Choice = NONE) -> Choice:
    return choose_prepared(root, "01", None, raw, "alff")


def test_the_space_of_the_t1w_comes_first_and_all_that_is_read_is_named(tmp_path):
    path = write(tmp_path / "sub-01" / "func", spaces=("T1w", "MNI152NLin2009cAsym_res-2"))
    choice = chosen(tmp_path)
    assert choice.path == path
    assert choice.computed == "alff"
    assert choice.beside == (mask_beside(path), confounds_beside(path))
    assert all(file.is_file() for file in choice.beside)
    assert [one.path.name for one in choice.rejected] == [
        "sub-01_task-rest_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz"
    ]
    assert made_by_fmriprep(path)
    assert template_of(path) is None
    assert template_of(choice.rejected[0].path) == "MNI152NLin2009cAsym"
    assert not made_by_fmriprep("sub-01_task-rest_bold.nii.gz")


def test_the_run_is_that_of_the_raw_series(tmp_path):
    home = tmp_path / "sub-01" / "func"
    for run in ("1", "2"):
        write(home, f"sub-01_task-rest_run-{run}")
    raw = Choice("alff", Path("/bids/sub-01_task-rest_run-2_bold.nii.gz"), "", computed="alff")
    assert "run-2" in chosen(tmp_path, raw).path.name


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("*_mask.nii.gz", "brain mask, and .*desc-brain_mask.nii.gz is not there"),
        ("*.tsv", "table of confounds, and .*desc-confounds_timeseries.tsv is not there"),
        ("*_bold.nii.gz", "is not there in .*func: run fMRIPrep again with --output-spaces T1w"),
    ],
)
def test_a_file_that_is_missing_is_named_with_what_to_do(tmp_path, gone, says):
    home = tmp_path / "sub-01" / "func"
    write(home)
    for path in home.glob(gone):
        path.unlink()
    choice = chosen(tmp_path)
    assert choice.path is None
    assert choice.computed == ""
    assert re.search(says, choice.reason)


def test_another_space_is_not_taken_for_this_templates(tmp_path):
    write(tmp_path / "sub-01" / "func", spaces=("MNIPediatricAsym",))
    assert "only in the space MNIPediatricAsym" in chosen(tmp_path).reason


def test_confounds_are_in_mm_and_per_cent(tmp_path):
    path = write(tmp_path / "func")
    found = read_confounds(confounds_beside(path), 12)
    assert found.motion.shape == (12, 6)
    assert found.displacement[[0, 1]].tolist() == [0, 0.2]
    assert found.dvars[[0, 1]].tolist() == [0, 1.5]
    assert found.unsteady == 0
    check_beside(path, (40, 40, 30, 12))
    assert sidecar_of(path) == ({}, [])
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"RepetitionTime": 2}')
    assert sidecar_of(path)[0] == {"RepetitionTime": 2}


def test_tables_and_masks_of_another_series_are_refused(tmp_path):
    path = write(tmp_path / "func")
    table = confounds_beside(path)
    with pytest.raises(DataError, match="12 rows, its series 13 volumes"):
        read_confounds(table, 13)
    with pytest.raises(ImageError, match="does not fit its series"):
        check_beside(path, (41, 40, 30, 12))
    text = table.read_text()
    table.write_text(text.replace("rot_z", "other"))
    with pytest.raises(DataError, match="no column rot_z"):
        read_confounds(table, 12)
    table.write_text(text.replace("0.1", "n/a", 1))
    with pytest.raises(DataError, match="how the head moved"):
        read_confounds(table, 12)
