"""What a head reads of a region is what a person would measure, and what the decoder knows there."""

from __future__ import annotations

import pytest
import torch

from bids_app.networks.heads import FAR, LinearHead
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape, build_network
from bids_app.networks.reading import LEAST_OF_CELL, in_cells, measured, measured_columns, pooled, read

SHAPE = NetworkShape(
    2, 3, filters=4, blocks=(1, 1, 1), heads=(HeadShape("age", "continuous", 1),), covariates=1, reads_features=True
)


def test_a_region_is_measured_where_it_lies():
    shares = torch.zeros(2, 2, 10, 20, 5)
    shares[0, 0, 2:4, 5:15, :] = 1.0
    image = torch.randn(2, 1, 10, 20, 5)
    found = measured(shares, image)
    columns = measured_columns(2, 3, 1)
    assert found.shape == (2, columns["brightness"].stop)
    assert columns["places"] == slice(2, 14)
    by = found.reshape(2, -1, 2)[0, :, 0]  # of the first region: amount, middle and spread of 3 axes, brightness
    inside = image[0, 0, 2:4, 5:15]
    assert by[1:].tolist() == pytest.approx(
        [
            3 / 10 - 0.5,
            0.05,
            0.0,
            (torch.arange(10.0).sub(4.5).square().mean().sqrt() / 20).item(),
            0.0,
            (torch.arange(5.0).sub(2).square().mean().sqrt() / 5).item(),
            inside.mean().item(),
            inside.std(correction=0).item(),
        ],
        abs=1e-3,
    )
    more = shares.clone()
    more[0, 0] = 1.0
    assert measured(more, image)[0, 0] > found[0, 0]
    assert found[1].isfinite().all()  # a region that is nowhere
    assert measured(shares[..., 0], image[..., 0]).shape == (2, measured_columns(2, 2, 1)["brightness"].stop)


def test_features_are_means_inside_the_region():
    shares = torch.zeros(1, 2, 8, 8, 8)
    shares[0, 0, :4], shares[0, 1, 4:] = 1.0, 1.0
    features = [torch.randn(1, 3, 4, 4, 4), torch.randn(1, 2, 8, 8, 8)]
    found = pooled(shares, features)[0]
    assert found[:3].tolist() == pytest.approx(features[0][0, :, :2].mean((1, 2, 3)).tolist(), abs=1e-3)
    assert found[8:].tolist() == pytest.approx(features[1][0, :, 4:].mean((1, 2, 3)).tolist(), abs=1e-3)


@pytest.mark.parametrize(("gradient", "features", "mask"), [("all", 1, 1), ("features", 1, 0), ("none", 0, 0)])
def test_a_recipe_says_how_far_a_target_reaches(gradient, features, mask):
    torch.manual_seed(0)
    network = MultiTaskNet(NetworkShape(**{**SHAPE.__dict__, "gradient": gradient}))
    torch.nn.init.normal_(network.heads["age"].image.weight)
    network.eval()
    network(torch.randn(2, 2, 16, 16, 16)).targets["age"].square().sum().backward()
    assert (network.unet.encoder.conv_init.weight.grad is not None) == bool(features)
    grad = network.unet.up_layers[-1]["head"].weight.grad
    assert (grad is not None and bool(grad.abs().sum() > 0)) == bool(mask)


def test_readings_have_the_width_that_the_shape_says_in_three_and_two_dimensions():
    for dimensions, x in ((3, torch.randn(1, 2, 16, 16, 16)), (2, torch.randn(1, 2, 16, 16))):
        network = MultiTaskNet(NetworkShape(**{**SHAPE.__dict__, "dimensions": dimensions, "fold": 2})).eval()
        levels = network.ascend(network.encode(x))
        logits = network.logits_of(levels)[0]
        assert read(logits, levels, x).shape == (1, network.shape.readings)
        assert build_network(network.shape.to_plain()).shape == network.shape
        alone, beside = network(x).targets["age"], network(x, covariates=torch.tensor([[2.0]])).targets["age"]
        assert alone.shape == beside.shape == (1, 1)


def test_a_cell_says_how_much_of_it_a_region_fills():
    shares = torch.zeros(1, 2, 8, 8, 12)
    shares[0, 1, :4, 4:, :6] = 1.0  # half of one cell's height too: cells are 4 x 4 x 6
    shares[0, 1, 4:, :4, :3] = 1.0
    found = in_cells(shares, 2)[0].reshape(2, 2, 2, 2)
    nothing, all_of_it = (torch.tensor([0.0, 1.0]) + LEAST_OF_CELL).log().tolist()
    middle = torch.tensor(LEAST_OF_CELL).log().item() / 2
    assert found[0].unique().tolist() == pytest.approx([nothing - middle])
    assert found[1, 0, 1, 0].item() == pytest.approx(all_of_it - middle, abs=1e-4)
    assert found[1, 1, 0, 0].item() == pytest.approx(torch.tensor(0.5).log().item() - middle, abs=1e-3)
    assert (found[1] > nothing - middle + 1).sum() == 2
    assert in_cells(shares[..., 0], 4).shape == (1, 2 * 16)
    doubted = shares.clamp_min(0.4)  # a haze of what is less likely than not
    assert torch.equal(in_cells(doubted, 2), in_cells(shares, 2))


def test_cells_are_read_between_what_is_measured_and_what_is_learned():
    network = MultiTaskNet(NetworkShape(**{**SHAPE.__dict__, "cells": 2})).eval()
    x = torch.randn(1, 2, 16, 16, 16)
    levels = network.ascend(network.encode(x))
    logits = network.logits_of(levels)[0]
    found = network.readings(x, levels, logits)
    assert found.shape == (1, network.shape.readings)
    assert network.shape.readings == SHAPE.readings + 2 * 8
    cells = in_cells(logits.softmax(1)[:, 1:], 2)
    assert torch.allclose(found[:, network.shape.blocks_read["cells"]], cells, atol=1e-5)
    assert "cells" not in SHAPE.blocks_read  # bundles from before have none


def test_a_linear_head_knows_what_is_usual_and_cuts_what_is_not():
    head = LinearHead(3, 1, 1)
    torch.manual_seed(1)
    for _ in range(300):
        head(torch.randn(4, 3) * 2 + 5, torch.zeros(4, 1))
    assert head.middle.tolist() == pytest.approx([5, 5, 5], abs=0.6)
    assert head.spread.tolist() == pytest.approx([2, 2, 2], abs=0.5)
    head.eval()
    before = head.middle.clone()
    far = head.standardised(torch.full((1, 3), 1e6))
    assert float(far.max()) == pytest.approx(FAR / 3**0.5)
    head(torch.full((1, 3), 1e6), torch.zeros(1, 1))
    assert torch.equal(before, head.middle)


def test_heads_that_read_features_need_them():
    network = MultiTaskNet(SHAPE)
    with pytest.raises(ValueError, match="need them"):
        network.conclude(torch.zeros(1, network.bottleneck_channels, 2, 2, 2))
