"""What a training would refuse is refused before anything is preprocessed, and by a dry run as well."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.cli import train as level
from bids_app.cli.main import main
from bids_app.errors import DataError, LeakageError, TrainingError, UsageError
from bids_app.train.check import check_training
from tests.workflows.small_cohort import small_recipe, write_small_cohort
from tests.workflows.test_training import command, settings_of

#: A recipe whose images must be preprocessed first.
CORRECTED = {"preprocessing": {"bias": True}}
TARGET = [{"name": "outcome", "kind": "binary"}]


def change(root: Path, participant: str, column: int, value: str) -> None:
    """One cell of participants.tsv; columns: id, age, sex, outcome, score."""
    table = root / "bids" / "participants.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    for row in rows:
        if row[0] == participant:
            row[column] = value
    table.write_text("\n".join("\t".join(row) for row in rows) + "\n")


def relabel(root: Path, participant: str, values: np.ndarray | int) -> None:
    folder = root / "bids" / "derivatives" / "manual" / participant / "anat"
    (path,) = folder.glob("*_mask.nii.gz")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8) + np.uint8(values), image.affine), path)


def checked(root: Path, recipe, **more):
    return check_training(settings_of(root, **more), recipe, images=True)


def test_a_sound_training_is_told_with_its_folds_and_people(tmp_path, capfd):
    root = write_small_cohort(tmp_path, 8, recipe=small_recipe(**CORRECTED))
    assert main(command(root, "--dry-run")) == 0
    assert "2 folds, 6 steps each, on 8 sessions of 8 participants" in capfd.readouterr().out
    assert not (root / "out").exists()


@pytest.mark.parametrize("dry", [True, False])
def test_a_column_that_is_not_there_stops_it_before_anything_is_preprocessed(tmp_path, monkeypatch, capfd, dry):
    recipe = small_recipe(targets=[{"name": "diagnosis", "kind": "binary"}], **CORRECTED)
    root = write_small_cohort(tmp_path, 6, recipe=recipe)
    monkeypatch.setattr(level, "preprocess", lambda *_: pytest.fail("it was preprocessed"))
    assert main(command(root, *(["--dry-run"] if dry else []))) == DataError.exit_code
    assert "has no column diagnosis" in capfd.readouterr().err


def test_labels_of_another_recipe_are_refused_before(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    relabel(root, "sub-02", np.arange(16) // 8 + 6)
    with pytest.raises(DataError, match=r"sub-02.*holds 6, 7"):
        checked(root, small_recipe(**CORRECTED))


def test_an_image_that_two_participants_share_is_refused_before(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    one, other = (next((root / "bids").glob(f"sub-0{k}/anat/*T1w.nii.gz")) for k in (1, 4))
    other.write_bytes(one.read_bytes())
    with pytest.raises(LeakageError, match="sub-01 and sub-04"):
        checked(root, small_recipe(**CORRECTED))


def test_a_session_that_could_not_be_run_is_left_out_with_its_reason(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    next((root / "bids").glob("sub-03/anat/*T1w.nii.gz")).write_bytes(b"no image")
    found = check_training(settings_of(root), small_recipe(targets=[], **CORRECTED))
    assert len(found.cohort.sessions) == 5
    assert any("sub-03 is left out" in note for note in found.notes)


def test_options_that_the_recipe_has_nothing_for_are_refused(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    for more in ({"compare": ["tasks"]}, {"controls": True}, {"nested": True}):
        with pytest.raises(UsageError):
            checked(root, small_recipe(targets=[]), **more)


def test_more_folds_than_people_are_refused(tmp_path):
    root = write_small_cohort(tmp_path, 5)
    with pytest.raises(DataError, match="6 folds need at least 6"):
        checked(root, small_recipe(targets=[]), folds=6)


def test_a_fold_whose_training_has_one_level_only_is_named(tmp_path):
    root = write_small_cohort(tmp_path, 6, recipe=small_recipe(targets=TARGET))
    for k in range(6):
        change(root, f"sub-0{k}", 3, "poor" if k == 2 else "good")
    with pytest.raises(TrainingError, match=r"fold-\d: everybody in training has the same outcome, good"):
        checked(root, small_recipe(targets=TARGET))


def test_a_value_that_is_the_same_for_all_is_refused(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    for k in range(6):
        change(root, f"sub-0{k}", 4, "3.5")
    with pytest.raises(DataError, match=r"target score: .*3\.5"):
        checked(root, small_recipe())


def test_a_covariate_that_nobody_has_is_refused_by_name(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    for k in range(6):
        change(root, f"sub-0{k}", 1, "n/a")
    with pytest.raises(TrainingError, match="nobody in training has a known age"):
        checked(root, small_recipe())


def test_a_region_that_a_training_side_lacks_is_refused_with_the_fold(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    for k in range(6):
        if k != 1:
            relabel(root, f"sub-0{k}", 0)
    with pytest.raises(TrainingError, match=r"fold-\d: nobody in training has ball labelled"):
        checked(root, small_recipe(targets=[]))


def test_a_region_that_nobody_who_is_tested_has_is_said(tmp_path):
    root = write_small_cohort(tmp_path, 6)
    for k in range(4):  # two of six have it: of three folds one tests neither
        relabel(root, f"sub-0{k}", 0)
    found = checked(root, small_recipe(targets=[]), folds=3)
    assert sum("nobody who is tested has ball" in note for note in found.notes) == 1
