import pytest
import torch

from bids_app.synthesis.pathology.shapes import Canvas
from bids_app.synthesis.pathology.tumours import draw_glioma, draw_schwannoma
from tests.bids_app.synthesis.drawn_people import placed, seeded


def middle(parts, names: set[str]) -> torch.Tensor:
    """Centre of mass of compartments, mm from the middle of the brain."""
    share = torch.stack([part.share for part in parts if part.name in names]).amax(0)
    return (placed().at * share[..., None]).sum((0, 1, 2)) / share.sum()


@pytest.mark.parametrize("seed", range(3))
def test_a_tumour_lies_on_the_side_that_is_told(seed):
    parts, facts = draw_schwannoma(Canvas(placed(), seeded(seed)))
    assert float(middle(parts, {"tumour"})[0]) * facts["side"] > 5
    parts, facts = draw_glioma(Canvas(placed(), seeded(seed)))
    assert float(middle(parts, {"rim", "solid tumour"})[0]) * facts["side"] > 0


def test_a_glioma_that_takes_up_contrast_has_a_rim_and_another_has_none():
    kinds = {}
    for seed in range(60):
        if len(kinds) == 2:
            break
        parts, facts = draw_glioma(Canvas(placed(), seeded(seed)))
        kinds[facts["enhancing"]] = {part.name for part in parts if part.region}
    assert kinds == {1.0: {"oedema", "rim", "necrosis"}, 0.0: {"oedema", "solid tumour"}}
