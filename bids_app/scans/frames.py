"""A series on a recipe's grid: frames as the last channels of a stack, and the windows of them that a network sees.

A recipe whose network has ``frames`` looks at windows of so many frames. Its last sequence is the series; the stack
of a session has a channel for each other sequence and, behind them, one for every frame that the series has. Training
takes a window at a random place, a new one each time; prediction takes `WINDOWS` of them, evenly spread, which vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bids_app.errors import ImageError
from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

#: Windows that vote in prediction: with 20 frames of 2 s they look at up to 200 s of a series. They overlap, or are the
#: same ones, where it is short.
WINDOWS = 5

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def check_length(recipe: Recipe, frames: int, source: object) -> None:
    """Refuse a series that is shorter than one window.

    Args:
        frames: that it has.
        source: file, for the message.

    Raises:
        ImageError: naming both numbers.
    """
    if frames < recipe.network.frames:
        raise ImageError(
            f"{source} has {frames} frames; the recipe {recipe.name} looks at windows of {recipe.network.frames}: "
            "the series is too short for it"
        )


def spread_starts(frames: int, window: int) -> list[int]:
    """First frames of the `WINDOWS` that vote: the first window, the last one, and others evenly between them."""
    return [round(at) for at in np.linspace(0, frames - window, WINDOWS)]


def taken(stack: Array, still: int, starts: list[int], window: int) -> Array:
    """Of a stack with a series, the windows that begin at some frames, one behind the other.

    Args:
        stack: ``(still + frames, x, y, z)``, an array or a tensor.
        still: channels before the series.

    Returns:
        ``(still + len(starts) * window, x, y, z)``.
    """
    order = [*range(still), *(still + start + k for start in starts for k in range(window))]
    return stack[order]


def voting(stack: Array, still: int, window: int) -> Array:
    """Of a stack with a series, the windows that vote; see `taken`."""
    return taken(stack, still, spread_starts(len(stack) - still, window), window)


def picture_of(recipe: Recipe, stack: np.ndarray) -> np.ndarray:
    """One image per sequence, ``(sequences, x, y, z)``: of a series its spread over time; other stacks as they are."""
    if recipe.series is None:
        return stack
    still = len(recipe.sequences) - 1
    return np.concatenate([stack[:still], stack[still:].std(0, keepdims=True)])


def channels_of(sequences: Sequence[int], count: int, channels: int, slices: int = 1) -> list[int]:
    """Channels that belong to some sequences: one each, or as many as it has slices; of a series all that are left.

    Args:
        sequences: positions.
        count: of sequences in all.
        channels: in all; where they are more than sequences and slices make, the last sequence is a series.
        slices: neighbouring slices that are channels; see `bids_app.scans.slices.as_channels`.
    """
    ends = [*(slices * i for i in range(count)), channels]
    return [k for i in sequences for k in range(ends[i], ends[i + 1])]
