"""The lesson of recipes with lesions: several sequences by their signal equations, with a pathology in them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.drawn_targets import solve_drawn, spread_of, target_loss
from bids_app.lessons.judge import Truth
from bids_app.lessons.lesson import SCHEDULE, DrawPlan, Lesson, label_map_names, number_seed, taught_by
from bids_app.lessons.real import RealPatches, images_of, licence_of, load_real
from bids_app.lessons.slab import as_seen, map_at_level, seen_slices, slab_sides, whole_sides
from bids_app.networks.losses import sparse_dice_ce
from bids_app.networks.standardise import normalise
from bids_app.recipes.lesson import LessonSpec
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.heads.labelmaps import LabelMap, load_label_maps
from bids_app.synthesis.heads.placed import PlacedMap, around, from_mni, place_map
from bids_app.synthesis.pathology.compartments import Pathology
from bids_app.synthesis.pathology.painting import PathologyPainter, left_out, region_classes
from bids_app.synthesis.pathology.pathology import KINDS, REGIONS
from bids_app.synthesis.scanner.generator import Ranges, draw_scans, jittered
from bids_app.synthesis.scanner.physics import SEQUENCES

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State

#: Mean and spread that an ADC map is normalised by, 1e-3 mm²/s: healthy tissue and some fluid, round numbers of ours.
ADC_NORMAL = {"kind": "cohort", "mean": 1.0, "sd": 0.6}
#: Sides of a training patch, voxels, of recipes for the whole brain.
PATCH = (80, 96, 80)
#: Share of the scans of a region, which no mask is laid over, that show what is outside the brain.
WITH_SKULL = 0.75
#: How scans differ; the prediction sets what lies outside the brain mask to zero, so that all of them are stripped.
RANGES = Ranges(
    turn=0.2, scale=0.12, near_brain=0.95, stripped=1.0, thickest_mm=6.0, coarsest_mm=1.6, bias=0.3, gamma=0.15
)


#: Of the scans that judge: noisier, thicker slices, stronger shading.
EVALUATION = {"turn": 0.12, "scale": 0.08, "noise": 0.1, "thick": 0.6, "bias": 0.4}
#: Sides of a scan that judges, voxels: most of a brain.
JUDGED = (128, 144, 112)
PLAN = DrawPlan(reuse=4, pool=64, schedule=replace(SCHEDULE, warm_up=30))


@dataclass
class LesionLesson(Lesson):
    """Scans with lesions from label maps.

    Attributes:
        recipe: its sequences are named as `physics.pulse_sequence` names them; kept with the targets that its table
            ``[lesson]`` names, for nobody knows another outcome of a scan that was drawn, nor a covariate.
        placed: label maps that train.
        shapes: masks of real strokes, for ``stroke``.
        real: real scans that are mixed among the drawn ones; None for none.
        data_root: where the label maps came from; None where nothing is exported.
        patch: what is drawn, voxels; of a flat recipe a slab that holds the slices.
        range_mm: of a flat recipe, how far from its level slices are drawn.
        dropout: how often an optional sequence is missing.
        painted: all that the last scan that was drawn had, mimics too.
    """

    recipe: Recipe
    placed: list[PlacedMap]
    seed: int = 1
    shapes: list[torch.Tensor] | None = None
    plan: DrawPlan = PLAN
    how: Ranges = RANGES
    patch: tuple[int, int, int] = PATCH
    data_root: Path | None = None
    real: RealPatches | None = None
    range_mm: float = field(init=False)
    dropout: float = field(init=False)
    painted: Pathology | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        recipe = self.recipe.with_targets(self.known_targets())
        self.recipe = recipe.model_copy(update={"learning": recipe.learning.model_copy(update={"covariates": ()})})
        self.dropout = self.recipe.learning.sequence_dropout
        grid = self.recipe.needed_grid
        self.range_mm = grid.range_mm
        if grid.kind == "region":
            self.patch = (round(grid.region_size_mm / grid.spacing_mm),) * 3
            self.how = replace(self.how, stripped=1 - WITH_SKULL)
        elif self.recipe.targets:
            self.patch = whole_sides(self.recipe)  # a target's head reads all that is looked at
        if grid.flat:
            self.patch = slab_sides(self.recipe)
            self.how = replace(self.how, near_brain=1.0, shift_mm=0.0)

    def known_targets(self) -> Sequence[str]:
        """Names of the targets whose truth is known of a drawn scan."""
        return tuple(self.recipe.lesson.targets) if self.recipe.lesson else ()

    @classmethod
    def load(
        cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False, leave_out: Sequence[str] = ()
    ) -> LesionLesson:
        """The label maps that train, or those held out; for strokes also the shapes of real ones.

        Where real scans with masks lie there (see `real.DATASETS`), they train too, but those in ``leave_out``.

        Raises:
            UsageError: the recipe's table ``[lesson]`` has no pathology that can be drawn, or its regions are not that
                pathology's; or somebody is left out who is not there.
        """
        spec = taught_by(recipe)
        check_pathology(recipe, spec)
        names = label_map_names(data_root, spec, held_out=held_out)
        placed = [place_map(one) for one in load_label_maps(data_root / spec.label_maps, names)]
        shapes = None
        if spec.pathology == "stroke":
            from bids_app.synthesis.pathology.shapes import load

            every = load(data_root)
            shapes = every[::5] if held_out else [shape for n, shape in enumerate(every) if n % 5]
        lesson = cls(recipe, placed, seed, shapes, data_root=data_root)
        if not held_out and (scans := load_real(recipe, data_root, leave_out)):
            lesson.real = RealPatches(scans, recipe, lesson.seen, lesson.normalisation, seed)
        return lesson

    @property
    def spec(self) -> LessonSpec:
        """The recipe's table ``[lesson]``."""
        return taught_by(self.recipe)

    @property
    def seen(self) -> tuple[int, int, int]:
        """Sides of what a step sees of a scan, voxels."""
        return (*self.patch[:2], 1) if self.recipe.flat else self.patch

    @property
    def normalisation(self) -> list[dict[str, Any]]:
        """As `networks.standardise.normalise` wants it, per sequence."""
        return [dict(ADC_NORMAL) if sequence.quantitative else {"kind": "scan"} for sequence in self.recipe.sequences]

    def draw(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The ``number``-th scan: images ``(sequences, x, y, z)`` as a scanner gives them, which are there, classes.

        Of a flat recipe ``z`` are the slices that the network sees; the classes are those of the middle one.
        """
        import torch

        seed = number_seed(self.seed, number)
        generator = torch.Generator().manual_seed(seed ^ 1)
        placed = self.placed[int(torch.randint(len(self.placed), (), generator=generator))]
        names = tuple(sequence.name for sequence in self.recipe.sequences)
        grid = self.recipe.needed_grid
        paint = self.painter(number, placed, names)
        drawn = draw_scans(
            [self._where(placed, generator)],
            [seed],
            shape=self.patch,
            spacing=grid.spacing_mm,
            sequences=len(names),
            how=self.how,
            paint=paint,
            units=[sequence.quantitative for sequence in self.recipe.sequences],
        )
        assert paint.drawn is not None  # it was asked to paint
        self.painted = paint.drawn
        there = left_out(len(names), [s.required for s in self.recipe.sequences], generator, self.dropout)
        images, classes = drawn.images[0], self.classes_of(paint, drawn.at[0])
        if self.recipe.flat:
            images, classes = seen_slices(images, self.recipe.network.slices), seen_slices(classes, 1)
        return images, there, classes

    def painter(self, number: int, placed: PlacedMap, names: tuple[str, ...]) -> PathologyPainter:
        """What paints the ``number``-th scan."""
        spacing = self.recipe.needed_grid.spacing_mm
        return PathologyPainter(placed, self.spec.pathology, names, spacing, self.shapes, mimics=self.spec.mimics)

    def classes_of(self, paint: PathologyPainter, at: torch.Tensor) -> torch.Tensor:
        """Class of every voxel of a scan that was painted, ``(x, y, z)``; ``at``: its places in the map, voxels."""
        assert paint.drawn is not None  # it was asked to paint
        return region_classes(paint.drawn, len(self.recipe.regions))

    def _where(self, placed: PlacedMap, generator: torch.Generator) -> LabelMap:
        """The map, with the place where patches are drawn."""
        grid = self.recipe.needed_grid
        if grid.flat:
            return map_at_level(self.recipe, placed, self.range_mm, generator)
        return around(placed, from_mni(grid.region_centre_mm)) if grid.kind == "region" else placed.label_map

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if self.real is not None and np.random.default_rng([self.seed, number]).random() < self.spec.real_share:
            return self.real[number]
        images, there, classes = self.draw(number)
        images = normalise(images, self.normalisation)
        generator = torch.Generator().manual_seed(number_seed(self.seed, number) ^ 2)
        moved = jittered(images, self.how, generator)
        fixed = torch.tensor([sequence.quantitative for sequence in self.recipe.sequences])
        images = torch.where(fixed[:, None, None, None], images, moved) * there[:, None, None, None]
        return (as_seen(images), classes[..., 0]) if self.recipe.flat else (images, classes)

    def truth(self, number: int, without: Sequence[str] = ()) -> Truth:
        """A scan as those who judge want it, with all sequences but those named."""
        images, _, classes = self.draw(number)
        there = np.array([sequence.name not in without for sequence in self.recipe.sequences])
        stack = images.numpy() * there[:, None, None, None]
        return Truth(stack.astype(np.float32), there, classes.numpy().astype(np.int64))

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        """Calibrate and judge on label maps (and shapes) that were held out, also with sequences missing."""
        from bids_app.lessons.export import export_drawn

        if self.data_root is None:
            raise UsageError("where the label maps lie is not known: load the lesson from its folder")
        judge = LesionLesson.load(self.recipe, self.data_root, self.seed, held_out=True)
        judge.how = replace(judge.how, **EVALUATION)
        judge.range_mm = 0.0
        if self.recipe.needed_grid.kind == "whole" and not (self.recipe.flat or self.recipe.targets):
            judge.patch = JUDGED
        answers: dict[str, dict[str, Any]] = {}
        if self.recipe.targets:
            told = solve_drawn(state.mean, self, self.scalings)
            answers = {"plan": {"targets": self.scalings}, "metrics": {"heads": told}}
        names = [sequence.name for sequence in self.recipe.sequences]
        optional = [sequence.name for sequence in self.recipe.sequences if not sequence.required]
        subsets = {f"without {name}": partial(judge.truth, without=(name,)) for name in optional} | (
            {f"{self.recipe.reference} alone": partial(judge.truth, without=optional)} if len(optional) > 1 else {}
        )
        return export_drawn(
            state,
            self,
            judge.truth,
            out_dir,
            seed=seed,
            patch=self.seen,
            held_out=[one.label_map.name for one in judge.placed],
            subsets=subsets,
            normalisation=dict(zip(names, self.normalisation, strict=True)),
            note=note,
            beside=beside,
            more=", with the shapes of stroke lesions that were released under CC0 and BSD-2-Clause"
            if self.shapes
            else "",
            real=self._real_images(),
            real_licence=licence_of(self.recipe, self.data_root, self.real.participants) if self.real else "",
            answers=answers,
        )

    def _real_images(self) -> dict[str, list[Path]]:
        """Files of every participant who trained."""
        found: dict[str, list[Path]] = {}
        if self.real is None or self.data_root is None:
            return found
        for name in self.real.participants:
            images, mask = images_of(self.recipe, self.data_root, name)
            found[name] = [*images.values(), mask]
        return found

    def mirrored(self, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flip(1), target.flip(0)

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        """Every voxel counts: with one of each folded block a step, answers kept a pattern of the block's size.

        Targets count where the recipe lets them teach the network; else their heads are solved at the end alone.
        """
        levels = network.ascend(network.encode(images))
        logits = network.logits_of(levels)[0]
        loss, dice = sparse_dice_ce(logits, targets.long(), absent=True)
        if self.recipe.targets and self.recipe.learning.target_gradient != "none":
            loss = loss + target_loss(self.recipe, network, images, levels, logits, targets, self.scalings)
        return loss, dice

    @cached_property
    def scalings(self) -> dict[str, dict[str, Any]]:
        """What each target's kind fits on drawn scans, the same for all trainings of a recipe."""
        plain = copy.copy(self)
        plain.seed = 0
        return spread_of(self.recipe, lambda number: plain.draw(number)[2])


def check_pathology(recipe: Recipe, spec: LessonSpec) -> None:
    """Whether a recipe's pathology can be drawn on its sequences, for its regions.

    Raises:
        UsageError: naming what is not known, and what is.
    """
    where = f"the recipe {recipe.name}, table [lesson]"
    kinds = [kind for kind in KINDS if REGIONS[kind]]
    if spec.pathology not in kinds:
        raise UsageError(f"{where}: there is no pathology {spec.pathology!r}; there are {', '.join(kinds)}")
    drawn = REGIONS[spec.pathology]
    if len(recipe.regions) > len(drawn):
        raise UsageError(
            f"{where}: {spec.pathology} is drawn with {len(drawn)} region{'s' * (len(drawn) > 1)} "
            f"({', '.join(drawn)}), and the recipe has {len(recipe.regions)}"
        )
    if unknown := [one.name for one in recipe.sequences if one.name not in SEQUENCES]:
        raise UsageError(
            f"{where}: there is no signal equation for the sequence {unknown[0]!r}; there are {', '.join(SEQUENCES)}"
        )
