"""How a recipe is trained, decided from the training fold alone, as a page that can be read, edited and given back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bids.files import write_text
from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe
from bids_app.text import TextError, read_json
from bids_app.train.fitted import describe_fold, fit_covariates, fit_normalisation, fit_targets
from bids_app.train.memory import peak_gb, step_gb

if TYPE_CHECKING:
    import torch

    from bids_app.scans.scan import Scan

#: Spacings that are tried where the whole field of view must be seen, relative to the recipe's: 1.0 to 2.0 mm.
COARSER = (1.0, 1.2, 1.5, 2.0)
#: Filters of the first level that are tried, widest first.
WIDTHS = (32, 24, 16, 8)
#: A batch holds as many voxels as this, two patches of 128³ as nnU-Net's usual plan does, between 2 and 8 scans.
BATCH_VOXELS = 2 * 128**3
BATCHES = (2, 8)
#: A bottleneck's edge is at least this many voxels, or a level is left out.
BOTTLENECK = 3
#: Real steps that a plan is checked by.
CHECKED_STEPS = 10


@dataclass(frozen=True)
class Plan:
    """Every decision of one training.

    Attributes:
        spacing_mm: edge of a voxel of the grid that scans must be laid on.
        field_of_view: the largest training scan, rounded up to what the network can halve, voxels; ``z = 1`` if flat.
        patch: what a step sees of a scan, voxels; the whole field of view where the recipe has targets.
        batch: scans per step.
        filters, blocks, deep_supervision, fold, dimensions: of the network; see `NetworkShape`.
        normalisation: per sequence ``{"kind": "scan"}``, by its own mean and spread where it is not zero, or
            ``{"kind": "cohort", "mean": m, "sd": s}`` of the training scans, which keeps a map's scale.
        targets: per target what its kind fits: ``{"mean": m, "sd": s}`` of a value, ``{"weights": [w, ...]}`` of
            levels, or nothing.
        covariates: per covariate its ``mean`` and ``sd``.
        steps, rate: how long and how fast.
        memory_gb: estimate of one step.
        why: a sentence per decision.
        fitted_on: name of the fold, number of participants and scans, and a digest of the participants.
        checked: seconds per step and peak memory of ten real steps; empty until `check_plan` ran.
    """

    spacing_mm: float
    field_of_view: tuple[int, int, int]
    patch: tuple[int, int, int]
    batch: int
    filters: int
    blocks: tuple[int, ...]
    deep_supervision: int
    fold: int
    dimensions: int
    normalisation: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]]
    covariates: dict[str, dict[str, float]]
    steps: int
    rate: float
    memory_gb: float
    why: tuple[str, ...] = ()
    fitted_on: dict[str, Any] = field(default_factory=dict)
    checked: dict[str, float] = field(default_factory=dict)

    @property
    def factor(self) -> int:
        """Sides of a patch are multiples of this."""
        return self.fold * 2 ** (len(self.blocks) - 1)


def make_plan(
    recipe: Recipe,
    scans: Sequence[Scan],
    *,
    memory_gb: float,
    device: str = "cpu",
    fold_name: str = "",
    steps: int | None = None,
    batch: int | None = None,
) -> Plan:
    """Decide how a recipe is trained.

    Where the recipe has targets or its network is sided, a patch is the whole field of view: memory is met by a coarser
    grid, then a narrower network, then a smaller batch. Otherwise by a smaller patch, then a narrower network, then a
    smaller batch.

    Args:
        scans: of the training side of one fold, and of nobody else.
        memory_gb: what a step may take on ``device``, GiB.
        fold_name: for the record.
        steps, batch: in place of the recipe's.

    Raises:
        TrainingError: no scans, nothing to learn a target from, or too little memory for the smallest network.
    """
    if not scans:
        raise TrainingError("there are no scans to plan with; look at the cohort's labels and at the split")
    spec = recipe.network
    why: list[str] = []
    shape = np.max([scan.stack.shape[1:] for scan in scans], axis=0)
    base = float(np.median([scan.spacing for scan in scans]))
    blocks = _blocks(recipe, shape, why)
    wanted = batch or recipe.learning.batch
    trial = Plan(
        base,
        (1, 1, 1),
        (1, 1, 1),
        1,
        spec.filters,
        blocks,
        min(spec.deep_supervision, max(len(blocks) - 1, 1)),
        spec.fold,
        spec.dimensions,
        fit_normalisation(recipe, scans),
        fit_targets(recipe.targets, scans),
        fit_covariates(recipe.learning.covariates, scans),
        steps or recipe.learning.steps,
        recipe.learning.rate,
        0.0,
        fitted_on=describe_fold(scans, fold_name),
    )
    plan = _fit_memory(trial, recipe, shape, memory_gb, wanted, len(scans), why)
    edges = " x ".join(str(side // plan.factor) for side in plan.patch[: spec.dimensions])
    why.append(f"{len(blocks)} levels leave {edges} voxels at the bottleneck")
    why.append(f"one step takes about {plan.memory_gb:.2f} GB; {memory_gb:.2f} GB are allowed on {device}")
    if recipe.network.frames > 1:
        why.append(f"a scan of a step is a window of {recipe.network.frames} frames of a series")
    quantitative = [name for name, how in plan.normalisation.items() if how["kind"] == "cohort"]
    if quantitative:
        why.append(f"{', '.join(quantitative)}: a map with a scale, normalised by the training scans' mean and spread")
    return replace(plan, why=tuple(why))


def _blocks(recipe: Recipe, shape: np.ndarray, why: list[str]) -> tuple[int, ...]:
    """The recipe's levels, without the deepest while they leave too little of the field of view."""
    spec = recipe.network
    blocks = spec.blocks
    shortest = int(min(shape[: spec.dimensions]))
    while len(blocks) > 2 and shortest / (spec.fold * 2 ** (len(blocks) - 1)) < BOTTLENECK:
        blocks = blocks[:-1]
    if blocks != spec.blocks:
        why.append(f"{len(blocks)} levels, not the recipe's {len(spec.blocks)}: scans are {shortest} voxels thin")
    return blocks


def _fit_memory(
    plan: Plan, recipe: Recipe, shape: np.ndarray, memory_gb: float, wanted: int | None, count: int, why: list[str]
) -> Plan:
    """Spacing, patch, width and batch, the first of `_ways` that the memory holds."""
    tried = plan
    for tried in _ways(plan, recipe, shape, wanted, count):
        tried = replace(tried, memory_gb=round(_gb(tried, recipe), 3))
        if tried.memory_gb <= memory_gb:
            why.extend(_reasons(tried, plan, recipe, wanted))
            return tried
    raise TrainingError(
        f"{memory_gb:g} GB are too little: a patch of {tried.patch} with {tried.filters} filters and batch "
        f"{tried.batch} takes about {tried.memory_gb:g} GB; use a device with more memory, or a smaller grid"
    )


def _ways(plan: Plan, recipe: Recipe, shape: np.ndarray, wanted: int | None, count: int) -> list[Plan]:
    """Plans from the one that is wished for to the smallest, in the order in which things are given up."""
    if recipe.targets or recipe.network.sided:
        ways = []
        for ratio in COARSER:
            view = _rounded(np.ceil(shape / ratio), plan)
            ways.append(replace(plan, spacing_mm=round(plan.spacing_mm * ratio, 4), field_of_view=view, patch=view))
    else:
        view = _rounded(shape, plan)
        ways = [replace(plan, field_of_view=view, patch=view)]
        least = plan.factor * 2 * BOTTLENECK
        while max(ways[-1].patch) > least:
            patch = list(ways[-1].patch)
            patch[int(np.argmax(patch))] -= plan.factor
            ways.append(replace(plan, field_of_view=view, patch=(patch[0], patch[1], patch[2])))
    ways = [replace(way, batch=wanted or _batch((*way.patch, recipe.network.frames), count)) for way in ways]
    ways += [replace(ways[-1], filters=width) for width in WIDTHS if width < plan.filters]
    ways += [replace(ways[-1], batch=smaller) for smaller in range(ways[-1].batch - 1, 0, -1)]
    return ways


def _batch(patch: Sequence[int], count: int) -> int:
    least, most = BATCHES
    return max(1, min(max(least, round(BATCH_VOXELS / math.prod(patch))), most, count))


def _rounded(shape: np.ndarray, plan: Plan) -> tuple[int, int, int]:
    """Up to a multiple of what the network needs; a slice stays one voxel thin."""
    sides = [int(-(-int(n) // plan.factor) * plan.factor) for n in shape[: plan.dimensions]]
    first, second, third = sides + [1] * (3 - plan.dimensions)
    return first, second, third


def _reasons(plan: Plan, wished: Plan, recipe: Recipe, wanted: int | None) -> list[str]:
    """Why the grid, the patch, the width and the batch are what they are."""
    view, patch = (" x ".join(str(n) for n in sides) for sides in (plan.field_of_view, plan.patch))
    why = [f"the field of view, {view} voxels, holds the largest of the training scans"]
    if recipe.targets or recipe.network.sided:
        needs = "a target may depend on any part of it" if recipe.targets else "the network is told its left and right"
        why.append(f"a patch is the whole field of view, because {needs}")
        if plan.spacing_mm != wished.spacing_mm:
            why.append(f"voxels of {plan.spacing_mm:g} mm in place of {wished.spacing_mm:g} mm, so that it fits")
    elif plan.patch != plan.field_of_view:
        why.append(f"a patch of {patch} voxels is the largest that fits")
    if plan.filters != wished.filters:
        why.append(f"{plan.filters} filters, not the recipe's {wished.filters}, so that it fits")
    if wanted and plan.batch != wanted:
        why.append(f"batch {plan.batch}, not {wanted}, so that it fits")
    return why


def _gb(plan: Plan, recipe: Recipe) -> float:
    return step_gb(
        plan.patch,
        plan.batch,
        sequences=len(recipe.sequences) * recipe.network.slices,
        frames=recipe.network.frames,
        classes=len(recipe.regions) + bool(recipe.regions),
        filters=plan.filters,
        blocks=plan.blocks,
        deep_supervision=plan.deep_supervision,
        fold=plan.fold,
        dimensions=plan.dimensions,
        finest=recipe.network.finest,
    )


def standardise(stack: torch.Tensor, plan: Plan, sequences: Sequence[str], *, series: bool = False) -> torch.Tensor:
    """A raw stack as the network wants it.

    Args:
        stack: ``(..., sequences, x, y, z)``.
        sequences: names of its channels.
        series: the last of them is a series, with a channel per frame.
    """
    from bids_app.networks.standardise import normalise

    return normalise(stack, [plan.normalisation[name] for name in sequences], series=series)


def check_plan(plan: Plan, step: Callable[[], float], *, device: str = "cpu", steps: int = CHECKED_STEPS) -> Plan:
    """The plan with what ten real steps took.

    Args:
        step: does one whole step, returns its loss.

    Raises:
        TrainingError: a loss is not finite, or the memory does not suffice.
    """
    cuda = device.startswith("cuda")
    if cuda:
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    took = []
    try:
        for number in range(steps):
            started = time.perf_counter()
            loss = float(step())
            took.append(time.perf_counter() - started)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the plan's check ended with a loss of {loss} at step {number + 1}: lower rate (now "
                    f"{plan.rate:g}) in plan.json and give it back with --plan, or look for damaged images"
                )
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise TrainingError(
            f"the plan does not fit into the memory of {device} (batch {plan.batch}, patch {plan.patch}, "
            f"{plan.filters} filters): allow less memory, or make one of them smaller in plan.json and use --plan"
        ) from error
    # the first step also builds what later ones use again
    return replace(
        plan,
        checked={
            "seconds_per_step": round(float(np.median(took[1:] or took)), 4),
            "peak_gb": round(peak_gb(device), 3),
        },
    )


def write_plan(plan: Plan, path: Path) -> Path:
    """Keep a plan as JSON, whole or not at all."""
    return write_text(path, json.dumps(asdict(plan), indent=2) + "\n")


def read_plan(path: Path, recipe: Recipe | None = None) -> Plan:
    """A plan from a file that `write_plan` or a person made.

    Args:
        recipe: that the plan must suit, if given.

    Raises:
        TrainingError: naming the file and every field that is absent, unknown or cannot be.
    """
    try:
        plain, _ = read_json(path)
    except (OSError, TextError) as error:
        raise TrainingError(f"the plan {path} cannot be read: {error}; delete it to plan anew") from error
    return parse_plan(plain, recipe, source=str(path))


def parse_plan(plain: Mapping[str, Any], recipe: Recipe | None = None, *, source: str = "plan") -> Plan:
    """As `read_plan`, from what the file holds."""
    from pydantic import TypeAdapter, ValidationError

    try:
        plan = TypeAdapter(Plan).validate_python(plain)
        troubles = [f"{name}: there is no such field" for name in sorted(set(plain) - {f.name for f in fields(Plan)})]
    except ValidationError as error:
        rows = error.errors(include_url=False)
        troubles = [f"{'.'.join(str(part) for part in row['loc']) or 'plan'}: {row['msg']}" for row in rows]
        raise TrainingError(f"{source}: " + "; ".join(troubles)) from error
    troubles += _impossible(plan) + (_unsuitable(plan, recipe) if recipe is not None else [])
    if troubles:
        raise TrainingError(f"{source}: " + "; ".join(troubles))
    return plan


def _impossible(plan: Plan) -> list[str]:
    """What no training could do, whatever the recipe."""
    troubles = [
        f"{name}: must be above zero, not {getattr(plan, name)!r}"
        for name in ("spacing_mm", "batch", "filters", "fold", "steps", "rate", "deep_supervision")
        if not getattr(plan, name) > 0
    ]
    if plan.dimensions not in (2, 3):
        troubles.append(f"dimensions: 2 or 3, not {plan.dimensions}")
    if not plan.blocks or min(plan.blocks) < 1:
        troubles.append("blocks: one number above zero per level")
    if not troubles:
        wrong = [n for n in plan.patch[: plan.dimensions] if n < 1 or n % plan.factor]
        if wrong:
            troubles.append(f"patch: {wrong[0]} is no multiple of {plan.factor}, which fold and blocks ask for")
    for name, how in plan.normalisation.items():
        if how.get("kind") != "scan" and not (how.get("kind") == "cohort" and how.get("sd", 0) > 0 and "mean" in how):
            troubles.append(f"normalisation.{name}: kind must be scan, or cohort with mean and sd above zero")
    return troubles


def _unsuitable(plan: Plan, recipe: Recipe) -> list[str]:
    """What does not go with a recipe."""
    troubles = []
    for name, has, wants in (
        ("normalisation", set(plan.normalisation), {sequence.name for sequence in recipe.sequences}),
        ("targets", set(plan.targets), {target.name for target in recipe.targets}),
        ("covariates", set(plan.covariates), set(recipe.learning.covariates)),
    ):
        if has != wants:
            troubles.append(f"{name}: {sorted(has)} in the plan, {sorted(wants)} in the recipe {recipe.name}")
    if plan.dimensions != recipe.network.dimensions:
        troubles.append(f"dimensions: {plan.dimensions} in the plan, {recipe.network.dimensions} in the recipe")
    if recipe.targets and any(side < view for side, view in zip(plan.patch, plan.field_of_view, strict=True)):
        troubles.append("patch: smaller than field_of_view, which a recipe with targets must see whole")
    return troubles
