"""One row per lesion, with what is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.measure.lesion_table import lesion_rows

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = [-20, -20, -20]


@pytest.fixture
def two():
    """A lesion of 8 voxels on the left with a core, one of a voxel on the right, and the brain's halves."""
    seg = np.zeros((20, 20, 20), np.uint8)
    seg[4:6, 4:6, 4:6] = 2
    seg[4, 4, 4] = 1
    seg[15, 10, 10] = 2
    probability = np.where(seg > 0, 0.6, 0.1)
    probability[5, 5, 5] = 0.93
    labels = np.full(seg.shape, 41)
    labels[:10] = 2
    return seg, probability, labels


def rows(two, **more):
    seg, probability, _ = two
    return lesion_rows(seg, probability, AFFINE, regions={1: "core", 2: "oedema"}, **more)


def test_lesions_come_largest_first_with_volume_centre_and_highest_probability(two):
    first, second = rows(two)
    assert first["index"] == 1
    assert first["volume_mm3"] == pytest.approx(64)
    assert first["probability"] == pytest.approx(0.93)
    np.testing.assert_allclose(first["centre_mm"], [-11, -11, -11])
    assert second["volume_mm3"] == pytest.approx(8)
    assert second["centre_mm"] == [10.0, 0.0, 0.0]
    assert first["contains"] == ["core", "oedema"]
    assert second["contains"] == ["oedema"]


def test_place_and_side_come_from_the_labels_where_there_are_any(two):
    names = {2: "left cerebral white matter", 41: "right cerebral white matter"}
    first, second = rows(two, labels=two[2], names=names)
    assert (first["region"], first["side"]) == ("left cerebral white matter", "left")
    assert (second["region"], second["side"]) == ("right cerebral white matter", "right")


@pytest.mark.parametrize(("shift", "side"), [(0.0, "right"), (-10.0, "middle"), (-16.0, "left")])
def test_without_labels_the_template_says_the_side(two, shift, side):
    matrix = np.eye(4)
    matrix[0, 3] = shift
    second = rows(two, to_template=matrix)[1]
    assert second["side"] == side
    assert second["template_mm"] == [10.0 + shift, 0.0, 0.0]
    assert second["region"] is None


def test_what_is_not_known_is_not_guessed(two):
    assert [(row["side"], row["template_mm"]) for row in rows(two)] == [(None, None)] * 2


def test_no_lesion_gives_no_row():
    empty = np.zeros((4, 4, 4), np.uint8)
    assert lesion_rows(empty, empty.astype(float), AFFINE, regions={1: "lesion"}) == []


def test_other_regions_are_no_lesion(two):
    seg, probability, _ = two
    assert lesion_rows(seg, probability, AFFINE, regions={9: "lesion"}) == []


def test_arrays_of_different_shapes_are_refused(two):
    with pytest.raises(ImageError, match="different shapes"):
        rows(two, labels=np.zeros((4, 4, 4)))
