"""Brightness of a label map by signal equations, and of what is wrong with it: a painter for `generator.draw_scans`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bids_app.synthesis.fields import chance, normal, uniform
from bids_app.synthesis.heads.labelmaps import LABELS, POSITION, TISSUE, mirror_table
from bids_app.synthesis.heads.placed import PlacedMap, tissue_of_labels
from bids_app.synthesis.pathology.compartments import Pathology
from bids_app.synthesis.pathology.pathology import draw_pathology
from bids_app.synthesis.pathology.stroke import Core
from bids_app.synthesis.scanner.generator import textured
from bids_app.synthesis.scanner.physics import PulseSequence, Tissue, pulse_sequence, signal, tissues, varied

#: What each tissue of a label map is to a scanner: shares of `physics.TISSUES`.
MADE_OF: dict[str, dict[str, float]] = {
    "fluid": {"fluid": 1.0},
    "white": {"white": 1.0},
    "brainstem": {"white": 0.8, "grey": 0.2},
    "cortex": {"grey": 1.0},
    "limbic": {"grey": 0.95, "white": 0.05},
    "thalamus": {"deep grey": 0.6, "white": 0.4},
    "striatum": {"deep grey": 1.0},
    "pallidum": {"deep grey": 0.5, "white": 0.5},
    "vessel": {"blood": 1.0},
}
#: What labels around the brain may be, drawn anew for each.
MAY_BE = {
    "bone": ("bone", "bone", "bone", "fat"),
    "scalp": ("fat", "fat", "muscle", "muscle"),
    "outside": ("fat", "muscle", "bone", "fluid"),
}
#: Spread of the logarithm of T1, T2 and density between people, of the signal inside a label, and of a lesion's.
PEOPLE, TEXTURE, LESION = 0.07, 0.05, 0.06
FIELDS = (1.5, 3.0, 3.0)


def draw_signals(how: PulseSequence, relaxation: Tissue) -> torch.Tensor:
    """Signal of every label, ``(labels,)``; white matter about 1 but for a map with units."""
    values = torch.as_tensor(signal(how, relaxation), dtype=torch.float32)
    return values if how.kind == "ADC" else values / float(signal(how, tissues(how.field_tesla)["white"]))


def draw_relaxation(field_tesla: float, generator: torch.Generator) -> Tissue:
    """T1, T2, density, diffusivity and contrast agent of every label of one person, each ``(labels,)``."""
    known, n = tissues(field_tesla), len(LABELS)
    rows = torch.zeros(n, 5)
    for name, members in TISSUE.items():
        for label in members:
            made = MADE_OF.get(name)
            if choice := MAY_BE.get(name):
                made = {choice[int(torch.randint(len(choice), (), generator=generator))]: 1.0}
            for tissue, share in (made or {}).items():
                one = known[tissue]
                rows[POSITION[label]] += share * torch.tensor(
                    [one.t1_ms, one.t2_ms, one.density, one.diffusivity, one.gadolinium_mM]
                )
    # one factor for a person's tissue of each kind, a smaller one of every label's own
    own = torch.exp(normal(generator, PEOPLE / 2, (n, 5)))
    first = torch.minimum(mirror_table().long(), torch.arange(n))
    for name, members in TISSUE.items():
        factor = torch.exp(normal(generator, PEOPLE, (5,)))
        places = [POSITION[label] for label in members]
        rows[places] = rows[places] * factor
        if name == "air":
            rows[places] = torch.tensor([1000.0, 50.0, 0.0, 0.0, 0.0])
    t1, t2, density, diffusivity, gadolinium = (rows * own[first]).unbind(-1)
    return Tissue(t1, t2, density, diffusivity, gadolinium)


@dataclass
class PathologyPainter:
    """Every sequence of one head by its signal equation, with what is wrong painted over it.

    Attributes:
        placed: the map that scans are drawn from.
        kind: of `pathology.KINDS`.
        sequences: names as `physics.pulse_sequence` knows them.
        spacing: of the scans, mm.
        shapes: masks of real strokes, or None.
        core: somebody's own infarct, see `draw_pathology`, or None.
        mimics: how much is painted of what is mistaken for lesions; 1: as much as is usual.
        drawn: of the last call, what was painted.
    """

    placed: PlacedMap
    kind: str
    sequences: tuple[str, ...]
    spacing: float
    shapes: Sequence[torch.Tensor] | None = None
    core: Core | None = None
    mimics: float = 1.0
    drawn: Pathology | None = None

    def __call__(self, labels: torch.Tensor, at: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        field = FIELDS[int(torch.randint(len(FIELDS), (), generator=generator))]
        numbers = torch.tensor(LABELS)[labels.long()]
        tissue = tissue_of_labels(numbers, self.spacing, self.placed.places(at))
        self.drawn = draw_pathology(
            self.kind, tissue, generator, field_tesla=field, shapes=self.shapes, core=self.core, mimics=self.mimics
        )
        person = draw_relaxation(field, generator)
        images = []
        for name in self.sequences:
            how = varied(pulse_sequence(name, field), generator)
            mean = draw_signals(how, person)
            scale = TEXTURE * float(uniform(generator, 0.3, 1.2))
            image = textured(labels, mean, scale * (mean.abs() + 0.05), generator)
            white = 1.0 if how.kind == "ADC" else float(signal(how, tissues(field)["white"]))
            for part in self.drawn.compartments:
                value = float(signal(how, part.relaxation(field))) / white
                value *= float(torch.exp(normal(generator, LESION)))
                grain = scale * abs(value) * torch.randn(labels.shape, generator=generator)
                image = torch.lerp(image, value + grain, part.share)
            images.append(image)
        return torch.stack(images)


def region_classes(drawn: Pathology, count: int) -> torch.Tensor:
    """Class of every voxel: 0, or the region that holds most of it where regions hold half or more; uint8."""
    shares = torch.stack([drawn.region_share(index + 1) for index in range(count)])
    return torch.where(shares.sum(0) >= 0.5, shares.argmax(0) + 1, 0).to(torch.uint8)


def left_out(count: int, required: Sequence[bool], generator: torch.Generator, probability: float) -> torch.Tensor:
    """Which sequences are there, bool ``(count,)``: each optional one is missing with a probability, never all."""
    there = torch.tensor([bool(must) or not chance(generator, probability) for must in required])
    if not there.any():
        there[int(torch.randint(count, (), generator=generator))] = True
    return there
