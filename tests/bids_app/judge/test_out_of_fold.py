"""Temperatures and thresholds come back as they were put in, from answers whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_app.bundle.schema import Calibration, check_part
from bids_app.errors import TrainingError
from bids_app.judge.out_of_fold import ELSEWHERE, NEAR, THRESHOLDS, _logs, _Overlaps, _sample, calibrate_out_of_fold
from bids_app.measure.calibration import fit_ordinal_temperature, fit_temperature
from bids_app.scans.scan import Scan
from tests.learned.small_bundle import small_recipe


def softmax(logits):
    parts = np.exp(logits - logits.max(-1, keepdims=True))
    return parts / parts.sum(-1, keepdims=True)


def drawn(rng, chances):
    """One class per row of probabilities."""
    return (rng.random(len(chances))[:, None] > chances.cumsum(1)).sum(1).clip(0, chances.shape[1] - 1)


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.5])
def test_the_temperature_of_logits_that_are_too_sure_comes_back(heat):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (20000, 3))
    assert fit_temperature(honest * heat, drawn(rng, softmax(honest))) == pytest.approx(heat, rel=0.05)


def test_the_temperature_of_cumulative_logits_comes_back():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (20000, 1)) + np.array([1.0, -1.0])
    above = 1 / (1 + np.exp(-honest))
    truth = (rng.random((20000, 1)) < above).sum(1)
    assert fit_ordinal_temperature(honest * 2, truth) == pytest.approx(2, rel=0.05)


def cohort(tmp_path, *, scale=1.0, people=24, lesion=False):
    """Scans with two blocks, answers whose edges are known to be worth ``scale`` of their logits."""
    rng = np.random.default_rng(2)
    recipe = small_recipe()
    if lesion:
        kinds = tuple(r.model_copy(update={"kind": "lesion"}) for r in recipe.regions)
        recipe = recipe.model_copy(update={"regions": kinds})
    scans, paths = [], {}
    for index in range(people):
        honest = rng.normal(0, 1, (3, 12, 12, 12))
        honest[1, 2:6, 2:6, 2:6] += 4
        honest[2, 7:10, 7:10, 7:10] += 4
        honest[0] += 3
        chances = softmax(np.moveaxis(honest, 0, -1))
        labels = drawn(rng, chances.reshape(-1, 3)).reshape(12, 12, 12).astype(np.uint8)
        truth = np.array([index % 2, rng.integers(3), rng.normal(40, 10)])
        key = f"sub-{index:02d}"
        scan = Scan(
            key,
            f"{index:02d}",
            np.zeros((2, 12, 12, 12), np.float32),
            np.ones(2, bool),
            labels,
            1.0,
            truth,
            np.zeros(0),
        )
        given = np.moveaxis(softmax(np.moveaxis(honest, 0, -1) * scale), -1, 0)[1:]
        side = 2 * truth[0] - 1
        np.savez(
            tmp_path / f"{key}.npz",
            probability=given.astype(np.float16),
            target_group=np.float32([0, side + rng.normal(0, 1.5)]),
            target_stage=rng.normal(0, 1, 2).astype(np.float32),
            target_age=np.float32([truth[2] + rng.normal(0, 5)]),
        )
        scans.append(scan)
        paths[key] = tmp_path / f"{key}.npz"
    return recipe, paths, scans


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_segmentation_is_as_sure_as_it_is_right(tmp_path, scale):
    calibration = calibrate_out_of_fold(*cohort(tmp_path, scale=scale))
    assert calibration["temperature"] == pytest.approx(scale, rel=0.06)
    assert calibration["fitted_on"] == 24
    assert calibration["out_of_fold"] is True


def test_every_region_and_target_gets_its_own(tmp_path):
    calibration = calibrate_out_of_fold(*cohort(tmp_path))
    assert set(calibration["thresholds"]) == {"left thing", "right thing"}
    assert all(0.1 <= t <= 0.6 for t in (calibration["threshold"], *calibration["thresholds"].values()))
    assert calibration["targets"]["group"]["temperature"] > 0
    assert calibration["targets"]["age"]["half_width"] == pytest.approx(5 * 1.96, rel=0.5)
    assert calibration["notes"] == []


@pytest.mark.parametrize("people", [4, 24])
def test_a_bundle_takes_every_calibration_that_is_fitted(tmp_path, people):
    recipe, paths, scans = cohort(tmp_path, people=people)
    check_part(calibrate_out_of_fold(recipe, paths, scans), Calibration, "calibration.json")
    nobody = [replace(scan, targets=np.full(3, np.nan)) for scan in scans]
    check_part(calibrate_out_of_fold(recipe, paths, nobody), Calibration, "calibration.json")


def test_what_a_lesions_threshold_favours_is_noted(tmp_path):
    assert "lesion" in calibrate_out_of_fold(*cohort(tmp_path, people=4, lesion=True))["notes"][0]


def test_few_participants_fit_no_temperature_and_no_interval(tmp_path):
    targets = calibrate_out_of_fold(*cohort(tmp_path, people=4))["targets"]
    assert targets["group"]["temperature"] == 1.0
    assert "not fitted" in targets["group"]["note"]
    assert targets["age"]["half_width"] is None


def test_the_same_seed_gives_the_same_calibration(tmp_path):
    made = cohort(tmp_path, people=6)
    assert calibrate_out_of_fold(*made, seed=3) == calibrate_out_of_fold(*made, seed=3)


def test_folders_of_answers_do_as_well_as_a_list(tmp_path):
    recipe, paths, scans = cohort(tmp_path, people=6)
    assert calibrate_out_of_fold(recipe, [tmp_path], scans) == calibrate_out_of_fold(recipe, paths, scans)


def test_who_nobody_labelled_counts_for_targets_alone(tmp_path):
    recipe, paths, scans = cohort(tmp_path, people=6)
    labelled = calibrate_out_of_fold(recipe, {key: paths[key] for key in list(paths)[:5]}, scans)
    found = calibrate_out_of_fold(recipe, paths, [*scans[:5], replace(scans[5], labels=None)])
    assert found["fitted_on"] == 6
    for name in ("temperature", "threshold", "thresholds"):
        assert found[name] == labelled[name]


def test_chances_of_background_and_regions_are_logarithms_of_parts_of_one():
    chances = np.exp(_logs(np.array([[0.2, 0.0], [0.3, 1.0]])))
    np.testing.assert_allclose(chances, [[0.5, 1e-7], [0.2, 1e-7], [0.3, 1.0]], rtol=1e-6)


def test_voxels_of_a_sample_are_distinct_and_stand_for_all_of_the_scan():
    shape = (60, 60, 60)
    labels = np.zeros(shape, np.uint8)
    labels[20:45, 20:45, 20:45] = 1
    names = np.linspace(0.001, 0.009, labels.size).reshape(1, *shape)  # every voxel has a probability of its own
    logs, truth, weights = _sample(names, labels, np.random.default_rng(0))
    assert len(truth) == NEAR + ELSEWHERE
    assert len(np.unique(logs[:, 1])) == len(logs)
    assert weights.sum() == pytest.approx(labels.size)
    assert weights[:NEAR].sum() > (labels > 0).sum()


def test_dice_at_every_threshold_is_counted():
    overlaps = _Overlaps(small_recipe())
    labels = np.array([1, 1, 0, 2]).reshape(4, 1, 1)
    probability = np.array([[0.9, 0.4, 0.6, 0.1], [0.05, 0.1, 0.2, 0.15]]).reshape(2, 4, 1, 1)
    overlaps.add(probability, labels)
    left, right = overlaps.dice[0]
    at = {level: int(np.argmin(np.abs(THRESHOLDS - level))) for level in (0.3, 0.5, 0.7)}
    assert [left[at[level]] for level in (0.3, 0.5, 0.7)] == pytest.approx([4 / 5, 2 / 4, 2 / 3])
    assert right[at[0.5]] == 0
    overlaps.add(0 * probability, 0 * labels)
    assert (overlaps.dice[1] == 1).all()


def test_an_answer_that_holds_a_program_is_never_run(tmp_path):
    recipe, paths, scans = cohort(tmp_path, people=2)
    np.savez(paths["sub-01"], probability=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(TrainingError, match=r"sub-01\.npz is damaged"):
        calibrate_out_of_fold(recipe, paths, scans)


def test_no_answers_are_an_error(tmp_path):
    recipe, _, scans = cohort(tmp_path, people=2)
    with pytest.raises(TrainingError, match="did the folds finish"):
        calibrate_out_of_fold(recipe, {}, scans)


@pytest.mark.faults
def test_a_damaged_answer_is_named(tmp_path):
    recipe, paths, scans = cohort(tmp_path, people=2)
    paths["sub-01"].write_bytes(paths["sub-01"].read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"sub-01\.npz is damaged"):
        calibrate_out_of_fold(recipe, paths, scans)
