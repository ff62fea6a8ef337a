"""The training loop: plain torch, one state, the same weights whether it was stopped on the way or not."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bids.files import write_text, write_whole
from bids_app.errors import TrainingError
from bids_app.train.state import State, track

if TYPE_CHECKING:
    import torch

    from bids_app.networks.losses import TaskLosses
    from bids_app.scans.scan import Batch
    from bids_app.train.augment import Augmentation
    from bids_app.train.batches import Patches

log = logging.getLogger(__name__)
JOINT = "joint"


@dataclass(frozen=True)
class Course:
    """How a training goes; a sentence per number.

    Attributes:
        steps: how many.
        minutes: an end by the clock, whichever comes first; None for none. The schedule then follows the clock.
        rate: highest learning rate; warmed up over ``warm_up`` steps, then falling with a cosine to a fiftieth.
        decay: of AdamW's weights.
        average: part of the running mean of weights that is kept each step.
        clip: largest norm of the gradient.
        save_every: steps between checkpoints.
        look_every: steps between looks at gradients; 0 for never.
        check_every: steps between looks at the validation side; 0 for never.
        patience: looks without a better joint loss after which training ends; 0 for never.
        compile: `torch.compile` for the network; None: on CUDA only.
    """

    steps: int
    minutes: float | None = None
    rate: float = 2e-3
    decay: float = 1e-4
    average: float = 0.99
    clip: float = 12.0
    warm_up: int = 30
    save_every: int = 200
    look_every: int = 50
    check_every: int = 0
    patience: int = 0
    compile: bool | None = None


@dataclass
class Worker:
    """Where one process trains: its device, and its place among the processes that share a batch."""

    device: str = "cpu"
    rank: int = 0
    processes: int = 1

    def share(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.processes > 1:
            import torch.distributed as dist

            dist.all_reduce(value)
        return value

    def rows(self, count: int) -> slice:
        """Which scans of a batch are this process's."""
        return slice(self.rank, count, self.processes)


def fit(
    state: State,
    patches: Patches,
    losses: TaskLosses,
    course: Course,
    *,
    augmentation: Augmentation | None = None,
    worker: Worker | None = None,
    validation: Patches | None = None,
    checkpoint: Path | None = None,
    log_path: Path | None = None,
    stop_at: int | None = None,
    told: Callable[[dict[str, float]], None] | None = None,
) -> State:
    """Learn until the steps, the minutes or the patience are used up.

    Args:
        state: new, or loaded from a checkpoint: then the same weights come out as if it had never stopped.
        patches: what is learned from.
        losses: of every task.
        augmentation: none where None.
        validation: looked at every ``course.check_every`` steps.
        checkpoint: written every ``course.save_every`` steps and at the end; beside it ``best_TASK.pt`` where a
            validation side is looked at.
        log_path: CSV, one row per ten steps.
        stop_at: end at this step as if interrupted; the schedule is not changed by it.
        told: called with each row that is logged.

    Raises:
        TrainingError: the loss is not finite.
    """
    import torch

    worker = worker or Worker()
    network = parallel(state.network, worker, course)
    step_of = Step(state, network, losses, course, augmentation, worker)
    diary = Diary(log_path if worker.rank == 0 else None, told)
    started, clock = time.monotonic() - state.seconds, time.monotonic
    state.network.train()
    while (progress := how_far(state, course, clock() - started)) < 1 and state.step != stop_at:
        torch.manual_seed(mixed_seed(patches.seed, state.step) + 1)  # dropout
        set_rate(state.optimiser, course, state.step, progress)
        row = step_of(patches.batch(state.step), patches.seed)
        state.step += 1
        state.seconds = clock() - started
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the loss is {row['loss']} at step {state.step}: look for damaged images in the cohort, or lower the "
                f"learning rate in the plan (now {course.rate:g}); the last checkpoint is as it was"
            )
        diary.note(state, row)
        if validation is not None and course.check_every and state.step % course.check_every == 0:
            since = check(state, validation, losses, worker, checkpoint)
            if course.patience and since >= course.patience * course.check_every:
                log.info("no better joint loss for %d steps: ending at %d", since, state.step)
                break
        if checkpoint is not None and worker.rank == 0 and state.step % course.save_every == 0:
            state.save(checkpoint)
    if checkpoint is not None and worker.rank == 0:
        state.save(checkpoint)
    return state


class Step:
    """One step on one batch; returns what is logged."""

    def __init__(
        self,
        state: State,
        network: Any,
        losses: TaskLosses,
        course: Course,
        augmentation: Augmentation | None,
        worker: Worker,
    ) -> None:
        self.state, self.network, self.losses, self.course = state, network, losses, course
        self.augmentation, self.worker = augmentation, worker
        losses.share, losses.processes = worker.share, worker.processes

    def __call__(self, batch: Batch, seed: int) -> dict[str, float]:
        import torch

        state, course, balance = self.state, self.course, self.state.needed_balance
        mine = self.prepare(batch, seed)
        with torch.autocast(self.worker.device.split(":")[0], torch.bfloat16, enabled=self.mixed):
            answer = self.network(mine.images, mine.present, mine.covariates)
        tasks = self.losses(answer, mine)
        row = self.gradients(tasks, answer.bottleneck) if self.due else {}
        row |= self.observe(tasks, mine)
        total = balance(tasks)
        state.optimiser.zero_grad(set_to_none=True)
        scaled = state.scaler.scale(total) if state.scaler else total
        scaled.backward()
        for weight in balance.parameters():  # the network's own gradients are averaged by its wrapper
            weight.grad = self.worker.share(weight.grad) / self.worker.processes
        if state.scaler:
            state.scaler.unscale_(state.optimiser)
        learned = [p for group in state.optimiser.param_groups for p in group["params"]]
        row["gradient"] = float(torch.nn.utils.clip_grad_norm_(learned, course.clip))
        if state.scaler:
            state.scaler.step(state.optimiser)
            state.scaler.update()
        elif math.isfinite(row["gradient"]):
            state.optimiser.step()
        track(state.mean, state.network, min(course.average, (state.step + 1) / (state.step + 10)))
        return {**row, "loss": sum(row[f"loss_{task}"] for task in tasks)}

    @property
    def mixed(self) -> bool:
        return self.worker.device.startswith("cuda")

    @property
    def due(self) -> bool:
        every = self.course.look_every
        return bool(every) and self.state.step % every == 0 and len(self.losses.tasks) > 1

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """This process's scans, on its device, augmented; numbers are drawn for the whole batch, on every process."""
        import torch

        from bids_app.train.augment import apply, draw

        rows = self.worker.rows(len(batch.images))
        mine = type(batch)(*[part[rows].to(self.worker.device, non_blocking=True) for part in batch])
        if self.augmentation is None:
            return mine
        generator = torch.Generator().manual_seed(mixed_seed(seed, self.state.step))
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


def parallel(network: torch.nn.Module, worker: Worker, course: Course) -> Any:
    """The network as this process runs it: on its device, one of several processes' copies, compiled where it pays."""
    import torch

    cuda = worker.device.startswith("cuda")
    network = network.to(worker.device)
    running: Any = network
    if worker.processes > 1:
        device_ids = [torch.device(worker.device)] if cuda else None
        running = torch.nn.parallel.DistributedDataParallel(running, device_ids=device_ids, find_unused_parameters=True)
    if course.compile if course.compile is not None else cuda:
        running = torch.compile(running)
    return running


def how_far(state: State, course: Course, seconds: float) -> float:
    """Part of the training that is done."""
    by_clock = seconds / (60 * course.minutes) if course.minutes else 0.0
    return max(by_clock, state.step / max(course.steps, 1))


def set_rate(optimiser: torch.optim.Optimizer, course: Course, step: int, progress: float) -> None:
    """Warm up, then fall with a cosine."""
    warm = min(1.0, (step + 1) / max(course.warm_up, 1))
    rate = course.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    for group in optimiser.param_groups:
        group["lr"] = rate


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


def keep_weights(network: torch.nn.Module, path: Path) -> None:
    """The weights alone, written whole.

    Raises:
        CannotWrite, IOFailure: they could not be written.
    """
    import torch

    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    write_whole(path, lambda out: out.write(stream.getbuffer()))


class Diary:
    """Means over ten steps as rows of a CSV file, and of the state's history."""

    EVERY = 10

    def __init__(self, path: Path | None, told: Callable[[dict[str, float]], None] | None) -> None:
        self.path, self.told = path, told
        self.rows: list[dict[str, float]] = []

    def note(self, state: State, row: dict[str, float]) -> None:
        self.rows.append(row)
        if state.step % self.EVERY:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        means = {name: float(np.mean([row[name] for row in self.rows if name in row])) for name in names}
        self.rows = []
        entry = {"step": state.step, "seconds": round(state.seconds, 2), **{k: round(v, 5) for k, v in means.items()}}
        state.history.append(entry)
        if self.told:
            self.told(entry)
        if self.path is not None:
            self._write(self.path, state.history)

    def _write(self, path: Path, history: list[dict[str, float]]) -> None:
        """The whole file again: columns may have come, and a stop in the middle leaves no half row."""
        names = list(dict.fromkeys(name for entry in history for name in entry))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(history)
        write_text(path, text.getvalue())


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, far from those of their neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])
