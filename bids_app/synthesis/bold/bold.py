"""A simulated resting-state BOLD run: networks, breathing, heartbeat, drift, motion, and one region whose activity is
altered in known amounts.

Cortex and nuclei are cut into parcels, left and right alike; a network holds several of them. In a parcel each voxel
fluctuates between 0.01 and 0.1 Hz as

    amplitude * (coherence * (coupling * network + sqrt(1 - coupling²) * parcel) + sqrt(1 - coherence²) * voxel)

where ``network``, ``parcel`` and ``voxel`` are independent courses of unit spread. So amplitude alone decides ALFF,
coherence alone regional homogeneity, and coupling alone the correlation of a parcel's mean with its network, and a
region can be altered in each of them apart. Research use only: simulated people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from bids_app.errors import UsageError
from bids_app.synthesis.fields import normal, places, rotation, smooth_field, uniform
from bids_app.synthesis.heads.brains import Brain
from bids_app.synthesis.scanner import physics
from bids_app.synthesis.scanner.acquisition import Gain, Noise, Placed, PointSpread, acquire

#: Band of spontaneous activity, Hz. Zang 2007 (Brain Dev 29:83) for ALFF, up to 0.1 as in Biswal 1995 (Magn Reson Med
#: 34:537).
BAND_HZ = (0.01, 0.1)
#: T2* at 3 T, ms: grey and white matter Peters 2007 (Magn Reson Imaging 25:748); fluid a round number of ours.
T2_STAR_MS = {"fluid": 500.0, "grey": 66.0, "white": 53.0}
FIELD_TESLA, FLIP_DEG, ECHO_MS = 3.0, 75.0, 30.0
GAIN = 1000.0
#: A parcel smaller than this is never the region that is altered.
LEAST_REGION_ML = 3.0
#: Radius on which turns of the head are counted in mm of framewise displacement. Power 2012 (Neuroimage 59:2142).
HEAD_RADIUS_MM = 50.0
MOTION = ("right_mm", "anterior_mm", "superior_mm", "turn_x_rad", "turn_y_rad", "turn_z_rad")


@dataclass(frozen=True)
class BoldSettings:
    """How a run is. Spreads are shares of the local signal; round numbers of ours, which give grey matter a temporal
    signal-to-noise ratio of about 80, as usual at 3 T and 3 mm (Triantafyllou 2005, Neuroimage 26:243).

    Attributes:
        frames, tr_s: length of the run and time between frames; every frame is taken at one instant.
        parcels: in each hemisphere.
        networks: each is at least one parcel and its mirror image.
        amplitude: standard deviation of spontaneous activity in grey matter; a fifth of it in white matter.
        coherence: share of it, as standard deviation, that a parcel's voxels have in common.
        coupling: share of what a parcel has in common that comes from its network.
        heartbeat, breathing: amplitude of the pulsation in fluid; a quarter of it elsewhere.
        depth: standard deviation of slow changes that all grey matter shares, as when breathing deepens.
        thermal: standard deviation of the complex noise, relative to grey matter.
        drift: change over the run, standard deviation between places.
        motion_mm: how far the head strays over the run; turns are as large on a sphere of ``HEAD_RADIUS_MM``.
        jerk: chance of a sudden move at a frame.
        width_mm: full width at half maximum of the point spread.
    """

    frames: int = 150
    tr_s: float = 2.0
    parcels: int = 20
    networks: int = 5
    amplitude: float = 0.008
    coherence: float = 0.6
    coupling: float = 0.75
    heartbeat: float = 0.008
    breathing: float = 0.006
    depth: float = 0.001
    thermal: float = 0.006
    drift: float = 0.01
    motion_mm: float = 0.2
    jerk: float = 0.02
    width_mm: float = 3.0


@dataclass(frozen=True)
class Alteration:
    """What differs in the altered region: ``alff`` is a factor on the amplitude, the others take the place of the
    run's own ``coherence`` and ``coupling``; None leaves one as it is everywhere."""

    alff: float = 1.8
    coherence: float | None = 0.85
    coupling: float | None = 0.1


@dataclass(frozen=True)
class Bold:
    """A run with everything that is known of it.

    Attributes:
        frames: intensities, ``(x, y, z, t)``, float32.
        spacing: of the grid, mm.
        tr_s: time between frames.
        inside: where the brain is, ``(x, y, z)``.
        parcels: 0 outside grey matter, else 1 to twice the parcels of a hemisphere; right first, then their mirrors.
        networks: one mask per network, ``(network, x, y, z)``.
        region: the parcel that is altered, or would have been; the same with and without an alteration.
        altered: ``region`` where something was altered, else empty: the truth of a segmentation.
        courses: of the networks, unit spread, ``(network, t)``.
        motion: places of the still head go to ``turn @ place + shift``; ``(t, 6)``, as named in ``MOTION``, mm from the
            middle of the grid and radians about x, then y, then z. The first frame is at rest.
        latents: ``region_ml``, ``region_network``, ``alff``, ``coherence``, ``coupling`` of the region,
            ``displacement_mm`` (mean from frame to frame), ``heart_hz``, ``breath_hz``.
    """

    frames: torch.Tensor
    spacing: float
    tr_s: float
    inside: torch.Tensor
    parcels: torch.Tensor
    networks: torch.Tensor
    region: torch.Tensor
    altered: torch.Tensor
    courses: torch.Tensor
    motion: torch.Tensor
    latents: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """Parcels and networks that several people have in common.

    Attributes:
        middles: of the right hemisphere's parcels in `Brain.frame`, mm, ``(parcels, 3)``.
        belongs: network of every parcel, right, then left, ``(2 * parcels,)``.
    """

    middles: torch.Tensor
    belongs: torch.Tensor


def draw_layout(brain: Brain, generator: torch.Generator, settings: BoldSettings | None = None) -> Layout:
    """Parcels of one brain's grey matter, for `draw_bold` of any other brain of its family.

    Raises:
        UsageError: a brain too small for that many parcels.
    """
    how = settings or BoldSettings()
    _, folded = _folded(brain, how)
    middles = folded[torch.randperm(len(folded), generator=generator)[: how.parcels]]
    for _ in range(8):
        nearest = torch.cdist(folded, middles).argmin(1)
        totals = torch.zeros_like(middles).index_add_(0, nearest, folded)
        middles = totals / torch.bincount(nearest, minlength=how.parcels).clamp_min(1)[:, None]
    return Layout(middles, (torch.randperm(how.parcels, generator=generator) % how.networks).repeat(2))


def draw_bold(
    brain: Brain,
    spacing: float,
    generator: torch.Generator,
    *,
    settings: BoldSettings | None = None,
    alteration: Alteration | None = None,
    layout: Layout | None = None,
) -> Bold:
    """Draw a run of one participant.

    Args:
        brain: anatomy, on the grid of the run.
        spacing: of that grid, mm.
        generator: where the randomness comes from; an alteration uses none of it, so that the same seed with and
            without one gives the same run but for the region.
        settings: of the run.
        alteration: of one parcel, drawn at random; None for a healthy person.
        layout: parcels and networks that this person shares with others; None draws own ones.

    Raises:
        UsageError: settings out of range, or a brain too small for that many parcels.
    """
    how = settings or BoldSettings()
    _check(how, alteration)
    layout = layout or draw_layout(brain, generator, how)
    parcels, belongs = _parcellate(brain, how, layout), layout.belongs
    region = _choose_region(parcels, how, spacing, generator)
    courses = band_limited(how.networks, how.frames, how.tr_s, generator)
    own = band_limited(2 * how.parcels, how.frames, how.tr_s, generator)
    amplitude, coherence, coupling = _dials(how, region, alteration)
    common = coupling[:, None] * courses[belongs] + (1 - coupling**2).sqrt()[:, None] * own
    # parcel 0 is everything that belongs to none: no course in common
    everywhere = _padded(amplitude, how.amplitude)
    shared = torch.cat([torch.zeros(1, how.frames), coherence[:, None] * common]) * everywhere[:, None]
    alone = (1 - _padded(coherence, 0.0) ** 2).sqrt() * everywhere
    motion = draw_motion(how, generator)
    frames, rates = _scan(brain, spacing, how, parcels, shared, alone, motion, generator)
    mask, dials = parcels == region, (float(coherence[region - 1]), float(coupling[region - 1]))
    return Bold(
        frames,
        spacing,
        how.tr_s,
        brain.inside,
        parcels,
        torch.stack([torch.isin(parcels, 1 + torch.nonzero(belongs == k)[:, 0]) for k in range(how.networks)]),
        mask,
        mask & (alteration is not None),
        courses,
        motion,
        _latents(float(mask.sum()) * spacing**3 / 1000, int(belongs[region - 1]), alteration, dials, motion) | rates,
    )


def _latents(
    region_ml: float, network: int, alteration: Alteration | None, dials: Sequence[float], motion: torch.Tensor
) -> dict[str, float]:
    """What is known of a run; ``dials``: coherence and coupling of the region."""
    return {
        "region_ml": region_ml,
        "region_network": float(network),
        "alff": alteration.alff if alteration else 1.0,
        "coherence": round(dials[0], 6),
        "coupling": round(dials[1], 6),
        "displacement_mm": float(displacement_mm(motion).mean()),
    }


def _check(how: BoldSettings, alteration: Alteration | None) -> None:
    if not 0 < how.tr_s <= 0.5 / BAND_HZ[1]:
        raise UsageError(f"frames every {how.tr_s:g} s cannot show {BAND_HZ[1]:g} Hz; at most {0.5 / BAND_HZ[1]:g} s")
    if how.frames * how.tr_s < 1 / BAND_HZ[0]:
        raise UsageError(
            f"{how.frames} frames of {how.tr_s:g} s cannot show {BAND_HZ[0]:g} Hz; at least 100 s are needed"
        )
    if not 1 <= how.networks <= how.parcels:
        raise UsageError(f"{how.parcels} parcels a hemisphere cannot make {how.networks} networks")
    shares = {"coherence": how.coherence, "coupling": how.coupling}
    if alteration:
        shares |= {f"altered {name}": getattr(alteration, name) for name in shares}
        if alteration.alff < 0:
            raise UsageError(f"the factor on ALFF must not be negative: {alteration.alff:g}")
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"{name} is a share from 0 to 1; {share:g} was given")


def band_limited(count: int, frames: int, tr_s: float, generator: torch.Generator) -> torch.Tensor:
    """``count`` random courses of unit spread and zero mean, with power inside ``BAND_HZ`` only, ``(count, t)``."""
    spectrum = torch.fft.rfft(normal(generator, 1.0, (count, frames)))
    hertz = torch.fft.rfftfreq(frames, tr_s)
    courses = torch.fft.irfft(spectrum * ((hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])), n=frames)
    return courses / courses.std(1, correction=0, keepdim=True)


def _folded(brain: Brain, how: BoldSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Where grey matter is, ``(x, y, z)``, and the place of each of its voxels, the left side laid on the right."""
    grey = brain.inside & (brain.tissue[1] > 0.3)
    at = brain.frame[grey]
    if len(at) < 8 * how.parcels:
        raise UsageError(f"{len(at)} voxels of grey matter are too few for {how.parcels} parcels a hemisphere")
    return grey, torch.cat([at[:, :1].abs(), at[:, 1:]], 1)


def _parcellate(brain: Brain, how: BoldSettings, layout: Layout) -> torch.Tensor:
    """Parcels of grey matter, near places together: right, then left."""
    grey, folded = _folded(brain, how)
    parcels = torch.zeros(grey.shape, dtype=torch.long)
    nearest = torch.cdist(folded, layout.middles).argmin(1)
    parcels[grey] = 1 + nearest + how.parcels * (brain.frame[grey][:, 0] < 0)
    return parcels


def _choose_region(parcels: torch.Tensor, how: BoldSettings, spacing: float, generator: torch.Generator) -> int:
    sizes = torch.bincount(parcels.flatten(), minlength=2 * how.parcels + 1)[1:] * spacing**3 / 1000
    large = torch.nonzero(sizes >= min(LEAST_REGION_ML, float(sizes.max())))[:, 0]
    return 1 + int(large[torch.randint(len(large), (), generator=generator)])


def _dials(how: BoldSettings, region: int, alteration: Alteration | None) -> tuple[torch.Tensor, ...]:
    """Amplitude, coherence and coupling of every parcel."""
    amplitude, coherence, coupling = (
        torch.full((2 * how.parcels,), value) for value in (how.amplitude, how.coherence, how.coupling)
    )
    if alteration:
        amplitude[region - 1] *= alteration.alff
        if alteration.coherence is not None:
            coherence[region - 1] = alteration.coherence
        if alteration.coupling is not None:
            coupling[region - 1] = alteration.coupling
    return amplitude, coherence, coupling


def _padded(values: torch.Tensor, elsewhere: float) -> torch.Tensor:
    """Values of the parcels, with that of what belongs to none in front."""
    return torch.cat([values.new_tensor([elsewhere]), values])


def draw_motion(how: BoldSettings, generator: torch.Generator) -> torch.Tensor:
    """Shift and turn of the head at every frame: it strays, and now and then jerks. Shape ``(t, 6)``."""
    step = how.motion_mm / how.frames**0.5
    steps = normal(generator, step, (how.frames, 6))
    jerks = torch.rand(how.frames, 1, generator=generator) < how.jerk
    steps = steps + jerks * normal(generator, how.motion_mm, (how.frames, 6))
    path = steps.cumsum(0) - steps[:1]
    return torch.cat([path[:, :3], path[:, 3:] / HEAD_RADIUS_MM], 1)


def displacement_mm(motion: torch.Tensor) -> torch.Tensor:
    """Framewise displacement, Power 2012: sum of what the six parameters change; the first frame's is 0; ``(t,)``."""
    change = motion.diff(dim=0, prepend=motion[:1]).abs()
    return change[:, :3].sum(1) + HEAD_RADIUS_MM * change[:, 3:].sum(1)


def _baseline(brain: Brain, tr_s: float) -> torch.Tensor:
    """Gradient-echo signal without fluctuations, grey matter at 1. Spoiled steady state (Ernst 1966), T2* decay."""
    angle = torch.deg2rad(torch.tensor(FLIP_DEG))
    levels = []
    for name, tissue in physics.tissues(FIELD_TESLA).items():
        if name in T2_STAR_MS:
            kept = torch.exp(torch.tensor(-1000 * tr_s / tissue.t1_ms))
            steady = angle.sin() * (1 - kept) / (1 - angle.cos() * kept)
            levels.append(tissue.density * steady * torch.exp(torch.tensor(-ECHO_MS / T2_STAR_MS[name])))
    levels = torch.stack(levels) / levels[1]
    return torch.einsum("c,cxyz->xyz", levels, brain.tissue)


def _scan(
    brain: Brain,
    spacing: float,
    how: BoldSettings,
    parcels: torch.Tensor,
    shared: torch.Tensor,
    alone: torch.Tensor,
    motion: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Frame by frame: activity and pulsation on the still head, blur, motion, thermal noise."""
    active = brain.inside & (brain.tissue[1:].sum(0) > 0.1)
    own = band_limited(int(active.sum()), how.frames, how.tr_s, generator)
    activity = shared[parcels[active]] + alone[parcels[active]][:, None] * own
    activity *= (brain.tissue[1] + 0.2 * brain.tissue[2])[active][:, None]
    activity += brain.tissue[1][active][:, None] * how.depth * band_limited(1, how.frames, how.tr_s, generator)
    base, shape = _baseline(brain, how.tr_s), tuple(brain.inside.shape)
    pulsation = 0.25 + 0.75 * brain.tissue[0]
    heart, breath = float(uniform(generator, 0.9, 1.3)), float(uniform(generator, 0.2, 0.35))
    lag = smooth_field(generator, shape, 4, 1.0, 2)
    drift = smooth_field(generator, shape, 3, how.drift, 2)
    spread, at = PointSpread((how.width_mm / spacing,) * 3), places(shape, spacing)
    # the pulse is never quite regular: its phase strays
    phases = torch.tensor([heart, breath])[:, None] * how.tr_s * torch.arange(how.frames)
    phases = 2 * torch.pi * phases + normal(generator, 0.3, (2, how.frames)).cumsum(1)
    frames = torch.empty(*shape, how.frames)
    for frame in range(how.frames):
        change = torch.zeros(shape)
        change[active] = activity[:, frame]
        beats = how.heartbeat * torch.sin(phases[0, frame] + lag[0])
        breaths = how.breathing * torch.sin(phases[1, frame] + lag[1])
        when = frame / (how.frames - 1) - 0.5
        still = base * (1 + change + pulsation * (beats + breaths) + drift[0] * when + drift[1] * (when**2 - 1 / 12))
        turn, shift = rotation(motion[frame, 3:]), motion[frame, :3]
        # where the head stands still a voxel shows what the head brought there: turn.T @ (voxel - shift)
        moved = Placed((at - shift) @ turn, spacing)
        noise = Noise(how.thermal, tuple(normal(generator, 1.0, (2, *shape))))
        frames[..., frame] = acquire(still, [spread, moved, noise, Gain(GAIN)])
    return frames, {"heart_hz": heart, "breath_hz": breath}
