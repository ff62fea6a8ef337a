"""The training loop: plain torch, one state, the same weights whether it was stopped on the way or not.

Cohorts and drawn scans learn by it: each brings a source of batches and what a step on one of them is.
"""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bids_app.bids.files import write_whole
from bids_app.errors import TrainingError
from bids_app.train.diary import Diary
from bids_app.train.state import State, track

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How a training goes; a sentence per number.

    Attributes:
        steps: how many; None for as many as ``minutes`` allow.
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

    steps: int | None
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

    def first(self, value: float) -> float:
        """The first process's value, in every process: clocks differ, decisions must not."""
        if self.processes == 1:
            return value
        import torch
        import torch.distributed as dist

        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(told, src=0)
        return float(told)

    def rows(self, count: int) -> slice:
        """Which scans of a batch are this process's."""
        return slice(self.rank, count, self.processes)


class Source(Protocol):
    """What is learned from: the batch of a step depends on the seed and the step alone."""

    seed: int

    def batch(self, step: int) -> Any:
        """What a `Step` takes."""
        ...


class Step(Protocol):
    """One step on one batch."""

    def __call__(self, batch: Any, progress: float) -> dict[str, float]:
        """Learn from it (see `learn`); what is logged, ``loss`` among it.

        Args:
            batch: of the source.
            progress: part of the training that is done.
        """
        ...


def fit(
    state: State,
    source: Source,
    step: Step,
    schedule: Schedule,
    *,
    worker: Worker | None = None,
    check: Callable[[], int] | None = None,
    checkpoint: Path | None = None,
    log_path: Path | None = None,
    stop_at: int | None = None,
    until: float = 1.0,
    notify: Callable[[dict[str, float]], None] | None = None,
) -> State:
    """Learn until the steps, the minutes or the patience are used up.

    Args:
        state: new, or loaded from a checkpoint: then the same weights come out as if it had never stopped.
        source: of batches.
        step: one step on one of them.
        check: looks at people who do not train, every ``schedule.check_every`` steps; returns the steps since the
            joint loss was lowest.
        checkpoint: written every ``schedule.save_every`` steps and at the end.
        log_path: CSV, one row per ten steps.
        stop_at: end at this step as if interrupted; the schedule is not changed by it.
        until: end at this part of the training, as the next stage begins there; the schedule is that of the whole.
        notify: called with each row that is logged.

    Raises:
        TrainingError: the loss is not finite.
    """
    import torch

    worker = worker or Worker()
    diary = Diary(log_path if worker.rank == 0 else None, notify)
    started, clock = time.monotonic() - state.seconds, time.monotonic
    state.network.train()
    while (progress := worker.first(how_far(state, schedule, clock() - started))) < until and state.step != stop_at:
        torch.manual_seed(mixed_seed(source.seed, state.step) + 1)  # dropout
        set_rate(state.optimiser, schedule, state.step, progress)
        row = step(source.batch(state.step), progress)
        state.step += 1
        state.seconds = clock() - started
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the loss is {row['loss']} at step {state.step}: look for damaged images in the cohort, or lower the "
                f"learning rate in the plan (now {schedule.rate:g}); the last checkpoint is as it was"
            )
        diary.note(state, row)
        if check is not None and schedule.check_every and state.step % schedule.check_every == 0:
            since = check()
            if schedule.patience and since >= schedule.patience * schedule.check_every:
                log.info("no better joint loss for %d steps: ending at %d", since, state.step)
                break
        if checkpoint is not None and worker.rank == 0 and state.step % schedule.save_every == 0:
            state.save(checkpoint)
    if checkpoint is not None and worker.rank == 0:
        state.save(checkpoint)
    return state


def learn(state: State, loss: torch.Tensor, schedule: Schedule, worker: Worker | None = None) -> float:
    """Follow a loss downhill by one step: gradients, cut to a norm, and the running mean of the weights.

    Returns:
        The gradient's norm before it was cut; where it is not finite, nothing is changed.
    """
    import torch

    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if worker is not None and state.balance is not None:
        for weight in state.balance.parameters():  # the network's own gradients are averaged by its wrapper
            weight.grad = worker.share(weight.grad) / worker.processes
    learned = [p for group in state.optimiser.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(learned, schedule.clip))
    if math.isfinite(norm):
        state.optimiser.step()
    track(state.mean, state.network, min(schedule.average, (state.step + 1) / (state.step + 10)))
    return norm


def how_far(state: State, schedule: Schedule, seconds: float) -> float:
    """Part of the training that is done."""
    by_clock = seconds / (60 * schedule.minutes) if schedule.minutes else 0.0
    by_steps = state.step / max(schedule.steps, 1) if schedule.steps is not None else 0.0
    return max(by_clock, by_steps)


def set_rate(optimiser: torch.optim.Optimizer, schedule: Schedule, step: int, progress: float) -> None:
    """Warm up, then fall with a cosine."""
    warm = min(1.0, (step + 1) / max(schedule.warm_up, 1))
    rate = schedule.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    for group in optimiser.param_groups:
        group["lr"] = rate


def keep_weights(network: torch.nn.Module, path: Path) -> None:
    """The weights alone, written whole.

    Raises:
        CannotWrite, IOFailure: they could not be written.
    """
    import torch

    stream = io.BytesIO()
    torch.save(network.state_dict(), stream)
    write_whole(path, lambda out: out.write(stream.getbuffer()))


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, far from those of their neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])
