"""Where lesions lie, as a baseline: it finds what a volume cannot tell, and nothing of the test side goes into it."""

import numpy as np
import pytest

from bids_app.cohort.split import Member, draw_folds
from bids_app.errors import DataError, TrainingError
from bids_app.judge.answers import evaluate_answers
from bids_app.judge.baselines import VOLUMES, answer_baseline, measured_volumes
from bids_app.judge.places import LESION_PLACES, alike, answer_places, cells_of, measured_lesions, ridge_answer
from bids_app.judge.target_answers import answers_of
from bids_app.judge.wording import called
from tests.learned.answered import labels, recipe, scan, write_answer

COUNT = 60
RECIPE = recipe(targets=("outcome", "age"), lesion=True)


@pytest.fixture
def cohort(tmp_path):
    """Lesions of one size; the outcome is the half that they lie in, the value how far to the side."""
    rng, scans = np.random.default_rng(0), []
    for n in range(COUNT):
        start = int(rng.integers(0, 13))
        mask = labels(start)
        scans.append(scan(n, mask, [float(start > 6), start + rng.normal(0, 0.5)], covariates=[rng.normal()]))
        write_answer(tmp_path / "answers", scans[-1].key, mask, regions=1)
    return scans, draw_folds([Member(s.participant) for s in scans], 4, validation=0), tmp_path


def told(cohort, **change):
    scans, split, folder = cohort
    volumes, places = measured_lesions(scans, folder / "answers", RECIPE)
    again = measured_volumes(scans, folder / "answers", RECIPE)
    assert {key: v.tolist() for key, v in volumes.items()} == {key: v.tolist() for key, v in again.items()}
    how = {"places": places, "volumes": volumes, **change}
    return answer_places(scans, split, RECIPE, folder / LESION_PLACES, **how)


def measure(scans, folders, target, name):
    answers = answers_of(RECIPE.targets[target], evaluate_answers(scans, folders, RECIPE).targets)
    return answers.scores().values[name]


def test_places_find_what_volumes_of_one_size_cannot(cohort):
    scans, split, folder = cohort
    folders = told(cohort)
    assert measure(scans, folders, 0, "auc") > 0.95
    assert measure(scans, folders, 1, "r2") > 0.8
    volumes = measured_volumes(scans, folder / "answers", RECIPE)
    alone = answer_baseline(VOLUMES, scans, split, RECIPE, folder / VOLUMES, volumes=volumes)
    assert measure(scans, alone, 1, "r2") < 0.1


def test_what_scales_is_of_the_training_side_alone(cohort):
    scans, split, folder = cohort
    odd = f"sub-{split.folds[0].test[0]}"
    before = [dict(np.load(path)) for path in sorted(told(cohort)[0].glob("*.npz")) if path.stem != odd]
    _, places = measured_lesions(scans, folder / "answers", RECIPE)
    changed = told(cohort, places={**places, odd: places[odd] + 1e6})[0]
    after = [dict(np.load(path)) for path in sorted(changed.glob("*.npz")) if path.stem != odd]
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(before, after, strict=True) for name in a)


def test_a_scan_without_a_mask_is_named(cohort):
    scans, _, folder = cohort
    _, places = measured_lesions(scans, folder / "answers", RECIPE)
    del places[scans[7].key]
    with pytest.raises(DataError, match="no mask for sub-007"):
        told(cohort, places=places)


def test_answers_without_regions_are_refused(tmp_path):
    one = scan(1, labels(2), [0, 1])
    write_answer(tmp_path / "answers", one.key, None, outcome=[0, 1])
    with pytest.raises(TrainingError, match="no regions"):
        measured_lesions([one], tmp_path / "answers", RECIPE)


def test_a_slice_has_cells_of_two_axes():
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[:4, :4] = 1
    found = cells_of(mask, 1)
    assert found.shape == (16,)
    assert found.argmax() == 0


def test_a_block_has_the_variance_of_one_column_and_unknown_numbers_are_the_mean():
    rng = np.random.default_rng(1)
    train = np.column_stack([rng.normal(5, 3, 40), rng.normal(0, 0.1, 40), np.full(40, 7.0)])
    train[3, 0] = np.nan
    x, new = alike(train, np.array([[np.nan, 0.0, 1e9]]))
    assert x.var(0).sum() == pytest.approx(2 / 3, rel=0.05)  # the third column is the same in everybody
    assert x[3, 0] == new[0, 0] == new[0, 2] == 0


def test_one_level_only_is_answered_by_how_often_it_occurred():
    logits = ridge_answer(RECIPE.targets[0], np.zeros((9, 2)), np.ones(9), np.zeros((1, 2)))
    assert np.exp(logits[0]) == pytest.approx([0.05, 0.95])


def test_sentences_call_it_by_its_name():
    assert called(LESION_PLACES).startswith("places and volumes of lesions")
