"""Targets whose truth follows from what was drawn: how much of all lesions is in view, or whether there is any.

Heads are linear in what is read of the regions (`bids_app.networks.reading`). They are solved on scans that the lesson
draws for this alone, calibrated and judged on the scans of label maps that were held out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.judge import CALIBRATE, JUDGE, Source, Truth
from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from bids_app.bundle.bundle import Bundle
    from bids_app.networks.multitask import MultiTaskNet

#: First number of the scans whose truths say how wide a target is spread and whose readings solve its head; how many
#: there are for each.
SPREAD, SOLVE = 700_000_000, 750_000_000
SPREAD_SCANS, SOLVE_SCANS = 32, 96


class Drawing(Protocol):
    """What is asked of a lesson here."""

    @property
    def recipe(self) -> Recipe: ...

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]: ...


def truths(recipe: Recipe, classes: Any) -> list[float]:
    """The truth of every target of a recipe, from the class of every voxel of one scan (an array or a tensor).

    A volume is in ml; of a flat recipe that of a slice as thick as the grid's spacing. Presence is 0 or 1.
    """
    marked = int((classes > 0).sum())
    volume = marked * recipe.needed_grid.spacing_mm**3 / 1000
    known = recipe.lesson.targets if recipe.lesson else {}
    return [volume if known[target.name] == "volume" else float(marked > 0) for target in recipe.targets]


def spread_of(recipe: Recipe, classes: Callable[[int], torch.Tensor]) -> dict[str, dict[str, Any]]:
    """What each target's kind fits on drawn scans; see `TargetKind.fit`.

    Args:
        recipe: with targets.
        classes: of the ``n``-th scan.

    Raises:
        UsageError: all scans have the same answer, so that there is nothing to learn.
    """
    rows = np.array([truths(recipe, classes(SPREAD + n)) for n in range(SPREAD_SCANS)])
    found = {}
    for target, values in zip(recipe.targets, rows.T, strict=True):
        if len(np.unique(values)) < 2:
            raise UsageError(
                f"the recipe {recipe.name}: the target {target.name} was {values[0]:g} in all of {len(values)} drawn "
                "scans, so that there is nothing to learn; take it out of the table [lesson]"
            )
        found[target.name] = target.behaviour.fit(values, len(target.levels))
    return found


def target_loss(
    recipe: Recipe,
    network: MultiTaskNet,
    images: torch.Tensor,
    features: list[torch.Tensor],
    logits: torch.Tensor,
    classes: torch.Tensor,
    scalings: Mapping[str, Mapping[str, Any]],
) -> torch.Tensor:
    """Losses of all targets of a batch, each by its weight in the recipe.

    Args:
        images: as the network sees them, ``(n, channels, ...)``.
        features: of its decoder, the finest last.
        logits: of the regions at full size.
        classes: of every voxel, ``(n, ...)``.
        scalings: of `spread_of`.
    """
    import torch

    told = network.conclude(features[0], readings=network.readings(images, features, logits))
    truth = torch.tensor([truths(recipe, one) for one in classes]).float()
    total = logits.new_zeros(())
    for column, target in enumerate(recipe.targets):
        sum_, weight = target.behaviour.loss(told[target.name].float(), truth[:, column], scalings[target.name])
        total = total + target.weight * sum_ / weight
    return total


def solve_drawn(
    network: MultiTaskNet, lesson: Drawing, scalings: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The exact solution of every head on drawn scans; see `bids_app.train.heads.fit_heads`."""
    import torch

    from bids_app.train.heads import Readings, fit_heads

    recipe = lesson.recipe
    images, rows = [], []
    network.eval()
    for number in range(SOLVE_SCANS):
        scan, classes = lesson[SOLVE + number]
        with torch.inference_mode():
            readings = network.look(scan[None])[2]
        assert readings is not None  # a network with linear heads reads its regions
        images.append(readings[0].float().numpy())
        rows.append(truths(recipe, classes))
    image = np.array(images, float)
    return fit_heads(
        network,
        recipe.targets,
        np.array(rows),
        [str(number) for number in range(SOLVE_SCANS)],
        Readings(image, np.zeros((len(image), network.shape.late))),
        scalings=scalings,
        levels={target.name: len(target.levels) for target in recipe.targets},
    )


def calibrate_targets(trial: Bundle, source: Source, count: int) -> dict[str, dict[str, Any]]:
    """What `TargetKind.calibrate` fits for every target, on ``count`` scans that calibrate."""
    from bids_app.predict.targets import outputs_of

    said, columns = _asked(trial, (source(CALIBRATE + number) for number in range(count)), outputs_of)
    found = {}
    for target, truth in zip(trial.recipe.targets, columns, strict=True):
        outputs = np.array([np.mean([member[target.name] for member in one], 0) for one in said])
        found[target.name] = target.behaviour.calibrate(outputs, truth, count)
    return found


def judge_targets(trial: Bundle, source: Source, count: int) -> dict[str, dict[str, Any]]:
    """Every measure of every target on ``count`` scans that judge; None where a measure is not defined."""
    from bids_app.predict.targets import predict_targets

    said, columns = _asked(trial, (source(JUDGE + number) for number in range(count)), predict_targets)
    found = {}
    for target, truth in zip(trial.recipe.targets, columns, strict=True):
        answers = [one[target.name] for one in said]
        scores = target.behaviour.scores(truth, *answered(target.behaviour, answers), target.levels)
        values = {name: round(float(v), 4) if np.isfinite(v) else None for name, v in scores.values.items()}
        found[target.name] = {"scans": count, **values}
    return found


def _asked(
    trial: Bundle, scans: Iterable[Truth], ask: Callable[[Bundle, np.ndarray, np.ndarray], Any]
) -> tuple[list[Any], np.ndarray]:
    """What a bundle says of each scan, and the truths, ``(targets, scans)``."""
    said, rows = [], []
    for scan in scans:
        said.append(ask(trial, scan.stack, scan.present))
        rows.append(truths(trial.recipe, scan.classes))
    return said, np.array(rows).T


def answered(behaviour: Any, answers: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, or positions of levels and their probabilities."""
    if not behaviour.has_levels:
        return np.array([answer["value"] for answer in answers]), None
    probability = np.array([list(answer["levels"].values()) for answer in answers])
    return behaviour.decide(probability), probability
