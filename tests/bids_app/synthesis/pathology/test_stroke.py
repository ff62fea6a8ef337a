import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.pathology.pathology import draw_pathology
from bids_app.synthesis.pathology.stroke import TERRITORIES, territory
from tests.bids_app.synthesis.drawn_people import placed, seeded

#: A place on the right that every atlas gives to the artery, MNI mm.
PLACES = {"middle": (45, 0, 10), "anterior": (6, 45, 20), "posterior": (10, -88, 4)}


def belongs(place: tuple[float, float, float], artery: str, side: float) -> float:
    return float(territory(torch.tensor(from_mni(place)), artery, side))


@pytest.mark.parametrize("artery", TERRITORIES)
def test_each_artery_has_its_own_place_and_no_other_has_it(artery):
    shares = {name: belongs(PLACES[artery], name, 1.0) for name in TERRITORIES}
    assert shares[artery] > 0.8
    assert all(share < 0.2 for name, share in shares.items() if name != artery)


@pytest.mark.parametrize("artery", TERRITORIES)
def test_territories_are_mirrored_and_keep_to_their_side(artery):
    x, y, z = PLACES[artery]
    assert belongs((-x, y, z), artery, -1.0) == pytest.approx(belongs((x, y, z), artery, 1.0))
    assert belongs((-x, y, z), artery, 1.0) < 0.1


def test_the_cerebellum_belongs_to_none():
    assert max(belongs((25, -60, -40), name, 1.0) for name in TERRITORIES) < 0.05


def ball(at: torch.Tensor) -> torch.Tensor:
    """An infarct of 2 cm on the right, a part of which lies in what is fluid in this head."""
    return ((at - torch.tensor(from_mni((25.0, 0.0, 20.0)))).norm(dim=-1) < 20).float()


def test_somebodys_own_infarct_lies_where_it_was_and_whole():
    for seed in range(6):  # drawn strokes are acute three times in four
        drawn = draw_pathology("stroke", placed(), seeded(seed), core=ball)
        assert torch.allclose(drawn.region_share(1), ball(placed().at), atol=1e-3)


def test_only_a_stroke_has_a_core():
    with pytest.raises(UsageError, match="'ms' has none"):
        draw_pathology("ms", placed(), seeded(0), core=ball)
