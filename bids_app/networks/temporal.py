"""Frames of a series in a network of three dimensions: one encoder for all of them, and units that put them together.

A series comes as the last channels of a stack, after the pictures that stand still: ``(n, still + frames, x, y, z)``.
Every frame, with the still pictures beside it, goes through the same encoder. At each of its levels a `TemporalUnit`
reads the course of every place over the frames of a window and leaves one set of features, which the decoder and the
heads read as they read those of a single image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: Steps between the frames that each causal convolution reads; together they see 15 frames, the last one and 14 before.
DILATIONS = (1, 2, 4)
#: Frames that a causal convolution reads.
TAPS = 3


class TemporalUnit(nn.Module):
    """Courses of features to features: causal convolutions over frames, then their mean and spread over the window.

    A frame's value depends on it and on frames before it alone, and places are not mixed.

    Args:
        channels: of the features that come and go.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(channels, channels, (TAPS, 1), dilation=(d, 1)) for d in DILATIONS)
        self.join = nn.Conv1d(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        """``(n * frames, channels, x, y, z)``, frames of a window in a row, to ``(n, channels, x, y, z)``."""
        course = self.courses(x, frames)
        mean = course.mean(2)
        spread = ((course - mean[:, :, None]).square().mean(2) + 1e-5).sqrt()
        return self.join(torch.cat([mean, spread], 1)).reshape(-1, *x.shape[1:])

    def courses(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        """What the convolutions make of every place's course, ``(n, channels, frames, places)``."""
        course = x.reshape(-1, frames, x.shape[1], x[0, 0].numel()).transpose(1, 2)
        for step, every in zip(self.steps, DILATIONS, strict=True):
            course = course + F.gelu(step(F.pad(course, (0, 0, (TAPS - 1) * every, 0))))
        return course


def as_frames(x: torch.Tensor, still: int) -> torch.Tensor:
    """Every frame with the still pictures: ``(n, still + frames, x, y, z)`` to ``(n * frames, still + 1, x, y, z)``."""
    n, channels, *sides = x.shape
    frames = channels - still
    beside = x[:, None, :still].expand(n, frames, still, *sides)
    return torch.cat([beside, x[:, still:, None]], 2).reshape(n * frames, still + 1, *sides)


def in_windows(x: torch.Tensor, still: int, frames: int) -> list[torch.Tensor]:
    """The windows of a stack, each with the still pictures, ``(n, still + frames, x, y, z)``.

    Args:
        x: ``(n, still + windows * frames, x, y, z)``.

    Raises:
        ValueError: the series has another number of frames.
    """
    count, rest = divmod(x.shape[1] - still, frames)
    if rest or count < 1:
        raise ValueError(f"{x.shape[1] - still} frames are no whole number of windows of {frames}")
    if count == 1:
        return [x]
    return [torch.cat([x[:, :still], window], 1) for window in x[:, still:].split(frames, 1)]


def picture(x: torch.Tensor, still: int) -> torch.Tensor:
    """What can be shown of a stack, ``(n, still + 1, x, y, z)``: the still pictures, and the spread over the frames."""
    return torch.cat([x[:, :still], x[:, still:].std(1, keepdim=True, correction=0)], 1)


def vote(logits: list[torch.Tensor]) -> torch.Tensor:
    """Logits whose softmax is the mean of the windows' probabilities, ``(n, classes, ...)``.

    Args:
        logits: of every window, ``(n, classes, ...)``.
    """
    return torch.stack([one.float().softmax(1) for one in logits]).mean(0).clamp_min(1e-12).log()
