import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.measure.overlap import centre_distance, compare_masks, dice, hausdorff95, soft_dice, surface_distances


def block(low, high, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[low:high, 5:10, 5:10] = True
    return mask


def test_dice_of_half_overlapping_blocks():
    assert dice(block(0, 4), block(2, 6)) == 0.5


def test_dice_of_two_empty_masks_is_one():
    assert dice(block(0, 0), block(0, 0)) == 1


def test_soft_dice_of_equal_maps_is_one():
    assert soft_dice(block(0, 4) * 0.3, block(0, 4) * 0.3) == pytest.approx(1)


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ImageError, match="one grid"):
        dice(block(0, 4), block(0, 4, (20, 20, 21)))


def test_centre_distance_is_in_mm():
    assert centre_distance(block(0, 4), block(3, 7), np.diag([2.0, 1, 1, 1])) == pytest.approx(6)


def test_surface_distances_of_a_shifted_block():
    found = surface_distances(block(4, 8), block(7, 11), (2.0, 1.0, 1.0))
    assert found.largest == pytest.approx(6)
    assert 0 < found.mean < found.p95 <= found.largest


def test_surface_distance_to_nothing_is_infinite():
    assert surface_distances(block(0, 4), block(0, 0), (1, 1, 1)).mean == float("inf")
    assert surface_distances(block(0, 0), block(0, 0), (1, 1, 1)).mean == 0


@pytest.fixture
def cube():
    mask = np.zeros((20, 24, 28), bool)
    mask[5:10, 5:10, 5:10] = True
    return mask


def test_a_cube_shifted_by_one_voxel_has_the_dice_nsd_and_volume_worked_out_by_hand(cube):
    found = compare_masks(np.roll(cube, 1, 0), cube, (2, 1, 1), tolerance_mm=1)
    assert found.outcome == "true positive"
    assert found.dice == pytest.approx(2 * 100 / 250)
    # of 98 surface voxels each way: the 25 of the near end and the middle one of the far end have no twin within 1 mm
    assert found.nsd == pytest.approx(72 / 98)
    assert found.hd95_mm == pytest.approx(2)
    assert (found.truth_mm3, found.answer_mm3, found.volume_error_mm3) == (250, 250, 0)


def test_a_shift_within_the_tolerance_is_a_perfect_surface(cube):
    assert compare_masks(np.roll(cube, 1, 0), cube, (1, 1, 1), tolerance_mm=1).nsd == 1


def test_robust_hausdorff_distance_agrees_with_our_own_surfaces(cube):
    other = np.roll(cube, (2, 1), (0, 2))
    assert hausdorff95(cube, other, (1.5, 1, 0.7)) == pytest.approx(surface_distances(cube, other, (1.5, 1, 0.7)).p95)


def test_an_empty_answer_to_a_true_region_is_the_worst_there_is(cube):
    found = compare_masks(np.zeros_like(cube), cube, (1, 1, 2))
    assert (found.outcome, found.dice, found.nsd) == ("false negative", 0, 0)
    assert found.hd95_mm == pytest.approx(np.sqrt(20**2 + 24**2 + 56**2))
    assert (found.relative_volume_error, found.absolute_volume_error_mm3) == (-1, 250)
    assert np.isnan(found.false_positive_mm3)


def test_an_answer_where_nothing_is_counts_as_false_positive_volume_only(cube):
    found = compare_masks(cube, np.zeros_like(cube), (1, 1, 2))
    assert (found.outcome, found.false_positive_mm3, found.volume_error_mm3) == ("false positive", 250, 250)
    assert np.isnan([found.dice, found.nsd, found.hd95_mm, found.relative_volume_error]).all()


def test_nothing_answered_where_nothing_is_is_a_true_negative_without_a_dice(cube):
    empty = np.zeros_like(cube)
    found = compare_masks(empty, empty, (1, 1, 1))
    assert (found.outcome, found.false_positive_mm3, found.volume_error_mm3) == ("true negative", 0, 0)
    assert np.isnan([found.dice, found.nsd, found.hd95_mm]).all()


def test_a_flat_mask_is_measured_in_its_plane():
    truth = np.zeros((20, 20, 1), bool)
    truth[5:10, 5:10] = True
    found = compare_masks(np.roll(truth, 1, 0), truth, (2, 1, 5), tolerance_mm=1)
    assert found.dice == pytest.approx(0.8)
    assert found.hd95_mm == pytest.approx(2)
    # of each square's 16 edge voxels, the near side's 5 and the middle one of the far side have no twin within 1 mm
    assert found.nsd == pytest.approx(10 / 16)
    missed = compare_masks(np.zeros_like(truth), truth, (2, 1, 5))
    assert missed.hd95_mm == pytest.approx(np.hypot(40, 20))


def test_a_mask_that_fills_its_image_has_a_surface():
    full = np.ones((6, 6, 6), bool)
    assert compare_masks(full, full, (1, 1, 1)).nsd == 1
