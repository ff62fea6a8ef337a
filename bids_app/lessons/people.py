"""The lesson of the recipe ``healthy``: structures of whole heads, and what a table knows of the people, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.cohort.tables import code_all, named_levels, read_tables
from bids_app.errors import DataError, UsageError
from bids_app.lessons.anatomy import LOOK_STEP, AnatomyLesson
from bids_app.lessons.heads import HeadsLesson
from bids_app.lessons.lesson import SCHEDULE, DrawPlan, offset_of
from bids_app.lessons.real_heads import RealHead, head_names, heads_of, load_heads
from bids_app.networks.standardise import standardise
from bids_app.predict.anatomy import view_around
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan
from bids_app.synthesis.scanner.real_changes import Changes

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State

#: People whose targets are asked for in a step, and the part of a training over which their loss sets in.
VIEWS, SETS_IN = 2, (0.05, 0.2)
#: How a view is changed, a little: voxels that it is moved by, spread of the logarithm of its exponent, and noise in
#: parts of the 99.5th percentile.
MOVED, GAMMA, NOISE = 3, 0.1, 0.01
PLAN = DrawPlan(batch=1, pool=24, schedule=replace(SCHEDULE, rate=5e-4, warm_up=60, average=0.998))


@dataclass(frozen=True)
class People:
    """Whole heads as prediction looks at them, and what is known of each.

    Attributes:
        names: ``sub-...``.
        views: brightness, ``(people, 1, x, y, z)``.
        targets: ``(people, targets)``, NaN where not known.
        levels: of every target with levels.
        scalings: per target what its kind fits on them.
    """

    names: list[str]
    views: torch.Tensor
    targets: np.ndarray
    levels: dict[str, tuple[str, ...]]
    scalings: dict[str, dict[str, Any]]

    def scans(self, recipe: Recipe) -> list[Scan]:
        """As the fit of what is familiar takes them."""
        return [
            Scan(name, name, view.numpy(), np.ones(1), None, recipe.needed_grid.spacing_mm, truth, np.zeros(0))
            for name, view, truth in zip(self.names, self.views, self.targets, strict=True)
        ]


def load_people(recipe: Recipe, data_root: Path, lesson: HeadsLesson, names: Sequence[str]) -> People:
    """The table's answers and the views of people whose heads a lesson holds.

    Raises:
        DataError: the table cannot be read as the recipe's targets.
    """
    import torch

    keys = [(name.removeprefix("sub-"), None) for name in names]
    folder = Path(data_root) / heads_of(recipe)
    coded = code_all(recipe, read_tables(folder, keys, named_levels(recipe)), keys)
    if coded.wrong:
        raise DataError(f"{folder}/participants.tsv: " + "; ".join(coded.wrong))
    views = [torch.from_numpy(head_view(head, head.image, lesson.patch)) for head in lesson.heads]
    scalings = {}
    for column, target in enumerate(recipe.targets):
        known = coded.targets[np.isfinite(coded.targets[:, column]), column]
        scalings[target.name] = target.behaviour.fit(known, len(coded.levels[target.name]))
    return People(list(names), torch.stack(views), coded.targets, coded.levels, scalings)


def head_view(head: RealHead, volume: torch.Tensor, sides: Sequence[int]) -> np.ndarray:
    """A volume on a head's grid as prediction cuts it, around the middle of its structures, ``(1, *sides)``."""
    middle = [int(place) for place in head.label_map.brain.float().mean(0).round()]
    return view_around(volume[None].numpy(), middle, sides)


@dataclass
class PeopleLesson(HeadsLesson):
    """Structures as `HeadsLesson` teaches them, and the targets of the same people from whole views of their heads.

    Attributes:
        people: whose targets are known.
        answers: what export adds to the bundle; see `bids_app.lessons.export.export_drawn`.
    """

    plan: DrawPlan = PLAN
    changes: Changes = Changes()  # noqa: RUF009 (frozen)
    people: People | None = None
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False, leave_out: Sequence[str] = ()
    ) -> PeopleLesson:
        """Everybody of the dataset but those in ``leave_out``.

        Raises:
            UsageError: somebody is left out who is not there.
        """
        dataset = heads_of(recipe)
        every = sorted(name for out in (False, True) for name in head_names(data_root, held_out=out, dataset=dataset))
        if gone := sorted(set(leave_out) - set(every)):
            raise UsageError(f"{', '.join(gone)} cannot be left out: they are not in {Path(data_root) / dataset}")
        names = [name for name in every if name not in leave_out]
        drawn = AnatomyLesson.load(recipe, data_root, seed, held_out=held_out)
        heads = load_heads(data_root, names, recipe.needed_grid.spacing_mm, dataset)
        lesson = cls(recipe, drawn.maps, seed, data_root=data_root, heads=heads)
        lesson.people = load_people(recipe, data_root, lesson, names)
        return lesson

    @property
    def known(self) -> People:
        if self.people is None:
            raise UsageError("whose targets are known is not loaded: load the lesson from its folder")
        return self.people

    def view(self, rows: Sequence[int], generator: np.random.Generator) -> torch.Tensor:
        """Views of these people, changed a little, as the network sees them, ``(n, 1, x, y, z)``."""
        import torch

        found = []
        for row in rows:
            image = self.known.views[row]
            image = image.flip(1) if generator.random() < 0.5 else image
            image = torch.roll(image, [int(n) for n in generator.integers(-MOVED, MOVED + 1, 3)], (1, 2, 3))
            image = image.clamp(0, 2) ** float(np.exp(generator.normal(0, GAMMA)))
            noise = torch.from_numpy(generator.normal(0, NOISE, image.shape).astype(np.float32))
            found.append(standardise((image + noise).clamp_min(0)))
        return torch.stack(found)

    def judge(
        self, network: MultiTaskNet, images: torch.Tensor, targets: torch.Tensor, progress: float, step: int
    ) -> tuple[torch.Tensor, float]:
        """The structures' loss, and that of the targets of `VIEWS` people, which sets in after `SETS_IN`."""
        loss, dice = super().judge(network, images, targets, progress, step)
        first, last = SETS_IN
        part = min(max((progress - first) / (last - first), 0.0), 1.0)
        return loss + part * self.target_loss(network, step), dice

    def target_loss(self, network: MultiTaskNet, step: int) -> torch.Tensor:
        """Of people who follow from the seed and the step, each target by its recipe's weight."""
        import torch

        people, generator = self.known, np.random.default_rng([self.seed, 3, step])
        rows = generator.choice(len(people.names), VIEWS, replace=False).tolist()
        x = self.view(rows, generator)
        told = asked(network, x, offset_of(step, LOOK_STEP))
        total = x.new_zeros(())
        for column, target in enumerate(self.recipe.targets):
            truth = torch.from_numpy(people.targets[rows, column]).float()
            known = torch.isfinite(truth)
            if known.any():
                scaling = people.scalings[target.name]
                sum_, weight = target.behaviour.loss(told[target.name][known].float(), truth[known], scaling)
                total = total + target.weight * sum_ / weight
            else:
                total = total + told[target.name].sum() * 0
        return total

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        """As for heads, with the heads' exact solution on everybody."""
        from bids_app.predict.vote import fit_familiarity

        people = self.known
        told = solve(state.mean, self.recipe, people)
        scans = people.scans(self.recipe)
        usual = fit_familiarity(self.recipe, scans)
        self.answers = {
            "plan": {"targets": people.scalings},
            "calibration": {"familiarity": usual.to_plain()} if usual else {},
            "metrics": {"heads": told},
        }
        return super().export(state, out_dir, seed=seed, note=note, beside=beside)

    def sources(self, held_out: list[str]) -> dict[str, Any]:
        """Everybody trained."""
        from bids_app.lessons.real_heads import files_of

        if self.data_root is None:
            raise UsageError("where the heads lie is not known: load the lesson from its folder")
        names = self.known.names
        real = {name: list(files_of(self.data_root, name, heads_of(self.recipe))) for name in names}
        apart = [name for name in held_out if not name.startswith("sub-") or name not in names]
        return {**super().sources(apart), "held_out": apart, "real": real, "answers": self.answers}


def asked(network: MultiTaskNet, x: torch.Tensor, offset: Sequence[int]) -> dict[str, torch.Tensor]:
    """Every target's outputs, from one voxel out of every block: an eighth of the logits stands for all."""
    levels = network.ascend(network.encode(x))
    logits = network.logits_from(levels[-1], offset, LOOK_STEP)
    a, b, c = offset
    strided = x[:, :, a::LOOK_STEP, b::LOOK_STEP, c::LOOK_STEP]
    return network.conclude(levels[0], readings=network.readings(strided, levels, logits))


def solve(network: MultiTaskNet, recipe: Recipe, people: People) -> dict[str, dict[str, Any]]:
    """The exact solution of every head, from the people as they are and as their mirror images."""
    from bids_app.train.batches import Patches
    from bids_app.train.heads import solve_heads

    sides = people.views.shape[2:]
    patches = Patches(people.scans(recipe), sides, 1, 0, regions=len(recipe.regions), normalise=standardise)
    levels = {name: len(levels) for name, levels in people.levels.items()}
    return solve_heads(
        network,
        patches,
        recipe.targets,
        people.targets,
        people.names,
        scalings=people.scalings,
        levels=levels,
        mirrored=True,
    )
