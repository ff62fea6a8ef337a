"""A level at full size above a folded network."""

import pytest
import torch

from bids_app.networks.fine import FineLevel
from bids_app.networks.multitask import MultiTaskNet, NetworkShape, part_with_something

PLAIN = NetworkShape(1, 3, filters=4, blocks=(1, 1), deep_supervision=1, fold=2)
FINE = NetworkShape(1, 3, filters=4, blocks=(1, 1), deep_supervision=1, fold=2, fine=4)
SIDED = NetworkShape(1, 4, 4, (1, 1), 1, 2, sided=True, partners=(0, 2, 1, 3), fine=4)


def given_weights(shape: NetworkShape, seed: int = 0) -> MultiTaskNet:
    """A network whose fine level adds something."""
    torch.manual_seed(seed)
    network = MultiTaskNet(shape)
    torch.nn.init.normal_(network.fine.head.weight, std=1.0)
    return network.eval()


def test_a_new_level_leaves_a_trained_network_what_it_was():
    torch.manual_seed(0)
    plain, fine = MultiTaskNet(PLAIN).eval(), MultiTaskNet(FINE).eval()
    lacking = fine.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("fine.") for name in lacking.missing_keys)
    x = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(fine(x).logits[0], plain(x).logits[0])


@pytest.mark.parametrize("shape", [FINE, SIDED])
def test_answer_of_the_level_is_added_and_logits_at_sees_it(shape):
    network, x = given_weights(shape), torch.randn(1, 1, 8, 8, 8)
    whole = network(x).logits[0]
    raw = network.answers_of(network.ascend(network.encode(x)))[0]
    assert (whole - network.sides(raw)).abs().max() > 0.01
    torch.testing.assert_close(network.logits_at(x, (1, 0, 1), 2), whole[..., 1::2, ::2, 1::2])


def test_a_folded_network_cannot_place_a_border_inside_a_block_and_the_level_can():
    """Borders at random places: what a folded network of one feature says of eight voxels is less than they hold."""
    torch.manual_seed(0)
    level = FineLevel(1, 2, 8)
    optimiser = torch.optim.Adam(level.parameters(), 2e-2)
    for _ in range(80):
        truth = (torch.rand(1, 8, 8, 8) > 0.5).long()
        image = truth[:, None].float() + 0.1 * torch.randn(1, 1, 8, 8, 8)
        loss = torch.nn.functional.cross_entropy(level(image, torch.zeros(1, 2, 8, 8, 8)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def test_outside_training_air_far_from_everything_is_left_alone():
    network = given_weights(FINE)
    answer = torch.zeros(1, 3, 24, 24, 24)
    answer[:, 0] = 20.0
    answer[:, :, 10:14, 10:14, 10:14] = 0.0
    x = torch.randn(1, 1, 24, 24, 24)
    found = network.refined(x, answer)
    assert torch.equal(found[:, :, :6], answer[:, :, :6])
    torch.testing.assert_close(found[:, :, 9:15, 9:15, 9:15], network.fine(x, answer)[:, :, 9:15, 9:15, 9:15])
    network.train()
    assert not torch.equal(network.refined(x, answer)[:, :, :6], answer[:, :, :6])


def test_part_with_something_of_two_dimensions_of_nothing_and_of_one_channel():
    what = torch.zeros(2, 3, 20, 30)
    what[:, 0] = 9
    assert part_with_something(what)[2:] == (slice(0, 5), slice(0, 5))
    what[1, 1, 7, 12] = 8
    assert part_with_something(what)[2:] == (slice(3, 12), slice(8, 17))
    assert part_with_something(what[:, :1]) == (slice(None),) * 4


def test_gradient_of_the_whole_answer_reaches_both_parts():
    network = given_weights(FINE).train()
    network(torch.randn(1, 1, 8, 8, 8)).logits[0].square().mean().backward()
    assert network.fine.look.weight.grad.abs().sum() > 0
    assert network.unet.encoder.conv_init.weight.grad.abs().sum() > 0
