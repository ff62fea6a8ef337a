"""The lesson of the recipe ``anatomy``: every structure of a whole head, on one image of any contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.judge import Truth
from bids_app.lessons.lesson import SCHEDULE, DrawPlan, Lesson, label_map_names, number_seed, offset_of, taught_by
from bids_app.networks.losses import sparse_dice_ce
from bids_app.networks.standardise import standardise
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.heads.insula import ATLAS, INSULA_SOURCE, load_insula, with_insula
from bids_app.synthesis.heads.labelmaps import (
    OUTER_FLUID,
    POSITION,
    LabelMap,
    load_label_maps,
    mirror_table,
    region_table,
)
from bids_app.synthesis.scanner.generator import Ranges, draw_scans, jittered

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State

#: One voxel of so many along each axis is judged in a step.
LOOK_STEP = 2
#: Sides of a training patch, voxels of 2 mm: a whole head.
PATCH = (96, 112, 96)
PLAN = DrawPlan(schedule=replace(SCHEDULE, warm_up=100, average=0.998))
#: A patch is a whole head, so that its mean is that of a scan; contrasts that brains are looked at with come often.
RANGES = Ranges(
    turn=0.2,
    scale=0.15,
    bend_mm=2.5,
    near_brain=1.0,
    shift_mm=20.0,
    known=0.9,
    noise=0.045,
    texture=0.06,
    thick=0.35,
    thickest_mm=6.5,
    coarsest_mm=2.4,
    bias=0.35,
    gamma=0.3,
    gain=0.1,
    offset=0.25,
)
#: The first scans are easy: large structures are found sooner, and the harder scans start from there.
EASY = Ranges(
    turn=0.12,
    scale=0.1,
    bend_mm=1.5,
    near_brain=1.0,
    shift_mm=15.0,
    known=1.0,
    noise=0.03,
    thick=0.15,
    stripped=0.25,
    bias=0.2,
    gamma=0.2,
    gain=0.1,
    offset=0.25,
    coarsest_mm=2.6,
)
EASY_SCANS = 700
#: Voxels of the first stage, mm, and the part of the training that it takes.
COARSE_MM, COARSE_PART = 3.0, 0.6
#: Of the scans that judge: contrasts that brains are looked at with, noisier, heads nearer to upright, thicker slices.
EVALUATION = Ranges(
    turn=0.15, scale=0.1, bend_mm=2.0, near_brain=1.0, shift_mm=10.0, known=1.0, noise=0.1, thick=0.5, thickest_mm=6.0
)


@dataclass
class AnatomyLesson(Lesson):
    """Scans of random contrast from label maps.

    Attributes:
        recipe: ``anatomy``, or one with other regions of the same labels.
        maps: that train.
        seed: of everything.
        plan, how, patch: of the training, the generator, and a scan's sides.
        data_root: where the label maps came from; None where nothing is exported.
    """

    recipe: Recipe
    maps: list[LabelMap]
    seed: int = 1
    plan: DrawPlan = PLAN
    how: Ranges = RANGES
    patch: tuple[int, int, int] = PATCH
    data_root: Path | None = None

    @classmethod
    def load(cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False) -> AnatomyLesson:
        """The label maps that train, or those that were held out; with the insula where ``data_root`` has an atlas."""
        spec = taught_by(recipe)
        maps = load_label_maps(data_root / spec.label_maps, label_map_names(data_root, spec, held_out=held_out))
        if (atlas := load_insula(data_root)) is not None:
            maps = [with_insula(one, atlas) for one in maps]
        return cls(recipe, maps, seed, data_root=data_root)

    @property
    def has_insula(self) -> bool:
        return self.data_root is not None and (self.data_root / ATLAS).is_file()

    @property
    def classes(self) -> torch.Tensor:
        return region_table([region.index for region in self.recipe.regions])

    def draw(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The ``number``-th scan: image ``(1, x, y, z)`` as a scanner gives it, and labels of what it shows."""
        import torch

        seed = number_seed(self.seed, number)
        how = EASY if self.how is RANGES and number < EASY_SCANS else self.how
        drawn = draw_scans(self.maps, [seed], shape=self.patch, spacing=self.recipe.needed_grid.spacing_mm, how=how)
        image, labels = drawn.images[0], drawn.labels[0]
        # fluid around the brain that stripping took away is not asked for
        gone = (image[0] == 0) & (labels == POSITION[OUTER_FLUID])
        return image, torch.where(gone, 0, labels)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        image, labels = self.draw(number)
        generator = torch.Generator().manual_seed(number_seed(self.seed, number) ^ 1)
        return jittered(standardise(image), self.how, generator), labels

    def truth(self, number: int) -> Truth:
        """A scan as those who judge want it."""
        image, labels = self.draw(number)
        return Truth(image.numpy(), np.ones(1, bool), self.classes[labels.long()].numpy().astype(np.int64))

    def stages(self) -> Sequence[tuple[float, Lesson]]:
        """First whole heads on a coarser grid, where a step costs a third and structures are found sooner."""
        scale = COARSE_MM / self.recipe.needed_grid.spacing_mm
        grid = self.recipe.needed_grid.model_copy(update={"spacing_mm": COARSE_MM})
        first, second, third = (round(side / scale / 16) * 16 for side in self.patch)
        coarse = replace(self, recipe=self.recipe.model_copy(update={"grid": grid}), patch=(first, second, third))
        return [(COARSE_PART, coarse), (1.0, self)]

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        """Calibrate and judge on the label maps that were held out."""
        from bids_app.lessons.export import export_drawn

        if self.data_root is None:
            raise UsageError("where the label maps lie is not known: load the lesson from its folder")
        judge = AnatomyLesson.load(self.recipe, self.data_root, self.seed, held_out=True)
        judge.how, judge.patch = EVALUATION, self.patch
        return export_drawn(
            state,
            self,
            judge.truth,
            out_dir,
            seed=seed,
            patch=self.patch,
            note=note,
            beside=beside,
            **self.sources([m.name for m in judge.maps]),
        )

    def sources(self, held_out: list[str]) -> dict[str, Any]:
        """What the manifest and the licence name: options of `export_drawn`.

        Args:
            held_out: names of the label maps that judge.
        """
        insula = f", and the place of the insula from {INSULA_SOURCE}" if self.has_insula else ""
        return {"held_out": held_out, "more": insula}

    def mirrored(self, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flip(1), mirror_table()[target.flip(0).long()]

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        """One voxel out of every block of two a side, another at every step: an eighth of the work."""
        offset = offset_of(step, LOOK_STEP)
        logits = network.logits_at(images, offset, LOOK_STEP)
        box = (slice(None), *(slice(int(o), None, LOOK_STEP) for o in offset))
        labels = self.classes.to(targets.device)[targets[box].long()].long()
        return sparse_dice_ce(logits, labels)
