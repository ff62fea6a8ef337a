"""The network: a residual U-Net whose bottleneck is open, so that more than one head can read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from monai.networks.nets import SegResNetDS
from torch import nn

from bids_app.errors import BundleError


@dataclass(frozen=True)
class NetworkShape:
    """What `network.json` of a bundle holds.

    Attributes:
        sequences: channels of the input.
        classes: regions and background.
        filters: of the first level; doubled at each deeper one.
        blocks: residual blocks per level on the way down.
        deep_supervision: scales with an output of their own in training.
        fold: voxels per axis that are folded into channels before the first convolution, and unfolded in every output:
            with 2, a 0.5 mm grid costs what a 1 mm grid would, and no voxel is lost.
    """

    sequences: int
    classes: int
    filters: int = 16
    blocks: tuple[int, ...] = (1, 2, 2)
    deep_supervision: int = 2
    fold: int = 1

    def to_plain(self) -> dict[str, Any]:
        return {**asdict(self), "blocks": list(self.blocks)}


class MultiTaskNet(nn.Module):
    """MONAI's SegResNetDS with group normalisation, taken apart at its bottleneck.

    Args:
        shape: widths and depths; see `NetworkShape`.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.unet = SegResNetDS(
            spatial_dims=3,
            init_filters=shape.filters,
            in_channels=shape.sequences * shape.fold**3,
            out_channels=shape.classes * shape.fold**3,
            norm=("GROUP", {"num_groups": min(8, shape.filters)}),
            blocks_down=tuple(shape.blocks),
            dsdepth=shape.deep_supervision,
        )

    @property
    def factor(self) -> int:
        """Sides of the input must be multiples of this many voxels."""
        return self.shape.fold * 2 ** (len(self.shape.blocks) - 1)

    @property
    def bottleneck_channels(self) -> int:
        return self.shape.filters * 2 ** (len(self.shape.blocks) - 1)

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features per level, finest first; the last is the bottleneck, ``(n, bottleneck_channels, ...)``.

        Args:
            x: standardised stack, ``(n, sequences, x, y, z)``; sides multiples of `factor`.
        """
        return self.unet.encoder(fold(x, self.shape.fold))

    def decode(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits ``(n, classes, ...)`` at full size, then at every coarser supervised scale."""
        *skips, x = features
        outputs = []
        for level, skip in zip(self.unet.up_layers, reversed(skips), strict=True):
            x = level["blocks"](level["upsample"](x) + skip)
            if not isinstance(level["head"], nn.Identity):
                outputs.append(unfold(level["head"](x), self.shape.fold))
        return outputs[::-1]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits per scale in training, a list of the full size alone otherwise."""
        logits = self.decode(self.encode(x))
        return logits if self.training else logits[:1]


def fold(x: torch.Tensor, k: int) -> torch.Tensor:
    """Blocks of ``k`` voxels per axis become channels: ``(n, c, x, y, z)`` to ``(n, c k³, x/k, y/k, z/k)``."""
    if k == 1:
        return x
    n, c, *sides = x.shape
    i, j, m = (side // k for side in sides)
    return x.reshape(n, c, i, k, j, k, m, k).permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, c * k**3, i, j, m)


def unfold(x: torch.Tensor, k: int) -> torch.Tensor:
    """The inverse of `fold`."""
    if k == 1:
        return x
    n, c, i, j, m = x.shape
    x = x.reshape(n, c // k**3, k, k, k, i, j, m).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // k**3, i * k, j * k, m * k)


def build_network(plain: Mapping[str, Any]) -> MultiTaskNet:
    """A network from the content of ``network.json``.

    Raises:
        BundleError: fields that `NetworkShape` does not have, or that are missing.
    """
    try:
        shape = NetworkShape(**{**plain, "blocks": tuple(plain.get("blocks", NetworkShape.blocks))})
        return MultiTaskNet(shape)
    except (TypeError, ValueError) as error:
        raise BundleError(f"network.json does not describe a network: {error}") from error
