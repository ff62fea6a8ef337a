"""A session without the sequence that a bundle lives on is told so, with the bundle's own figures."""

from dataclasses import replace

import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.bundle.lacking import lacking_sequences


def judged(**dice: float | None) -> dict:
    return {name: {"dice": value} for name, value in dice.items()}


@pytest.fixture(scope="module")
def bundle():
    metrics = {
        "simulator_held_out": judged(core=0.6, oedema=0.5, enhancing=0.6),
        "simulator_subsets": {
            "without T2w": judged(core=0.6, oedema=0.5, enhancing=None),
            "without FLAIR": judged(core=0.4, oedema=0.02, enhancing=0.5),
            "without ce-gadolinium_T1w": judged(core=0.5, oedema=0.5, enhancing=0.0),
            "T1w alone": judged(core=0.1, oedema=0.0, enhancing=0.0),
        },
    }
    return replace(load_bundle("tumour"), metrics=metrics)


def flags(bundle, *missing: str) -> list[int]:
    return [int(sequence.name not in missing) for sequence in bundle.recipe.sequences]


def test_nothing_is_said_where_nothing_is_lost(bundle):
    assert lacking_sequences(bundle, flags(bundle)) == []
    assert lacking_sequences(bundle, flags(bundle, "T2w")) == []


def test_a_region_that_is_lost_is_named_with_its_figures(bundle):
    (said,) = lacking_sequences(bundle, flags(bundle, "FLAIR"))
    assert "without FLAIR" in said
    assert "oedema from 0.50 to 0.02" in said
    assert "core from" not in said


def test_of_several_missing_the_costliest_counts_and_the_reference_alone_was_judged(bundle):
    (two,) = lacking_sequences(bundle, flags(bundle, "FLAIR", "ce-gadolinium_T1w"))
    assert "oedema from 0.50 to 0.02, enhancing from 0.60 to 0.00" in two
    (alone,) = lacking_sequences(bundle, flags(bundle, "FLAIR", "T2w", "ce-gadolinium_T1w"))
    assert "core from 0.60 to 0.10" in alone


def test_a_bundle_without_figures_says_nothing(bundle):
    assert lacking_sequences(replace(bundle, metrics={}), flags(bundle, "FLAIR")) == []


def test_the_schwannoma_bundle_warns_without_contrast_agent():
    shipped = load_bundle("schwannoma")
    assert lacking_sequences(shipped, flags(shipped, "ce-gadolinium_T1w"))
