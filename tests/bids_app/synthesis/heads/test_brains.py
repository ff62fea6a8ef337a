from __future__ import annotations

import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.brains import draw_brain
from tests.learned.phantom_cohort import SHAPE, SPACING_MM


def brain(family: str, seed: int = 0):
    return draw_brain(family, torch.Generator().manual_seed(seed), SHAPE, SPACING_MM)


@pytest.mark.parametrize("family", ["template", "procedural"])
def test_a_brain_has_the_size_and_the_tissues_of_an_adult(family):
    drawn = brain(family)
    fluid, grey, white = (drawn.tissue.sum((1, 2, 3)) * SPACING_MM**3 / 1000).tolist()
    assert 1200 < fluid + grey + white < 2200  # ml, fluid around the brain included
    assert 400 < grey < 1200
    assert 350 < white < 900
    assert 5 < float(drawn.ventricle.sum()) * SPACING_MM**3 / 1000 < 60


@pytest.mark.parametrize("family", ["template", "procedural"])
def test_shares_lie_between_none_and_all_and_the_border_is_empty(family):
    drawn = brain(family)
    assert drawn.tissue.min() >= 0
    assert drawn.tissue.sum(0).max() <= 1 + 1e-5
    for axis in range(3):
        faces = drawn.inside.movedim(axis, 0)
        assert not faces[0].any()
        assert not faces[-1].any()


@pytest.mark.parametrize("family", ["template", "procedural"])
def test_ventricles_lie_in_the_middle_and_are_fluid(family):
    drawn = brain(family)
    place = (drawn.frame * drawn.ventricle[..., None]).sum((0, 1, 2)) / drawn.ventricle.sum()
    assert place.abs().max() < 20
    assert (drawn.ventricle <= drawn.tissue[0] + 0.05).all()


def test_a_seed_gives_the_same_brain_and_another_gives_another():
    assert torch.equal(brain("procedural", 3).tissue, brain("procedural", 3).tissue)
    assert not torch.equal(brain("procedural", 3).tissue, brain("procedural", 4).tissue)


def test_an_unknown_anatomy_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="template, procedural"):
        brain("elephant")
