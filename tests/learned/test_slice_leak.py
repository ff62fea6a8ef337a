"""Several slices of a person are one person: random labels come out at chance, unless slices are split.

Slices of one head are nearly the same image. A split by slice lets a model recognise the person and answer with the
label that it learned for them: 96 % on random labels in the literature. Here labels are dealt at random among
participants, so that there is nothing to learn, and everything but the split is the program's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_app.cohort.cohort import Cohort, CohortSession
from bids_app.cohort.prepare import prepare_cohort
from bids_app.cohort.split import Member, check_split, draw_folds
from bids_app.networks.standardise import standardise
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan, load_scans
from bids_app.targets.closed_form import fit_ridge
from bids_app.train.batches import Patches, permute
from tests.phantoms import save

PEOPLE, DRAWS = 24, 8


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Heads of noise that changes slowly from slice to slice, and is another in every person; seven slices of each."""
    from scipy.ndimage import gaussian_filter1d

    root, rng, sessions = tmp_path_factory.mktemp("leak"), np.random.default_rng(0), []
    for number in range(PEOPLE):
        values = gaussian_filter1d(rng.normal(0, 1, (12, 12, 15)), 4, axis=2)
        path = save(root / f"{number:02d}.nii", (100 + 50 * values).astype(np.float32), np.eye(4))
        target = np.array([float(number % 2)])
        sessions.append(CohortSession(f"sub-{number:02d}", f"{number:02d}", None, {"T1w": path}, None, None, None))
        sessions[-1] = CohortSession(**{**vars(sessions[-1]), "targets": target})
    plain = {
        "name": "flat",
        "title": "Flat",
        "sequences": [{"name": "T1w", "suffix": "T1w"}],
        "grid": {"kind": "image", "spacing_mm": 1.0, "flat": True, "range_mm": 3.0},
        "targets": [{"name": "diagnosis", "kind": "binary"}],
        "network": {"dimensions": 2},
        "preprocessing": {"bias": False},
    }
    recipe = Recipe.model_validate(plain)
    prepare_cohort(Cohort(recipe, tuple(sessions)), recipe, root / "scans")
    return root / "scans"


def readings(some: list[Scan]) -> np.ndarray:
    """What a closed-form head reads here: every voxel of the standardised slice, as batches hold it."""
    patches = Patches(some, (12, 12, 1), 1, 0, regions=0, normalise=standardise, flat=True)
    return np.stack([patches.collate([i]).images[0].flatten().numpy() for i in range(len(some))]).astype(float)


def right(train: list[Scan], test: list[Scan], known: dict[str, float], *, by_slice: bool = False) -> float:
    """Share of right answers for the test side, of a head that was solved on the training side."""
    truth = np.array([known[scan.participant] for scan in train])
    people = [scan.key if by_slice else scan.participant for scan in train]
    fit = fit_ridge(readings(train), 2 * truth[:, None] - 1, people)
    answers = readings(test) @ fit.weights + fit.intercept
    return float(np.mean((answers[:, 0] > 0) == np.array([known[scan.participant] for scan in test])))


def dealt(seed: int, all_scans: list[Scan]) -> dict[str, float]:
    """Labels at random, one for all slices of a person."""
    people = [scan.participant for scan in all_scans]
    drawn = permute(np.stack([scan.targets for scan in all_scans]), people, seed)[:, 0]
    return dict(zip(people, drawn, strict=True))


def test_slices_of_a_person_keep_one_label_when_labels_are_dealt_anew(scans):
    every = load_scans(scans)
    assert len(every) == PEOPLE * 7
    drawn = permute(np.stack([s.targets for s in every]), [s.participant for s in every], 1)[:, 0]
    for person in {scan.participant for scan in every}:
        assert len({value for value, scan in zip(drawn, every, strict=True) if scan.participant == person}) == 1


def test_no_slice_of_a_person_is_on_both_sides(scans):
    members = [Member(f"{n:02d}", None, None, (f"diagnosis {n % 2}",), ()) for n in range(PEOPLE)]
    split = draw_folds(members, 4, validation=0)
    check_split(split, members)
    for fold in split.folds:
        train, test = load_scans(scans, fold.all_training), load_scans(scans, fold.test, at_level=True)
        assert not {s.participant for s in train} & {s.participant for s in test}
        assert (len(train), len(test)) == (7 * len(fold.all_training), len(fold.test))


def test_random_labels_give_chance_when_participants_are_split(scans):
    members = [Member(f"{n:02d}", None, None, (), ()) for n in range(PEOPLE)]
    every, found = load_scans(scans), []
    for seed in range(DRAWS):
        known = dealt(seed, every)
        for fold in draw_folds(members, 4, seed=seed, validation=0).folds:
            train = [scan for scan in every if scan.participant in fold.all_training]
            test = [scan for scan in every if scan.participant in fold.test and not scan.offset]
            found.append(right(train, test, known))
    assert 0.35 < np.mean(found) < 0.65, found


def test_random_labels_exceed_chance_when_slices_are_split(scans):
    every, found = load_scans(scans), []
    for seed in range(DRAWS):
        known = dealt(seed, every)
        order = np.random.default_rng(seed).permutation(len(every))
        for part in np.array_split(order, 4):
            test = [every[i] for i in part]
            train = [every[i] for i in order if i not in set(part)]
            found.append(right(train, test, known, by_slice=True))
    assert np.mean(found) > 0.85, found
