"""One participant of a demo cohort: anatomy, what is wrong with it, and its images by signal equations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from bids_app.synthesis.bold.bold import Alteration, Bold, draw_bold
from bids_app.synthesis.datasets.demo_cohorts import GENERATORS, SITES, DemoPlan, ScannerSettings
from bids_app.synthesis.fields import chance, normal, smooth_field, stream, uniform
from bids_app.synthesis.heads.brains import Brain, draw_brain
from bids_app.synthesis.heads.placed import PlacedTissue, from_mni
from bids_app.synthesis.heads.structures import draw_sizes, with_structures
from bids_app.synthesis.heads.variation import DISEASES, VariedBrain, depth_along, draw_measures, vary
from bids_app.synthesis.pathology.compartments import Pathology
from bids_app.synthesis.pathology.pathology import REGIONS, draw_pathology
from bids_app.synthesis.scanner import physics
from bids_app.synthesis.scanner.acquisition import Gain, PointSpread, ScannerStep, acquire, draw_noise, draw_shading

#: Extent of the grid, mm; it holds every brain, the largest man's too.
EXTENT_MM = (180.0, 208.0, 180.0)
#: Whole numbers that white matter has in an image, about; an ADC map is in 1e-6 mm²/s, as scanners write it.
GAIN, ADC_GAIN = 700.0, 1000.0
#: White matter in a hippocampus (alveus, fimbria, perforant path), which else would be purer grey than any cortex of a
#: template is; a round number chosen here.
HIPPOCAMPAL_WHITE = 0.3
#: Voxels of a resting-state run are at least so large, mm.
BOLD_MM = 4.0
#: Way of the corticospinal tract on the right, MNI mm, from the hand area to the pons, and its radius: what of an
#: infarct lies in it, on either side, bears on the outcome. Round numbers chosen here.
TRACT = ((36, -22, 58), (27, -20, 26), (23, -14, 8), (14, -18, -12), (5, -24, -32))
TRACT_MM = 7.0
#: Purposes of the streams of randomness; a site's begin at 1000.
_PERSON, _BRAIN, _MEASURES, _LESIONS, _TARGET, _BOLD, _STRUCTURES, _SITE, _SEQUENCE = 0, 1, 2, 3, 4, 5, 6, 1000, 10


@dataclass(frozen=True)
class Participant:
    """Everything that is known of one.

    Attributes:
        label: without ``sub-``.
        site: position in `demo_cohorts.SITES`.
        row: of participants.tsv, without the id.
        latents: what the row and the images were made of.
        images: by sequence, whole numbers, 0 outside the brain, ``(x, y, z)``.
        protocols: by sequence, timing of the site.
        varied: anatomy.
        pathology: lesions.
        bold: resting-state run, on larger voxels.
    """

    label: str
    site: int
    row: dict[str, object]
    latents: dict[str, float]
    images: dict[str, np.ndarray]
    protocols: dict[str, physics.PulseSequence]
    varied: VariedBrain
    pathology: Pathology
    bold: Bold | None = None


def draw_participant(plan: DemoPlan, index: int) -> Participant:
    """Draw participant ``index`` of a plan, from 0."""
    kind, site = plan.kind, index // max(len(plan.kind.diagnoses), 1) % plan.sites
    person = stream(plan.seed, index, _PERSON)
    age, sex = round(float(uniform(person, *kind.ages)), 1), "FM"[int(chance(person, 0.5))]
    diagnosis = tuple(kind.diagnoses)[index % len(kind.diagnoses)] if kind.diagnoses else None
    disease = diagnosis if diagnosis in DISEASES else None
    measures = draw_measures(age, sex, stream(plan.seed, index, _MEASURES), disease=disease)
    step = max(1, int(np.ceil(BOLD_MM / plan.spacing - 1e-6))) if kind.rest else 1
    shape = [int(np.ceil(mm / plan.spacing / step)) * step for mm in EXTENT_MM]
    brain = draw_brain(plan.family, stream(plan.seed, index, _BRAIN), shape, plan.spacing / measures.size)
    varied = vary(brain, measures, plan.spacing)
    sizes = draw_sizes(kind.structures, stream(plan.seed, index, _STRUCTURES), disease=diagnosis)
    varied = with_structures(varied, sizes, plan.spacing)
    brain, tesla = varied.brain, plan.field_tesla(site)
    placed = PlacedTissue(brain.tissue, brain.ventricle, brain.frame, plan.spacing)
    # with a pathology, those of the first diagnosis are without
    pathology = "healthy" if diagnosis and diagnosis == next(iter(kind.diagnoses)) else kind.pathology
    lesions = draw_pathology(pathology, placed, stream(plan.seed, index, _LESIONS), field_tesla=tesla)
    bold = _bold(plan, index, brain, step, diagnosis) if kind.rest else None
    latents = {
        "field_tesla": tesla,
        **varied.volumes,
        **{f"{name}_planted_log": value for name, value in measures.logs.items()},
        **{f"{name}_planted_log": value for name, value in sizes.items()},
        **_lesion_latents(pathology, lesions, brain, plan.spacing),
        **(bold.latents if bold else {}),
    }
    row: dict[str, object] = {"age": age, "sex": sex, "site": SITES[site]}
    if diagnosis:
        row["diagnosis"] = diagnosis
    chances = stream(plan.seed, index, _TARGET)
    for target in kind.targets:
        if target.only and target.only != diagnosis:
            row[target.column] = "n/a"
            continue
        facts = {**latents, "age": age}
        latents[f"{target.column}_latent"] = target.latent(facts)
        row |= target.draw(facts, float(uniform(chances, 1e-6, 1 - 1e-6)), float(normal(chances, 1.0)))
    images, protocols = {}, {}
    own = _people(plan.scanner, tesla, stream(plan.seed, index, _SEQUENCE))
    for place, name in enumerate(kind.sequences):
        protocols[name] = protocol(plan, site, name)
        scanned = stream(plan.seed, index, _SEQUENCE + 1 + place)
        images[name] = _scan(varied, lesions, protocols[name], own, plan, scanned)
    width = max(2, len(str(plan.n)))
    return Participant(f"{index + 1:0{width}d}", site, row, latents, images, protocols, varied, lesions, bold)


def protocol(plan: DemoPlan, site: int, sequence: str) -> physics.PulseSequence:
    """Timing of a sequence at a site; two sequences of one kind share it but for the contrast agent."""
    usual = physics.pulse_sequence(sequence, plan.field_tesla(site))
    kind = physics.KINDS.index("DWI" if usual.kind == "ADC" else usual.kind)
    number = list(GENERATORS).index(plan.generator)
    own = stream(plan.seed, site, _SITE + 100 * number + kind)
    return physics.varied(usual, own, plan.scanner.timing)


def _lesion_latents(kind: str, lesions: Pathology, brain: Brain, spacing: float) -> dict[str, float]:
    voxel_ml = spacing**3 / 1000
    if not REGIONS[kind]:
        return {}
    clearer = {"age": "injury_age", "free": "lesion_free"}
    found = {clearer.get(name, name): value for name, value in lesions.latents.items()}
    if len(REGIONS[kind]) > 1:
        for index, name in enumerate(REGIONS[kind], 1):
            found[f"{name}_ml"] = float(lesions.region_share(index).sum()) * voxel_ml
    if kind == "stroke":
        found["eloquent_ml"] = float((lesions.labelled() * eloquent(brain.frame)).sum()) * voxel_ml
    return found


def eloquent(frame: torch.Tensor) -> torch.Tensor:
    """How far each place belongs to the corticospinal tract of either side, in [0, 1]."""
    folded = torch.cat([frame[..., :1].abs(), frame[..., 1:]], -1)
    depth = depth_along(folded, [from_mni(point) for point in TRACT], [TRACT_MM] * len(TRACT))
    return torch.sigmoid(depth / 1.5)


def _bold(plan: DemoPlan, index: int, brain: Brain, step: int, diagnosis: str | None) -> Bold:
    maps = torch.cat([brain.tissue, brain.ventricle[None], brain.frame.movedim(-1, 0)])
    maps = F.avg_pool3d(maps[None], step)[0] if step > 1 else maps
    coarse = Brain(maps[:3], maps[3], maps[4:].movedim(0, -1))
    alteration = Alteration() if diagnosis == "altered" else None
    return draw_bold(coarse, plan.spacing * step, stream(plan.seed, index, _BOLD), alteration=alteration)


def _people(how: ScannerSettings, tesla: float, generator: torch.Generator) -> dict[str, physics.Tissue]:
    """Tissues of one participant: their own relaxation times."""
    usual = physics.tissues(tesla)
    found = {}
    for name in ("fluid", "grey", "deep grey", "white"):
        a, b, c = torch.exp(normal(generator, how.people, (3,))).tolist()
        tissue = usual[name]
        if name != "fluid":  # fluid is the same in everybody, and a FLAIR is tuned to it
            tissue = replace(tissue, t1_ms=tissue.t1_ms * a, t2_ms=tissue.t2_ms * b, diffusivity=tissue.diffusivity * c)
        found[name] = tissue
    return found


def _scan(
    varied: VariedBrain,
    lesions: Pathology,
    how: physics.PulseSequence,
    own: dict[str, physics.Tissue],
    plan: DemoPlan,
    generator: torch.Generator,
) -> np.ndarray:
    """One sequence as the scanner gives it."""
    tissue, scanner, shape = varied.brain.tissue, plan.scanner, varied.brain.ventricle.shape
    light = {name: float(physics.signal(how, tissue)) for name, tissue in own.items()}
    grey = light["grey"] + (light["deep grey"] - light["grey"]) * varied.deep
    level = light["fluid"] * tissue[0] + grey * tissue[1] + light["white"] * tissue[2]
    level = level + HIPPOCAMPAL_WHITE * (light["white"] - light["grey"]) * varied.hippocampi.sum(0)
    total = tissue.sum(0)
    nodes = max(4, round(max(shape) * plan.spacing / 10))
    level = level * (1 + smooth_field(generator, shape, nodes, scanner.texture)[0])
    for part in lesions.compartments:
        value = float(physics.signal(how, part.relaxation(how.field_tesla)))
        level = torch.lerp(level, value * total, part.share)
    flat = how.kind in ("MPRAGE", "MP2RAGE")
    along = plan.spacing if flat else max(plan.spacing, float(uniform(generator, *scanner.slice_mm)))
    spread = PointSpread((scanner.width, scanner.width, scanner.width * along / plan.spacing))
    ratio, white = how.kind in physics.RATIOS, light["white"]
    noise = scanner.noise * (2 if how.kind in ("DWI", "ADC") else 1)
    steps: list[ScannerStep]
    if ratio:
        steps = [draw_noise(generator, shape, noise), Gain(white), Gain(ADC_GAIN)]
    else:
        steps = [draw_shading(generator, 4, scanner.bias), draw_noise(generator, shape, noise, rician=True), Gain(GAIN)]
        steps.append(Gain(float(torch.exp(normal(generator, 0.2).clamp(-0.5, 0.5)))))
    image = acquire(spread(level) / white, steps)
    return (image.round().clamp(1, 32767) * varied.brain.inside).numpy().astype(np.int16)
