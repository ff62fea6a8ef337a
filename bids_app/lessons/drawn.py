"""Drawn scans as a source of batches for the training loop, and what a step on one of them is."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bids_app.lessons.lesson import Lesson
from bids_app.train.loop import Schedule, learn
from bids_app.train.state import State

if TYPE_CHECKING:
    import torch

#: Scans that a training begins with.
FIRST = 8
#: Scans drawn ahead by a second thread. Not by processes: those hand scans over in shared memory, of which a container
#: has 64 MB.
AHEAD = 4

Pair = tuple["torch.Tensor", "torch.Tensor"]


class Drawn(NamedTuple):
    """Images ``(n, sequences, *patch)``, and what is to be answered of each, as the lesson's ``judge`` takes it."""

    images: torch.Tensor
    truth: torch.Tensor


class DrawnScans:
    """Batches from a pool that gains one scan for every few that are used.

    Which scans are in the pool at a step, and which of them make its batch, depends on the seed and the step alone, so
    that a training that was stopped goes on with the batches it would have had.

    Args:
        lesson: what draws; the ``n``-th scan depends on its seed and ``n``.
        seed: of the choice among the pool.
        begin: step and number of scans drawn where this lesson begins, after those of an earlier stage.
        ahead: scans are drawn in a second thread while the network learns.
    """

    def __init__(self, lesson: Lesson, seed: int, *, begin: tuple[int, int] = (0, 0), ahead: bool = False) -> None:
        self.lesson, self.seed, self.begin = lesson, seed, begin
        self._scans: dict[int, Pair] = {}
        self._coming: dict[int, Future[Pair]] = {}
        self._thread = ThreadPoolExecutor(1) if ahead else None

    def drawn_by(self, step: int) -> int:
        """How many scans have been drawn once the batch of ``step`` is made, with those of earlier stages."""
        plan, (first, before) = self.lesson.plan, self.begin
        return before + int(min(FIRST, plan.pool) + (step - first + 1) * plan.batch / plan.reuse)

    def batch(self, step: int) -> Drawn:
        """The batch of a step, half of its scans as their mirror images."""
        import torch

        plan, count = self.lesson.plan, self.drawn_by(step)
        pool = range(max(self.begin[1], count - plan.pool), count)
        self._hold(pool)
        rng = np.random.default_rng([self.seed, step])
        picked = [self._scans[pool[i]] for i in rng.choice(len(pool), plan.batch, replace=len(pool) < plan.batch)]
        picked = [self.lesson.mirrored(*scan) if rng.random() < 0.5 else scan for scan in picked]
        return Drawn(torch.stack([image for image, _ in picked]), torch.stack([truth for _, truth in picked]))

    def _hold(self, pool: range) -> None:
        """Keep these scans and no others, and begin to draw the next ones."""
        for number in [n for n in self._scans if n not in pool]:
            del self._scans[number]
        if self._thread is not None:
            for number in range(pool.start, pool.stop + AHEAD):
                if number not in self._scans and number not in self._coming:
                    self._coming[number] = self._thread.submit(self.lesson.__getitem__, number)
        for number in pool:
            if number not in self._scans:
                coming = self._coming.pop(number, None)
                self._scans[number] = self.lesson[number] if coming is None else coming.result()

    def close(self) -> None:
        """End the second thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


class LessonStep:
    """One step on a batch of drawn scans: the lesson judges the answer."""

    def __init__(self, state: State, source: DrawnScans, schedule: Schedule) -> None:
        self.state, self.source, self.schedule = state, source, schedule

    def __call__(self, batch: Drawn, progress: float) -> dict[str, float]:
        """See `bids_app.train.loop.Step`."""
        import torch

        state, images = self.state, batch.images
        if images.ndim == 5:
            images = images.contiguous(memory_format=torch.channels_last_3d)
        loss, dice = self.source.lesson.judge(state.network, images, batch.truth, progress, state.step)
        norm = learn(state, loss, self.schedule)
        state.drawn = self.source.drawn_by(state.step)
        return {"loss": float(loss.detach()), "dice": dice, "gradient": norm}
