"""What a network is taught by drawn scans: where they come from, how an answer is judged, how the result is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bids_app.errors import UsageError
from bids_app.recipes.lesson import LessonSpec
from bids_app.recipes.recipe import Recipe, list_recipes, load_recipe
from bids_app.train.loop import Schedule

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State


#: Label maps that never train, but judge, where a recipe names none.
HELD_OUT = ("training_seg_05", "training_seg_10", "training_seg_15", "training_seg_20")


#: How drawn scans are learned from where a lesson says nothing else.
SCHEDULE = Schedule(None, rate=2e-3, average=0.995, clip=3.0, warm_up=60, save_every=100)


@dataclass(frozen=True)
class DrawPlan:
    """How scans are drawn and learned from.

    Attributes:
        batch: scans per step.
        reuse: how often a drawn scan is used (drawing costs as much as learning from it).
        pool: drawn scans that are kept at a time.
        schedule: rate, warm-up, running mean; steps and minutes are those of the command.
    """

    batch: int = 2
    reuse: int = 2
    pool: int = 48
    schedule: Schedule = SCHEDULE


class Lesson(Protocol):
    """Scan after scan; the ``n``-th depends on the seed and ``n`` alone.

    Attributes:
        recipe: what is learned.
        plan: how.
    """

    recipe: Recipe
    plan: DrawPlan

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``(sequences, x, y, z)``, standardised, and what is to be answered; of a flat recipe ``(channels, x,
        y)``, as its network sees them."""
        ...

    def mirrored(self, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A scan that was drawn before, as its mirror image; sides named anew."""
        ...

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        """Loss of a batch, and its Dice for the log. ``progress``: part of the training that is done."""
        ...

    def stages(self) -> Sequence[tuple[float, Lesson]]:
        """Lessons one after the other, each until a part of the training is done; the last until 1."""
        return [(1.0, self)]

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        """Calibrate on scans that did not train, and write the bundle; networks ``beside`` it are members too."""
        ...


def offset_of(step: int, fold: int) -> tuple[int, ...]:
    """Which of the folded voxels a step looks at: each in turn, in an order without a pattern."""
    place = np.unravel_index(int(np.random.default_rng(step).integers(fold**3)), (fold,) * 3)
    return tuple(int(one) for one in place)


def number_seed(seed: int, number: int) -> int:
    """Seed of the ``number``-th scan of a training."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def taught_by(recipe: Recipe) -> LessonSpec:
    """The recipe's table ``[lesson]``.

    Raises:
        UsageError: it has none, or one that its other parts do not fit.
    """
    if recipe.lesson is None:
        others = [name for name in list_recipes() if load_recipe(name).lesson is not None]
        raise UsageError(
            f"the recipe {recipe.name!r} has no table [lesson], so that there is no generator of training scans for "
            f"it; these have one: {', '.join(others)}"
        )
    if trouble := recipe.lesson.trouble(recipe.grid, len(recipe.sequences), recipe.regions, recipe.targets):
        raise UsageError(f"the recipe {recipe.name}, table [lesson]: {trouble}")
    return recipe.lesson


def label_map_names(data_root: Path, spec: LessonSpec, *, held_out: bool) -> list[str]:
    """Label maps that train, or those that judge; all of them where there is only one, or no other kind.

    Raises:
        UsageError: the recipe holds out a label map that is not there.
    """
    folder = Path(data_root) / spec.label_maps
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.nii*"))
    if gone := sorted(set(spec.held_out) - set(names)):
        raise UsageError(f"{folder} lacks {', '.join(gone)}, which the recipe's table [lesson] holds out")
    judges = set(spec.held_out or set(HELD_OUT) & set(names) or names[4::5] or names[-1:])
    return [name for name in names if (name in judges) == held_out] or names
