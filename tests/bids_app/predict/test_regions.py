"""Volumes, centres and intervals from probabilities whose truth is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bids_app.imaging.stacking import Grid
from bids_app.predict.regions import label_map, main_piece, measure_regions
from bids_app.recipes.recipe import load_recipe

SPACING = 0.5
GRID = Grid((40, 40, 40), np.array([[SPACING, 0, 0, -10], [0, SPACING, 0, -30], [0, 0, SPACING, -5], [0, 0, 0, 1.0]]))


def ball(centre_mm, radius_mm: float) -> np.ndarray:
    """Soft occupancy of a ball, shape of `GRID`."""
    world = np.moveaxis(np.indices(GRID.shape), 0, -1) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    away = np.linalg.norm(world - np.array(centre_mm), axis=-1)
    return np.clip((radius_mm - away) / SPACING + 0.5, 0, 1).astype(np.float32)


def bundle(**calibration):
    return SimpleNamespace(recipe=load_recipe("habenula"), calibration={"threshold": 0.5, **calibration})


@pytest.fixture
def probability():
    """A ball of 1.6 mm radius (17.2 mm³) on either side, and a small stray one far from the left."""
    left = np.maximum(ball((-3, -23, 3), 1.6), ball((-3, -15, 10), 0.8))
    return np.stack([left, ball((4, -23, 3), 1.6)])


def test_volume_is_that_of_the_ball_and_the_stray_piece_does_not_count(probability):
    rows = measure_regions(bundle(), probability, GRID).rows
    truth = 4 / 3 * np.pi * 1.6**3
    assert [row["soft_mm3"] for row in rows] == pytest.approx([truth] * 2, rel=0.03)
    assert [row["hard_mm3"] for row in rows] == pytest.approx([truth] * 2, rel=0.08)


def test_centres_are_in_world_coordinates(probability):
    rows = measure_regions(bundle(), probability, GRID).rows
    assert rows[0]["centre_mm"] == pytest.approx([-3, -23, 3], abs=0.05)
    assert rows[1]["centre_mm"] == pytest.approx([4, -23, 3], abs=0.05)


def test_gain_and_interval_follow_the_calibration(probability):
    plain = measure_regions(bundle(), probability, GRID).rows[0]
    row = measure_regions(bundle(volume_gain=1.2, repeat_cv=0.05), probability, GRID).rows[0]
    assert row["soft_mm3"] == pytest.approx(1.2 * plain["soft_mm3"])
    assert row["soft_high_mm3"] - row["soft_mm3"] == pytest.approx(1.96 * 0.05 * row["soft_mm3"])
    assert row["soft_low_mm3"] < row["soft_mm3"]
    assert plain["soft_low_mm3"] is None


def test_a_region_that_is_not_there_is_said_to_be_not_found(probability):
    probability[1] = 0.2
    measured = measure_regions(bundle(), probability, GRID)
    assert not measured.rows[1]["found"]
    assert measured.rows[1]["centre_mm"] is None
    assert "right habenula" in measured.warnings[0]


def test_an_unusual_volume_is_told(probability):
    measured = measure_regions(bundle(usual_mm3=[20, 40]), probability, GRID)
    assert any("outside 20 to 40" in warning for warning in measured.warnings)


def test_sides_too_far_apart_are_not_to_be_used(probability):
    assert not measure_regions(bundle(usual_apart_mm=[3, 12]), probability, GRID).warnings
    assert any("7.0 mm apart" in w for w in measure_regions(bundle(usual_apart_mm=[3, 6]), probability, GRID).warnings)


def test_pieces_that_touch_at_a_corner_are_one():
    values = np.zeros((6, 6, 6))
    values[1, 1, 1] = values[2, 2, 2] = 1
    values[5, 5, 5] = 1
    assert main_piece(values, 0.5).sum() == 2


def test_labels_are_the_regions_own_numbers(probability):
    labels = label_map(bundle(), probability)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert labels.dtype == np.uint8
    voxel = np.rint(np.linalg.solve(GRID.affine, [4, -23, 3, 1])[:3]).astype(int)
    assert labels[tuple(voxel)] == 2


def with_lesion(**calibration):
    recipe = load_recipe("habenula")
    lesion = recipe.regions[1].model_copy(update={"kind": "lesion", "partner": None, "side": "none"})
    structure = recipe.regions[0].model_copy(update={"partner": None, "side": "none"})
    recipe = recipe.model_copy(update={"regions": (structure, lesion)})
    return SimpleNamespace(recipe=recipe, calibration={"threshold": 0.5, **calibration})


def test_every_piece_of_a_lesion_counts():
    two = np.maximum(ball((-3, -23, 3), 1.6), ball((-3, -15, 10), 1.6))
    structure, lesion = measure_regions(with_lesion(), np.stack([two, two]), GRID).rows
    assert lesion["hard_mm3"] == pytest.approx(2 * structure["hard_mm3"], rel=0.1)
    assert lesion["soft_mm3"] == pytest.approx(2 * structure["soft_mm3"], rel=0.05)


def test_an_absent_lesion_is_no_warning():
    measured = measure_regions(with_lesion(), np.stack([ball((-3, -23, 3), 1.6), np.zeros(GRID.shape)]), GRID)
    assert measured.rows[1]["soft_mm3"] == 0
    assert not measured.warnings


def test_each_region_has_its_own_threshold(probability):
    faint = bundle(thresholds={"left habenula": 0.2})
    weak = probability * 0.3
    assert [row["found"] for row in measure_regions(faint, weak, GRID).rows] == [True, False]
    assert set(np.unique(label_map(faint, weak))) == {0, 1}


def test_a_likelier_region_below_its_threshold_gives_way():
    both = np.stack([np.full((2, 2, 2), 0.3), np.full((2, 2, 2), 0.4)])
    assert (label_map(bundle(thresholds={"left habenula": 0.2, "right habenula": 0.6}), both) == 1).all()


def test_with_labels_a_voxel_counts_for_what_it_is_called_and_its_neighbours_for_what_they_hold():
    coarse = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    probability = np.zeros((2, *coarse.shape), np.float32)
    probability[0, 8:11, 8:11, 9] = 0.4  # a sheet that reaches no threshold
    probability[0, 8:11, 8:11, 10] = 0.2
    labels = np.where(probability[0] > 0.3, 1, 0)
    (row, absent) = measure_regions(bundle(), probability, coarse, labels).rows
    assert row["threshold"] is None
    assert row["hard_mm3"] == pytest.approx(9 * 8)
    assert row["soft_mm3"] == pytest.approx(9 * 8 * 0.6)
    assert not absent["found"]
