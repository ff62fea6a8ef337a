"""The lesson of the recipe ``habenula``: scans drawn from label maps, and real T1w brains changed at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.lesson import DrawPlan, Lesson, taught_by
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.habenula.sources import HELD_OUT

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.synthesis.habenula.scans import Sources
    from bids_app.train.state import State

#: Sources that give few scans: thick slices, and templates that look like one another.
SPARSE = {
    "ms_two_visits/sub-01_ses-1": 0.3,
    "ms_two_visits/sub-01_ses-2": 0.3,
    "nilearn": 0.5,
    "ms/sub-26_ce-gadolinium": 0.5,
}
#: Weight of the cross-entropy in the first and in the second half. Dice finds the region fast but makes it too large
#: where the border is uncertain; cross-entropy makes probabilities add up to volumes.
CROSS_ENTROPY = (10.0, 100.0)


PLAN = DrawPlan()


@dataclass
class HabenulaLesson(Lesson):
    """Scan after scan of the sources that train.

    Attributes:
        data_root: where the sources were read, for the manifest; may be None where nothing is exported.
        cross_entropy: in the first and in the second half.
    """

    recipe: Recipe
    sources: Sources
    seed: int = 1
    plan: DrawPlan = PLAN
    data_root: Path | None = None
    cross_entropy: tuple[float, float] = CROSS_ENTROPY
    members: dict[str, list[int]] = field(init=False)
    real: float = field(init=False)

    def __post_init__(self) -> None:
        self.real = taught_by(self.recipe).real_share
        kinds = {
            kind: [i for i in self.sources.only(kind) if self.sources.names[i] not in HELD_OUT]
            for kind in ("labels", "t1w")
        }
        self.members = {kind: members for kind, members in kinds.items() if members}

    @classmethod
    def load(cls, recipe: Recipe, data_root: Path, seed: int, out_dir: Path) -> HabenulaLesson:
        """The sources below ``data_root``, prepared in ``out_dir`` where that is not done yet."""
        from bids_app.synthesis.habenula.scans import load_sources
        from bids_app.synthesis.habenula.sources import prepare_sources

        return cls(recipe, load_sources(prepare_sources(data_root, out_dir), data_root), seed, data_root=data_root)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        from bids_app.synthesis.habenula.scans import HabenulaRanges, draw_scan

        chooser = np.random.default_rng([self.seed, number])
        kind = "t1w" if chooser.random() < self.real else "labels"
        members = self.members.get(kind) or next(iter(self.members.values()))
        weights = np.array([SPARSE.get(self.sources.names[i], 1.0) for i in members])
        source = int(chooser.choice(members, p=weights / weights.sum()))
        return draw_scan(self.sources, source, self.seed * 1_000_003 + number, HabenulaRanges())

    def mirrored(self, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flip(1), target.flip(1)[[0, 2, 1]]

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        from bids_app.networks.losses import ScaledDiceCELoss

        logits = network(images).logits
        loss = ScaledDiceCELoss(self.cross_entropy[progress >= 0.5])(logits, targets)
        return loss, soft_dice(logits[0].detach(), targets)

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        from bids_app.lessons.export_habenula import export_bundle

        if self.data_root is None:
            raise UsageError("where the sources lie is not known: load the lesson from its folder")
        return export_bundle(
            state, self.recipe, self.sources, out_dir, seed=seed, data_root=self.data_root, note=note, beside=beside
        )


def soft_dice(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over regions of 2 Σpt / (Σp² + Σt²), background left out."""
    p, t = logits.softmax(1)[:, 1:], target[:, 1:]
    axes = (0, 2, 3, 4)
    return float((2 * (p * t).sum(axes) / (p.square() + t.square()).sum(axes).clamp_min(1e-6)).mean())
