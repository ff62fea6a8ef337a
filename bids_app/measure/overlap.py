"""How well two answers agree.

The rule for empty masks, which `compare_masks` follows (Metrics Reloaded, Nat Methods 21 (2024) 195; field custom for
lesions, which controls do not have):

=================  =================  ==============================================================================
truth              answer             what counts
=================  =================  ==============================================================================
something          something          Dice, NSD, HD95, volume errors; a true positive
something          nothing            Dice 0, NSD 0, HD95 = the image's diagonal, volume error -100 %; a false negative
nothing            something          its volume is false-positive volume; a false positive; no Dice, NSD or HD95
nothing            nothing            a true negative; no Dice, NSD or HD95 (counting 1 would reward empty sessions)
=================  =================  ==============================================================================

What is not counted is NaN. `dice` knows no truth and calls two empty masks equal (1).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import ImageError

if TYPE_CHECKING:
    import torch


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice coefficient of two masks on one grid; 1 when both are empty.

    Dice, Ecology 26 (1945) 297-302.
    """
    one, other = _pair(one, other)
    total = int(one.sum()) + int(other.sum())
    return 1.0 if total == 0 else float(2 * int((one & other).sum()) / total)


@dataclass(frozen=True)
class MaskComparison:
    """One region of one session; NaN where the rule of this module does not count a number.

    Attributes:
        outcome: true positive, false negative, false positive or true negative: is anything there, and was anything
            answered.
        dice: Dice coefficient.
        nsd: part of both surfaces that lies within the tolerance of the other.
        hd95_mm: robust Hausdorff distance, the larger of both ways' 95th centiles.
        truth_mm3, answer_mm3: volumes.
        volume_error_mm3: answer minus truth; zero is right, also where nothing is there.
        absolute_volume_error_mm3: without its sign.
        relative_volume_error: error divided by the true volume.
        false_positive_mm3: volume answered where nothing is; NaN where something is.
    """

    outcome: str
    dice: float
    nsd: float
    hd95_mm: float
    truth_mm3: float
    answer_mm3: float
    volume_error_mm3: float
    absolute_volume_error_mm3: float
    relative_volume_error: float
    false_positive_mm3: float


def compare_masks(
    answer: np.ndarray, truth: np.ndarray, spacing: Sequence[float], *, tolerance_mm: float = 1.0
) -> MaskComparison:
    """Compare an answer with the truth by the rule at the top of this module.

    Args:
        answer: mask, shape ``(x, y, z)``; a flat one has ``z = 1``.
        truth: mask of the same shape.
        spacing: voxel sizes, mm, three numbers.
        tolerance_mm: surfaces this close count as equal in `normalised_surface_distance`.

    Raises:
        ImageError: the shapes differ.
    """
    answer, truth = _pair(answer, truth)
    voxel = float(np.prod(spacing))
    there, said = bool(truth.any()), bool(answer.any())
    truth_mm3, answer_mm3 = float(truth.sum() * voxel), float(answer.sum() * voxel)
    error, nan = answer_mm3 - truth_mm3, float("nan")
    outcome = ("true " if there == said else "false ") + ("positive" if said else "negative")
    return MaskComparison(
        outcome=outcome,
        dice=dice(answer, truth) if there else nan,
        nsd=normalised_surface_distance(answer, truth, spacing, tolerance_mm) if there else nan,
        hd95_mm=hausdorff95(answer, truth, spacing) if there else nan,
        truth_mm3=truth_mm3,
        answer_mm3=answer_mm3,
        volume_error_mm3=error,
        absolute_volume_error_mm3=abs(error),
        relative_volume_error=error / truth_mm3 if there else nan,
        false_positive_mm3=nan if there else answer_mm3,
    )


def normalised_surface_distance(
    answer: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> float:
    """Part of both surfaces within a tolerance of the other (MONAI's, in whole voxels): 1 is a perfect answer.

    0 where one mask is empty, NaN where both are.

    Nikolov et al., J Med Internet Res 23 (2021) e26151.
    """
    answer, truth = _pair(answer, truth)
    if not answer.any() or not truth.any():
        return 0.0 if answer.any() or truth.any() else float("nan")
    from monai.metrics import compute_surface_dice

    one, other, sizes = _tensors(answer, truth, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of an argument that it sets itself
        found = compute_surface_dice(
            one, other, class_thresholds=[tolerance_mm], include_background=True, spacing=sizes
        )
    return float(found)


def hausdorff95(answer: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """Robust Hausdorff distance (MONAI's), mm; the image's diagonal where one mask is empty, NaN where both are."""
    answer, truth = _pair(answer, truth)
    if not answer.any() or not truth.any():
        return diagonal_mm(truth.shape, spacing) if answer.any() or truth.any() else float("nan")
    from monai.metrics import compute_hausdorff_distance

    one, other, sizes = _tensors(answer, truth, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return float(compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=sizes))


def diagonal_mm(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length of an image's diagonal, mm; a flat image has that of its plane."""
    return float(np.sqrt(sum((n * edge) ** 2 for n, edge in zip(shape, spacing, strict=True) if n > 1)))


def _tensors(one: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor, list]:
    """Both masks with batch and channel in front, cut to where they are; a flat axis would make every voxel surface."""
    import torch

    keep = [axis for axis, n in enumerate(one.shape) if n > 1] or [0]
    flat = tuple(axis for axis in range(one.ndim) if axis not in keep)
    pair = _cropped(np.squeeze(one, flat), np.squeeze(other, flat))
    return *(torch.from_numpy(mask)[None, None] for mask in pair), [float(spacing[axis]) for axis in keep]


def _cropped(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(one | other)
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    return np.pad(one[box], 1), np.pad(other[box], 1)


def _pair(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one) != 0, np.asarray(other) != 0
    _same_shape(one, other)
    return one, other


def _same_shape(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise ImageError(f"masks of shape {one.shape} and {other.shape} cannot be compared; bring them to one grid")
