"""Trace image and ADC from phantoms whose diffusivity is known, units, and pairs that are none."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.diffusion import adc_unit, check_pair, read_scheme, to_common_unit, trace_and_adc

SHAPE = (12, 11, 10)
AXES = np.eye(3)


def tensors(rng) -> tuple[np.ndarray, np.ndarray]:
    """S0 and a diffusion tensor per voxel, 1e-3 mm²/s, with axes turned at random."""
    values = rng.uniform(0.3, 3.0, (*SHAPE, 3))
    turn = np.linalg.qr(rng.normal(size=(*SHAPE, 3, 3)))[0]
    return rng.uniform(200, 900, SHAPE), np.einsum("...ij,...j,...kj->...ik", turn, values, turn)


def signal(s0, tensor, b, axis):
    return s0 * np.exp(-b * 1e-3 * np.einsum("i,...ij,j->...", axis, tensor, axis))


def series(bvalues, directions, seed=0):
    s0, tensor = tensors(np.random.default_rng(seed))
    volumes = [signal(s0, tensor, b, axis) for b, axis in zip(bvalues, directions, strict=True)]
    return np.stack(volumes, -1), s0, np.trace(tensor, axis1=-2, axis2=-1) / 3


def test_three_orthogonal_directions_give_the_mean_diffusivity_exactly():
    directions = np.vstack([np.zeros(3), AXES])
    volumes, s0, mean = series([0, 1000, 1000, 1000], directions)
    found = trace_and_adc(volumes, [0, 1000, 1000, 1000], directions)
    np.testing.assert_allclose(found.adc, mean, rtol=1e-5)
    np.testing.assert_allclose(found.trace, s0 * np.exp(-mean), rtol=1e-5)
    assert found.warnings == ()
    assert found.facts["shells"] == [{"b": 1000.0, "volumes": 3, "directions": 3}]


def test_several_shells_lie_on_one_line_and_the_highest_gives_the_trace():
    bvalues = [5, 0, *[495, 500, 505], *[1000, 995, 1005]]
    volumes, _, mean = series([0, 0, *[500] * 3, *[1000] * 3], np.vstack([np.zeros((2, 3)), AXES, AXES]))
    found = trace_and_adc(volumes, bvalues)
    assert (found.facts["unweighted"], [s["b"] for s in found.facts["shells"]]) == (2, [500.0, 1000.0])
    assert found.facts["trace_b"] == 1000.0
    np.testing.assert_allclose(found.adc, mean, rtol=0.005)  # the b of 5 is read as the b of 2.5 that it is on average


def test_two_points_are_the_formula_of_the_textbook():
    volumes, *_ = series([0, 1000], [np.zeros(3), AXES[0]])
    found = trace_and_adc(volumes, [0, 1000])
    np.testing.assert_allclose(found.adc, np.log(volumes[..., 0] / volumes[..., 1]), rtol=1e-5)
    np.testing.assert_allclose(found.trace, volumes[..., 1], rtol=1e-6)
    assert "taken to be trace-weighted" in found.warnings[0]


def test_kurtosis_does_not_bend_the_line():
    """ln S = -bD + (bD)² K/6: shells above 1500 are not looked at."""
    d, k, b = 0.9e-3, 1.0, np.array([0, 300, 2000, 3000])
    volumes = np.broadcast_to(500 * np.exp(-b * d + (b * d) ** 2 * k / 6), (*SHAPE, 4))
    found = trace_and_adc(volumes, b)
    assert found.facts["left_out_b"] == [2000.0, 3000.0]
    assert found.facts["trace_b"] == 300.0
    np.testing.assert_allclose(found.adc, 1e3 * d - (300 * d) ** 2 * k / 6 / 0.3, rtol=1e-5)


def test_repeats_of_one_direction_are_averaged_plainly_and_it_is_said():
    volumes = np.stack([np.full(SHAPE, v) for v in (800.0, 300.0, 500.0)], -1)
    found = trace_and_adc(volumes, [0, 1000, 1000], np.array([[0, 0, 0], [0, 0, 1], [0, 0, -1]]))
    np.testing.assert_allclose(found.trace, 400, rtol=1e-6)
    assert "along 1 direction only" in found.warnings[0]
    without = trace_and_adc(volumes, [0, 1000, 1000])
    np.testing.assert_allclose(without.trace, np.sqrt(300 * 500), rtol=1e-6)


def test_no_signal_no_diffusion():
    volumes, *_ = series([0, 1000], [np.zeros(3), AXES[0]])
    volumes[0, 0, 0, 0] = volumes[1, 0, 0, 1] = 0
    volumes[2, 0, 0] = [100, 200]  # brighter with weighting: noise
    found = trace_and_adc(volumes, [0, 1000])
    assert found.adc[0, 0, 0] == found.adc[1, 0, 0] == found.trace[0, 0, 0] == found.trace[1, 0, 0] == 0
    assert found.adc[2, 0, 0] == 0 < found.trace[2, 0, 0]
    assert np.isfinite(found.adc).all()


@pytest.mark.parametrize(
    ("bvalues", "why"),
    [
        ([1000, 1000], "no volume without diffusion weighting"),
        ([0, 0], "no volume with a b-value between 50 and 1500"),
        ([0, 2000], "no volume with a b-value between 50 and 1500"),
        ([0, -1], "numbers from 0 up"),
        ([0, np.nan], "numbers from 0 up"),
    ],
)
def test_series_that_nothing_can_be_made_of(bvalues, why):
    with pytest.raises(ImageError, match=why):
        read_scheme(bvalues)


def test_b_values_and_volumes_must_fit():
    with pytest.raises(ImageError, match="3 b-values do not fit"):
        trace_and_adc(np.ones((*SHAPE, 2)), [0, 1000, 1000])


def brain(side: int = 40):
    """ln-like trace and ADC of a ball (mm = voxels) with fluid in its middle; and noise around it where asked."""
    at = np.stack(np.meshgrid(*[np.arange(side) - side / 2 + 0.5] * 3, indexing="ij"))
    radius = np.linalg.norm(at * [[[[1]]], [[[1.3]]], [[[1.6]]]], axis=0)
    noise = np.random.default_rng(1).normal(0, 0.05, radius.shape)
    adc = np.where(radius < 0.45 * side, np.where(np.abs(radius - 6) < 3, 3.0, 0.8) + noise, 0)
    return np.where(adc > 0, 900 * np.exp(-adc), 0), adc


@pytest.mark.parametrize(("unit", "scale"), [("1e-3 mm2/s", 1), ("1e-6 mm2/s", 1e3), ("mm2/s", 1e-3)])
def test_a_map_of_any_unit_comes_out_in_one(unit, scale):
    _, adc = brain()
    stored = adc * scale if scale < 1000 else np.rint(adc * scale).astype(np.int16)
    made, found = to_common_unit(stored)
    assert found.name == unit
    assert found.median == pytest.approx(0.8, abs=0.02)
    np.testing.assert_allclose(made, adc, atol=1e-3)
    assert made.dtype == np.float32
    assert found.warnings == ()


def test_noise_around_a_head_does_not_change_the_unit():
    _, adc = brain()
    noise = np.abs(np.random.default_rng(0).normal(0, 4, adc.shape))
    assert adc_unit(np.where(adc > 0, adc, noise)).name == "1e-3 mm2/s"


def test_an_unusual_brain_is_said_and_no_brain_refused():
    _, adc = brain()
    assert "adults have 0.6 to 1.1" in adc_unit(adc * 1.4).warnings[0]
    for wrong in (adc * 40, -adc, np.zeros_like(adc), adc * 1e-5):
        with pytest.raises(ImageError, match="no unit makes it an ADC map"):
            adc_unit(wrong)


def test_a_pair_on_two_grids_is_a_pair():
    trace, adc = brain()
    affine = np.diag([2.0, 2, 2, 1])
    facts, told = check_pair(trace, np.eye(4) @ affine, adc[::-1], affine @ np.diag([-1.0, 1, 1, 1]) + _shift(78))
    assert facts["covered"] == 1
    assert facts["correlation"] < -0.9
    assert told == []
    coarse = adc[::2, ::2, ::2]
    facts, _ = check_pair(trace, affine, coarse, np.diag([4.0, 4, 4, 1]))
    assert facts["covered"] > 0.95
    assert facts["grids_apart_mm"] > 100


def _shift(mm: float) -> np.ndarray:
    return np.array([[0, 0, 0, mm], [0] * 4, [0] * 4, [0] * 4], dtype=float)


def test_a_map_that_lost_its_position_or_is_another_brain_is_refused():
    trace, adc = brain()
    with pytest.raises(ImageError, match=r"covers \d+ % of the brain"):
        check_pair(trace, np.eye(4), adc, np.eye(4) + _shift(12))
    with pytest.raises(ImageError, match="fluid in the trace image is no fluid"):
        check_pair(trace, np.eye(4), np.where(adc > 0, 3.4 - adc, 0), np.eye(4))


def test_a_stripped_map_of_a_whole_head_is_a_pair():
    trace, adc = brain()
    head = np.where(trace > 0, trace, 0)
    head[:, :6] = 300  # scalp, bright here and cut out of the map
    facts, _ = check_pair(head, np.eye(4), adc, np.eye(4))
    assert facts["covered"] > 0.95
