"""The lesson of the recipe ``anatomy`` where there are real heads: real, painted in other contrasts, and drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.errors import UsageError
from bids_app.lessons.anatomy import RANGES, AnatomyLesson
from bids_app.lessons.lesson import SCHEDULE, DrawPlan, Lesson, number_seed, taught_by
from bids_app.lessons.real_heads import RealHead, files_of, head_names, heads_of, load_heads
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.heads.labelmaps import OUTER_FLUID, POSITION
from bids_app.synthesis.scanner.real_changes import Changes, draw_real

if TYPE_CHECKING:
    import torch


#: One head a step: it is as good as two, for half the time. Real heads are cheap to change, so few uses of each.
HEADS_PLAN = DrawPlan(batch=1, pool=24, schedule=replace(SCHEDULE, rate=4e-4, warm_up=40, average=0.998))
#: Every fifth of them comes stripped, slices are thick less often than in drawn scans, and three in ten show more neck
#: and face than brain: a network that never saw these called up to 160 ml of them cortex.
REAL_RANGES = replace(RANGES, stripped=0.2, near_brain=0.7, scale=0.12, bend_mm=2.0, noise=0.05, bias=0.3)
#: Six of ten T1w heads keep their voxels, and so exact labels: in 1700 steps from the bundle before it, at less than
#: half the rate, ten structures of eight people who trained nothing went from Dice 0.840 to 0.846, all else rising too.
CHANGES = Changes(as_it_lies=0.6)
HEADS_LICENSE = """
Real heads trained beside them: {heads}.
No image and no map of them is in this bundle.
"""


@dataclass
class HeadsLesson(AnatomyLesson):
    """Real heads with real labels beside drawn ones.

    Attributes:
        heads: real people who train.
        changes: how far they are changed.
    """

    plan: DrawPlan = HEADS_PLAN
    heads: list[RealHead] = field(default_factory=list)
    changes: Changes = CHANGES

    @classmethod
    def load(cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False) -> HeadsLesson:
        """The label maps as for `AnatomyLesson`, and real people who train (or, ``held_out``, those who judge)."""
        drawn = AnatomyLesson.load(recipe, data_root, seed, held_out=held_out)
        dataset = heads_of(recipe)
        names = head_names(data_root, held_out=held_out, dataset=dataset)
        heads = load_heads(data_root, names, recipe.needed_grid.spacing_mm, dataset)
        return cls(recipe, drawn.maps, seed, data_root=data_root, heads=heads)

    @property
    def shares(self) -> tuple[float, float, float]:
        """Parts of the scans: real, real heads painted in another contrast, drawn from label maps of other people."""
        spec = taught_by(self.recipe)
        return spec.real_share, spec.painted_share, 1 - spec.real_share - spec.painted_share

    def draw(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The ``number``-th scan, real, painted or drawn by `shares`."""
        import torch

        seed = number_seed(self.seed, number)
        generator = torch.Generator().manual_seed(seed ^ 2)
        kind = int(torch.multinomial(torch.tensor(self.shares), 1, generator=generator))
        if kind == 2:
            return super().draw(number + 1_000_000)  # none of the easy scans that a training from nothing begins with
        head = self.heads[int(torch.randint(len(self.heads), (), generator=generator))]
        image, labels = draw_real(
            head.label_map, head.image, head.levels, head.fields, seed=seed, shape=self.patch,
            spacing=self.recipe.needed_grid.spacing_mm, how=REAL_RANGES, changes=self.changes, painted=kind == 1,
        )  # fmt: skip
        gone = (image == 0) & (labels == POSITION[OUTER_FLUID])
        return image[None], torch.where(gone, 0, labels)

    def sources(self, held_out: list[str]) -> dict[str, Any]:
        """Also the real heads that trained, and those that never did.

        The heads that trained calibrate, changed as they never were: on drawn scans, which are harder, the network is
        right less often, and probabilities as soft as that made the space within the skull 4 % too large.
        """
        if self.data_root is None:
            raise UsageError("where the heads lie is not known: load the lesson from its folder")
        dataset = heads_of(self.recipe)
        train, judge = (head_names(self.data_root, held_out=out, dataset=dataset) for out in (False, True))
        real = {name: list(files_of(self.data_root, name, dataset)) for name in train}
        names = [*held_out, *judge]
        return {
            **super().sources(names),
            "real": real,
            "real_licence": HEADS_LICENSE.format(heads="; ".join(one.licence for one in taught_by(self.recipe).real)),
            "calibrate_on": self.truth,
        }

    def stages(self) -> Sequence[tuple[float, Lesson]]:
        """One: such a training goes on from a network that knows where structures lie."""
        return [(1.0, self)]
