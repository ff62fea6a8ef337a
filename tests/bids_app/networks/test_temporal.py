"""Frames of a series: one encoder for all, units over time, windows that vote."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape, build_network
from bids_app.networks.standardise import normalise
from bids_app.networks.temporal import DILATIONS, TAPS, TemporalUnit, as_frames, in_windows, picture, vote

FRAMES = 6
SHAPE = NetworkShape(
    2, 2, 4, (1, 1), 1, heads=(HeadShape("d", "binary", 2),), covariates=1, reads_features=True, gradient="all",
    frames=FRAMES, cells=2,
)  # fmt: skip


def network(**changes) -> MultiTaskNet:
    torch.manual_seed(1)
    made = MultiTaskNet(dataclasses.replace(SHAPE, **changes)).eval()
    for head in made.heads.values():  # a linear head begins with zeros
        if changes.get("reads_features", True):
            torch.nn.init.normal_(head.image.weight)
    return made


def series(windows: int = 1, n: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 1 + windows * FRAMES, 8, 8, 8, generator=generator)


def test_a_window_gives_one_mask_and_one_answer():
    made = network().train()
    answer = made(series(n=2))
    assert answer.logits[0].shape == (2, 2, 8, 8, 8)
    assert answer.targets["d"].shape == (2, 2)
    assert answer.bottleneck.shape == (2, made.bottleneck_channels, 4, 4, 4)


def test_both_tasks_teach_encoder_and_temporal_units():
    made = network().train()
    for loss in ("mask", "target"):
        made.zero_grad()
        answer = made(series())
        (answer.logits[0][:, 1].square().mean() if loss == "mask" else answer.targets["d"][0, 0]).backward()
        for unit in (made.temporal[0], made.temporal[1]):
            assert all(float(step.weight.grad.abs().sum()) > 0 for step in unit.steps)
        assert float(made.unet.encoder.conv_init.weight.grad.abs().sum()) > 0


def test_every_frame_goes_through_the_encoder_with_the_still_picture():
    x = series(n=2)
    frames = as_frames(x, 1)
    assert frames.shape == (2 * FRAMES, 2, 8, 8, 8)
    assert torch.equal(frames[FRAMES + 3], torch.stack([x[1, 0], x[1, 1 + 3]]))


def test_the_order_of_frames_matters():
    """A mean and a spread alone would not see it."""
    made, x = network(), series()
    order = [0, *(1 + k for k in (3, 0, 5, 1, 4, 2))]
    with torch.inference_mode():
        one, other = made(x), made(x[:, order])
    assert float((one.logits[0] - other.logits[0]).abs().max()) > 1e-3
    assert float((one.targets["d"] - other.targets["d"]).abs().max()) > 1e-5


def test_a_frame_sees_the_fourteen_before_it_and_none_after_it():
    torch.manual_seed(1)
    unit, reach = TemporalUnit(2), (TAPS - 1) * sum(DILATIONS)
    x = torch.randn(reach + 6, 2, 1, 1, 1)
    changed = x.clone()
    changed[3] += 5
    with torch.inference_mode():
        away = (unit.courses(x, len(x)) - unit.courses(changed, len(x))).abs().amax((0, 1, 3))
    assert reach == 14
    assert float(away[:3].max()) == 0
    assert float(away[3 : 3 + reach + 1].min()) > 0
    assert float(away[3 + reach + 1 :].max()) == 0


def test_windows_vote_with_the_mean_of_their_probabilities():
    made, x = network(), series(windows=3)
    with torch.inference_mode():
        whole = made(x)
        parts = [made(window) for window in in_windows(x, 1, FRAMES)]
    mean = torch.stack([part.logits[0].softmax(1) for part in parts]).mean(0)
    torch.testing.assert_close(whole.logits[0].softmax(1), mean)
    # the head is linear in what it reads, so that the mean of readings is the mean of answers
    torch.testing.assert_close(whole.targets["d"], torch.stack([part.targets["d"] for part in parts]).mean(0))


def test_a_vote_does_not_depend_on_the_order_of_windows_nor_on_one_said_twice():
    made, x = network(), series(windows=2)
    first, second = x[:, 1 : 1 + FRAMES], x[:, 1 + FRAMES :]
    with torch.inference_mode():
        one = made(x)
        for other in ([second, first], [first, second, first, second]):
            said = made(torch.cat([x[:, :1], *other], 1))
            torch.testing.assert_close(said.logits[0], one.logits[0])
            torch.testing.assert_close(said.targets["d"], one.targets["d"])


def test_a_bottleneck_head_answers_from_all_windows():
    made, x = network(reads_features=False, reads_regions=True), series(windows=2)
    with torch.inference_mode():
        assert made(x).targets["d"].shape == (1, 2)
        assert not torch.allclose(made(x).targets["d"], made(x[:, : 1 + FRAMES]).targets["d"])


def test_a_part_of_a_window_is_refused():
    with pytest.raises(ValueError, match="7 frames are no whole number of windows of 6"):
        network()(torch.zeros(1, 8, 8, 8, 8))


def test_brightness_of_a_series_is_its_spread():
    x = series()
    x[:, 1:] *= 3
    torch.testing.assert_close(picture(x, 1)[:, 1], x[:, 1:].std(1, correction=0))
    assert torch.equal(picture(x, 1)[:, 0], x[:, 0])


def test_a_vote_keeps_certainty_finite():
    sure = torch.tensor([[[80.0], [-80.0]]])
    assert torch.isfinite(vote([sure, sure])).all()


def test_the_network_comes_back_from_its_own_description():
    made = network()
    again = build_network(made.shape.to_plain())
    again.load_state_dict(made.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.eval()(series()).logits[0], made(series()).logits[0])


def test_frames_of_a_series_are_normalised_together():
    x = series()[0]
    x[3] *= 4
    done = normalise(x, [{"kind": "scan"}, {"kind": "scan"}], series=True)
    assert done.shape == x.shape
    assert float(done[1:].std(correction=0)) == pytest.approx(1, abs=0.05)
    assert float(done[3].std()) > 2 * float(done[2].std())
    known = normalise(x, [{"kind": "scan"}, {"kind": "cohort", "mean": 0.0, "sd": 2.0}], series=True)
    torch.testing.assert_close(known[1:], (x[1:] / 2).clamp(-5, 5))
