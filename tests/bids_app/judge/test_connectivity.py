"""Connectivity, and age, sex and motion, as baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_app.cohort.cohort import CohortSession
from bids_app.cohort.split import Member, draw_folds
from bids_app.errors import DataError
from bids_app.judge.answers import evaluate_answers, summarise
from bids_app.judge.connectivity import (
    Evidence,
    answer_functional,
    connectivity,
    evidence_of,
    functional_baselines,
)
from tests.learned.answered import recipe, scan

COUNT, PARCELS = 60, 6
NAMES = ["connectivity", "connectivity-tangent", "age-sex-motion"]


def courses(rng, coupled: bool, volumes: int = 120) -> np.ndarray:
    found = rng.normal(size=(volumes, PARCELS + 1))
    found[:, 1] += 1.5 * found[:, 0] if coupled else 0
    found[:, PARCELS] = np.nan  # nobody's series shows it
    return found


@pytest.fixture(scope="module")
def cohort():
    """The outcome couples the first two parcels; age follows motion."""
    rng, scans, evidence = np.random.default_rng(0), [], {}
    for i in range(COUNT):
        moved = rng.uniform(0.1, 0.5)
        scans.append(scan(i, None, [i % 2, 20 + 100 * moved]))
        evidence[scans[-1].key] = Evidence(courses(rng, bool(i % 2)), np.array([np.nan, i % 3 > 0, moved], float))
    return scans, evidence, draw_folds([Member(s.participant) for s in scans], 4, validation=0)


def measures(name, cohort, folder):
    scans, evidence, split = cohort
    folders = answer_functional(name, scans, split, recipe(), folder, evidence)
    return summarise(evaluate_answers(scans, folders, recipe()), recipe(), draws=50)["targets"]


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_connection_is_found_and_nothing_else(name, cohort, tmp_path):
    found = measures(name, cohort, tmp_path)
    assert found["outcome"]["measures"]["auc"]["value"] > 0.9
    assert found["age"]["measures"]["r2"]["value"] < 0.3


def test_motion_tells_what_follows_motion(cohort, tmp_path):
    found = measures("age-sex-motion", cohort, tmp_path)
    assert found["age"]["measures"]["r2"]["value"] > 0.9
    assert abs(found["outcome"]["measures"]["auc"]["value"] - 0.5) < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fitted_on_the_test_side(name, cohort, tmp_path):
    """A strange person of a test side changes the answer for nobody else of that fold."""
    scans, evidence, split = cohort
    odd = f"sub-{split.folds[0].test[0]}"
    strange = Evidence(
        np.ones((120, 1)) * np.random.default_rng(9).normal(size=(120, PARCELS + 1)) ** 3, np.full(3, 99.0)
    )
    before = answer_functional(name, scans, split, recipe(), tmp_path / "one", evidence)[0]
    after = answer_functional(name, scans, split, recipe(), tmp_path / "two", {**evidence, odd: strange})[0]
    for person in split.folds[0].test[1:]:
        one, two = (np.load(folder / f"sub-{person}.npz")["target_outcome"] for folder in (before, after))
        np.testing.assert_array_equal(one, two)


def test_the_tangent_space_of_the_training_side_is_another_than_that_of_all(cohort):
    """The test above would pass for a tangent space that nobody fits; here one that everybody fits differs."""
    _, evidence, _ = cohort
    every = [one.courses for one in evidence.values()]
    inside, _ = connectivity(every[:40], every[40:], tangent=True)
    leaking, _ = connectivity(every, [], tangent=True)
    assert inside.shape[1] == leaking.shape[1] == PARCELS * (PARCELS + 1) // 2
    assert not np.allclose(inside, leaking[:40])


@pytest.mark.parametrize("tangent", [False, True])
def test_one_person_alone_is_answered_as_among_others(tangent):
    rng = np.random.default_rng(2)
    train, new = ([courses(rng, bool(i % 2)) for i in range(count)] for count in (6, 3))
    alone = connectivity(train, new[:1], tangent=tangent)[1]
    np.testing.assert_array_equal(alone[0], connectivity(train, new, tangent=tangent)[1][0])


def test_who_has_no_series_or_lacks_a_parcel_is_answered_still():
    rng = np.random.default_rng(1)
    short = courses(rng, True)
    short[:, 2] = np.nan
    train, new = connectivity([courses(rng, False), None, courses(rng, True)], [short, None], tangent=False)
    assert np.isnan(train[1]).all()
    assert np.isfinite(train[[0, 2]]).all()
    assert np.isfinite(new[0]).all()
    assert np.isnan(new[1]).all()
    assert train.shape[1] == PARCELS * (PARCELS - 1) // 2


def test_one_small_field_of_view_does_not_take_parcels_from_everybody():
    rng = np.random.default_rng(3)
    train = [courses(rng, False) for _ in range(20)]
    train[0][:, 1:] = np.nan
    assert connectivity(train, [], tangent=False)[0].shape == (20, PARCELS * (PARCELS - 1) // 2)


def test_what_cannot_be_is_refused(cohort, tmp_path):
    scans, evidence, split = cohort
    with pytest.raises(DataError, match="run the participant level again"):
        connectivity([None], [None], tangent=False)
    with pytest.raises(DataError, match="no two parcels"):
        connectivity([np.full((20, 3), np.nan)], [None], tangent=False)
    with pytest.raises(DataError, match="there is no baseline"):
        answer_functional("magic", scans, split, recipe(), tmp_path, evidence)


def test_evidence_comes_from_tables_and_is_empty_without_series(tmp_path):
    path = tmp_path / "sub-01_task-rest_desc-cubes_timeseries.tsv"
    path.write_text("x15\tx45\n0.5\tn/a\n-1e-3\tn/a\n")
    one = CohortSession("sub-01", "01", None, {}, None, None, sex="M", age=40.0, courses=path, motion=0.2)
    two = CohortSession("sub-02", "02", None, {}, None, None, sex="F")
    found = evidence_of([one, two])
    np.testing.assert_array_equal(found["sub-01"].courses, [[0.5, np.nan], [-0.001, np.nan]])
    np.testing.assert_array_equal(found["sub-01"].known, [40, 1, 0.2])
    assert found["sub-02"].courses is None
    assert functional_baselines(recipe(), found) == NAMES
    assert functional_baselines(recipe(targets=()), found) == []
    assert evidence_of([two]) == {}
    Path(path).write_text("x15\tx45\n0.5\tmuch\n")
    with pytest.raises(DataError, match="x45 of row 1 is 'much'"):
        evidence_of([one])
