import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.measure.overlap import centre_distance, dice, soft_dice, surface_distances


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
