"""Losses of a segmentation at several scales and of targets, and how they are weighed against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from bids_app.networks.monai_parts import DiceCELoss
from bids_app.networks.multitask import Answer
from bids_app.targets.kind import TargetKind

#: Steps over whose mean a loss is scaled to 1 before it is weighed.
FIRST_STEPS = 10
#: Temperature of dynamic weight averaging (Liu 2019).
DWA_HEAT = 2.0
#: Log variances of uncertainty weighting stay inside this.
LOG_VARIANCE = 4.0
SEGMENTATION = "segmentation"


class ScaledDiceCELoss(nn.Module):
    """Dice (squared denominator, so that a soft target is its own best answer) plus cross-entropy, at every scale.

    Args:
        cross_entropy: weight of the cross-entropy, a mean over voxels nearly all of which are background.
        batch: one Dice over all scans of a batch, instead of one per scan.

    Scale ``k`` weighs half of scale ``k - 1``; weights sum to one.
    """

    def __init__(self, cross_entropy: float = 10.0, *, batch: bool = True) -> None:
        super().__init__()
        self.loss = DiceCELoss(
            softmax=True, include_background=False, squared_pred=True, batch=batch, lambda_ce=cross_entropy
        )

    def weigh(self, cross_entropy: float) -> None:
        """Change the weight of the cross-entropy."""
        self.loss.lambda_ce = cross_entropy

    def forward(self, logits: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Logits as `MultiTaskNet` gives them; target ``(n, classes, x, y, z)``, parts that sum to one."""
        weights = [0.5**k for k in range(len(logits))]
        pool = F.avg_pool3d if target.ndim == 5 else F.avg_pool2d
        total = target.new_zeros(())
        for weight, scale in zip(weights, logits, strict=True):
            ratio = target.shape[-1] // scale.shape[-1]
            total = total + weight * self.loss(scale, pool(target, ratio) if ratio > 1 else target)
        return total / sum(weights)


def sparse_dice_ce(
    logits: torch.Tensor, labels: torch.Tensor, *, smooth: float = 20.0, absent: bool = False
) -> tuple[torch.Tensor, float]:
    """Cross-entropy plus Dice of the classes that are there; class numbers as truth, so that many classes are cheap.

    Args:
        logits: ``(n, classes, ...)``; class 0 is the background, which has no Dice.
        labels: class of every voxel, int64, ``(n, ...)``.
        smooth: voxels added above and below, so that a class of a few voxels does not rule the loss.
        absent: classes that are not there have a Dice too, which falls with every voxel that is said to be theirs.

    Returns:
        The loss, and the mean Dice without smoothing.
    """
    classes = logits.shape[1]
    log_p = logits.float().log_softmax(1)
    own = log_p.gather(1, labels[:, None])
    p, own_p, flat = log_p.exp(), own.exp().reshape(-1), labels.reshape(-1)
    zero = p.new_zeros(classes)
    shared = zero.index_add(0, flat, own_p)
    count = torch.bincount(flat, minlength=classes).to(p)
    total = p.sum([axis for axis in range(p.ndim) if axis != 1])
    there = count > 0
    there[0] = False
    dice = (2 * shared + smooth) / (total + count + smooth)
    plain = (2 * shared / (total + count).clamp_min(1e-6))[there]
    judged = dice[1:] if absent else dice[there]
    loss = -own.mean() + (1 - judged.mean() if len(judged) else 0.0)
    return loss, float(plain.detach().mean()) if bool(there.any()) else float("nan")


class Known(Protocol):
    """What the losses read of a batch; see `bids_app.scans.scan.Batch`."""

    labels: torch.Tensor
    labelled: torch.Tensor
    targets: torch.Tensor


Share = Callable[[torch.Tensor], torch.Tensor]


class TaskLosses(nn.Module):
    """Each task's loss over whatever of it is known in a batch.

    Args:
        kinds: kind of every target, in the order of the batch's columns.
        scalings: per target what its kind fitted on the training side; see `TargetKind.fit`.
        segmentation: whether the segmentation counts.
        cross_entropy: as in `ScaledDiceCELoss`.
        share: sums a tensor over all processes; the tensor itself where there is one. Each process then returns its
            part times their number, so that averaging gradients gives those of the whole batch.
    """

    def __init__(
        self,
        kinds: Mapping[str, TargetKind],
        scalings: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        segmentation: bool = True,
        cross_entropy: float = 1.0,
        share: Share = lambda count: count,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.kinds, self.segmentation = dict(kinds), segmentation
        self.dice_ce = ScaledDiceCELoss(cross_entropy, batch=False)
        self.share, self.processes = share, processes
        self.scalings = dict(scalings or {})

    @property
    def tasks(self) -> list[str]:
        """Names in the order of `forward`."""
        return ([SEGMENTATION] if self.segmentation else []) + list(self.kinds)

    def forward(self, answer: Answer, batch: Known) -> dict[str, torch.Tensor]:
        """One number per task, zero where nothing is known of it in the batch."""
        losses = {}
        if self.segmentation:
            rows = batch.labelled > 0
            count = rows.sum().float()
            total = answer.bottleneck.sum() * 0
            if rows.any():
                total = self.dice_ce([scale[rows].float() for scale in answer.logits], batch.labels[rows]) * count
            else:
                total = total + sum(scale.sum() * 0 for scale in answer.logits)
            losses[SEGMENTATION] = self._mean(total, count)
        for column, (name, kind) in enumerate(self.kinds.items()):
            logits, truth = answer.targets[name].float(), batch.targets[:, column].float()
            known = torch.isfinite(truth)
            total, count = logits.sum() * 0, logits.new_zeros(())
            if known.any():
                loss, count = kind.loss(logits[known], truth[known], self.scalings.get(name))
                total = loss + total
            losses[name] = self._mean(total, count)
        return losses

    def _mean(self, total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        return total / self.share(count.detach().clone()).clamp_min(1e-6) * self.processes


class Balance(nn.Module):
    """One number from all tasks' losses; each is first divided by its mean over the first steps.

    Args:
        tasks: their names.
        weights: per task; the segmentation's is 1 by custom.
        kind: ``fixed``; ``uncertainty`` (Kendall 2018: a learned variance per task); ``dwa`` (Liu 2019: a task whose
            loss falls more slowly weighs more).
        regression: tasks whose likelihood is a normal distribution's, for ``uncertainty``.
    """

    weights: torch.Tensor
    initial: torch.Tensor
    seen: torch.Tensor
    recent: torch.Tensor
    normal: torch.Tensor

    def __init__(
        self, tasks: Sequence[str], weights: Mapping[str, float], kind: str = "fixed", regression: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.tasks, self.kind = list(tasks), kind
        n = len(self.tasks)
        self.register_buffer("weights", torch.tensor([float(weights.get(task, 1.0)) for task in tasks]))
        self.register_buffer("initial", torch.zeros(n))
        self.register_buffer("seen", torch.zeros(n))
        self.register_buffer("recent", torch.zeros(2, n))  # running means: the last period and the one before
        self.register_buffer("normal", torch.tensor([0.5 if task in regression else 1.0 for task in tasks]))
        if kind == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(n))

    def observe(self, losses: torch.Tensor, known: torch.Tensor) -> None:
        """Take note of this step's losses ``(tasks,)``; the same in every process.

        Args:
            known: which tasks had anything to learn from.
        """
        early = known & (self.seen < FIRST_STEPS)
        count = self.seen + known
        self.initial = torch.where(early, self.initial + (losses - self.initial) / count.clamp_min(1), self.initial)
        self.seen = count
        slow, slower = 0.9, 0.97
        fresh = known & (count == 1)
        moved = torch.stack([torch.lerp(losses, self.recent[0], slow), torch.lerp(losses, self.recent[1], slower)])
        self.recent = torch.where(fresh, losses.expand(2, -1), torch.where(known, moved, self.recent))

    def forward(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss to go downhill on."""
        values = torch.stack([losses[task] for task in self.tasks]) / self.initial.clamp_min(1e-6)
        if self.kind == "uncertainty":
            s = self.log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)
            return (self.weights * self.normal * torch.exp(-s) * values + 0.5 * s).sum()
        weights = self.weights
        if self.kind == "dwa":
            pace = self.recent[0] / self.recent[1].clamp_min(1e-6)
            weights = weights * len(self.tasks) * torch.softmax(pace / DWA_HEAT, 0)
        return (weights * values).sum()
