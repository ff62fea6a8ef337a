from __future__ import annotations

import pytest
import torch

from bids_app.errors import BundleError
from bids_app.networks.folding import fold, unfold
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape, build_network
from bids_app.networks.reading import amounts

SMALL = NetworkShape(sequences=1, classes=3, filters=4, blocks=(1, 1, 1), deep_supervision=2, fold=2)
HEADS = (HeadShape("outcome", "binary", 2), HeadShape("score", "continuous", 1))
BOTH = NetworkShape(sequences=2, classes=2, filters=4, blocks=(1, 1), heads=HEADS, covariates=1, dropout=0.0)


def test_folding_and_unfolding_is_where_it_began():
    x = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(unfold(fold(x, 2), 2), x)


def test_slices_fold_and_unfold_too():
    x = torch.randn(2, 3, 4, 6)
    assert fold(x, 2).shape == (2, 12, 2, 3)
    assert torch.equal(unfold(fold(x, 2), 2), x)


def test_folding_keeps_neighbours_together():
    x = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    assert fold(x, 2).flatten().tolist() == list(range(8))


def test_every_output_has_the_size_of_its_scale():
    network, x = MultiTaskNet(SMALL), torch.randn(1, 1, 16, 16, 16)
    assert [tuple(scale.shape) for scale in network(x).logits] == [(1, 3, 16, 16, 16), (1, 3, 8, 8, 8)]
    assert len(network.eval()(x).logits) == 1


def test_decoding_what_was_encoded_is_the_whole_network():
    network, x = MultiTaskNet(SMALL).eval(), torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(network.decode(network.encode(x))[0], network(x).logits[0])


@pytest.mark.parametrize("shape", [SMALL, BOTH], ids=["regions", "regions and targets"])
def test_a_network_is_rebuilt_from_its_description(shape):
    assert build_network(shape.to_plain()).shape == shape


def test_an_unknown_field_is_named():
    with pytest.raises(BundleError, match="width"):
        build_network({**SMALL.to_plain(), "width": 3})


def test_heads_answer_for_every_scan():
    answer = MultiTaskNet(BOTH)(torch.randn(3, 2, 8, 8, 8))
    assert {name: tuple(out.shape) for name, out in answer.targets.items()} == {"outcome": (3, 2), "score": (3, 1)}


def test_a_network_without_regions_has_no_decoder():
    network = MultiTaskNet(NetworkShape(2, 0, filters=4, blocks=(1, 1), heads=HEADS))
    assert network(torch.randn(1, 2, 8, 8, 8)).logits == []
    assert not list(network.unet.up_layers.parameters())


def test_a_slice_is_segmented_and_judged():
    network = MultiTaskNet(NetworkShape(1, 2, filters=4, blocks=(1, 1), dimensions=2, heads=HEADS)).eval()
    answer = network(torch.randn(2, 1, 16, 8))
    assert answer.logits[0].shape == (2, 2, 16, 8)
    assert answer.targets["outcome"].shape == (2, 2)


def test_an_unknown_covariate_is_not_taken_for_zero():
    network = MultiTaskNet(BOTH).eval()
    x = torch.randn(1, 2, 8, 8, 8)
    unknown, zero = (network(x, None, torch.tensor([[v]])).targets["outcome"] for v in (float("nan"), 0.0))
    assert not torch.allclose(unknown, zero)


def test_the_head_knows_which_sequences_are_there():
    network, x = MultiTaskNet(BOTH).eval(), torch.randn(1, 2, 8, 8, 8)
    both, one = (network(x, torch.tensor([flags])).targets["outcome"] for flags in ([1, 1], [1, 0]))
    assert not torch.allclose(both, one)


def test_the_target_teaches_the_encoder():
    network = MultiTaskNet(BOTH)
    network(torch.randn(2, 2, 8, 8, 8)).targets["outcome"].sum().backward()
    assert network.unet.encoder.conv_init.weight.grad.abs().sum() > 0


def test_a_head_reads_how_much_the_mask_holds_and_does_not_bend_it():
    torch.manual_seed(0)
    shape = NetworkShape(2, 2, filters=4, blocks=(1, 1), heads=HEADS, covariates=1, dropout=0.0, reads_regions=True)
    network, x = MultiTaskNet(shape), torch.randn(2, 2, 8, 8, 8)
    before = network(x).targets["outcome"]
    before.sum().backward()
    assert all(p.grad is None for p in network.unet.up_layers.parameters())
    with torch.no_grad():
        network.unet.up_layers[-1]["head"].bias += torch.tensor([0.0, 3.0])
    assert not torch.allclose(network(x).targets["outcome"], before)
    assert build_network(shape.to_plain()).shape == shape


def test_more_of_a_region_is_a_larger_amount():
    logits = torch.zeros(2, 2, 4, 4, 4)
    logits[:, 1] = -20
    logits[1, 1, :2] = 20
    none, half = amounts(logits)[:, 0].tolist()
    assert none < -5
    assert half > none + 10


def test_both_sides_of_a_structure_share_what_they_are():
    """Classes: background, left, right, middle. Left and right add up to what the structure has without its side."""
    network = MultiTaskNet(NetworkShape(1, 4, 4, (1, 1), 1, 2, sided=True, partners=(0, 2, 1, 3))).eval()
    assert network.shape.outputs == 4  # background, the pair, the middle, the side
    answers = torch.randn(1, 4, 2, 2, 2)
    found = network.sides(answers).softmax(1)
    what = answers[:, :3].softmax(1)
    torch.testing.assert_close(found[:, 1] + found[:, 2], what[:, 1])
    torch.testing.assert_close(found[:, 1] / (found[:, 1] + found[:, 2]), answers[:, 3].sigmoid())
    torch.testing.assert_close(found[:, 3], what[:, 2])
    x = torch.randn(1, 1, 8, 8, 8)
    full = network(x).logits[0]
    assert full.shape == (1, 4, 8, 8, 8)
    torch.testing.assert_close(network.logits_at(x, (1, 0, 1)), full[..., 1::2, ::2, 1::2])


def test_a_sided_network_sees_where_a_voxel_lies():
    network = MultiTaskNet(NetworkShape(1, 3, 4, (1, 1), 1, 2, sided=True, partners=(0, 2, 1))).eval()
    flat = network(torch.ones(1, 1, 16, 8, 8)).logits[0]
    assert not torch.allclose(flat[:, :, 4], flat[:, :, 11])
    plain = build_network(network.shape.to_plain())
    plain.load_state_dict(network.state_dict())


@pytest.mark.parametrize("by_region", [False, True])
def test_a_covariate_that_is_hidden_from_a_head_changes_that_head_s_answer_by_nothing(by_region):
    heads = (HeadShape("outcome", "binary", 2), HeadShape("score", "continuous", 1, hidden=(1,)))
    how = {"reads_features": by_region, "dropout": 0.0}
    network = MultiTaskNet(NetworkShape(2, 2, filters=4, blocks=(1, 1), heads=heads, covariates=2, **how)).eval()
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.normal_()
    x = torch.randn(1, 2, 8, 8, 8)
    one, other = (network(x, covariates=torch.tensor([[0.5, value]])).targets for value in (0.0, 3.0))
    assert not torch.allclose(one["outcome"], other["outcome"])
    assert torch.equal(one["score"], other["score"])
    moved = network(x, covariates=torch.tensor([[2.0, 3.0]])).targets
    assert not torch.allclose(one["score"], moved["score"])
    assert build_network(network.shape.to_plain()).shape == network.shape
