"""What a network is taught by drawn scans: where they come from, how an answer is judged, how the result is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State


#: Label maps that never train: they judge.
HELD_OUT = ("training_seg_05", "training_seg_10", "training_seg_15", "training_seg_20")


@dataclass(frozen=True)
class Plan:
    """How a training goes; a sentence per number.

    Attributes:
        batch: scans per step.
        rate: highest learning rate; warmed up, then falling with a cosine.
        decay: of AdamW's weights.
        average: part of the running mean of weights that is kept each step.
        reuse: how often a drawn scan is used (drawing costs as much as learning from it).
        pool: drawn scans that are kept at a time.
        warm_up: steps until the highest rate.
        save_every: steps between checkpoints.
    """

    batch: int = 2
    rate: float = 2e-3
    decay: float = 1e-4
    average: float = 0.995
    reuse: int = 2
    pool: int = 48
    warm_up: int = 60
    save_every: int = 100


class Lesson(Protocol):
    """Scan after scan; the ``n``-th depends on the seed and ``n`` alone.

    Attributes:
        recipe: what is learned.
        plan: how.
    """

    recipe: Recipe
    plan: Plan

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``(sequences, x, y, z)``, standardised, and what is to be answered."""
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


def label_map_names(folder: Path, *, held_out: bool) -> list[str]:
    """Label maps that train, or those that judge; all of them where the folder holds no other kind."""
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.nii*"))
    return [name for name in names if (name in HELD_OUT) == held_out] or names


def drawn_batches(
    lesson: Lesson, state: State, seed: int, workers: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end, from a pool that gains one scan for every ``reuse`` that are used."""
    import torch
    from torch.utils.data import DataLoader

    plan = lesson.plan
    chooser = np.random.default_rng([seed, state.drawn])
    loader = DataLoader(
        lesson,
        batch_size=None,
        sampler=range(state.drawn, state.drawn + 10**7),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    fresh = iter(loader)
    pool: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=plan.pool)
    owed = float(min(8, plan.pool))
    while True:
        owed += plan.batch / plan.reuse
        while owed >= 1:
            pool.append(next(fresh))
            state.drawn += 1
            owed -= 1
        picked = [pool[i] for i in chooser.choice(len(pool), plan.batch, replace=len(pool) < plan.batch)]
        picked = [lesson.mirrored(*scan) if chooser.random() < 0.5 else scan for scan in picked]
        yield torch.stack([image for image, _ in picked]), torch.stack([target for _, target in picked])
