"""A finest level of more channels than the rest of the network would give it.

With voxels folded into channels and many classes, the few channels of the finest level are all that is left to tell the
voxels of a block apart: 16 numbers for 8 voxels of 20 classes in the recipe ``anatomy``. More of them cost few weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bids_app.networks.monai_parts import SegResBlock

#: Spread of the noise that tells a copied channel from its model, in spreads of the weights that lead to it.
APART = 0.1
#: Names of what the encoder has at the finest level begin so.
ENCODER = "unet.encoder.layers.0."


def widen(unet: nn.Module, dimensions: int, times: int, norm: tuple[str, dict[str, Any]]) -> None:
    """Give the finest level of MONAI's SegResNetDS ``times`` as many channels, in place.

    Args:
        unet: of two levels or more, not yet trained.
        dimensions: 2 or 3.
        times: 2 or more.
        norm: name and arguments of the normalisation.
    """
    encoder, last = unet.encoder, unet.up_layers[-1] if len(unet.up_layers) else None
    width = times * encoder.conv_init.out_channels
    encoder.conv_init = _again(encoder.conv_init, outputs=width)
    encoder.layers[0]["blocks"] = _blocks(len(encoder.layers[0]["blocks"]), dimensions, width, norm)
    encoder.layers[0]["downsample"] = _again(encoder.layers[0]["downsample"], inputs=width)
    if last is not None:
        last["upsample"].deconv = _again(last["upsample"].deconv, outputs=width)
        last["blocks"] = _blocks(len(last["blocks"]), dimensions, width, norm)
        last["head"] = _again(last["head"], inputs=width)


def _blocks(count: int, dimensions: int, width: int, norm: tuple[str, dict[str, Any]]) -> nn.Sequential:
    relu = ("relu", {"inplace": True})
    return nn.Sequential(*(SegResBlock(dimensions, width, (norm[0], {**norm[1]}), act=relu) for _ in range(count)))


def _again(layer: Any, *, inputs: int | None = None, outputs: int | None = None) -> nn.Module:
    """A convolution like ``layer`` with other channels."""
    more = {"output_padding": layer.output_padding} if layer.transposed else {}
    return type(layer)(
        inputs or layer.in_channels,
        outputs or layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        bias=layer.bias is not None,
        **more,
    )


def widened(weights: Mapping[str, torch.Tensor], levels: int, times: int, groups: int) -> dict[str, torch.Tensor]:
    """Weights of a network as one with a wider finest level has them: it answers nearly as before.

    Every channel of the finest level gets copies, which stand beside it in its group of the normalisation, so that
    the means and spreads of groups stay; what reads them reads each copy by its part. A little noise, opposite in the
    copies of a channel, lets them learn apart. The method is Net2WiderNet (Chen, Goodfellow and Shlens, 2016), here
    for groups that are normalised.

    Args:
        weights: of the narrow network.
        levels: of both networks.
        times: as in `widen`.
        groups: of the normalisation.

    Returns:
        All of ``weights``, those of the finest level widened.
    """
    generator = torch.Generator().manual_seed(0)
    found = dict(weights)
    for name, value in weights.items():
        written, read = _axes(name, value.ndim, levels - 2)
        if written is not None:
            value = _copied(value, written, times, groups)
        if written is not None and value.ndim > 1:
            noise = torch.randn(value.shape, generator=generator) * float(value.float().std()) * APART
            value = value + (noise - _mean_of_copies(noise, written, times, groups)).to(value)
        if read is not None:
            value = _copied(value, read, times, groups) / times
        found[name] = value
    return found


def _axes(name: str, dimensions: int, last: int) -> tuple[int | None, int | None]:
    """Of a tensor, the axis of the finest level's channels that it writes, and the axis of those that it reads."""
    decoder = f"unet.up_layers.{last}."
    if name.startswith((ENCODER + "blocks.", decoder + "blocks.")):
        return 0, (1 if dimensions > 1 else None)
    if name.startswith("unet.encoder.conv_init."):
        return 0, None
    if name.startswith(decoder + "upsample."):
        return 1, None
    if name in (ENCODER + "downsample.weight", decoder + "head.weight"):
        return None, 1
    return None, None


def _copied(value: torch.Tensor, axis: int, times: int, groups: int) -> torch.Tensor:
    """Along an axis every group's channels ``times`` times, one after the other."""
    of_groups = value.unflatten(axis, (groups, -1))
    return torch.cat([of_groups] * times, axis + 1).flatten(axis, axis + 1)


def _mean_of_copies(value: torch.Tensor, axis: int, times: int, groups: int) -> torch.Tensor:
    """At the place of every copy the mean over the copies of its channel."""
    of_copies = value.unflatten(axis, (groups, times, -1))
    return of_copies.mean(axis + 1, keepdim=True).expand_as(of_copies).flatten(axis, axis + 2)
