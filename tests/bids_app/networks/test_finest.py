"""A finest level of more channels: what it changes, and that a network which is widened answers as before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bids_app.lessons.lesson import DrawPlan
from bids_app.lessons.train import _as_wide, new_state, start_from
from bids_app.networks.finest import widened
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
from bids_app.recipes.recipe import load_recipe
from bids_app.train.memory import step_gb

SHAPE = NetworkShape(1, 4, 8, (1, 2, 1), 1, fold=2, sided=True, partners=(0, 2, 1, 3))


def answers(network, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(2, network.shape.sequences, *(16,) * network.shape.dimensions)
    with torch.inference_mode():
        return network.eval()(x).logits[0]


def trained(shape, seed=1):
    """A network with weights of no particular kind, in its normalisations too."""
    torch.manual_seed(seed)
    network = MultiTaskNet(shape)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_only_the_finest_level_has_more_channels():
    narrow, wide = MultiTaskNet(SHAPE), MultiTaskNet(replace(SHAPE, finest=3))
    assert wide.shape.widths == [24, 16, 32]
    assert narrow.shape.widths == [8, 16, 32]
    x = torch.randn(1, 1, 16, 16, 16)
    features = wide.encode(x)
    assert [level.shape[1] for level in features] == [24, 16, 32]
    assert [level.shape[1] for level in wide.ascend(features)] == [16, 24]
    assert wide(x).logits[0].shape == narrow(x).logits[0].shape == (1, 4, 16, 16, 16)
    own, other = ({name: tuple(value.shape) for name, value in net.state_dict().items()} for net in (wide, narrow))
    assert own.keys() == other.keys()
    changed = {name for name in own if own[name] != other[name]}
    assert all(
        name.startswith(("unet.encoder.conv_init", "unet.encoder.layers.0", "unet.up_layers.1")) for name in changed
    )
    assert wide.bottleneck_channels == 32


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("change", [{}, {"dimensions": 2}, {"sided": False, "partners": ()}, {"deep_supervision": 2}])
def test_a_widened_network_answers_as_before(change, times, monkeypatch):
    narrow = trained(replace(SHAPE, **change))
    wide = MultiTaskNet(replace(narrow.shape, finest=times))
    before = answers(narrow)
    monkeypatch.setattr("bids_app.networks.finest.APART", 0.0)
    wide.load_state_dict(widened(narrow.state_dict(), 3, times, narrow.shape.groups))
    torch.testing.assert_close(answers(wide), before, rtol=1e-4, atol=1e-4)


def test_copies_are_told_apart_a_little_so_that_they_learn_apart():
    narrow = trained(SHAPE)
    found = widened(narrow.state_dict(), 3, 2, narrow.shape.groups)
    first = found["unet.encoder.conv_init.weight"]
    own = narrow.state_dict()["unet.encoder.conv_init.weight"]
    pairs = first.reshape(8, 2, *first.shape[1:])  # a group has one channel, and its copies stand side by side
    torch.testing.assert_close(pairs.mean(1), own)
    assert (pairs[:, 0] - pairs[:, 1]).abs().min() > 0
    assert (pairs[:, 0] - own).std() < 0.2 * own.std()
    wide = MultiTaskNet(replace(SHAPE, finest=2))
    wide.load_state_dict(found)
    before, after = answers(narrow).softmax(1), answers(wide).softmax(1)
    assert float((before - after).abs().mean()) < 0.02


def test_heads_read_the_features_of_the_wider_level():
    shape = replace(SHAPE, heads=(HeadShape("age", "continuous", 1),), reads_features=True, sided=False, partners=())
    narrow, wide = (MultiTaskNet(replace(shape, finest=times)) for times in (1, 2))
    assert wide.shape.readings - narrow.shape.readings == 3 * 8
    assert wide(torch.randn(2, 1, 16, 16, 16)).targets["age"].shape == (2, 1)


def test_a_training_begins_with_the_weights_of_a_narrow_network():
    recipe = load_recipe("anatomy")
    network = recipe.network.model_copy(update={"filters": 8, "blocks": (1, 1)})
    narrow = new_state(recipe.model_copy(update={"network": network.model_copy(update={"finest": 1})}), DrawPlan(), 1)
    wide = new_state(recipe.model_copy(update={"network": network.model_copy(update={"finest": 2})}), DrawPlan(), 2)
    names = [[region.name for region in recipe.regions]] * 2
    assert start_from(wide, _as_wide(wide, narrow.network), names) == len(wide.network.state_dict())
    before, after = answers(narrow.network).softmax(1), answers(wide.network).softmax(1)
    assert float((before - after).abs().mean()) < 0.01
    deeper = new_state(
        recipe.model_copy(update={"network": network.model_copy(update={"blocks": (1, 2)})}), DrawPlan(), 3
    )
    assert _as_wide(wide, deeper.network).keys() == deeper.network.state_dict().keys()  # as it is: it differs in more


def test_a_wider_level_is_planned_with_more_memory():
    how = {"sequences": 1, "classes": 4, "filters": 8, "blocks": (1, 2, 1), "deep_supervision": 1, "fold": 2}
    narrow, wide = (step_gb((64, 64, 64), 2, **how, finest=times) for times in (1, 2))
    assert 1.05 * narrow < wide < 2 * narrow
