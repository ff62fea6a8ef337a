from __future__ import annotations

import math

import pytest
import torch

from bids_app.synthesis.fields import places
from bids_app.synthesis.scanner.acquisition import (
    Gain,
    Ghost,
    Noise,
    Placed,
    PointSpread,
    Resized,
    Shading,
    Stretched,
    acquire,
    draw_noise,
    draw_shading,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def block(side: int = 24) -> torch.Tensor:
    image = torch.zeros(side, side, side)
    image[6:12, 9:15, 7:14] = 1
    return image


def test_an_acquisition_can_be_applied_again():
    steps = [PointSpread((1.5, 1.5, 3.0)), draw_shading(generator(), 3, 0.2), draw_noise(generator(), (24,) * 3, 0.1)]
    assert torch.equal(acquire(block(), steps), acquire(block(), steps))


def test_a_point_has_the_width_that_was_asked_for():
    image = torch.zeros(41, 41, 41)
    image[20, 20, 20] = 1
    row = PointSpread((6.0, 1.0, 1.0))(image)[:, 20, 20]
    assert row[17] == pytest.approx(float(row[20]) / 2, rel=0.01)
    assert row[23] == pytest.approx(float(row[20]) / 2, rel=0.01)


def test_coarser_voxels_keep_the_mean():
    smooth = PointSpread((6.0, 6.0, 6.0))(block())
    coarse = Resized((12, 12, 12))(smooth)
    assert coarse.shape == (12, 12, 12)
    assert coarse.mean() == pytest.approx(float(smooth.mean()), rel=0.02)


def test_an_image_goes_where_it_is_placed():
    moved = Placed(places((24,) * 3, 2.0) - torch.tensor([4.0, 0.0, -2.0]), 2.0)(block())
    torch.testing.assert_close(moved, block().roll((2, 0, -1), (0, 1, 2)), atol=1e-5, rtol=0)


def test_shading_multiplies_by_a_smooth_factor():
    shaded = Shading(torch.log(torch.tensor([1.0, 4.0])).reshape(1, 1, 2, 1, 1))(torch.ones(3, 2, 2))
    assert shaded[:, 0, 0].tolist() == pytest.approx([1.0, 2.0, 4.0])


def test_noise_on_nothing_is_rayleigh_distributed():
    noise = draw_noise(generator(), (40,) * 3, 2.0, rician=True)(torch.zeros(40, 40, 40))
    assert noise.mean() == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.01)


def test_noise_is_a_share_of_the_range_where_it_is_said_so():
    steps = draw_noise(generator(), (40,) * 3, 0.1, of_range=True)
    image = torch.full((40, 40, 40), 3.0)
    image[0, 0, 0] = 13
    assert (steps(image) - image).std() == pytest.approx(1.0, rel=0.02)


def test_folded_noise_is_never_negative():
    folded = Noise(1.0, (torch.tensor([-2.0, 0.5]),), folded=True)(torch.zeros(2))
    assert folded.tolist() == [2.0, 0.5]


def test_a_ghost_lies_where_it_was_told():
    image = torch.zeros(6, 2, 2)
    image[1] = 1
    assert Ghost(0, 2, 0.25)(image)[:, 0, 0].tolist() == [0, 0.75, 0, 0.25, 0, 0]


def test_gain_is_a_factor():
    assert torch.equal(Gain(700.0)(torch.ones(2)), torch.full((2,), 700.0))


def test_stretching_keeps_the_order_of_brightness():
    ramp = torch.linspace(1, 2, 27000).reshape(30, 30, 30)
    stretched = Stretched(0.7)(ramp)
    assert (stretched.min(), stretched.max()) == (0, 1)
    assert (stretched.flatten().diff() >= 0).all()


def test_a_stripped_image_is_zero_outside_and_never_inside():
    image = torch.tensor([5.0, 0.0, 1.0, 2.0])
    stripped = Stretched(1.0, torch.tensor([False, True, True, True]))(image)
    assert stripped.tolist() == pytest.approx([0.0, 1e-4, 0.5, 1.0])
