"""Masks against labels that somebody drew, at the group level."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record_file import read_session, write_record
from bids_app.errors import InputMissing
from bids_app.group.plan import GroupPlan, plan_of
from bids_app.group.segmentation import COLUMNS, SUMMARY
from bids_app.group.tables import write_group
from bids_app.settings import Settings
from tests.bids_app.group.test_tables import rows_of, session_with

RECIPE = """
name = "habenula"
title = "Test"
[[sequences]]
name = "T1w"
suffix = "T1w"
[grid]
kind = "whole"
spacing_mm = 2.0
[[regions]]
index = 3
name = "left"
[[regions]]
index = 7
name = "right"
"""


def blocks(shift: int) -> np.ndarray:
    values = np.zeros((12, 12, 12), np.uint8)
    values[1 + shift : 5 + shift, 2:6, 2:6], values[7:11, 2:6, 2:6] = 3, 7
    return values


def save(path, values, spacing: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, np.diag([spacing, spacing, spacing, 1.0])).to_filename(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six sessions with masks; labels are moved by 0, 0, 1, 1 voxels; one cannot be read, one is not there."""
    root = tmp_path_factory.mktemp("masks")
    out, manual = root / "out", root / "manual"
    for i in range(6):
        key = f"sub-{i}"
        session_with(out, key, 20.0)
        save(out / f"{key}_dseg.nii.gz", blocks(0))
        record = read_session(out, key)
        record.recipes["habenula"].files.dseg = f"{key}_dseg.nii.gz"
        write_record(out, record)
        if i < 5:
            save(manual / key / "anat" / f"{key}_dseg.nii.gz", blocks(i // 2))
    (manual / "sub-4/anat/sub-4_dseg.nii.gz").write_bytes(b"nothing")
    people = "".join(f"sub-{i}\t{'FM'[i % 2]}\n" for i in range(6))
    (out / "participants.tsv").write_text("participant_id\tsex\n" + people)
    (root / "mine.toml").write_text(RECIPE)
    write_group(out, GroupPlan(truth={"manual": manual}, recipes=(str(root / "mine.toml"),)))
    return out


def test_every_session_with_a_label_has_a_row_per_region(folder):
    rows = {(r["participant_id"], r["region"]): r for r in rows_of(folder / "group_segmentation.tsv")}
    assert {who for who, _ in rows} == {f"sub-{i}" for i in range(4)}
    assert float(rows["sub-0", "left"]["dice"]) == 1
    assert float(rows["sub-2", "left"]["dice"]) == pytest.approx(0.75)
    assert float(rows["sub-2", "right"]["dice"]) == 1
    assert float(rows["sub-2", "left"]["truth_mm3"]) == 64 * 8
    assert rows["sub-2", "left"]["outcome"] == "true positive"
    told = json.loads((folder / "group_segmentation.json").read_text())
    assert set(rows["sub-0", "left"]) == set(told) == set(COLUMNS)


def test_means_have_intervals_by_sex_and_the_page_shows_them(folder):
    rows = {(r["region"], r["who"], r["measure"]): r for r in rows_of(folder / "group_segmentation_summary.tsv")}
    one = rows["left", "everybody", "dice"]
    assert float(one["value"]) == pytest.approx(0.875)
    assert float(one["low"]) < 0.875 < float(one["high"])
    assert one["participants"] == "4"
    assert rows["left", "sex F", "dice"]["participants"] == "2"
    assert set(one) == set(SUMMARY)
    assert 'id="segmentation"' in (folder / "group.html").read_text()


def test_a_label_that_cannot_be_read_is_named(folder):
    page = (folder / "group.html").read_text()
    assert "sub-4 was not compared with its label" in page
    assert "sub-4_dseg.nii.gz" in page


def test_a_folder_that_is_not_there_and_one_without_labels(folder, tmp_path):
    with pytest.raises(InputMissing, match="no such folder"):
        write_group(folder, GroupPlan(truth={"manual": tmp_path / "nowhere"}))
    write_group(folder, GroupPlan(truth={"manual": tmp_path}))
    assert "no finished session has a label" in (folder / "group.html").read_text()


def test_preprocessed_series_are_no_labels(tmp_path):
    given = {"fmriprep": tmp_path, "manual": tmp_path}
    plan = plan_of(Settings(bids_dir=tmp_path, output_dir=tmp_path, derivatives=given))
    assert plan.truth == {"manual": tmp_path}
