from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import UsageError
from tests.learned.phantom_cohort import SEQUENCES, TEST, TRAIN, Cohort, draw_cohort, phantom_recipe, scans_for
from tests.learned.phantom_lesions import contrast_of

N = 40
#: What three real participants give, and room for the few phantoms that a test draws.
REAL = {
    "FLAIR": {"auc": (0.93, 0.975), "cnr": (1.5, 2.4)},
    "T2w": {"auc": (0.81, 0.89), "cnr": (0.6, 1.2)},
    "T1w": {"auc": (0.19, 0.27), "cnr": (-0.95, -0.5)},
}


@pytest.fixture(scope="module", params=["training", "test"])
def cohort(request) -> Cohort:
    if request.param == "training":
        return draw_cohort(N, seed=3, anatomy="template", generator=TRAIN)
    return draw_cohort(N, seed=3, anatomy="procedural", generator=TEST)


def out_of_fold_auc(values: np.ndarray, outcome: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    return roc_auc_score(outcome, cross_val_predict(model, values, outcome, cv=5, method="predict_proba")[:, 1])


def small(n: int = 3, **arguments) -> Cohort:
    return draw_cohort(n, **{"seed": 1, "anatomy": "procedural", "shape": (24, 28, 24), "spacing": 7.0, **arguments})


def test_lesions_stand_out_as_real_ones_do(cohort):
    found = contrast_of(cohort.scans, SEQUENCES)
    for sequence, ranges in REAL.items():
        for measure, (low, high) in ranges.items():
            assert low < found[sequence][measure] < high, (sequence, found[sequence])


def test_the_true_volumes_tell_a_determined_outcome_and_brightness_does_not(cohort):
    inside, whole = cohort.latents["territory_ml"], cohort.latents["lesion_ml"]
    volumes = np.log(np.stack([inside + 0.1, whole - inside + 0.1], 1))
    brightness = np.array([[image[image > 0].mean() for image in scan.stack] for scan in cohort.scans])
    assert out_of_fold_auc(volumes, cohort.latents["outcome"]) > 0.95
    assert out_of_fold_auc(brightness, cohort.latents["outcome"]) < 0.7


def test_the_whole_burden_does_not_tell_where_it_lies(cohort):
    assert out_of_fold_auc(cohort.latents["lesion_ml"][:, None], cohort.latents["outcome"]) < 0.7


def test_an_unrelated_outcome_is_at_chance_whatever_the_lesions():
    drawn = small(300, dial=0.0, sequences=("FLAIR",), shape=(12, 14, 12), spacing=14.0)
    standing = np.corrcoef(drawn.latents["burden"], drawn.latents["score"])[0, 1]
    assert abs(standing) < 0.15
    assert 0.4 < out_of_fold_auc(drawn.latents["burden"][:, None], drawn.latents["outcome"]) < 0.6


def test_the_dial_is_the_correlation_of_lesion_and_score():
    drawn = small(300, dial=0.6, sequences=("FLAIR",), shape=(12, 14, 12), spacing=14.0)
    assert np.corrcoef(drawn.latents["burden"], drawn.latents["score"])[0, 1] == pytest.approx(0.6, abs=0.1)


def test_participants_do_not_depend_on_how_many_there_are_nor_on_the_dial():
    few, many = small(2, dial=1.0), small(4, dial=0.0)
    for one, other in zip(few.scans, many.scans, strict=False):
        assert np.array_equal(one.stack, other.stack)
        assert np.array_equal(one.labels, other.labels)
    assert not np.array_equal(few.scans[0].stack, few.scans[1].stack)


def test_a_sequence_is_the_same_whichever_others_are_drawn():
    everything, alone = small(2), small(2, sequences=("FLAIR",))
    assert np.array_equal(everything.scans[1].stack[2], alone.scans[1].stack[0])


def test_another_seed_gives_other_people():
    assert not np.array_equal(small(1).scans[0].stack, small(1, seed=2).scans[0].stack)


def test_half_of_a_cohort_has_the_outcome_and_targets_say_so():
    drawn = small(10, prefix="P")
    assert drawn.latents["outcome"].sum() == 5
    assert [scan.targets[0] for scan in drawn.scans] == list(drawn.latents["outcome"])
    assert drawn.scans[0].key == "sub-P001"


def test_a_confounded_cohort_lets_the_site_tell_the_outcome():
    fair, unfair = (small(40, dial=0.0, sites=2, confounded=c, sequences=("T1w",)) for c in (False, True))

    def share(drawn: Cohort) -> float:
        return float(np.mean((drawn.latents["site"] == "A") == drawn.latents["outcome"]))

    assert share(unfair) > 0.7
    assert share(fair) < share(unfair)


def test_outside_the_brain_there_is_nothing_and_inside_always_something():
    scan = small(1).scans[0]
    there = scan.stack != 0
    assert (there == there[0]).all()
    assert not there[:, 0].any()
    assert not scan.labels[~there[0]].any()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"n": 0}, "at least 1"),
        ({"dial": 1.5}, "0 to 1"),
        ({"sequences": ("DWI",)}, "DWI"),
        ({"sites": 0}, "sites"),
        ({"spacing": 0.0}, "positive"),
        ({"truth": "behind"}, "behind"),
        ({"anatomy": "elephant"}, "elephant"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(wrong, word):
    with pytest.raises(UsageError, match=word):
        small(**{"n": 1, **wrong})


def test_scans_follow_the_recipe_in_order():
    drawn = small(2)
    scan = scans_for(drawn, phantom_recipe(("FLAIR", "T1w"), targets=("score",)))[1]
    assert np.array_equal(scan.stack, drawn.scans[1].stack[[2, 0]])
    assert scan.targets.tolist() == [drawn.latents["score"][1]]


def test_a_recipe_that_the_cohort_cannot_serve_is_refused():
    with pytest.raises(UsageError, match="diagnosis"):
        phantom_recipe(targets=("diagnosis",))
    with pytest.raises(UsageError, match="FLAIR"):
        scans_for(small(1, sequences=("T1w",)), phantom_recipe(("T1w", "FLAIR")))
