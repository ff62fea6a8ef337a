import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.measure.volumes import centroid_mm, hard_volume, largest_piece, pieces, soft_volume

AFFINE = np.array([[0.0, 0, 2, 10], [0.5, 0, 0, -3], [0, 3, 0, 4], [0, 0, 0, 1]])  # 3 mm³ a voxel, axes permuted


def test_soft_volume_is_the_integral_of_the_probability():
    probability = np.full((4, 5, 6), 0.25)
    assert soft_volume(probability, AFFINE) == pytest.approx(4 * 5 * 6 * 0.25 * 3)


@pytest.mark.parametrize("value", [-0.1, 1.2, np.nan])
def test_soft_volume_refuses_what_is_no_probability(value):
    with pytest.raises(ImageError, match="probability"):
        soft_volume(np.full((2, 2, 2), value), AFFINE)


def test_hard_volume_counts_voxels_at_the_threshold():
    probability = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    assert hard_volume(probability, AFFINE) == pytest.approx(6)


def test_soft_volume_of_a_ball_does_not_depend_on_where_the_grid_falls():
    x = np.indices((20, 20, 20)) - 9.5
    volumes = []
    for shift in (0, 0.25, 0.5):
        distance = np.sqrt(((x - shift) ** 2).sum(0))
        volumes.append(soft_volume(1 / (1 + np.exp((distance - 5) / 0.4)), np.eye(4)))
    assert np.ptp(volumes) / np.mean(volumes) < 0.005


def test_centroid_is_in_the_world():
    mask = np.zeros((4, 5, 6))
    mask[1, 2, 3] = mask[3, 2, 3] = 1
    np.testing.assert_allclose(centroid_mm(mask, AFFINE), AFFINE[:3] @ [2, 2, 3, 1])


def test_centroid_of_nothing_is_nan():
    assert np.isnan(centroid_mm(np.zeros((2, 2, 2)), AFFINE)).all()


def test_pieces_are_numbered_from_the_largest():
    mask = np.zeros((10, 10, 10))
    mask[0, 0, 0] = 1
    mask[4:6, 4:6, 4:6] = 1
    found, sizes = pieces(mask)
    assert sizes.tolist() == [8, 1]
    assert found[4, 4, 4] == 1
    assert found[0, 0, 0] == 2


def test_voxels_that_touch_at_a_corner_are_one_piece_unless_told_otherwise():
    mask = np.zeros((3, 3, 3))
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert len(pieces(mask)[1]) == 1
    assert len(pieces(mask, corners=False)[1]) == 2


def test_largest_piece_of_nothing_is_nothing():
    assert not largest_piece(np.zeros((3, 3, 3))).any()
