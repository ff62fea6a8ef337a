"""Heads that answer for a participant: from the bottleneck as a whole, or linear in what is read of every region."""

from __future__ import annotations

import math

import torch
from torch import nn

#: Width of a head's one hidden layer.
HIDDEN = 32
#: What a head reads is cut at so many standard deviations of what its training side had.
FAR = 5.0
#: Steps over which the running mean and spread of what a head reads forget.
MEMORY = 100.0


class Head(nn.Module):
    """One target's answer from the bottleneck: average and largest feature, a hidden layer, then what is known late.

    Args:
        channels: of the bottleneck.
        late: sequence flags and covariates, which join before the last layer.
        outputs: see `HeadShape`.
        dropout: before the last layer, of image features only.
    """

    def __init__(self, channels: int, late: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.LayerNorm(2 * channels), nn.Linear(2 * channels, HIDDEN), nn.GELU(), nn.Dropout(dropout)
        )
        self.last = nn.Linear(HIDDEN + late, outputs)

    def forward(self, pooled: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.hidden(pooled), late], 1))


class LinearHead(nn.Module):
    """One target's answer as a linear model of what is read of every region, and of what is known late.

    Trained by steps it is a way for the target to teach the network; `bids_app.train.heads` then puts in its place the
    ridge solution of the whole training side.

    Args:
        columns: read of the image.
        late, outputs: as for `Head`.
    """

    middle: torch.Tensor
    spread: torch.Tensor
    seen: torch.Tensor

    def __init__(self, columns: int, late: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))
        self.register_buffer("seen", torch.zeros(()))
        self.image = nn.Linear(columns, outputs)
        self.late = nn.Linear(late, outputs, bias=False)
        for weight in (self.image.weight, self.image.bias, self.late.weight):
            nn.init.zeros_(weight)

    def forward(self, readings: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        if self.training:
            self._note(readings.detach())
        return self.image(self.standardised(readings)) + self.late(late)

    def standardised(self, readings: torch.Tensor) -> torch.Tensor:
        """In standard deviations, over the root of their number, so that a step is as large for many as for few."""
        return ((readings - self.middle) / self.spread).clamp(-FAR, FAR) / math.sqrt(len(self.middle))

    def _note(self, readings: torch.Tensor) -> None:
        """Running mean and spread over steps."""
        with torch.no_grad():
            self.seen += 1
            part = 1 / self.seen.clamp_max(MEMORY)
            away = readings - self.middle
            square = torch.lerp(self.spread.square(), away.square().mean(0), part if self.seen > 1 else 0.0)
            self.spread.copy_(square.clamp_min(1e-8).sqrt())
            self.middle += part * away.mean(0)
