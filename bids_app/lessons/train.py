"""Train a recipe on drawn scans and export it as a bundle: ``tandem train-bundle NAME``."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.errors import InputMissing, UsageError
from bids_app.lessons.drawn import DrawnScans, LessonStep
from bids_app.lessons.lesson import DrawPlan, Lesson, taught_by
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.train.loop import fit
from bids_app.train.state import State

if TYPE_CHECKING:
    import torch

    from bids_app.bundle.bundle import Bundle
    from bids_app.networks.multitask import MultiTaskNet

log = logging.getLogger(__name__)


def new_state(recipe: Recipe, plan: DrawPlan, seed: int) -> State:
    """A network of the recipe's shape with random weights."""
    import torch

    from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
    from bids_app.networks.reading import CELLS_PER_AXIS

    torch.manual_seed(seed)
    spec = recipe.network
    heads = tuple(HeadShape(t.name, t.kind, t.behaviour.outputs(len(t.levels))) for t in recipe.targets)
    network = MultiTaskNet(
        NetworkShape(
            len(recipe.sequences),
            len(recipe.regions) + 1,
            spec.filters,
            spec.blocks,
            spec.deep_supervision,
            spec.fold,
            spec.dimensions,
            heads=heads,
            sided=spec.sided,
            partners=recipe.partners() if spec.sided else (),
            reads_features=bool(heads),
            gradient=recipe.learning.target_gradient if heads else NetworkShape.gradient,
            slices=spec.slices,
            cells=CELLS_PER_AXIS if heads and recipe.lesions_only else 0,
            finest=spec.finest,
        )
    )
    if spec.dimensions == 3:
        network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.schedule.rate, weight_decay=plan.schedule.decay)
    return State(network, copy.deepcopy(network).requires_grad_(False), optimiser)


def start_from(state: State, weights: dict[str, torch.Tensor], regions: Sequence[Sequence[str]] = ()) -> int:
    """Take over another network's weights where name and shape agree; returns how many tensors.

    The first layer of a network with other sequences stays as drawn; so does the last of one with other regions, but
    for the regions that both have.

    Args:
        weights: of a network with as many filters and the same fold.
        regions: names of the regions of this network and of the other, in order, where the regions they share are to
            be taken over.
    """
    own = state.network.state_dict()
    shared = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if regions:
        shape = state.network.shape
        mine, theirs = (answered(names, bool(shape.partners)) for names in regions)
        block = shape.fold**shape.dimensions
        for name in own.keys() & weights.keys() - shared.keys():
            fits = len(own[name]) == len(mine) * block and len(weights[name]) == len(theirs) * block
            if ".head." in name and fits and own[name].shape[1:] == weights[name].shape[1:]:
                value, other = (x.clone().unflatten(0, (-1, block)) for x in (own[name], weights[name]))
                for answer in set(mine) & set(theirs):
                    value[mine.index(answer)] = other[theirs.index(answer)]
                shared[name] = value.flatten(0, 1)
    for network in (state.network, state.mean):
        network.load_state_dict({**network.state_dict(), **shared})
    return len(shared)


def answered(regions: Sequence[str], sided: bool) -> list[str]:
    """What each channel of a network's answer stands for: background, regions (both sides as one where sides are told
    apart once for all), and the side."""
    if not sided:
        return ["background", *regions]
    return ["background", *dict.fromkeys(name.removeprefix("left ").removeprefix("right ") for name in regions), "side"]


def load_lesson(
    name: str | Path, data_root: Path, out_dir: Path, seed: int, *, leave_out: Sequence[str] = ()
) -> Lesson:
    """The lesson of a recipe (a name, or a TOML file), without the real participants in ``leave_out``.

    Raises:
        UsageError: a recipe that has none, or whose lesson has no real participant of that name.
        RecipeError: there is no such recipe, or it is wrong.
        InputMissing: nothing to draw scans from.
    """
    recipe = load_recipe(name)
    spec = taught_by(recipe)
    if not Path(data_root).is_dir():
        raise InputMissing(f"{data_root} is no folder; give the folder that holds {spec.label_maps}")
    if leave_out and not spec.can_leave_out:
        raise UsageError(f"nobody can be left out of the training of {recipe.name}")
    return LESSONS[spec.kind](recipe, Path(data_root), seed, out_dir, leave_out)


def _habenula(recipe: Recipe, data_root: Path, seed: int, out_dir: Path, _: Sequence[str]) -> Lesson:
    from bids_app.lessons.habenula import HabenulaLesson

    return HabenulaLesson.load(recipe, data_root, seed, out_dir / "sources")


def _anatomy(recipe: Recipe, data_root: Path, seed: int, out_dir: Path, _: Sequence[str]) -> Lesson:
    from bids_app.lessons.anatomy import AnatomyLesson
    from bids_app.lessons.heads import HeadsLesson
    from bids_app.lessons.real_heads import head_names, heads_of

    real = head_names(data_root, held_out=False, dataset=heads_of(recipe))
    return (HeadsLesson if real else AnatomyLesson).load(recipe, data_root, seed)


def _lesions(recipe: Recipe, data_root: Path, seed: int, out_dir: Path, leave_out: Sequence[str]) -> Lesson:
    from bids_app.lessons.lesions import LesionLesson

    return LesionLesson.load(recipe, data_root, seed, leave_out=leave_out)


def _people(recipe: Recipe, data_root: Path, seed: int, _: Path, leave_out: Sequence[str]) -> Lesson:
    from bids_app.lessons.people import PeopleLesson

    return PeopleLesson.load(recipe, data_root, seed, leave_out=leave_out)


def _outcomes(recipe: Recipe, data_root: Path, seed: int, _: Path, leave_out: Sequence[str]) -> Lesson:
    from bids_app.lessons.outcomes import OutcomeLesson

    return OutcomeLesson.load(recipe, data_root, seed, leave_out=leave_out)


#: By the ``kind`` of a recipe's table ``[lesson]``.
LESSONS = {"habenula": _habenula, "structures": _anatomy, "people": _people, "lesions": _lesions, "outcomes": _outcomes}


def train_bundle(
    name: str | Path,
    data_root: Path,
    out_dir: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 1,
    threads: int = 2,
    resume: bool = True,
    start: str | Path | None = None,
    leave_out: Sequence[str] = (),
    beside: str | Path | None = None,
) -> Path:
    """Train the recipe ``name`` and export the bundle to ``out_dir/bundle``.

    Args:
        name: a recipe with a table ``[lesson]``: its name, or a TOML file.
        data_root: holds ``labelmaps``, ``habenula_atlas`` and real brains, as the lesson wants them.
        out_dir: sources, checkpoint and log are kept here; a second call goes on from them where ``resume``.
        minutes: time for learning (without the sources); or
        steps: their number; whichever ends first. One is needed.
        start: bundle whose weights are taken over where they fit.
        leave_out: real participants (``sub-...``) who must not train, so that they can judge.
        beside: bundle of the same recipe and shape whose members stay, and vote with the new one.

    Returns:
        The bundle's folder.

    Raises:
        UsageError: a recipe without a lesson, neither ``minutes`` nor ``steps``, or nothing left of them.
        InputMissing: nothing to draw scans from.
    """
    import torch

    from bids_app.bundle.bundle import load_bundle

    _check_length(minutes, steps)
    out_dir = Path(out_dir)
    given = load_bundle(start) if start is not None else None
    others = load_bundle(beside).networks if beside is not None else []
    lesson = load_lesson(name, data_root, out_dir, seed, leave_out=leave_out)
    torch.set_num_threads(max(1, threads))
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = out_dir / "checkpoint.pt"
    state = _begin(lesson, seed, checkpoint if resume else None, given)
    if any(one.shape != state.mean.shape for one in others):
        raise UsageError(
            f"the members of {beside} have another shape than the recipe {lesson.recipe.name}: they cannot vote"
        )
    log_path, ahead = out_dir / "log.csv", threads > 1
    fit_lesson(
        state, lesson, seed=seed, minutes=minutes, steps=steps, checkpoint=checkpoint, log_path=log_path, ahead=ahead
    )
    told = [f"Weights began as those of {start}."] if start else []
    told += [f"It votes with {len(others)} member{'s' * (len(others) > 1)} of {beside}."] if others else []
    return lesson.export(state, out_dir / "bundle", seed=seed, note=" ".join(told), beside=others)


def _as_wide(state: State, other: MultiTaskNet) -> dict[str, torch.Tensor]:
    """Weights of another network, its finest level as wide as that of this one where they differ in nothing else."""
    from bids_app.networks.finest import widened

    own, its = state.network.shape, other.shape
    times, rest = divmod(own.finest, its.finest)
    if rest or times == 1 or (own.filters, own.blocks) != (its.filters, its.blocks):
        return other.state_dict()
    return widened(other.state_dict(), len(own.blocks), times, own.groups)


def _check_length(minutes: float | None, steps: int | None) -> None:
    given = [n for n in (minutes, steps) if n is not None]
    if not given:
        raise UsageError("say how long to train: minutes or steps")
    if min(given) <= 0:
        raise UsageError("a training needs more than 0 steps or minutes")


def _begin(lesson: Lesson, seed: int, checkpoint: Path | None, given: Bundle | None) -> State:
    """The state that a checkpoint holds, where there is one; else a new one, with a bundle's weights where they fit."""
    state = new_state(lesson.recipe, lesson.plan, seed)
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint)
        log.info("going on from step %d", state.step)
    elif given is not None:
        names = [[region.name for region in recipe.regions] for recipe in (lesson.recipe, given.recipe)]
        log.info("took over %d tensors of %s", start_from(state, _as_wide(state, given.network), names), given.path)
    return state


def fit_lesson(
    state: State,
    lesson: Lesson,
    *,
    seed: int,
    minutes: float | None = None,
    steps: int | None = None,
    checkpoint: Path | None = None,
    log_path: Path | None = None,
    ahead: bool = False,
    stop_at: int | None = None,
) -> State:
    """Learn from drawn scans, stage after stage, until the time or the steps are used up.

    Args:
        state: new, or loaded from a checkpoint: then it goes on in the stage it was in, with the batches it would
            have had.
        minutes, steps: both count what earlier calls did.
        ahead: draw scans in a second thread.
        stop_at: end at this step as if interrupted.
    """
    for number, (until, stage) in enumerate(lesson.stages()):
        if number == len(state.stages):
            state.stages.append((state.step, state.drawn))
        if number < len(state.stages) - 1:
            continue  # this stage is over
        schedule = replace(stage.plan.schedule, steps=steps, minutes=minutes)
        source = DrawnScans(stage, seed, begin=state.stages[number], ahead=ahead)
        try:
            step = LessonStep(state, source, schedule)
            fit(
                state,
                source,
                step,
                schedule,
                checkpoint=checkpoint,
                log_path=log_path,
                stop_at=stop_at,
                until=until,
            )
        finally:
            source.close()
        if state.step == stop_at:
            break
    return state
