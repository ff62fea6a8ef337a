import numpy as np
import pytest
from scipy import ndimage

from bids_app.errors import ImageError
from bids_app.measure.overlap import compare_masks, diagonal_mm, dice, hausdorff95, normalised_surface_distance


def block(low, high, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[low:high, 5:10, 5:10] = True
    return mask


def test_dice_of_half_overlapping_blocks():
    assert dice(block(0, 4), block(2, 6)) == 0.5


def test_dice_of_two_empty_masks_is_one():
    assert dice(block(0, 0), block(0, 0)) == 1


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ImageError, match="one grid"):
        dice(block(0, 4), block(0, 4, (20, 20, 21)))


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


def test_robust_hausdorff_distance_is_that_of_distance_maps(cube):
    other, spacing = np.roll(cube, (2, 1), (0, 2)), (1.5, 1, 0.7)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (cube, other)]
    away = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    expected = max(np.percentile(away[1][edges[0]], 95), np.percentile(away[0][edges[1]], 95))
    assert hausdorff95(cube, other, spacing) == pytest.approx(expected)


def test_surfaces_of_two_empty_masks_are_not_defined_and_of_one_are_the_worst(cube):
    empty = np.zeros_like(cube)
    assert np.isnan(
        [normalised_surface_distance(empty, empty, (1, 1, 1), 1), hausdorff95(empty, empty, (1, 1, 1))]
    ).all()
    for pair in ((cube, empty), (empty, cube)):
        assert normalised_surface_distance(*pair, (1, 1, 1), 1) == 0
        assert hausdorff95(*pair, (1, 1, 1)) == pytest.approx(np.sqrt(20**2 + 24**2 + 28**2))


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


def test_a_mask_two_voxels_thin_has_a_surface_on_both_sides():
    mask = np.zeros((20, 20, 2), bool)
    mask[5:15, 5:15] = True
    assert normalised_surface_distance(mask, mask, (1, 1, 2), 0.5) == 1
    assert hausdorff95(mask, np.roll(mask, 2, 0), (1, 1, 2)) == pytest.approx(2)


def test_surfaces_one_millimetre_apart_count_as_equal_unless_said_otherwise(cube):
    apart = np.roll(cube, 3, 0)
    scores = [compare_masks(apart, cube, (0.5, 0.5, 0.5), tolerance_mm=mm).nsd for mm in (1.0, 2.0)]
    assert scores[0] < scores[1]
    assert compare_masks(apart, cube, (0.5, 0.5, 0.5)).nsd == scores[0]


def test_a_spacing_of_two_numbers_is_refused_for_three_axes():
    with pytest.raises(ValueError, match="zip"):
        diagonal_mm((3, 4, 5), (1, 1))
