"""Resting-state maps against closed forms, and motion against a head that was moved by known amounts."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.imaging import functional
from bids_app.imaging.motion import Motion, angles_of, estimate_motion, realigned, turn_of

TR, FRAMES = 2.0, 200


def test_alff_of_a_sine_is_its_amplitude_over_the_bins_of_the_band():
    time = np.arange(FRAMES) * TR
    course = 3.0 * np.sin(2 * np.pi * 0.05 * time)[None]  # 0.05 Hz is bin 20
    alff, falff = functional.slow_amplitude(course, TR)
    frequency = np.fft.rfftfreq(FRAMES, TR)
    bins = ((frequency >= 0.01) & (frequency <= 0.1)).sum()
    assert alff[0] == pytest.approx(3.0 / bins)
    assert falff[0] == pytest.approx(1.0)
    outside = np.sin(2 * np.pi * 0.2 * time)[None]
    assert functional.slow_amplitude(course + outside, TR)[1][0] == pytest.approx(3 / 4)


def test_homogeneity_of_equal_and_of_independent_courses():
    mask = np.ones((7, 7, 7), bool)
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=FRAMES), (mask.sum(), 1))
    np.testing.assert_allclose(functional.homogeneity(same, mask), 1, atol=1e-5)
    apart = functional.homogeneity(rng.normal(size=(mask.sum(), FRAMES)), mask)
    assert apart[3, 3, 3] == pytest.approx(1 / 27, abs=0.01)
    assert apart.mean() > 1 / 27  # fewer neighbours at the edge


def test_homogeneity_is_kendalls_w():
    rng, mask = np.random.default_rng(1), np.ones((3, 3, 3), bool)
    series = rng.normal(size=(27, 30)) + rng.normal(size=30)
    ranks = series.argsort(1).argsort(1) + 1
    total = ranks.sum(0)
    w = 12 * ((total - total.mean()) ** 2).sum() / (27**2 * (30**3 - 30))
    assert functional.homogeneity(series, mask)[1, 1, 1] == pytest.approx(w, rel=1e-5)


def test_nuisance_and_filter_go_together():
    rng = np.random.default_rng(2)
    nuisance = rng.normal(size=(FRAMES, 3))
    series = rng.normal(size=(20, FRAMES)) + 5 * nuisance[:, 0]
    outside = functional.outside_band(FRAMES, TR)
    left = functional.without(series, np.concatenate([outside, nuisance], axis=1))
    assert np.abs(left @ nuisance).max() < 1e-8
    assert np.abs(left @ outside).max() < 1e-8
    one_by_one = functional.without(functional.without(series, nuisance), outside)
    assert np.abs(one_by_one @ nuisance).max() > 1  # what went out first is back


def test_motion_columns_are_as_many_as_volumes_allow():
    assert functional.motion_columns(np.zeros((200, 6)), 200).shape == (200, 24)
    assert functional.motion_columns(np.zeros((40, 6)), 40).shape == (40, 6)
    assert functional.motion_columns(np.zeros((20, 6)), 20).shape == (20, 0)


def test_settling_frames_are_counted():
    series = np.full((4, 4, 4, 60), 100.0) + np.random.default_rng(0).normal(size=(4, 4, 4, 60))
    assert functional.settling_frames(series) == 0
    series[..., 0] *= 1.6
    series[..., 1] *= 1.2
    assert functional.settling_frames(series) == 2


def test_slices_are_brought_to_one_time():
    time, times = np.arange(FRAMES) * TR, np.array([0.0, 0.5, 1.0, 1.5])
    wave = np.sin(2 * np.pi * 0.03 * (time[None] + times[:, None]))
    series = np.broadcast_to(wave, (2, 2, 4, FRAMES)) + 10
    found = functional.corrected_timing(series, times, TR)
    wanted = np.sin(2 * np.pi * 0.03 * (time + 1.0)) + 10
    np.testing.assert_allclose(found[0, 0, :, 10:-10], np.broadcast_to(wanted, (4, FRAMES))[:, 10:-10], atol=0.02)


def head(shape=(40, 44, 30)) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 0.7
    texture = gaussian_filter(rng.normal(size=shape), 2.5)
    return 100 * inside + 400 * texture * inside + 5, inside


def test_motion_is_found_within_a_tenth_of_a_millimetre_and_taken_out():
    image, inside = head()
    spacing, rng = np.array([3.0, 3.0, 4.0]), np.random.default_rng(1)
    truth = np.concatenate([rng.uniform(-1.5, 1.5, (8, 3)), np.radians(rng.uniform(-1.5, 1.5, (8, 3)))], axis=1)
    truth[0] = 0
    # a frame that shows the head moved: sampled where the inverse says
    back = []
    for row in truth:
        turn = turn_of(row[3:]).T
        back.append(np.concatenate([-turn @ row[:3], angles_of(turn)]))
    frames = realigned(np.repeat(image[..., None], 8, axis=3), spacing, Motion(np.array(back), np.ones(8, bool)))
    found = estimate_motion(frames, spacing, inside, image)
    assert found.converged.all()
    assert np.abs(found.parameters[:, :3] - truth[:, :3]).max() < 0.1
    assert np.degrees(np.abs(found.parameters[:, 3:] - truth[:, 3:]).max()) < 0.2
    still = realigned(frames, spacing, found)
    middle = tuple(slice(10, -10) for _ in range(3))
    before, after = (np.abs(part[middle] - image[middle][..., None]).mean() for part in (frames, still))
    assert after < 0.2 * before


def test_displacement_is_powers():
    rows = np.zeros((3, 6))
    rows[1] = [0.1, 0, -0.2, 0.001, 0, 0]
    np.testing.assert_allclose(Motion(rows, np.ones(3, bool)).displacement, [0, 0.35, 0.35])


def test_maps_find_the_altered_place():
    rng = np.random.default_rng(4)
    mask = np.zeros((14, 14, 14), bool)
    mask[2:12, 2:12, 2:12] = True
    time = np.arange(120) * TR
    wave = np.sin(2 * np.pi * 0.04 * time)
    series = 1000 + 5 * rng.normal(size=(*mask.shape, 120))
    series[4:7, 4:7, 4:7] += 15 * wave
    found = functional.maps_of(series, mask, TR, np.zeros((120, 0)))
    for values in (found.alff, found.falff, found.reho):
        assert values[5, 5, 5] > 1.5 * values[9, 9, 9]
        assert values[mask].mean() == pytest.approx(1, rel=1e-4)
        assert values[0, 0, 0] == 0
    assert found.tsnr[9, 9, 9] == pytest.approx(200, rel=0.2)
    assert functional.dvars(series, mask)[1:].mean() == pytest.approx(0.5 * np.sqrt(2), rel=0.2)


def test_amplitudes_are_those_of_nitimes_periodogram():
    """A cross-check of development: nitime is no dependency. Odd frames, for it halves the power of the last bin."""
    spectral = pytest.importorskip("nitime.algorithms.spectral")
    series = np.random.default_rng(5).normal(size=(6, 201))
    frequency, power = spectral.periodogram(series, Fs=1 / TR, normalize=True)
    amplitude = np.sqrt(2 * power / (TR * 201))
    inside = (frequency >= functional.BAND_HZ[0]) & (frequency <= functional.BAND_HZ[1])
    alff, falff = functional.slow_amplitude(series, TR)
    np.testing.assert_allclose(alff, amplitude[:, inside].mean(1), rtol=1e-12)
    np.testing.assert_allclose(falff, amplitude[:, inside].sum(1) / amplitude[:, 1:].sum(1), rtol=1e-12)
