"""Lesions and what is mistaken for them: where they lie, how large they are, how they look, how that is measured.

The brightness of multiple-sclerosis lesions is set so that `contrast_of` gives what it gives on real participants:
lesion against the voxels around it, area under the curve (AUC) FLAIR 0.95 to 0.96, T2w 0.84 to 0.88, T1w 0.22 to 0.24
(dark), contrast-to-noise FLAIR 1.6 to 1.9, T2w 0.75 to 1.0, T1w -0.56 to -0.68 (three participants at 1 mm, shells of
1 to 4 voxels). Averaged to 2 mm, with shells of 2 voxels, two of these participants give FLAIR 0.92 and 0.96, T2w 0.83
and 0.86, T1w 0.22 and 0.22: on coarse grids two voxels stand for four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_app.scans.scan import Scan
from bids_app.synthesis.scanner.contrast import blur, normal, rotation, uniform

#: No lesion is larger than this: it must fit the window that it is drawn in.
LARGEST_ML = 8.0
SMALLEST_ML = 0.12
WINDOW_MM = 20.0
#: How much likelier a lesion is at a ventricle's wall than far from it, and over which distance.
PERIVENTRICULAR, REACH_MM = 15.0, 6.0
#: A centre lies where white matter is most of what is this far around.
DEEP_MM = 5.0


@dataclass(frozen=True)
class Sizes:
    """How many lesions a participant has, and how large they are.

    Attributes:
        fewest, most: count, uniform in its logarithm.
        median_ml: of one lesion.
        spread: standard deviation of the volume's logarithm.
    """

    fewest: int = 2
    most: int = 25
    median_ml: float = 0.5
    spread: float = 0.9


@dataclass(frozen=True)
class Blobs:
    """Bent ellipsoids.

    Attributes:
        centre: position on the grid, voxels, ``(k, 3)``.
        axes: semi-axes, mm, ``(k, 3)``.
        turn: rows are the directions of the semi-axes, ``(k, 3, 3)``.
        bend: size, direction and phase of the waves on their surface, ``(k, 2, 5)``.
    """

    centre: torch.Tensor
    axes: torch.Tensor
    turn: torch.Tensor
    bend: torch.Tensor

    def __len__(self) -> int:
        return len(self.centre)


def place_weight(white: torch.Tensor, ventricle: torch.Tensor, spacing: float) -> torch.Tensor:
    """How likely a lesion's centre is in each voxel, ``(x, y, z)``: white matter, mostly around the ventricles."""
    near = blur(ventricle, [REACH_MM / spacing] * 3)
    near = near / near.amax().clamp_min(1e-6)
    deep = blur(white, [DEEP_MM / spacing] * 3)
    return white * (deep - 0.5).clamp_min(0) * (1 + PERIVENTRICULAR * near)


def draw_count(sizes: Sizes, generator: torch.Generator) -> int:
    low, high = np.log(sizes.fewest), np.log(sizes.most + 1)
    return min(int(np.exp(float(uniform(generator, low, high)))), sizes.most)


def draw_blobs(weight: torch.Tensor, count: int, sizes: Sizes, generator: torch.Generator) -> Blobs:
    """Draw ``count`` blobs whose centres follow ``weight`` ``(x, y, z)``; none where it is zero everywhere."""
    count = count if bool(weight.sum() > 0) else 0
    if not count:
        return Blobs(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.zeros(0, 2, 5))
    flat = torch.multinomial(weight.flatten(), count, replacement=True, generator=generator)
    centre = torch.stack(torch.unravel_index(flat, weight.shape), -1) + uniform(generator, -0.5, 0.5, (count, 3))
    volume = torch.exp(np.log(sizes.median_ml) + normal(generator, sizes.spread, (count,)))
    return bent_blobs(centre, volume.clamp(SMALLEST_ML, LARGEST_ML), generator)


def bent_blobs(centre: torch.Tensor, volume_ml: torch.Tensor, generator: torch.Generator) -> Blobs:
    """Blobs of these volumes ``(k,)`` at these places ``(k, 3)``, voxels, each of its own shape."""
    count = len(centre)
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    shape = torch.exp(normal(generator, 0.2, (count, 3)).clamp(-0.4, 0.4))
    shape = shape / shape.prod(1, keepdim=True) ** (1 / 3)
    turn = torch.stack([rotation(angles) for angles in uniform(generator, -np.pi, np.pi, (count, 3))])
    waves = torch.cat(
        [
            uniform(generator, 0.0, 0.2, (count, 2, 1)),
            normal(generator, 1.5, (count, 2, 3)),
            uniform(generator, 0.0, 2 * np.pi, (count, 2, 1)),
        ],
        -1,
    )
    return Blobs(centre, radius[:, None] * shape, turn, waves)


def paint(
    blobs: Blobs, values: torch.Tensor, shape: Sequence[int], spacing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of each voxel that blobs fill, and their mean value there.

    Args:
        blobs: ``k`` of them.
        values: of each blob in each sequence, ``(k, c)``.
        shape, spacing: of the grid, voxels and mm.

    Returns:
        Share ``(x, y, z)``, the largest of any blob; values ``(c, x, y, z)``, 0 where no blob is.
    """
    c, total = values.shape[1], int(np.prod(shape))
    share, weights, sums = torch.zeros(total), torch.zeros(total), torch.zeros(c, total)
    if len(blobs):
        blob, flat, filled = filled_voxels(blobs, shape, spacing)
        share.scatter_reduce_(0, flat, filled, "amax")
        weights.index_add_(0, flat, filled)
        sums.index_add_(1, flat, values[blob].T * filled)
    return share.reshape(*shape), (sums / weights.clamp_min(1e-6)).reshape(c, *shape)


def filled_voxels(
    blobs: Blobs, shape: Sequence[int], spacing: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which blob (of one or more), which voxel (position in the flattened grid) and what share of it, ``(n,)`` each."""
    half = int(np.ceil(min(WINDOW_MM, _reach(blobs) + spacing) / spacing))
    steps = torch.arange(-half, half + 1)
    window = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    index = blobs.centre.round().long()[:, None] + window
    filled = _filled(blobs, (index - blobs.centre[:, None]) * spacing, spacing)
    inside = ((index >= 0) & (index < torch.tensor(shape))).all(-1) & (filled > 0.01)
    blob, _ = inside.nonzero(as_tuple=True)
    x, y, z = index[inside].unbind(-1)
    return blob, (x * shape[1] + y) * shape[2] + z, filled[inside]


def _reach(blobs: Blobs) -> float:
    """No blob goes farther from its centre than this, mm."""
    return float((blobs.axes.amax(1) * torch.exp(blobs.bend[:, :, 0].abs().sum(1))).max())


def _filled(blobs: Blobs, at: torch.Tensor, spacing: float) -> torch.Tensor:
    """Share of the voxels at ``at`` ``(k, m, 3)``, mm from each centre, that lies inside; ``(k, m)``."""
    local = torch.einsum("kij,kmj->kmi", blobs.turn, at) / blobs.axes[:, None]
    radius = local.norm(dim=-1)
    direction = local / radius.clamp_min(1e-6)[..., None]
    size, way, phase = blobs.bend[..., :1], blobs.bend[..., 1:4], blobs.bend[..., 4:]
    bent = (size * torch.sin(torch.einsum("kwi,kmi->kwm", way, direction) + phase)).sum(1)
    distance = (torch.exp(bent) - radius) * blobs.axes.mean(1)[:, None]
    return (0.5 + distance / spacing).clamp(0, 1)


def contrast_of(scans: Sequence[Scan], sequences: Sequence[str], *, shell: int = 2) -> dict[str, dict[str, float]]:
    """How lesions stand out from the voxels around them, in every sequence.

    Args:
        scans: with labels; those without a labelled voxel are left out.
        sequences: names, in the order of the stacks.
        shell: thickness of what lies around, voxels; steps through faces. On grids of 3 mm and more use 1 or 2.

    Returns:
        ``{sequence: {"auc": ..., "cnr": ...}}``, means over scans. ``auc``: how often a lesion voxel is brighter than
        one of the shell. ``cnr``: difference of means over the shell's standard deviation. Only voxels that are not
        zero count.
    """
    from scipy import ndimage
    from scipy.stats import mannwhitneyu

    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sequences}
    for scan in scans:
        if scan.labels is None or not scan.labels.any():
            continue
        lesion = scan.labels > 0
        around = ndimage.binary_dilation(lesion, iterations=shell) & ~lesion
        for name, image in zip(sequences, scan.stack, strict=True):
            inner, outer = image[lesion & (image != 0)], image[around & (image != 0)]
            if len(inner) and len(outer):
                above = mannwhitneyu(inner, outer).statistic / (len(inner) * len(outer))
                found[name].append((float(above), float((inner.mean() - outer.mean()) / outer.std())))
    means = {name: np.mean(pairs, axis=0) for name, pairs in found.items() if pairs}
    return {name: {"auc": float(auc), "cnr": float(cnr)} for name, (auc, cnr) in means.items()}
