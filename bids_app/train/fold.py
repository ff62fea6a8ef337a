"""One arm and one fold, from prepared scans to answers on people it never saw: what a training process does."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bids.files import write_arrays, write_text
from bids_app.cohort.split import Fold
from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.frames import channels_of
from bids_app.scans.scan import Scan, load_scans
from bids_app.text import read_json
from bids_app.train.arms import Arm
from bids_app.train.batches import Patches, permute
from bids_app.train.loop import Schedule, keep_weights, mixed_seed
from bids_app.train.memory import peak_gb
from bids_app.train.plan import parse_plan, standardise
from bids_app.train.ranks import join, leave
from bids_app.train.state import State, read_weights
from bids_app.train.task import (
    DONE,
    FULL,
    LOG,
    STATE,
    TASK,
    WEIGHTS,
    FoldTask,
    is_done,
    is_trained,
    subset_folder,
    unanswered,
)
from bids_app.train.tasks import JOINT, fit_tasks

if TYPE_CHECKING:
    import torch

    from bids_app.networks.losses import TaskLosses
    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.augment import Augmentation


class Trial:
    """A task with its parts made: plan, arm, scans, network.

    Raises:
        TrainingError: nobody to train with, a target with one class only, a frozen encoder that was not trained.
    """

    def __init__(self, task: FoldTask) -> None:
        self.task, self.recipe = task, Recipe.model_validate(task.recipe)
        self.plan = parse_plan(task.plan, self.recipe, source=f"the plan of {task.out}/{TASK}")
        self.arm = Arm.from_plain(task.arm)
        self.fold = Fold(task.fold["name"], *(tuple(task.fold[s]) for s in ("train", "validation", "test")))
        names = [sequence.name for sequence in self.recipe.sequences]
        self.channels = [names.index(name) for name in self.arm.sequences] if self.arm.sequences else None
        self.sequences = [names[i] for i in self.channels] if self.channels is not None else names
        self.targets = list(self.recipe.targets) if self.arm.targets else []
        self.frames = self.recipe.network.frames if self.recipe.series in self.sequences else 1

    def patches(self, scans: Sequence[Scan], *, training: bool = True) -> Patches:
        """Batches of these scans as this arm sees them."""
        targets = np.stack([scan.targets for scan in scans])
        if training and self.arm.permuted:
            targets = permute(targets, [scan.participant for scan in scans], self.task.seed)
        targets = targets if self.arm.targets else targets[:, :0]
        if training:
            self._check_classes(targets)
        classes = [i for i, target in enumerate(self.targets) if target.behaviour.has_levels]
        return Patches(
            scans,
            self.plan.patch,
            self.plan.batch,
            self.task.seed,
            regions=len(self.recipe.regions),
            normalise=self.normalise,
            channels=self.channels,
            flat=self.plan.dimensions == 2,
            frames=self.frames,
            strata=classes,
            targets=targets,
            covariates=self.covariates(scans),
        )

    def normalise(self, stack: torch.Tensor) -> torch.Tensor:
        """A raw stack of this arm's sequences as the network sees it."""
        return standardise(stack, self.plan, self.sequences, series=self.frames > 1)

    def covariates(self, scans: Sequence[Scan]) -> np.ndarray:
        """In standard deviations of the training fold, ``(scans, covariates)``."""
        values = np.stack([scan.covariates for scan in scans])
        for column, name in enumerate(self.recipe.learning.covariates):
            scale = self.plan.covariates[name]
            values[:, column] = (values[:, column] - scale["mean"]) / scale["sd"]
        return values

    def _check_classes(self, targets: np.ndarray) -> None:
        for column, target in enumerate(self.targets):
            known = targets[np.isfinite(targets[:, column]), column]
            if target.behaviour.has_levels and len(np.unique(known)) < 2:
                named = [self.task.levels[target.name][int(level)] for level in np.unique(known)] or ["none at all"]
                raise TrainingError(
                    f"{self.fold.name}: everybody on the training side has the same {target.name} ({named[0]}): "
                    f"there is nothing to learn; use fewer folds, or another column"
                )

    def state(self) -> State:
        """A network with the weights of this seed; every arm's encoder begins with the same."""
        import torch

        from bids_app.networks.losses import SEGMENTATION, Balance
        from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
        from bids_app.networks.reading import CELLS_PER_AXIS

        plan, arm = self.plan, self.arm
        heads = tuple(HeadShape(t.name, t.kind, self.outputs_of(t), self.recipe.hidden_from(t)) for t in self.targets)
        by_region = arm.segmentation and bool(heads)
        shape = NetworkShape(
            len(self.sequences),
            (len(self.recipe.regions) + 1) if arm.segmentation else 0,
            plan.filters,
            tuple(plan.blocks),
            plan.deep_supervision,
            plan.fold,
            plan.dimensions,
            heads,
            len(self.recipe.learning.covariates),
            self.recipe.network.dropout,
            reads_regions=by_region and self.recipe.network.head == "bottleneck",
            reads_features=by_region and self.recipe.network.head == "regions",
            gradient=self.recipe.learning.target_gradient,
            sided=self.recipe.network.sided,
            partners=self.recipe.partners() if self.recipe.network.sided and arm.segmentation else (),
            slices=self.recipe.network.slices,
            cells=CELLS_PER_AXIS if by_region and self.recipe.lesions_only else 0,
            frames=self.frames,
            finest=self.recipe.network.finest,
        )
        torch.manual_seed(mixed_seed(self.task.seed, 7))
        network = MultiTaskNet(shape)
        if arm.frozen:
            self._freeze(network)
        tasks = ([SEGMENTATION] if arm.segmentation else []) + [target.name for target in self.targets]
        weights = {target.name: arm.target_weight or target.weight for target in self.targets}
        regression = [target.name for target in self.targets if target.behaviour.gaussian]
        balance = Balance(tasks, weights, self.recipe.learning.balance, regression)
        learned = [p for p in network.parameters() if p.requires_grad]
        of_balance = {"params": list(balance.parameters()), "weight_decay": 0.0}
        groups: list[dict[str, Any]] = [{"params": learned}, of_balance]
        optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=plan.rate, weight_decay=Schedule.decay)
        mean = copy.deepcopy(network).requires_grad_(False)
        return State(network, mean, optimiser, balance, digest=self.task.digest)

    def _freeze(self, network: torch.nn.Module) -> None:
        if not self.task.start or not (path := Path(self.task.start) / WEIGHTS).is_file():
            raise TrainingError(f"a frozen encoder needs the segmentation-only arm of {self.fold.name} to be trained")
        stored = read_weights(path)
        for prefix in ("unet.encoder.", *(["temporal."] if self.frames > 1 else [])):
            part = network.get_submodule(prefix[:-1])
            part.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
            part.requires_grad_(False)

    def augmentation(self) -> Augmentation:
        """The recipe's, for this arm's sequences."""
        from bids_app.train.augment import augmentation_of

        how = augmentation_of(self.recipe, sequence_dropout=self.arm.sequence_dropout)
        if self.channels is None:
            return how
        return replace(how, quantitative=tuple(how.quantitative[i] for i in self.channels))

    def losses(self) -> TaskLosses:
        """Of this arm's tasks."""
        from bids_app.networks.losses import TaskLosses

        kinds = {target.name: target.behaviour for target in self.targets}
        return TaskLosses(kinds, self.plan.targets, segmentation=self.arm.segmentation)

    def solve_heads(self, network: MultiTaskNet) -> dict[str, Any]:
        """Linear heads from everybody on the training side; see `bids_app.train.heads`."""
        from bids_app.train.heads import solve_heads

        scans = load_scans(Path(self.task.scans), self.fold.all_training)
        patches = self.patches(scans)
        return solve_heads(
            network,
            patches,
            self.targets,
            patches.targets.numpy().astype(float),
            [scan.participant for scan in scans],
            scalings=self.plan.targets,
            levels={t.name: len(self.task.levels.get(t.name) or ()) for t in self.targets},
            mirrored=self.recipe.learning.mirror,
            device=self.task.device,
        )

    def outputs_of(self, target: Target) -> int:
        """Outputs of a target's head."""
        return target.behaviour.outputs(len(self.task.levels.get(target.name) or ()))


def run_fold(task: FoldTask, *, stop_at: int | None = None) -> Path:
    """Train, or go on, and answer for the test side; a fold that is done is left as it is.

    Under ``torchrun`` the processes share each batch.

    Returns:
        The task's folder, with ``done.json`` in it.
    """
    import torch

    out = Path(task.out)
    if is_done(task):
        return out
    torch.set_num_threads(task.threads)
    if is_trained(task):
        if int(os.environ.get("RANK", "0")) == 0:
            answer_again(Trial(task))
        return out
    worker, trial = join(task.device), Trial(task)
    side = trial.fold.train if task.patience else trial.fold.all_training
    scans = load_scans(Path(task.scans), side)
    state, patches = trial.state(), trial.patches(scans)
    if (out / STATE).is_file():
        state.load(out / STATE)
    if worker.rank == 0:
        task.keep_made_of()
    per_epoch = max(1, len(scans) // trial.plan.batch)
    schedule = Schedule(
        task.steps,
        task.minutes,
        trial.plan.rate,
        patience=task.patience,
        check_every=max(20, per_epoch) if task.patience else 0,
    )
    validation = None
    if task.patience:
        validation = trial.patches(load_scans(Path(task.scans), trial.fold.validation, at_level=True), training=False)
    fit_tasks(
        state,
        patches,
        trial.losses(),
        schedule,
        augmentation=trial.augmentation(),
        worker=worker,
        validation=validation,
        checkpoint=out / STATE,
        log_path=out / LOG,
        stop_at=stop_at,
    )
    leave()
    if stop_at is not None and state.step < task.steps:
        return out
    if worker.rank == 0:
        finish(trial, state, len(scans))
    return out


def finish(trial: Trial, state: State, scans: int) -> None:
    """Choose the weights, answer for the test side, and say that it is done."""
    task, out = trial.task, Path(trial.task.out)
    network = state.mean.to("cpu").eval()
    if task.patience and (best := out / f"best_{JOINT}.pt").is_file():
        network.load_state_dict(read_weights(best))
    heads = trial.solve_heads(network) if network.shape.reads_features and network.heads else {}
    keep_weights(network, out / WEIGHTS)
    facts = {
        "digest": task.digest,
        "answers": answer(trial, network, list(task.wanted())),
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "scans": scans,
        "best": state.best,
        "peak_gb": round(peak_gb(task.device), 2),
        "shape": network.shape.to_plain(),
        "heads": heads,
    }
    write_text(out / DONE, json.dumps(facts, indent=1) + "\n")


def answer_again(trial: Trial) -> None:
    """Answer, from the weights that are kept, for what is not answered yet or was answered for other scans."""
    task, out = trial.task, Path(trial.task.out)
    network = trial.state().mean.eval()
    network.load_state_dict(read_weights(out / WEIGHTS))
    facts, _ = read_json(out / DONE)
    facts["answers"] = {**(facts.get("answers") or {}), **answer(trial, network, unanswered(task))}
    task.keep_made_of()
    write_text(out / DONE, json.dumps(facts, indent=1) + "\n")


def answer(trial: Trial, network: torch.nn.Module, folders: Sequence[str]) -> dict[str, str]:
    """Answer for the test side, with all sequences or with some.

    Args:
        folders: of `FoldTask.wanted`.

    Returns:
        Each folder, with the digest of what decided its answers.
    """
    task, wanted = trial.task, trial.task.wanted()
    test = load_scans(Path(task.scans), trial.fold.test, at_level=True) if folders else []
    network.to(task.device)
    subsets = {FULL: None, **{subset_folder(subset): subset for subset in task.subsets}}
    for folder in folders:
        write_answers(trial, network, test, Path(task.out) / folder, keep=subsets[folder])
    return {folder: wanted[folder] for folder in folders}


def write_answers(
    trial: Trial, network: torch.nn.Module, scans: Sequence[Scan], folder: Path, *, keep: Sequence[str] | None = None
) -> None:
    """One ``KEY.npz`` per scan: probabilities on its grid, logits of every target.

    Args:
        keep: sequences that stay; the others are taken away, as if they had not been measured.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    if not scans:
        return
    patches = trial.patches(scans, training=False)
    gone = [i for i, name in enumerate(trial.sequences) if keep is not None and name not in keep]
    for index, scan in enumerate(scans):
        batch = patches.collate([index])
        channels = channels_of(gone, len(trial.sequences), batch.images.shape[1], trial.recipe.network.slices)
        batch.images[:, channels], batch.present[:, gone] = 0, 0
        if not batch.present.any():
            continue  # nothing of what is left was measured in this session
        batch = type(batch)(*[part.to(trial.task.device) for part in batch])
        with torch.inference_mode():
            answer = network(batch.images, batch.present, batch.covariates)
        parts = {f"target_{name}": logits[0].float().cpu().numpy() for name, logits in answer.targets.items()}
        for target in trial.targets:
            name = f"target_{target.name}"
            parts[name] = target.behaviour.in_unit(parts[name], trial.plan.targets[target.name])
        if trial.arm.segmentation:
            parts["probability"] = whole_probability(trial, network, patches, index, channels, answer).astype(
                np.float16
            )
        write_arrays(folder / f"{scan.key}.npz", parts, compressed=True)


def whole_probability(
    trial: Trial, network: torch.nn.Module, patches: Patches, index: int, gone: list[int], answer: Any
) -> np.ndarray:
    """Probability of every region on the scan's own grid, ``(regions, x, y, z)``, by tiles where a patch is smaller."""
    import torch

    from bids_app.scans.tiles import pad_around, sides_for, tiled

    shape, recipe, flat = patches.stacks[index].shape[1:], trial.recipe, patches.flat
    if all(n <= side for n, side in zip(shape, patches.patch, strict=True)):
        probability = answer.logits[0].softmax(1)[0, 1:].float().cpu().numpy()
        probability = probability[..., None] if flat else probability
        start = [(side - n) // 2 for n, side in zip(shape, patches.patch, strict=True)]
        return probability[(slice(None), *(slice(a, a + n) for a, n in zip(start, shape, strict=True)))]
    stack = patches.seen(index).clone()
    stack[gone] = 0
    image, box = pad_around(stack.to(trial.task.device), network.factor, patches.patch, flat=flat)
    sides = sides_for(recipe, {"patch": patches.patch}, network.factor, image.shape[1:])

    def look(tiles: torch.Tensor) -> torch.Tensor:
        probability = network(tiles[..., 0] if flat else tiles).logits[0].softmax(1)[:, 1:]
        return probability[..., None] if flat else probability

    with torch.inference_mode():
        whole = tiled(look, image, sides, len(recipe.regions))
    return whole[(slice(None), *box)].float().cpu().numpy()
