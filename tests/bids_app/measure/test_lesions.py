import numpy as np
import pytest

from bids_app.measure.lesions import Counts, detect, pooled


def volume(*boxes, shape=(40, 40, 20)):
    mask = np.zeros(shape, bool)
    for x, y, z, edge in boxes:
        mask[x : x + edge, y : y + edge, z : z + min(edge, shape[2])] = True
    return mask


def test_precision_recall_and_f1_of_two_found_one_missed_and_one_made_up():
    truth = volume((2, 2, 2, 3), (12, 2, 2, 3), (22, 2, 2, 3))
    answer = volume((3, 3, 3, 3), (12, 2, 2, 2), (22, 30, 2, 3))
    counts = detect(answer, truth, (1, 1, 1)).counts
    assert counts == Counts(lesions=3, found=2, answers=3, right=2)
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_one_answer_over_two_lesions_finds_both_and_shows_in_the_count_error():
    counts = detect(volume((2, 2, 2, 12)), volume((2, 2, 2, 3), (8, 8, 8, 3)), (1, 1, 1)).counts
    assert (counts.recall, counts.precision, counts.count_error) == (1, 1, -1)


def test_lesions_that_touch_at_a_corner_are_one():
    assert detect(volume((2, 2, 2, 3), (5, 5, 5, 3)), volume(), (1, 1, 1)).counts.answers == 1


def test_flat_lesions_that_touch_at_a_corner_are_one():
    flat = volume((2, 2, 0, 3), (5, 5, 0, 3), shape=(20, 20, 1))
    assert detect(flat, flat, (1, 1, 4)).counts == Counts(1, 1, 1, 1)


def test_strata_follow_the_true_lesion_and_a_false_answer_its_own_size():
    truth = volume((2, 2, 2, 3), (12, 2, 2, 8))  # 27 and 512 mm³
    answer = volume((2, 2, 2, 1), (12, 2, 2, 1), (30, 30, 2, 6))  # right, right, 216 mm³ of nothing
    strata = detect(answer, truth, (1, 1, 1)).strata
    assert strata["10-100"] == Counts(1, 1, 1, 1)
    assert strata["100-1000"] == Counts(1, 1, 2, 1)
    assert strata[">1000"] == Counts()


def test_strata_are_in_cubic_millimetres_and_can_be_given():
    strata = detect(volume((2, 2, 2, 2)), volume((2, 2, 2, 2)), (2, 2, 2), [(60, 70)]).strata
    assert strata == {"60-70": Counts(1, 1, 1, 1)}


def test_f1_is_zero_where_one_side_is_empty_and_nan_where_both_are():
    some, none = volume((2, 2, 2, 3)), volume()
    assert detect(none, some, (1, 1, 1)).counts.f1 == 0
    assert detect(some, none, (1, 1, 1)).counts.f1 == 0
    assert np.isnan(detect(none, none, (1, 1, 1)).counts.f1)


def test_each_lesion_says_how_much_of_it_was_answered():
    found = detect(volume((2, 2, 2, 2)), volume((2, 2, 2, 4), (20, 20, 2, 2)), (1, 1, 1))
    assert found.volumes_mm3 == (64, 8)
    assert found.covered == pytest.approx((8 / 64, 0))


def test_sessions_without_lesions_bring_their_false_positives_to_the_pool():
    truth = volume((2, 2, 2, 3))
    sessions = [detect(truth, truth, (1, 1, 1)), detect(truth, volume(), (1, 1, 1))]
    assert pooled(s.counts for s in sessions).precision == 0.5
