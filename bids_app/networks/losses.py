"""Loss of a segmentation with soft targets at several scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from torch import nn


class ScaledDiceCELoss(nn.Module):
    """Dice (squared denominator, so that a soft target is its own best answer) plus cross-entropy, at every scale.

    Args:
        cross_entropy: weight of the cross-entropy, a mean over voxels nearly all of which are background.

    Scale ``k`` weighs half of scale ``k - 1``; weights sum to one.
    """

    def __init__(self, cross_entropy: float = 10.0) -> None:
        super().__init__()
        self.loss = DiceCELoss(
            softmax=True, include_background=False, squared_pred=True, batch=True, lambda_ce=cross_entropy
        )

    def weigh(self, cross_entropy: float) -> None:
        """Change the weight of the cross-entropy."""
        self.loss.lambda_ce = cross_entropy

    def forward(self, logits: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Logits as `MultiTaskNet` gives them; target ``(n, classes, x, y, z)``, parts that sum to one."""
        weights = [0.5**k for k in range(len(logits))]
        total = target.new_zeros(())
        for weight, scale in zip(weights, logits, strict=True):
            ratio = target.shape[-1] // scale.shape[-1]
            total = total + weight * self.loss(scale, F.avg_pool3d(target, ratio) if ratio > 1 else target)
        return total / sum(weights)
