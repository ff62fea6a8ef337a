from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.bold.bold import (
    BAND_HZ,
    Alteration,
    Bold,
    BoldSettings,
    band_limited,
    displacement_mm,
    draw_bold,
    draw_layout,
    draw_motion,
)
from bids_app.synthesis.fields import places, read, rotation
from bids_app.synthesis.heads.brains import draw_brain

SHAPE, SPACING = (32, 38, 32), 5.0
NONE = Alteration(alff=1.0, coherence=None, coupling=None)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def brain():
    return draw_brain("template", generator(1), SHAPE, SPACING)


def draw(brain, seed: int = 0, alteration: Alteration | None = None, **settings) -> Bold:
    how = BoldSettings(**{"frames": 90, "motion_mm": 0.0, "jerk": 0.0, **settings})
    return draw_bold(brain, SPACING, generator(seed), settings=how, alteration=alteration)


def in_band(run: Bold) -> torch.Tensor:
    """Frames as a share of their mean, filtered to the band, drift taken away; 0 outside grey matter."""
    grey = run.frames[run.parcels > 0]
    spectrum = torch.fft.rfft(grey / grey.mean(-1, keepdim=True) - 1)
    hertz = torch.fft.rfftfreq(grey.shape[-1], run.tr_s)
    filtered = torch.zeros_like(run.frames)
    filtered[run.parcels > 0] = torch.fft.irfft(
        spectrum * ((hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])), n=grey.shape[-1]
    )
    return filtered


def alff(filtered: torch.Tensor, mask: torch.Tensor) -> float:
    return float(filtered[mask].std(1).mean())


def kendall_w(filtered: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean over a region of Kendall's W among each voxel and its neighbours inside the region."""
    ranks = torch.full(filtered.shape, float("nan"))
    ranks[mask] = filtered[mask].argsort(1).argsort(1).float() + 1
    n, values = filtered.shape[-1], []
    for x, y, z in torch.nonzero(mask).tolist():
        near = ranks[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].reshape(-1, n)
        near = near[~near[:, 0].isnan()]
        if len(near) >= 8:
            total = near.sum(0)
            values.append(12 * float(((total - total.mean()) ** 2).sum()) / (len(near) ** 2 * (n**3 - n)))
    return sum(values) / len(values)


def connectivity(filtered: torch.Tensor, run: Bold) -> float:
    """Correlation of the region's mean with that of the rest of its network."""
    network = run.networks[int(run.latents["region_network"])] & ~run.region
    return float(torch.corrcoef(torch.stack([filtered[run.region].mean(0), filtered[network].mean(0)]))[0, 1])


def measures(run: Bold) -> tuple[float, float, float]:
    filtered = in_band(run)
    return alff(filtered, run.region), kendall_w(filtered, run.region), connectivity(filtered, run)


@pytest.fixture(scope="module")
def healthy(brain):
    return measures(draw(brain))


def test_a_louder_region_has_higher_alff_and_nothing_else(brain, healthy):
    found = measures(draw(brain, alteration=replace(NONE, alff=2.0)))
    assert found[0] > 1.5 * healthy[0]
    assert found[2] == pytest.approx(healthy[2], abs=0.1)


def test_a_silent_region_keeps_only_the_noise(brain, healthy):
    found = measures(draw(brain, alteration=replace(NONE, alff=0.0)))
    assert found[0] < 0.7 * healthy[0]


def test_a_coherent_region_has_higher_homogeneity_and_nothing_else(brain, healthy):
    found = measures(draw(brain, alteration=replace(NONE, coherence=0.95)))
    assert found[1] > healthy[1] + 0.1
    assert found[0] == pytest.approx(healthy[0], rel=0.25)
    assert found[2] == pytest.approx(healthy[2], abs=0.15)


def test_an_uncoupled_region_leaves_its_network_and_nothing_else(brain, healthy):
    found = measures(draw(brain, alteration=replace(NONE, coupling=0.0)))
    assert healthy[2] > 0.5
    assert found[2] < healthy[2] - 0.3
    assert found[0] == pytest.approx(healthy[0], rel=0.15)
    assert found[1] == pytest.approx(healthy[1], abs=0.06)


def test_where_nothing_was_altered_nothing_is_found(brain):
    healthy, altered = draw(brain, seed=5, frames=60), draw(brain, seed=5, alteration=NONE, frames=60)
    assert torch.equal(healthy.frames, altered.frames)
    assert not healthy.altered.any()
    assert torch.equal(healthy.region, altered.region)


def test_a_healthy_region_is_like_the_other_parcels(brain):
    """Over several people the region's ALFF lies among those of all parcels, and an altered one above."""
    ranks, altered = [], []
    for seed in range(3):
        for found, alteration in ((ranks, None), (altered, Alteration())):
            run = draw(brain, seed, alteration, frames=60)
            filtered = in_band(run)
            parcels = [alff(filtered, run.parcels == k) for k in run.parcels.unique().tolist() if k]
            own = alff(filtered, run.region)
            found.append(sum(value < own for value in parcels) / (len(parcels) - 1))
    assert 0.1 < sum(ranks) / 3 < 0.9
    assert min(altered) > 0.95


def test_changes_survive_motion(brain):
    moving = {"motion_mm": 0.3, "jerk": 0.02}
    healthy, altered = (measures(draw(brain, 2, change, **moving)) for change in (None, Alteration()))
    assert altered[0] > 1.2 * healthy[0]
    assert altered[1] > healthy[1] + 0.05
    assert altered[2] < healthy[2] - 0.2


def test_the_rest_of_the_brain_is_the_same_with_and_without_an_alteration(brain):
    healthy, altered = draw(brain, frames=50), draw(brain, alteration=Alteration(), frames=50)
    assert torch.equal(altered.altered, altered.region)
    assert torch.equal(healthy.parcels, altered.parcels)
    far = torch.nn.functional.max_pool3d(altered.region[None].float(), 9, 1, 4)[0] == 0
    assert torch.equal(healthy.frames[far], altered.frames[far])
    assert not torch.equal(healthy.frames[altered.region], altered.frames[altered.region])


def test_the_same_seed_gives_the_same_run_and_another_another(brain):
    how = {"frames": 50, "motion_mm": 0.3}
    first, again, other = (draw(brain, seed, **how) for seed in (7, 7, 8))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.motion, again.motion)
    assert not torch.equal(first.frames, other.frames)


@pytest.mark.parametrize("frames", [100, 151])
def test_courses_have_power_in_the_band_only(frames):
    courses = band_limited(5, frames, 2.0, generator(0))
    power = torch.fft.rfft(courses).abs() ** 2
    hertz = torch.fft.rfftfreq(frames, 2.0)
    outside = (hertz < BAND_HZ[0]) | (hertz > BAND_HZ[1])
    assert power[:, outside].sum() < 1e-8 * power.sum()
    assert courses.std(1, correction=0).tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    assert courses.mean(1).abs().max() < 1e-5


def test_networks_are_bilateral_parcels_that_do_not_overlap(brain):
    run = draw(brain, frames=50)
    assert run.networks.sum(0).max() == 1
    assert torch.equal(run.networks.any(0), run.parcels > 0)
    for network in run.networks:
        right, left = (float((network & side).sum()) for side in (brain.frame[..., 0] > 0, brain.frame[..., 0] < 0))
        assert 0.6 < right / left < 1.7
    assert (run.parcels > 0)[~brain.inside].sum() == 0
    assert run.latents["region_ml"] == pytest.approx(float(run.region.sum()) * SPACING**3 / 1000)
    assert run.latents["region_ml"] >= 3


def test_voxels_follow_the_course_of_their_network_more_than_another(brain):
    run = draw(brain, seed=3)
    filtered = in_band(run)
    means = torch.stack([filtered[network].mean(0) for network in run.networks])
    agreement = torch.corrcoef(torch.cat([means, run.courses]))[:5, 5:]
    assert agreement.argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_grey_matter_has_the_temporal_signal_to_noise_of_a_real_run(brain):
    run = draw(brain)
    grey = brain.tissue[1] > 0.8
    steady = run.frames[grey].mean(1) / run.frames[grey].std(1)
    assert 50 < float(steady.median()) < 130


def test_fluid_pulses_more_than_white_matter(brain):
    run = draw(brain, thermal=0.0, drift=0.0)
    spread = run.frames.std(-1) / run.frames.mean(-1)
    assert spread[brain.ventricle > 0.9].mean() > 2 * spread[brain.tissue[2] > 0.95].mean()


def test_head_lies_where_its_six_parameters_say(brain):
    quiet = dict.fromkeys(("thermal", "amplitude", "heartbeat", "breathing", "depth", "drift"), 0.0)
    run = draw(brain, **quiet, motion_mm=5.0, width_mm=10.0, frames=50)
    assert run.motion[0].abs().max() == 0
    last = int(run.motion[:, :3].norm(dim=1).argmax())
    turn, shift = rotation(run.motion[last, 3:]), run.motion[last, :3]
    assert shift.norm() > 3
    at, inner = places(SHAPE, SPACING), brain.tissue.sum(0) > 0.99
    taken_back, taken_further = (
        read(run.frames[..., last][None], where, SPACING)[0] for where in (at @ turn.T + shift, (at - shift) @ turn)
    )
    off = [
        float((image - run.frames[..., 0])[inner].abs().mean())
        for image in (taken_back, run.frames[..., last], taken_further)
    ]
    assert off[0] < 0.25 * off[1] < 0.25 * off[2]


def test_motion_strays_as_far_as_asked_and_jerks_when_asked():
    calm = torch.stack([draw_motion(BoldSettings(jerk=0.0, motion_mm=0.5), generator(s)) for s in range(60)])
    assert calm[:, -1, :3].std() == pytest.approx(0.5, rel=0.2)
    assert calm[:, -1, 3:].std() * 50 == pytest.approx(0.5, rel=0.2)
    jerky = draw_motion(BoldSettings(jerk=0.1, motion_mm=0.5), generator(0))
    assert displacement_mm(jerky).max() > 3 * displacement_mm(calm[0]).max()
    assert displacement_mm(torch.tensor([[0.0] * 6, [0.3, -0.4, 0, 0.01, 0, 0]])).tolist() == pytest.approx([0, 1.2])


@pytest.mark.parametrize(
    ("settings", "alteration", "says"),
    [
        ({"tr_s": 6.0}, None, "cannot show 0.1 Hz"),
        ({"tr_s": 0.0}, None, "cannot show"),
        ({"frames": 40}, None, "at least 100 s"),
        ({"networks": 30}, None, "cannot make 30 networks"),
        ({"networks": 0}, None, "cannot make 0 networks"),
        ({"coherence": 1.2}, None, "coherence is a share"),
        ({}, Alteration(coupling=-0.1), "altered coupling is a share"),
        ({}, Alteration(alff=-1.0), "must not be negative"),
        ({"parcels": 5000}, None, "too few"),
    ],
)
def test_settings_out_of_range_are_refused(brain, settings, alteration, says):
    with pytest.raises(UsageError, match=says):
        draw(brain, alteration=alteration, **settings)


def test_people_of_one_layout_share_parcels_and_networks(brain):
    other = draw_brain("template", generator(2), SHAPE, SPACING)
    layout = draw_layout(brain, generator(3))
    how = BoldSettings(frames=60, motion_mm=0.0, jerk=0.0)
    one, two = (draw_bold(b, SPACING, generator(4), settings=how, layout=layout) for b in (brain, other))
    both = (one.parcels > 0) & (two.parcels > 0)
    assert (one.parcels == two.parcels)[both].float().mean() > 0.6
    own = draw_bold(other, SPACING, generator(5), settings=how)
    assert (one.parcels == own.parcels)[both].float().mean() < 0.2
