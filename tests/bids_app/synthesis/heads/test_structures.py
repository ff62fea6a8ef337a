"""Structures that cohorts ask for have their planted volume, lie where they belong, and every part has a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.brains import draw_brain
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.heads.structures import (
    EFFECTS,
    INTRACRANIAL_ML,
    SOLIDS,
    draw_sizes,
    labelled_parts,
    part_names,
    with_structures,
)
from bids_app.synthesis.heads.variation import MEASURES, Measures, vary

SHAPE, SPACING = (42, 50, 42), 4.5


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=["template", "procedural"])
def varied(request):
    brain = draw_brain(request.param, stream(3), SHAPE, SPACING)
    return vary(brain, Measures(dict.fromkeys(MEASURES, 0.0), 1.0), SPACING)


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("log", [-0.3, 0.0, 0.2])
def test_a_structure_has_the_volume_that_was_asked_for_on_both_sides(varied, name, log):
    found = with_structures(varied, {name: log}, SPACING).volumes
    wanted = SOLIDS[name].ml / 2 * found["intracranial_ml"] / INTRACRANIAL_ML * np.exp(log)
    for side in ("left", "right"):
        assert found[f"{name}_{side}_ml"] == pytest.approx(wanted, rel=0.03)


def test_a_structure_lies_where_an_atlas_has_it_on_its_side(varied):
    for name, solid in SOLIDS.items():
        shares = with_structures(varied, {name: 0.0}, SPACING).structures[name]
        for share, side in zip(shares, (-1, 1), strict=True):
            middle = (share[..., None] * varied.brain.frame).sum((0, 1, 2)) / share.sum()
            x, y, z = from_mni(solid.centre_mni)
            assert float((middle - torch.tensor([side * x, y, z])).norm()) < 7, name


def test_what_was_there_keeps_its_volume_and_the_brain_its_own(varied):
    changed = with_structures(varied, dict.fromkeys(SOLIDS, 0.0), SPACING)
    torch.testing.assert_close(changed.brain.tissue.sum(0), varied.brain.tissue.sum(0), atol=1e-4, rtol=0)
    assert torch.equal(changed.hippocampi, varied.hippocampi)
    assert torch.equal(changed.brain.ventricle, varied.brain.ventricle)
    assert float(changed.brain.tissue.min()) >= -1e-6


def test_parts_add_up_to_the_brain_and_have_freesurfer_s_numbers(varied):
    changed = with_structures(varied, dict.fromkeys(SOLIDS, 0.0), SPACING)
    numbers, names, shares = labelled_parts(changed)
    torch.testing.assert_close(shares.sum(0), varied.brain.tissue.sum(0), atol=1e-4, rtol=0)
    assert dict(zip(numbers, names, strict=True)) == part_names(tuple(SOLIDS))
    named = dict(zip(names, numbers, strict=True))
    assert (named["left hippocampus"], named["right amygdala"], named["left insula"]) == (17, 54, 1035)
    assert list(numbers) == sorted(set(numbers))


def test_sides_are_left_and_right(varied):
    numbers, _, shares = labelled_parts(varied)
    x = varied.brain.frame[..., 0]
    for left, right in ((3, 42), (4, 43), (2, 41)):
        assert float(x[shares[numbers.index(left)] > 0].max()) < 0 <= float(x[shares[numbers.index(right)] > 0].min())


def test_a_disease_changes_sizes_by_what_is_stated():
    for disease, effects in EFFECTS.items():
        well, ill = (draw_sizes(tuple(SOLIDS), stream(4), disease=d) for d in (None, disease))
        for name in SOLIDS:
            assert ill[name] - well[name] == pytest.approx(effects.get(name, 0.0))


def test_an_unknown_structure_is_refused():
    with pytest.raises(UsageError, match="there is no structure claustrum"):
        draw_sizes(("claustrum",), stream(1))
