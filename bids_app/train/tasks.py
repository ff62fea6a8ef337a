"""Learning from a cohort: segmentation and targets at once, and a look at people who do not train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.train.loop import Schedule, Worker, fit, keep_weights, learn, mixed_seed
from bids_app.train.state import State

if TYPE_CHECKING:
    import torch

    from bids_app.networks.losses import TaskLosses
    from bids_app.scans.scan import Batch
    from bids_app.train.augment import Augmentation
    from bids_app.train.batches import Patches

JOINT = "joint"


def fit_tasks(
    state: State,
    patches: Patches,
    losses: TaskLosses,
    schedule: Schedule,
    *,
    augmentation: Augmentation | None = None,
    worker: Worker | None = None,
    validation: Patches | None = None,
    checkpoint: Path | None = None,
    log_path: Path | None = None,
    stop_at: int | None = None,
    notify: Callable[[dict[str, float]], None] | None = None,
) -> State:
    """`bids_app.train.loop.fit` on a cohort.

    Args:
        patches: what is learned from.
        losses: of every task.
        augmentation: none where None.
        validation: looked at every ``schedule.check_every`` steps; beside the checkpoint ``best_TASK.pt`` is kept.

    Raises:
        TrainingError: the loss is not finite.
    """
    worker = worker or Worker()
    step = TaskStep(state, losses, schedule, patches.seed, augmentation=augmentation, worker=worker)
    look = None if validation is None else lambda: check(state, validation, losses, worker, checkpoint)
    return fit(
        state,
        patches,
        step,
        schedule,
        worker=worker,
        check=look,
        checkpoint=checkpoint,
        log_path=log_path,
        stop_at=stop_at,
        notify=notify,
    )


class TaskStep:
    """One step on one batch of a cohort: the losses of all tasks, balanced."""

    def __init__(
        self,
        state: State,
        losses: TaskLosses,
        schedule: Schedule,
        seed: int,
        *,
        augmentation: Augmentation | None = None,
        worker: Worker | None = None,
    ) -> None:
        self.state, self.losses, self.schedule, self.seed = state, losses, schedule, seed
        self.augmentation, self.worker = augmentation, worker or Worker()
        self.network = parallel(state.network, self.worker, schedule)
        losses.share, losses.processes = self.worker.share, self.worker.processes

    def __call__(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        import torch

        state = self.state
        mine = self.prepare(batch)
        with torch.autocast(self.worker.device.split(":")[0], torch.bfloat16, enabled=self.mixed):
            answer = self.network(mine.images, mine.present, mine.covariates)
        tasks = self.losses(answer, mine)
        row = self.gradients(tasks, answer.bottleneck) if self.due else {}
        row |= self.observe(tasks, mine)
        row["gradient"] = learn(state, state.needed_balance(tasks), self.schedule, self.worker)
        return {**row, "loss": sum(row[f"loss_{task}"] for task in tasks)}

    @property
    def mixed(self) -> bool:
        return self.worker.device.startswith("cuda")

    @property
    def due(self) -> bool:
        every = self.schedule.look_every
        return bool(every) and self.state.step % every == 0 and len(self.losses.tasks) > 1

    def prepare(self, batch: Batch) -> Batch:
        """This process's scans, on its device, augmented; numbers are drawn for the whole batch, on every process."""
        import torch

        from bids_app.train.augment import apply, draw

        rows = self.worker.rows(len(batch.images))
        mine = type(batch)(*[part[rows].to(self.worker.device, non_blocking=True) for part in batch])
        if self.augmentation is None:
            return mine
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.state.step))
        drawn = draw(batch, self.augmentation, generator)
        tensors = {f.name: getattr(drawn, f.name) for f in fields(drawn) if f.name != "swap"}
        return apply(mine, replace(drawn, **{name: value[rows] for name, value in tensors.items()}))

    def observe(self, tasks: dict[str, torch.Tensor], batch: Batch) -> dict[str, float]:
        """Tell the balance this step's losses, the same in every process."""
        import torch

        share, processes = self.worker.share, self.worker.processes
        values = share(torch.stack([loss.detach() for loss in tasks.values()])) / processes
        columns = dict(zip(self.losses.kinds, batch.targets.T, strict=True))
        counts = [
            torch.isfinite(columns[task]).sum() if task in columns else (batch.labelled > 0).sum() for task in tasks
        ]
        known = share(torch.stack(counts).float()) > 0
        self.state.needed_balance.observe(values, known)
        return {f"loss_{task}": float(value) for task, value in zip(tasks, values, strict=True)}

    def gradients(self, tasks: dict[str, torch.Tensor], bottleneck: torch.Tensor) -> dict[str, float]:
        """Norm of each task's gradient at the bottleneck, and the cosine between the first's and each other's."""
        import torch

        if not bottleneck.requires_grad:
            return {}
        found = {}
        for name, loss in tasks.items():
            (gradient,) = torch.autograd.grad(loss, bottleneck, retain_graph=True, allow_unused=True)
            found[name] = torch.zeros_like(bottleneck).flatten() if gradient is None else gradient.float().flatten()
        first = next(iter(found.values()))
        row = {f"norm_{name}": float(gradient.norm()) for name, gradient in found.items()}
        for name, gradient in list(found.items())[1:]:
            row[f"cosine_{name}"] = float(torch.nn.functional.cosine_similarity(first, gradient, 0))
        return row


def parallel(network: torch.nn.Module, worker: Worker, schedule: Schedule) -> Any:
    """The network as this process runs it: on its device, one of several processes' copies, compiled where it pays."""
    import torch

    cuda = worker.device.startswith("cuda")
    network = network.to(worker.device)
    running: Any = network
    if worker.processes > 1:
        device_ids = [torch.device(worker.device)] if cuda else None
        running = torch.nn.parallel.DistributedDataParallel(running, device_ids=device_ids, find_unused_parameters=True)
    if schedule.compile if schedule.compile is not None else cuda:
        running = torch.compile(running)
    return running


def check(state: State, validation: Patches, losses: TaskLosses, worker: Worker, checkpoint: Path | None) -> int:
    """Losses of the running mean on the validation side; the best per task and of all together are kept.

    Returns:
        Steps since the joint loss was lowest.
    """
    import torch

    state.mean.to(worker.device).eval()
    totals: dict[str, list[float]] = {}
    share, processes = losses.share, losses.processes
    losses.share, losses.processes = (lambda count: count), 1  # every process looks at everything
    try:
        with torch.inference_mode():
            for start in range(0, len(validation), validation.batch_size):
                rows = range(start, min(start + validation.batch_size, len(validation)))
                batch = validation.collate(rows)
                batch = type(batch)(*[part.to(worker.device) for part in batch])
                answer = state.mean(batch.images, batch.present, batch.covariates)
                for task, value in losses(answer, batch).items():
                    totals.setdefault(task, []).append(float(value))
    finally:
        losses.share, losses.processes = share, processes
    now = {task: float(np.mean(values)) for task, values in totals.items()}
    scale = dict(zip(losses.tasks, state.needed_balance.initial.clamp_min(1e-6).tolist(), strict=True))
    now[JOINT] = sum(value / scale[task] for task, value in list(now.items()))
    state.history.append({"step": state.step, **{f"validation_{task}": value for task, value in now.items()}})
    for task, value in now.items():
        if value < state.best.get(task, (math.inf, 0))[0]:
            state.best[task] = (value, state.step)
            if checkpoint is not None and worker.rank == 0:
                keep_weights(state.mean, checkpoint.with_name(f"best_{task}.pt"))
    return state.step - state.best[JOINT][1]
