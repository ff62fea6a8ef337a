"""What happens to brightness right before a network sees it; the same in training and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def normalise(stack: torch.Tensor, how: Sequence[Mapping[str, Any]], *, series: bool = False) -> torch.Tensor:
    """Every channel as a plan says: by its own mean and spread, or by a cohort's where it has a physical scale.

    Args:
        stack: shape ``(..., sequences, x, y, z)``.
        how: per sequence ``{"kind": "scan"}`` or ``{"kind": "cohort", "mean": m, "sd": s}``.
        series: the last sequence has a channel per frame: all channels that are left, with one mean and spread.
    """
    count = stack.shape[-4]
    wide = count - len(how) + 1 if series else 1
    channels = stack.split([1] * (len(how) - 1) + [wide], -4) if series else stack.split(1, -4)
    parts = []
    for channel, one in zip(channels, how, strict=True):
        if one["kind"] == "scan":
            # frames one behind the other along the first axis, as if they were one image
            parts.append(standardise(channel.flatten(-4, -3)).unflatten(-3, channel.shape[-4:-2]))
        else:
            parts.append(((channel - one["mean"]) / one["sd"]).clamp(-CUT, CUT) * (channel != 0))
    return torch.cat(parts, -4)
