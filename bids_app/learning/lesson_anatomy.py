"""The lesson of the recipe ``anatomy``: every structure of a whole head, on one image of any contrast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.learning.lesson import Plan
from bids_app.networks.losses import sparse_dice_ce
from bids_app.networks.standardise import standardise
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.generator import Ranges, draw_scans, jittered
from bids_app.synthesis.labelmaps import OUTER_FLUID, LabelMap, load_label_maps, mirror_table, region_table

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet

#: Label maps that never train: they judge.
HELD_OUT = ("training_seg_05", "training_seg_10", "training_seg_15", "training_seg_20")
#: Sides of a training patch, voxels of 2 mm: a whole head.
PATCH = (96, 112, 96)
#: A patch is a whole head, so that its mean is that of a scan; contrasts that brains are looked at with come often.
RANGES = Ranges(near_brain=1.0, shift_mm=22.0, known=0.8, gain=0.1, offset=0.25, thickest_mm=6.5, coarsest_mm=2.6)


def offset_of(step: int, fold: int) -> tuple[int, ...]:
    """Which of the folded voxels a step looks at: each in turn, in an order without a pattern."""
    return np.unravel_index(int(np.random.default_rng(step).integers(fold**3)), (fold,) * 3)


def number_seed(seed: int, number: int) -> int:
    """Seed of the ``number``-th scan of a training."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def label_map_names(folder: Path, *, held_out: bool) -> list[str]:
    """Label maps that train, or those that judge; all of them where the folder holds no other kind."""
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.nii*"))
    return [name for name in names if (name in HELD_OUT) == held_out] or names


@dataclass
class AnatomyLesson:
    """Scans of random contrast from label maps.

    Attributes:
        recipe: ``anatomy``, or one with other regions of the same labels.
        maps: that train.
        seed: of everything.
        plan, how, patch: of the training, the generator, and a scan's sides.
    """

    recipe: Recipe
    maps: list[LabelMap]
    seed: int = 1
    plan: Plan = Plan(batch=2, rate=2e-3, reuse=2, pool=48, warm_up=100, average=0.998)
    how: Ranges = RANGES
    patch: tuple[int, int, int] = PATCH

    @classmethod
    def load(cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False) -> AnatomyLesson:
        """The label maps of ``data_root`` that train, or those that were held out."""
        folder = data_root / "labelmaps"
        return cls(recipe, load_label_maps(folder, label_map_names(folder, held_out=held_out)), seed)

    @property
    def classes(self) -> torch.Tensor:
        return region_table([region.index for region in self.recipe.regions])

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        seed = number_seed(self.seed, number)
        drawn = draw_scans(self.maps, [seed], shape=self.patch, spacing=self.recipe.grid.spacing_mm, how=self.how)
        image, labels = drawn.images[0], drawn.labels[0]
        image = jittered(standardise(image), self.how, torch.Generator().manual_seed(seed ^ 1))
        return image, torch.where(image[0] == 0, self.hidden(labels), labels)

    def hidden(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels where nothing was left by stripping: fluid around the brain that is not shown is not asked for."""
        import torch

        from bids_app.synthesis.labelmaps import POSITION

        return torch.where(labels == POSITION[OUTER_FLUID], 0, labels)

    def mirrored(self, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flip(1), mirror_table()[target.flip(0).long()]

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        """One of the voxels that are folded together, another at every step: an eighth of the work, all of them seen."""
        fold = network.shape.fold
        offset = offset_of(step, fold)
        logits = network.logits_at(images, offset)
        a, b, c = offset
        labels = self.classes.to(targets.device)[targets[:, a::fold, b::fold, c::fold].long()].long()
        return sparse_dice_ce(logits, labels)
