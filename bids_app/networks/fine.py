"""A level at full size above a network that works on folded voxels: it sees the image as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class FineLevel(nn.Module):
    """Three convolutions over the image and the folded network's answer; what they find is added to that answer.

    A network that folds blocks of voxels into channels describes eight of them by one set of features, and where two
    tissues meet inside a block it cannot place the border. At first the level adds nothing, so that a trained network
    can be given one and is what it was.

    Args:
        channels: of the image.
        answers: channels of the answer; see `bids_app.networks.multitask.NetworkShape.outputs`.
        filters: of each convolution.
        dimensions: 3 or 2.
        sided: the last channel of the answer is the side.
    """

    def __init__(self, channels: int, answers: int, filters: int, dimensions: int = 3, *, sided: bool = False) -> None:
        super().__init__()
        convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.look = convolution(channels, filters, 3, padding=1)
        self.join = convolution(filters + answers, filters, 3, padding=1)
        self.more = convolution(filters, filters, 3, padding=1)
        self.head = convolution(filters, answers, 1)
        self.sided = sided
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """The answer, with what was found added.

        Args:
            x: standardised image, ``(n, channels, ...)``.
            answer: of the folded network, before sides are told apart, ``(n, answers, ...)``.
        """
        what, side = (answer[:, :-1], answer[:, -1:]) if self.sided else (answer, answer[:, :0])
        known = torch.cat([what.softmax(1), side.sigmoid()], 1) if what.shape[1] > 1 else answer.sigmoid()
        found = F.relu(self.look(x))
        found = F.relu(self.join(torch.cat([found, known], 1)))
        return answer + self.head(F.relu(self.more(found)))
