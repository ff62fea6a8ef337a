import pytest
import torch

from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.pathology.stroke import TERRITORIES, territory

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
