"""What happens to brightness right before a network sees it; the same in training and prediction."""

from __future__ import annotations

import torch

#: Brightness beyond so many standard deviations is cut.
CUT = 5.0


def standardise(stack: torch.Tensor) -> torch.Tensor:
    """Every channel to mean 0 and standard deviation 1 over what is not exactly zero; zeros stay zero.

    Args:
        stack: shape ``(..., x, y, z)``; leading axes are channels or batches of channels.
    """
    inside = (stack != 0).to(stack.dtype)
    count = inside.sum((-3, -2, -1), keepdim=True).clamp_min(1)
    mean = (stack * inside).sum((-3, -2, -1), keepdim=True) / count
    spread = (((stack - mean) * inside).square().sum((-3, -2, -1), keepdim=True) / count).sqrt().clamp_min(1e-6)
    return ((stack - mean) / spread).clamp(-CUT, CUT) * inside
