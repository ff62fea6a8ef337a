from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_app.cohort.cohort import Cohort, CohortSession
from bids_app.errors import DataError
from bids_app.settings import Settings
from bids_app.train.splits import FOLDS, SITES, split_cohort, training_folder
from tests.learned.phantom_cohort import phantom_recipe

RECIPE = phantom_recipe(targets=())


def cohort(n: int = 8, sites: int = 2) -> Cohort:
    people = [f"{number:02d}" for number in range(n)]
    sessions = [CohortSession(f"sub-{p}", p, None, {"T1w": Path(f"{p}.nii.gz")}, None, None) for p in people]
    return Cohort(RECIPE, tuple(replace(session, site="AB"[number % sites]) for number, session in enumerate(sessions)))


def settings(tmp_path: Path, **changes) -> Settings:
    return Settings(bids_dir=tmp_path / "data", output_dir=tmp_path / "out", folds=2, **changes)


def test_a_split_is_drawn_once_and_kept(tmp_path):
    how, said = settings(tmp_path), []
    folder = training_folder(how, RECIPE)
    first = split_cohort(how, cohort(), folder, said.append)
    assert set(first) == {FOLDS, SITES}
    kept = (folder / "split_folds.json").read_bytes()
    assert split_cohort(how, cohort(), folder, said.append) == first
    assert (folder / "split_folds.json").read_bytes() == kept
    assert f"digest {first[FOLDS].digest}" in said[0]


def test_nothing_is_written_where_nothing_is_to_be_kept(tmp_path):
    assert split_cohort(settings(tmp_path), cohort(), tmp_path / "new", print, keep=False)
    assert not (tmp_path / "new").exists()


def test_one_site_alone_is_not_left_out(tmp_path):
    assert set(split_cohort(settings(tmp_path), cohort(sites=1), tmp_path, print)) == {FOLDS}


def test_a_kept_split_of_other_people_or_options_is_refused(tmp_path):
    split_cohort(settings(tmp_path), cohort(), tmp_path, print)
    with pytest.raises(DataError, match="other people or with other options"):
        split_cohort(settings(tmp_path), cohort(9), tmp_path, print)
    with pytest.raises(DataError, match="other people or with other options"):
        split_cohort(settings(tmp_path, random_seed=77), cohort(), tmp_path, print)
