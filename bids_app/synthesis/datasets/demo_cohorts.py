"""The cohorts of ``tandem demo --cohort``: who is in them, which sequences, and what a target is made of.

Every weight of an target is a round number chosen here; the sign and, roughly, the size are such as a clinician would
expect. Importing this loads neither torch nor images. Research use only: simulated people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bids_app.errors import UsageError

#: Added to a volume before its logarithm is taken, ml.
FLOOR_ML = 0.1
#: Where the seven grades of a modified Rankin scale begin on the scale of the logit; 3 and more is a poor outcome.
RANKIN_STEPS = (-3.0, -1.8, 0.0, 0.9, 1.8, 3.0)


@dataclass(frozen=True)
class PlantedTarget:
    """A target that depends on what was drawn.

    ``latent = intercept + sum(weights[term] * term)``, with the terms of `terms`.

    Attributes:
        column: of participants.tsv.
        description: for its sidecar.
        intercept, weights: of the latent variable.
        levels: of a class: the second, with the probability ``1 / (1 + exp(-latent))``. None: of a number.
        noise: standard deviation of a number around the latent variable.
        span, step: least and most of a number, and what it is a multiple of.
        unit: of a number.
        grades: column for the grades of a modified Rankin scale that fit the class, or empty.
        only: the diagnosis that has it; others have ``n/a``. Empty: everybody has it.
    """

    column: str
    description: str
    intercept: float
    weights: Mapping[str, float]
    levels: Mapping[str, str] | None = None
    noise: float = 0.0
    span: tuple[float, float] = (0.0, 0.0)
    step: float = 1.0
    unit: str = ""
    grades: str = ""
    only: str = ""

    def latent(self, facts: Mapping[str, float]) -> float:
        found = terms(facts)
        return self.intercept + sum(weight * found[name] for name, weight in self.weights.items())

    def formula(self) -> str:
        return " ".join([f"{self.intercept:g}", *(f"{weight:+g} {name}" for name, weight in self.weights.items())])

    def draw(self, facts: Mapping[str, float], rank: float, deviation: float) -> dict[str, object]:
        """Values of the columns.

        Args:
            facts: latent variables of the participant.
            rank: a random number from 0 to 1, both excluded: decides a class.
            deviation: a standard normal number: of a number.
        """
        latent = self.latent(facts)
        if self.levels is None:
            value = min(max(latent + self.noise * deviation, self.span[0]), self.span[1])
            return {self.column: f"{round(value / self.step) * self.step:g}"}
        shown = latent + math.log(rank / (1 - rank))
        values: dict[str, object] = {self.column: tuple(self.levels)[shown > 0]}
        if self.grades:
            values[self.grades] = sum(shown > step for step in RANKIN_STEPS)
        return values


def terms(facts: Mapping[str, float]) -> dict[str, float]:
    """What an target can depend on: decades of age over 50, logarithms of volumes, root of the load on eloquent sites.

    Args:
        facts: ``age`` in years; ``lesion_ml``, ``eloquent_ml``, ``enhancing_ml``, 0 where not given; where there are
            any, the volumes of the habenulae.
    """
    volume = {name: max(facts.get(f"{name}_ml", 0.0), 0.0) for name in ("lesion", "eloquent", "enhancing")}
    return {
        "decades_over_50": (facts["age"] - 50) / 10,
        "log_lesion_ml": math.log(volume["lesion"] + FLOOR_ML),
        "log_enhancing_ml": math.log(volume["enhancing"] + FLOOR_ML),
        "root_eloquent_ml": math.sqrt(volume["eloquent"]),
        "log_habenulae": math.log(sum(facts.get(f"habenula_{side}_ml", 0.01) for side in ("left", "right")) / 0.0344),
    }


@dataclass(frozen=True)
class CohortKind:
    """One cohort.

    Attributes:
        title: in a few words.
        sequences: as `physics.SEQUENCES` names them; the first is the one that is labelled.
        ages: youngest and oldest, years.
        pathology: as `pathology.KINDS`.
        diagnoses: levels of the column ``diagnosis`` and what they mean, in turn among the participants; none: no
            such column. A level of `variation.DISEASES` has its effects; with a pathology, the first level is without.
        structures: of `structures.SOLIDS`, which every participant has.
        targets: further targets.
        seg: name of the labels of the lesions.
        rest: with a resting-state run; the second diagnosis has an altered region.
        next: recipe for the first look.
        learns: recipe that can be trained on it as it is, or empty.
    """

    title: str
    sequences: tuple[str, ...]
    ages: tuple[float, float]
    pathology: str = "healthy"
    diagnoses: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[PlantedTarget, ...] = ()
    seg: str = ""
    structures: tuple[str, ...] = ()
    rest: bool = False
    next: str = "anatomical"
    learns: str = ""


STROKE = PlantedTarget(
    "outcome",
    "Simulated outcome after three months",
    -1.2,
    {"log_lesion_ml": 0.5, "root_eloquent_ml": 1.2, "decades_over_50": 0.4},
    {"good": "modified Rankin scale 0 to 2", "poor": "modified Rankin scale 3 to 6"},
    grades="mrs",
)
NIHSS = PlantedTarget(
    "nihss",
    "Simulated severity at the first examination, on the National Institutes of Health Stroke Scale",
    6.0,
    {"log_lesion_ml": 2.0, "root_eloquent_ml": 4.0, "decades_over_50": 0.5},
    noise=3.0,
    span=(0.0, 42.0),
    unit="points",
)
SEVERITY = PlantedTarget(
    "severity",
    "Simulated severity of the depression, in points as of Hamilton's scale; not asked of controls",
    18.0,
    {"log_habenulae": -15.0, "decades_over_50": 0.5},
    noise=4.0,
    span=(0.0, 52.0),
    unit="points",
    only="depression",
)
TBI = PlantedTarget(
    "outcome",
    "Simulated outcome after six months",
    -1.0,
    {"log_lesion_ml": 0.6, "decades_over_50": 0.3},
    {"favourable": "back to an independent life", "unfavourable": "depends on others, or worse"},
    only="injury",
)
MS = PlantedTarget(
    "edss",
    "Simulated disability, in steps of a half as of the Expanded Disability Status Scale",
    0.6,
    {"log_lesion_ml": 0.8, "decades_over_50": 0.6},
    noise=0.8,
    span=(0.0, 9.5),
    step=0.5,
    unit="points",
)
SCHWANNOMA = PlantedTarget(
    "hearing_loss",
    "Simulated hearing loss on the side of the tumour",
    42.0,
    {"log_lesion_ml": 9.0, "decades_over_50": 5.0},
    noise=10.0,
    span=(0.0, 120.0),
    unit="dB",
)
GLIOMA = PlantedTarget(
    "survival",
    "Simulated survival",
    -1.2,
    {"log_enhancing_ml": 0.5, "decades_over_50": 0.6},
    {"long": "more than a year", "short": "less than a year"},
)

COHORTS: dict[str, CohortKind] = {
    "stroke": CohortKind(
        "Acute ischaemic stroke",
        ("trace", "ADC"),
        (45, 90),
        "stroke",
        {},
        (STROKE, NIHSS),
        "stroke",
        next="stroke",
        learns="stroke",
    ),
    "tbi": CohortKind(
        "Traumatic brain injury",
        ("T1w", "T2w", "FLAIR"),
        (18, 80),
        "tbi",
        {"control": "no injury", "injury": "after a traumatic brain injury"},
        (TBI,),
        "tbi",
        learns="tbi",
    ),
    "ms": CohortKind("Multiple sclerosis", ("T1w", "T2w", "FLAIR"), (20, 65), "ms", {}, (MS,), "ms"),
    "schwannoma": CohortKind(
        "Vestibular schwannoma",
        ("T1w", "T2w", "ce-gadolinium_T1w"),
        (30, 75),
        "schwannoma",
        {},
        (SCHWANNOMA,),
        "schwannoma",
    ),
    "glioma": CohortKind(
        "Glioma", ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR"), (30, 80), "glioma", {}, (GLIOMA,), "tumour"
    ),
    "alzheimer": CohortKind(
        "Alzheimer's disease",
        ("T1w", "T2w"),
        (60, 90),
        diagnoses={"control": "no disorder", "mci": "mild cognitive impairment", "alzheimer": "Alzheimer's disease"},
        structures=("amygdala",),
        learns="alzheimer",
    ),
    "schizophrenia": CohortKind(
        "Schizophrenia",
        ("T1w", "T2w"),
        (18, 60),
        diagnoses={"control": "no disorder", "schizophrenia": "schizophrenia"},
        structures=("insula",),
        learns="schizophrenia",
    ),
    "depression": CohortKind(
        "Depressive disorder",
        ("T1w", "T2w"),
        (18, 65),
        diagnoses={"control": "no disorder", "depression": "depressive disorder"},
        targets=(SEVERITY,),
        structures=("habenula",),
        learns="depression",
    ),
    "healthy": CohortKind("Healthy people", ("T1w", "T2w"), (20, 85), next="healthy"),
    "restingstate": CohortKind(
        "Resting-state function",
        ("T1w",),
        (18, 60),
        rest=True,
        next="functional",
        diagnoses={"control": "no region is altered", "altered": "one region's activity is altered"},
    ),
}


@dataclass(frozen=True)
class ScannerSettings:
    """How the scanners of a cohort are; spreads are shares of the signal of white matter. Round numbers chosen here.

    Attributes:
        fields: of the sites in turn, tesla.
        timing: spread of the sites' timing, see `physics.varied`.
        people: spread of the logarithm of relaxation times and diffusivity between participants.
        texture: change of brightness inside a tissue, over about a centimetre.
        noise: of the complex noise; twice as much on diffusion images.
        bias: of the logarithm of the coil's field at its nodes.
        width: full width at half maximum of the point spread, in voxels.
        slice_mm: thinnest and thickest slice of all but T1-weighted images.
        anatomy: what brains are drawn from unless told otherwise.
    """

    fields: tuple[float, ...] = (3.0, 1.5, 7.0)
    timing: float = 0.08
    people: float = 0.03
    texture: float = 0.02
    noise: float = 0.025
    bias: float = 0.08
    width: float = 0.9
    slice_mm: tuple[float, float] = (2.0, 4.0)
    anatomy: str = "template"


GENERATORS = {
    "train": ScannerSettings(),
    "test": ScannerSettings(
        fields=(1.5, 3.0, 7.0),
        timing=0.14,
        people=0.05,
        texture=0.03,
        noise=0.04,
        bias=0.12,
        width=1.1,
        slice_mm=(3.0, 5.0),
        anatomy="procedural",
    ),
}
SITES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Voxel sizes that lesions and hippocampi can be drawn at, mm.
SPACINGS = (0.7, 6.0)


@dataclass(frozen=True)
class DemoPlan:
    """Which cohort is drawn, and how; the same plan gives the same bytes.

    Attributes:
        cohort: one of `COHORTS`.
        n, sites: participants and scanners.
        seed: of everything; participant i's images depend on it and on i, not on ``n``.
        spacing: of the structural images, mm.
        generator: one of `GENERATORS`; what is learned on one is tested on the other.
        anatomy: ``template`` or ``procedural``; None for the generator's own.

    Raises:
        UsageError: an argument out of range.
    """

    cohort: str
    n: int = 4
    sites: int = 1
    seed: int = 1
    spacing: float = 2.0
    generator: str = "train"
    anatomy: str | None = None

    def __post_init__(self) -> None:
        if self.cohort not in COHORTS:
            raise UsageError(f"there is no cohort {self.cohort!r}; there are {', '.join(COHORTS)}")
        if self.n < 1:
            raise UsageError(f"a cohort needs at least 1 participant, not {self.n}")
        if not 1 <= self.sites <= len(SITES):
            raise UsageError(f"a cohort has 1 to {len(SITES)} sites, not {self.sites}")
        if self.seed < 0:
            raise UsageError(f"the seed must not be negative: {self.seed}")
        if not SPACINGS[0] <= self.spacing <= SPACINGS[1]:
            raise UsageError(f"voxels can be {SPACINGS[0]:g} to {SPACINGS[1]:g} mm, not {self.spacing:g} mm")
        if self.generator not in GENERATORS:
            raise UsageError(f"there is no generator {self.generator!r}; there are {', '.join(GENERATORS)}")
        if self.anatomy not in (None, "template", "procedural"):
            raise UsageError(f"there is no anatomy {self.anatomy!r}; there are template, procedural")

    @property
    def kind(self) -> CohortKind:
        return COHORTS[self.cohort]

    @property
    def scanner(self) -> ScannerSettings:
        return GENERATORS[self.generator]

    @property
    def family(self) -> str:
        return self.anatomy or self.scanner.anatomy

    def field_tesla(self, site: int) -> float:
        return self.scanner.fields[site % len(self.scanner.fields)]
