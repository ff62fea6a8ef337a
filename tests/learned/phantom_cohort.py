"""Phantom cohorts with a dial between lesion and target, to measure multi-task and multi-sequence learning on.

Brains are skull-stripped, on a grid small enough to train on a CPU in minutes. Lesions look in each sequence as they do
in real multiple sclerosis (see `phantom_lesions`); beside them lie things that one sequence mistakes for lesions and
the others do not. How much the target depends on the lesions is set by a dial from 0 (not) to 1 (wholly).
Research use only: simulated people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from bids_app.errors import UsageError
from bids_app.recipes.learning import Learning, NetworkSpec, Preprocessing
from bids_app.recipes.recipe import (
    GridSpec,
    Labels,
    Recipe,
    Region,
    SequenceSpec,
    Target,
)
from bids_app.scans.scan import Scan
from bids_app.synthesis.fields import blur, chance, normal, smooth_field, stream, uniform
from bids_app.synthesis.heads.brains import Brain, draw_brain
from bids_app.synthesis.pathology.lesions import place_weight
from bids_app.synthesis.scanner import physics, signal
from bids_app.synthesis.scanner.acquisition import Gain, PointSpread, acquire, draw_noise, draw_shading
from tests.learned.phantom_lesions import Sizes, draw_blobs, draw_count, paint

SEQUENCES = signal.SEQUENCES
TISSUES = ("fluid", "grey", "white")
LEVELS = ("good", "poor")
SITES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHAPE, SPACING_MM = (48, 56, 48), 3.5

#: Added to each lesion volume before its logarithm is taken, ml: about two voxels, so that none is not minus infinity.
FLOOR_ML = 0.1
GAIN = 700.0
#: Axis of the head's frame, and its sign, on whose positive side a half lies.
HALVES = {"anterior": (1, 1.0), "left": (0, -1.0)}
TARGETS = {
    "outcome": Target(name="outcome", kind="binary", column="outcome", levels=LEVELS),
    "score": Target(name="score", kind="continuous", column="score", unit="points"),
}


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
class CohortPlan:
    """How a cohort is drawn.

    Attributes:
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

    n: int
    seed: int
    anatomy: str = "template"
    generator: GeneratorSettings = TRAIN
    dial: float = 1.0
    truth: Literal["anterior", "left", "total"] = "anterior"
    sequences: Sequence[str] = SEQUENCES
    sites: int = 1
    confounded: bool = False
    shape: Sequence[int] = SHAPE
    spacing: float = SPACING_MM
    prefix: str = ""

    def __post_init__(self) -> None:
        names = tuple(self.sequences)
        if self.n < 1:
            raise UsageError(f"a phantom cohort needs at least 1 participant, not {self.n}")
        if not 0 <= self.dial <= 1:
            raise UsageError(f"the dial between lesion and target goes from 0 to 1; {self.dial:g} was given")
        if self.truth not in HALVES and self.truth != "total":
            raise UsageError(f"the target can depend on {', '.join(HALVES)} or total, not on {self.truth!r}")
        if not names or set(names) - set(SEQUENCES) or len(set(names)) != len(names):
            raise UsageError(f"phantoms have the sequences {', '.join(SEQUENCES)}, once each; not {', '.join(names)}")
        if not 1 <= self.sites <= len(SITES):
            raise UsageError(f"a phantom cohort has 1 to {len(SITES)} sites, not {self.sites}")
        if self.spacing <= 0 or self.seed < 0:
            raise UsageError(
                f"spacing must be positive and the seed not negative: {self.spacing:g} mm, seed {self.seed}"
            )


@dataclass(frozen=True)
class Cohort:
    """A cohort with everything that is known of it.

    Attributes:
        scans: one per participant; targets are `outcome` (position in `LEVELS`) and `score`.
        sequences: names, in the order of the stacks.
        latents: ``participant``, ``age``, ``sex``, ``site``, ``lesions``, ``lesion_ml``, ``territory_ml``,
            ``burden`` (what the target depends on), ``latent`` (what it is cut from), ``outcome``, ``score``; arrays.
    """

    scans: list[Scan]
    sequences: tuple[str, ...]
    latents: dict[str, np.ndarray]


def draw_cohort(n: int, **how) -> Cohort:
    """Draw participants with lesions, and a target that depends on them as the dial says; ``how`` as `CohortPlan`.

    The target's latent variable is ``dial * f + sqrt(1 - dial**2) * noise``, with ``f`` a standardised function of the
    lesions; ``outcome`` is whether it is above the cohort's median, ``score`` is ``50 + 10 * latent``.
    """
    plan = CohortPlan(n, **how)
    made = [_draw_scan(plan, index) for index in range(n)]
    facts = {name: np.array([fact[name] for _, fact in made]) for name in made[0][1]}
    latent = plan.dial * _standard(facts["burden"]) + np.sqrt(1 - plan.dial**2) * facts.pop("chance")
    if plan.confounded:
        latent = latent + _standard(facts["site"] == SITES[0]) + _standard(facts["age"])
    outcome = (latent > np.median(latent)).astype(float)
    score = 50 + 10 * latent
    scans = [
        replace(scan, targets=np.array([poor, value]))
        for (scan, _), poor, value in zip(made, outcome, score, strict=True)
    ]
    return Cohort(scans, tuple(plan.sequences), {**facts, "latent": latent, "outcome": outcome, "score": score})


def _draw_scan(plan: CohortPlan, index: int) -> tuple[Scan, dict]:
    """One participant without targets, and the latent variables."""
    seed, spacing, person = plan.seed, plan.spacing, stream(plan.seed, index, 0)
    age, sex = round(float(uniform(person, 20, 65)), 1), "FM"[int(chance(person, 0.5))]
    site, own = int(torch.randint(plan.sites, (), generator=person)), float(normal(person, 1.0))
    brain = draw_brain(plan.anatomy, stream(seed, index, 1), plan.shape, spacing)
    half = None
    if plan.truth != "total":
        axis, sign = HALVES[plan.truth]
        half = brain.frame[..., axis] * sign > 0
    levels, share, lesions = _draw_tissue(brain, half, plan.generator, spacing, stream(seed, index, 2))
    stack = [
        _acquire(levels[place], brain.inside, name == "T1w", plan, site, stream(seed, index, 10 + place))
        for place, name in ((SEQUENCES.index(name), name) for name in plan.sequences)
    ]
    voxel_ml = spacing**3 / 1000
    total = float(share.sum()) * voxel_ml
    within = total if half is None else float(share[half].sum()) * voxel_ml
    burden = np.log(total + FLOOR_ML) if half is None else np.log((within + FLOOR_ML) / (total - within + FLOOR_ML))
    name = f"{plan.prefix}{index + 1:0{max(3, len(str(plan.n)))}d}"
    facts = {"participant": name, "age": age, "sex": sex, "site": SITES[site], "lesions": lesions, "lesion_ml": total}
    facts |= {"territory_ml": within, "burden": burden, "chance": own}
    labels = (share >= 0.5).numpy().astype(np.uint8)
    there = np.ones(len(stack), bool)
    scan = Scan(f"sub-{name}", name, np.stack(stack), there, labels, spacing, np.zeros(2), np.zeros(0))
    return replace(scan, site=SITES[site], sex=sex, age=age), facts


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
    scanners = [physics.pulse_sequence(name, signal.FIELD_TESLA) for name in SEQUENCES]
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
    level: torch.Tensor, inside: torch.Tensor, flat: bool, plan: CohortPlan, site: int, generator: torch.Generator
) -> np.ndarray:
    """One sequence as the scanner gives it, zero outside the brain; ``flat``: as sharp along as across."""
    how, spacing = plan.generator, plan.spacing
    along = how.width_mm if flat else float(uniform(generator, *how.slice_mm))
    spread = PointSpread((how.width_mm / spacing, how.width_mm / spacing, along / spacing))
    shading = draw_shading(generator, 4, how.bias)
    noise = draw_noise(generator, level.shape, how.noise * (1 + 0.25 * site), rician=True)
    gain = GAIN * float(torch.exp(normal(generator, 0.2)))
    image = acquire(spread(level) ** (1 + 0.1 * site), [shading, noise])
    return acquire(image.clamp_min(1e-3) * inside, [Gain(gain)]).numpy().astype(np.float32)


def _standard(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def phantom_recipe(
    sequences: Sequence[str] = SEQUENCES,
    *,
    targets: Sequence[str] = ("outcome", "score"),
    regions: bool = True,
    spacing: float = SPACING_MM,
    mirror: bool = True,
    steps: int = 600,
    rate: float = 2e-3,
    batch: int | None = None,
    sequence_dropout: float = 0.0,
    filters: int = 8,
    blocks: Sequence[int] = (1, 1, 1, 1),
    fold: int = 1,
    dropout: float = 0.3,
) -> Recipe:
    """The recipe of phantom cohorts: lesions, outcome and score, from images that are prepared already.

    Args:
        sequences: the first is the reference.
        targets: of ``outcome`` and ``score``.
        regions: with lesions.
        mirror: False where the target depends on the side (``truth="left"``).
        steps, rate, batch, sequence_dropout: of `Learning`.
        filters, blocks, fold, dropout: of the network.
    """
    if unknown := set(targets) - set(TARGETS):
        raise UsageError(f"phantoms have the targets {', '.join(TARGETS)}, not {', '.join(sorted(unknown))}")
    return Recipe(
        name="phantom",
        title="Phantom cohort",
        description="Lesions in synthetic brains, and an outcome that depends on them as a dial says.",
        reference=sequences[0],
        sequences=tuple(
            SequenceSpec(name=name, suffix=name, required=place == 0) for place, name in enumerate(sequences)
        ),
        grid=GridSpec(kind="image", spacing_mm=spacing),
        regions=(Region(index=1, name="lesion", abbreviation="L", color="#d95f02", kind="lesion"),) if regions else (),
        targets=tuple(TARGETS[name] for name in targets),
        labels=Labels(derivative="manual", suffix="mask", entities={"label": "L", "space": "orig"}),
        learning=Learning(steps=steps, rate=rate, batch=batch, mirror=mirror, sequence_dropout=sequence_dropout),
        network=NetworkSpec(filters=filters, blocks=tuple(blocks), fold=fold, dropout=dropout),
        preprocessing=Preprocessing(bias=False),
    )


def scans_for(cohort: Cohort, recipe: Recipe) -> list[Scan]:
    """The cohort's scans with the recipe's sequences and targets, in its order.

    Raises:
        UsageError: the cohort was drawn without one of them.
    """
    names = [sequence.name for sequence in recipe.sequences]
    wanted = [target.name for target in recipe.targets]
    lacking = [name for name in names if name not in cohort.sequences] + [n for n in wanted if n not in cohort.latents]
    if lacking:
        raise UsageError(f"the cohort was drawn without {', '.join(lacking)}")
    channels = [cohort.sequences.index(name) for name in names]
    targets = np.array([cohort.latents[name] for name in wanted]).reshape(len(wanted), len(cohort.scans))
    return [
        replace(scan, stack=scan.stack[channels], present=scan.present[channels], targets=targets[:, place].copy())
        for place, scan in enumerate(cohort.scans)
    ]
