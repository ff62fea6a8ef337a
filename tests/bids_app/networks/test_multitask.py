import pytest
import torch

from bids_app.errors import BundleError
from bids_app.networks.multitask import MultiTaskNet, NetworkShape, build_network, fold, unfold

SMALL = NetworkShape(sequences=2, classes=3, filters=8, blocks=(1, 1, 1), deep_supervision=2, fold=2)


def test_unfolding_undoes_folding():
    x = torch.rand(2, 3, 4, 6, 8)
    assert torch.equal(unfold(fold(x, 2), 2), x)


def test_training_gives_logits_at_every_supervised_scale():
    logits = MultiTaskNet(SMALL)(torch.rand(1, 2, 16, 16, 16))
    assert [tuple(scale.shape) for scale in logits] == [(1, 3, 16, 16, 16), (1, 3, 8, 8, 8)]


def test_evaluation_gives_the_full_size_alone():
    assert len(MultiTaskNet(SMALL).eval()(torch.rand(1, 2, 16, 16, 16))) == 1


def test_bottleneck_is_open():
    network = MultiTaskNet(SMALL)
    features = network.encode(torch.rand(1, 2, 16, 16, 16))
    assert features[-1].shape == (1, network.bottleneck_channels, 2, 2, 2)


def test_decoding_what_was_encoded_is_the_whole_network():
    network, x = MultiTaskNet(SMALL).eval(), torch.rand(1, 2, 16, 16, 16)
    torch.testing.assert_close(network.decode(network.encode(x))[0], network(x)[0])


def test_network_json_brings_the_same_network_back():
    assert build_network(SMALL.to_plain()).shape == SMALL


def test_unknown_field_in_network_json_is_an_error():
    with pytest.raises(BundleError, match="width"):
        build_network({**SMALL.to_plain(), "width": 3})
