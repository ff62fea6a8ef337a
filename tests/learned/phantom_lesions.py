"""Lesions of phantom cohorts: how many, how large, how they are painted, and how far they stand out.

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
from bids_app.synthesis.fields import normal, uniform
from bids_app.synthesis.pathology.lesions import LARGEST_ML, Blobs, bent_blobs, filled_voxels

SMALLEST_ML = 0.12


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
