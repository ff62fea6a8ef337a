"""How much memory a training step takes, counted from the network's shape before anything is built."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path

#: Bytes of a number: everything is counted in single precision, also where a GPU computes part of it in half.
FLOAT = 4
#: Tensors that a residual block keeps for its gradients: two normalised and two convolved.
PER_BLOCK = 4
#: At the supervised scales, per class: logits, what the losses keep of them, and their gradients; twice that where
#: outputs are unfolded, which copies them.
PER_CLASS = 12
#: Per sequence and class at full size: the batch, its augmented copy and its folded copy.
PER_INPUT = 3
#: Per place and frame of a temporal unit: courses between its convolutions, padded and activated ones, their spread.
PER_COURSE = 14
#: Weights of a temporal unit, in squares of its width: three convolutions of three frames, and what joins them.
PER_TEMPORAL = 11
#: Gradients that are alive at once at the first level, where tensors are largest, and a convolution's workspace.
ALIVE = 3
#: Of each weight: itself, its gradient, two moments of the optimiser, and its running mean.
PER_WEIGHT = 5


def step_gb(
    patch: Sequence[int],
    batch: int,
    *,
    sequences: int,
    classes: int,
    filters: int,
    blocks: Sequence[int],
    deep_supervision: int,
    fold: int = 1,
    dimensions: int = 3,
    frames: int = 1,
    finest: int = 1,
) -> float:
    """Memory of one forward and backward step, GiB, without what Python and torch take for themselves.

    Args:
        patch: voxels; see `bids_app.networks.multitask.NetworkShape` for the rest.
        classes: regions and background, 0 for a network that answers targets only.
    """
    full = batch * prod(patch)
    first = full / fold**dimensions
    channels = sequences if frames == 1 else sequences * frames  # the still pictures stand beside every frame
    numbers = PER_INPUT * (channels + max(classes, 1)) * full + ALIVE * finest * filters * first * frames
    weights = 0.0
    for level, count in enumerate(blocks):
        width, voxels = filters * (2**level if level else finest), first / 2 ** (dimensions * level)
        numbers += width * voxels * frames * (1 + PER_BLOCK * count)
        if frames > 1:
            numbers += width * voxels * frames * PER_COURSE
            weights += PER_TEMPORAL * width**2
        weights += 2 * count * 3**dimensions * width**2 + 2 * 3**dimensions * width**2
        if classes and level < len(blocks) - 1:
            numbers += width * voxels * (1 + PER_BLOCK)
            weights += 4 * 3**dimensions * width**2
        if classes and level < min(deep_supervision, len(blocks) - 1):
            numbers += PER_CLASS * min(fold, 2) * classes * full / 2 ** (dimensions * level)
    return FLOAT * (numbers + PER_WEIGHT * weights) / 2**30


def peak_gb(device: str = "cpu") -> float:
    """Most memory this process ever held, GiB: of the GPU where it trains there.

    On Linux the kernel's own count of this program: that of `resource` begins with what the parent process held.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        rows = dict(row.split(":", 1) for row in status.read_text().splitlines() if ":" in row)
        return int(rows["VmHWM"].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
