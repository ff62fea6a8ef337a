import numpy as np
import pytest
import torch

from bids_app.synthesis.fields import places
from bids_app.synthesis.habenula.scans import (
    SIDE,
    HabenulaRanges,
    Sources,
    core,
    draw_scan,
    draw_scanner,
    tissue_numbers,
)
from bids_app.synthesis.habenula.shapes import ellipsoid, volume_of
from bids_app.synthesis.habenula.sources import SPACING_MM
from bids_app.synthesis.scanner.acquisition import acquire

STILL = HabenulaRanges(shift_mm=0, turn=0, scale=0, bend_mm=0, swell=0, wild=0)
VOXEL = SPACING_MM**3


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Two thalami of a block brain, 8 mm apart at the middle, fluid between them."""
    n = 96
    x = (np.arange(n) - (n - 1) / 2) * SPACING_MM
    labels = np.full((n, n, n), 2)
    labels[np.abs(x) < 12] = 10
    labels[np.abs(x) < 2.5] = 14
    shape = torch.from_numpy(ellipsoid())[None]
    centres = torch.tensor([[-3.4, 0.0, 0.0], [3.4, 0.0, 0.0]])
    image = torch.from_numpy(tissue_numbers(labels))[None]
    return Sources(
        ("block",), ("labels",), (image,), (None,), (centres,), shape, torch.tensor([volume_of(shape[0].numpy())])
    )


def test_the_same_seed_gives_the_same_scan(sources):
    one, two = (draw_scan(sources, 0, 7, HabenulaRanges()) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_another_seed_gives_another_scan(sources):
    assert not torch.equal(draw_scan(sources, 0, 7, HabenulaRanges())[0], draw_scan(sources, 0, 8, HabenulaRanges())[0])


def test_targets_are_parts_that_sum_to_one(sources):
    target = draw_scan(sources, 0, 3, HabenulaRanges())[1]
    assert target.shape == (3, SIDE, SIDE, SIDE)
    torch.testing.assert_close(target.sum(0), torch.ones(SIDE, SIDE, SIDE))


@pytest.mark.parametrize("seed", range(2))
def test_left_stays_on_the_left_whether_mirrored_or_not(sources, seed):
    left, right = draw_scan(sources, 0, seed, HabenulaRanges())[1][1:]
    x = torch.arange(SIDE).float()[:, None, None]
    assert (left * x).sum() / left.sum() < (right * x).sum() / right.sum()


def test_drawn_volumes_follow_the_measured_ones(sources):
    volumes = torch.cat([draw_scan(sources, 0, seed, STILL)[1][1:].sum((1, 2, 3)) * VOXEL for seed in range(4)])
    assert 12 < volumes.mean() < 22
    assert volumes.min() > 7
    assert volumes.max() < 31


def test_a_second_scan_of_the_same_brain_keeps_its_volume(sources):
    one, two = (draw_scan(sources, 0, 5, HabenulaRanges(), again)[1][1:].sum((1, 2, 3)) for again in (1, 2))
    torch.testing.assert_close(one, two, rtol=0.02, atol=1)


def test_core_is_the_innermost_share_of_a_probability():
    axis = (np.arange(40) - 19.5) / 6
    probability = np.exp(-0.5 * sum(a**2 for a in np.meshgrid(axis, axis, axis))).astype(np.float32)
    part = core(probability, share=0.5)
    assert part.sum() == pytest.approx(0.5 * probability.sum(), rel=0.05)
    assert part[20, 20, 20] == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_scanners_grid_does_not_move_the_image(seed):
    image = torch.zeros(48, 48, 48)
    image[18:26, 22:30, 20:28] = 1
    at = places((48,) * 3, SPACING_MM)

    def middle(of: torch.Tensor) -> torch.Tensor:
        return (at * of[..., None]).sum((0, 1, 2)) / of.sum()

    scanned = acquire(image, draw_scanner(image, torch.Generator().manual_seed(seed), 0.7, 1.5, 0.0))
    assert not torch.equal(scanned, image)
    assert (middle(scanned) - middle(image)).norm() < 0.1
