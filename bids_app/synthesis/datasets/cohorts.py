"""Phantom cohorts with a dial between lesion and target, to prove multi-task and multi-sequence learning on.

Brains are skull-stripped, on a grid small enough to train on a CPU in minutes. Lesions look in each sequence as they
do in real multiple sclerosis (see `bids_app.synthesis.pathology.lesions`); beside them lie
things that one sequence mistakes for lesions and the others don't. How much the target depends on the lesions is set by
a dial from 0 (not) to 1 (wholly).
Research use only: simulated people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from bids_app.errors import UsageError
from bids_app.scans.scan import Scan
from bids_app.synthesis.heads.brains import Brain, draw_brain
from bids_app.synthesis.pathology.lesions import Sizes, draw_blobs, draw_count, paint, place_weight
from bids_app.synthesis.scanner import physics, signal
from bids_app.synthesis.scanner.contrast import SIGMA_PER_FWHM, blur, chance, normal, smooth_field, uniform

SEQUENCES = signal.SEQUENCES
TISSUES = ("fluid", "grey", "white")
LEVELS = ("good", "poor")
SITES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHAPE, SPACING_MM = (48, 56, 48), 3.5

#: Added to each lesion volume before its logarithm is taken, ml: about two voxels, so that none is not minus infinity.
FLOOR_ML = 0.1
GAIN = 700.0


@dataclass(frozen=True)
class GeneratorSettings:
    """How participants and scanners of a cohort are. Brightness is relative to white matter.

    Attributes:
        name: for the record.
        field_tesla: 3.0 or 1.5; decides relaxation times.
        sizes: of the lesions.
        lesion: what a lesion adds to white matter in T1w, T2w and FLAIR; set so that `contrast_of` is as on real
            lesions, with either anatomy's own settings.
        lesion_spread: standard deviation of it between lesions.
        relaxation_jitter: standard deviation of the logarithm of T1, T2 and density between participants.
        texture: standard deviation of brightness inside a tissue, over about a centimetre, in T1w, T2w and FLAIR.
        noise: standard deviation of the complex noise.
        bias: standard deviation of the logarithm of the coil's field at its nodes.
        width_mm: full width at half maximum of the point spread in the slice.
        slice_mm: thinnest and thickest slice of T2w and FLAIR; a T1w is as sharp along as across.
        confounders: mean number of each kind of thing that one sequence mistakes for a lesion.
        cap: brightest rim of the ventricles on FLAIR that is no lesion.
    """

    name: str
    field_tesla: float = 3.0
    sizes: Sizes = field(default_factory=Sizes)
    lesion: tuple[float, float, float] = (-0.245, 0.73, 0.325)
    lesion_spread: tuple[float, float, float] = (0.05, 0.2, 0.1)
    relaxation_jitter: float = 0.03
    texture: tuple[float, float, float] = (0.02, 0.06, 0.05)
    noise: float = 0.03
    bias: float = 0.08
    width_mm: float = 3.0
    slice_mm: tuple[float, float] = (3.0, 3.0)
    confounders: float = 4.0
    cap: float = 0.6


TRAIN = GeneratorSettings("train")
TEST = GeneratorSettings(
    "test",
    field_tesla=1.5,
    sizes=Sizes(3, 18, 0.7, 0.7),
    lesion=(-0.26, 0.72, 0.47),
    relaxation_jitter=0.05,
    noise=0.045,
    bias=0.12,
    width_mm=3.5,
    slice_mm=(4.0, 5.0),
    cap=0.3,
)


@dataclass(frozen=True)
class Drawn:
    """A cohort with everything that is known of it.

    Attributes:
        scans: one per participant; targets are `outcome` (position in `LEVELS`) and `score`.
        sequences: names, in the order of the stacks.
        latents: ``participant``, ``age``, ``sex``, ``site``, ``lesions``, ``lesion_ml``, ``territory_ml``,
            ``burden`` (what the target depends on), ``latent`` (what it is cut from), ``outcome``, ``score``; arrays.
        how: the arguments, for the record.
    """

    scans: list[Scan]
    sequences: tuple[str, ...]
    latents: dict[str, np.ndarray]
    how: dict[str, object]


def draw_cohort(
    n: int,
    *,
    seed: int,
    anatomy: str = "template",
    generator: GeneratorSettings = TRAIN,
    dial: float = 1.0,
    truth: Literal["anterior", "left", "total"] = "anterior",
    sequences: Sequence[str] = SEQUENCES,
    sites: int = 1,
    confounded: bool = False,
    shape: Sequence[int] = SHAPE,
    spacing: float = SPACING_MM,
    prefix: str = "",
) -> Drawn:
    """Draw participants with lesions, and a target that depends on them as the dial says.

    The target's latent variable is ``dial * f + sqrt(1 - dial**2) * noise``, with ``f`` a standardised function of the
    lesions; ``outcome`` is whether it is above the cohort's median, ``score`` is ``50 + 10 * latent``.

    Args:
        n: participants.
        seed: of everything; the images of participant i depend on it and on i, not on ``n`` or the dial.
        anatomy: ``template`` or ``procedural``.
        generator: participants and scanners.
        dial: 0, unrelated, to 1, determined.
        truth: what the target depends on: logarithm of the lesion volume in the anterior half (or the left one) over
            that in the rest, so that lesions and their place must be found; or logarithm of the whole volume.
        sequences: of ``T1w``, ``T2w``, ``FLAIR``; each is the same whichever others there are.
        sites: scanners, which differ a little in contrast and noise.
        confounded: site and age bear on the target too.
        shape, spacing: of the grid, voxels and mm. 168 x 196 x 168 mm hold every brain.
        prefix: of the participants' labels, so that two cohorts can be told apart.

    Raises:
        UsageError: an argument out of range.
    """
    sequences = tuple(sequences)
    _check(n, dial, truth, sequences, sites, spacing, seed)
    width = max(3, len(str(n)))
    made = [
        _draw_scan(
            seed, index, f"{prefix}{index + 1:0{width}d}", anatomy, generator, truth, sequences, sites, shape, spacing
        )
        for index in range(n)
    ]
    facts = {name: np.array([fact[name] for _, fact in made]) for name in made[0][1]}
    own = np.array([fact["chance"] for _, fact in made])
    latent = dial * _standard(facts["burden"]) + np.sqrt(1 - dial**2) * own
    if confounded:
        latent = latent + _standard(facts["site"] == SITES[0]) + _standard(facts["age"])
    outcome = (latent > np.median(latent)).astype(float)
    score = 50 + 10 * latent
    scans = [
        replace(scan, targets=np.array([poor, value]))
        for (scan, _), poor, value in zip(made, outcome, score, strict=True)
    ]
    del facts["chance"]
    how = {
        "n": n,
        "seed": seed,
        "anatomy": anatomy,
        "generator": generator.name,
        "dial": dial,
        "truth": truth,
        "sites": sites,
        "confounded": confounded,
        "shape": tuple(shape),
        "spacing": spacing,
    }
    return Drawn(scans, sequences, {**facts, "latent": latent, "outcome": outcome, "score": score}, how)


def _check(n: int, dial: float, truth: str, sequences: tuple[str, ...], sites: int, spacing: float, seed: int) -> None:
    if n < 1:
        raise UsageError(f"a phantom cohort needs at least 1 participant, not {n}")
    if not 0 <= dial <= 1:
        raise UsageError(f"the dial between lesion and target goes from 0 to 1; {dial:g} was given")
    if truth not in HALVES and truth != "total":
        raise UsageError(f"the target can depend on {', '.join(HALVES)} or total, not on {truth!r}")
    if not sequences or set(sequences) - set(SEQUENCES) or len(set(sequences)) != len(sequences):
        raise UsageError(f"phantoms have the sequences {', '.join(SEQUENCES)}, once each; not {', '.join(sequences)}")
    if not 1 <= sites <= len(SITES):
        raise UsageError(f"a phantom cohort has 1 to {len(SITES)} sites, not {sites}")
    if spacing <= 0 or seed < 0:
        raise UsageError(f"spacing must be positive and the seed not negative: {spacing:g} mm, seed {seed}")


#: Axis of the head's frame, and its sign, on whose positive side a half lies.
HALVES = {"anterior": (1, 1.0), "left": (0, -1.0)}


def stream(seed: int, index: int, purpose: int) -> torch.Generator:
    """Each participant has one stream of randomness per purpose."""
    state = np.random.SeedSequence([seed, index, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _draw_scan(
    seed: int,
    index: int,
    participant: str,
    anatomy: str,
    how: GeneratorSettings,
    truth: str,
    sequences: tuple[str, ...],
    sites: int,
    shape: Sequence[int],
    spacing: float,
) -> tuple[Scan, dict]:
    """One participant without targets, and the latent variables."""
    person = stream(seed, index, 0)
    age, sex = round(float(uniform(person, 20, 65)), 1), "FM"[int(chance(person, 0.5))]
    site, own = int(torch.randint(sites, (), generator=person)), float(normal(person, 1.0))
    brain = draw_brain(anatomy, stream(seed, index, 1), shape, spacing)
    side = None if truth == "total" else _half(brain, truth)
    levels, share, lesions = _draw_tissue(brain, side, how, spacing, stream(seed, index, 2))
    stack = np.stack(
        [
            _acquire(
                levels[SEQUENCES.index(name)],
                brain.inside,
                name,
                how,
                site,
                spacing,
                stream(seed, index, 10 + SEQUENCES.index(name)),
            )
            for name in sequences
        ]
    )
    voxel_ml = spacing**3 / 1000
    total = float(share.sum()) * voxel_ml
    within = total if side is None else float(share[side].sum()) * voxel_ml
    burden = np.log(total + FLOOR_ML) if side is None else np.log((within + FLOOR_ML) / (total - within + FLOOR_ML))
    facts = {
        "participant": participant,
        "age": age,
        "sex": sex,
        "site": SITES[site],
        "lesions": lesions,
        "lesion_ml": total,
        "territory_ml": within,
        "burden": burden,
        "chance": own,
    }
    labels = (share >= 0.5).numpy().astype(np.uint8)
    scan = Scan(
        f"sub-{participant}",
        participant,
        stack,
        np.ones(len(sequences), bool),
        labels,
        spacing,
        np.zeros(2),
        np.zeros(0),
        SITES[site],
        sex,
        age,
    )
    return scan, facts


def _half(brain: Brain, truth: str) -> torch.Tensor:
    axis, sign = HALVES[truth]
    return brain.frame[..., axis] * sign > 0


def _draw_tissue(
    brain: Brain, side: torch.Tensor | None, how: GeneratorSettings, spacing: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Brightness of every sequence before the scanner, share of lesion, number of lesions.

    Each participant has their own leaning to one half, so that where lesions lie varies between people far more than
    chance would have it.
    """
    shape = brain.ventricle.shape
    weight = place_weight(brain.tissue[2], brain.ventricle, spacing)
    leaning = torch.sigmoid(normal(generator, 2.0))
    if side is not None:
        here, there = weight * side, weight * ~side
        weight = leaning * here / here.sum().clamp_min(1e-6) + (1 - leaning) * there / there.sum().clamp_min(1e-6)
    blobs = draw_blobs(weight, draw_count(how.sizes, generator), how.sizes, generator)
    signals = _signals(how, generator)
    levels = torch.einsum("ct,txyz->cxyz", signals, brain.tissue)
    levels = levels * (1 + _texture(shape, spacing, how, generator))
    levels = _mislead(levels, brain, side, signals, how, spacing, generator)
    severity = normal(generator, 0.7, (len(blobs), 1)) * torch.tensor([-1.0, 1.0, 1.0])
    own = severity + normal(generator, 0.7, (len(blobs), 3))
    looks = 1 + torch.tensor(how.lesion) + torch.tensor(how.lesion_spread) * own
    share, mean = paint(blobs, looks, shape, spacing)
    share = share * (brain.tissue.sum(0) - brain.tissue[0]).clamp(0, 1)
    return torch.lerp(levels, mean, share), share, len(blobs)


def _signals(how: GeneratorSettings, generator: torch.Generator) -> torch.Tensor:
    """Brightness of each tissue in each sequence, white matter about 1, ``(3, 3)``."""
    tissues = physics.tissues(how.field_tesla)
    jitter = torch.exp(normal(generator, how.relaxation_jitter, (len(TISSUES), 3))).tolist()
    own = [
        replace(tissues[t], t1_ms=tissues[t].t1_ms * a, t2_ms=tissues[t].t2_ms * b, density=tissues[t].density * c)
        for t, (a, b, c) in zip(TISSUES, jitter, strict=True)
    ]
    # every scanner runs the 3 T timing, so that fields differ in their relaxation times alone
    scanners = [physics.acquisition(name, signal.FIELD_TESLA) for name in SEQUENCES]
    rows = [[physics.signal(s, t) / physics.signal(s, tissues["white"]) for t in own] for s in scanners]
    return torch.tensor(rows, dtype=torch.float32)


def _texture(shape: Sequence[int], spacing: float, how: GeneratorSettings, generator: torch.Generator) -> torch.Tensor:
    """Smooth change of brightness inside tissue, its own in each sequence, ``(3, x, y, z)``."""
    nodes = max(4, round(max(shape) * spacing / 10))
    fields = smooth_field(generator, shape, nodes, 1.0, len(SEQUENCES))
    return fields * torch.tensor(how.texture)[:, None, None, None]


def _mislead(
    levels: torch.Tensor,
    brain: Brain,
    side: torch.Tensor | None,
    signals: torch.Tensor,
    how: GeneratorSettings,
    spacing: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Things in the white matter that one sequence alone mistakes for lesions.

    Bright on FLAIR alone (flow and incomplete suppression); wide perivascular spaces, bright on T2w, dark on T1w and
    not bright on FLAIR; dark on T1w alone (grey matter among the white). They lean to a half of their own, apart from
    the lesions'. And the ventricles' rim is bright on FLAIR in most people.
    """
    shape = brain.ventricle.shape
    as_lesion = torch.tensor(how.lesion)
    space = (signals[:, 0] - 1) * torch.tensor([0.4, 0.35, 0.15])
    kinds = torch.stack([as_lesion * torch.tensor([0.0, 0.0, 1.0]), space, as_lesion * torch.tensor([1.0, 0.0, 0.0])])
    weight = (brain.tissue[2] - 0.4).clamp_min(0)
    for kind in kinds:
        leaning = torch.sigmoid(normal(generator, 1.5))
        own = weight if side is None else weight * torch.where(side, leaning, 1 - leaning)
        count = int(torch.poisson(torch.tensor(float(how.confounders)), generator=generator))
        blobs = draw_blobs(own, count, how.sizes, generator)
        added, mean = paint(blobs, kind.expand(len(blobs), 3), shape, spacing)
        levels = levels + added * (1 - brain.tissue[0]).clamp(0, 1) * mean
    near = blur(brain.ventricle, [4.0 / spacing] * 3)
    rim = (near * 3).clamp(0, 1) * brain.tissue[2] * float(uniform(generator, 0, how.cap))
    return levels + rim * torch.tensor([0.0, 0.15, 1.0])[:, None, None, None]


def _acquire(
    level: torch.Tensor,
    inside: torch.Tensor,
    name: str,
    how: GeneratorSettings,
    site: int,
    spacing: float,
    generator: torch.Generator,
) -> np.ndarray:
    """One sequence as the scanner gives it, zero outside the brain."""
    along = how.width_mm if name == "T1w" else float(uniform(generator, *how.slice_mm))
    width = [how.width_mm * SIGMA_PER_FWHM / spacing] * 2 + [along * SIGMA_PER_FWHM / spacing]
    image = blur(level, width) ** (1 + 0.1 * site)
    image = image * torch.exp(smooth_field(generator, image.shape, 4, how.bias)[0])
    noise = how.noise * (1 + 0.25 * site)
    image = torch.hypot(image + normal(generator, noise, image.shape), normal(generator, noise, image.shape))
    gain = GAIN * float(torch.exp(normal(generator, 0.2)))
    return (image.clamp_min(1e-3) * inside * gain).numpy().astype(np.float32)


def _standard(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return (values - values.mean()) / max(float(values.std()), 1e-9)
