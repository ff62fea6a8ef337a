"""What a file holds, by rules that every step shares: axes of length one, numbers as float32, masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError, TemporaryFailure

#: Voxels of one volume: more than 1024 along each axis is no head.
MAX_VOXELS = 1 << 30
#: How far a label may lie from a whole number: what a slope of 1/255 or a copy in half precision leaves.
ROUNDING = 2e-3
_SLAB_VOXELS = 1 << 24


def used_axes(shape: Sequence[int], dims: int = 3) -> tuple[int, ...]:
    """A shape without the trailing axes of length one beyond ``dims``, as ITK and AFNI write them.

    >>> used_axes((4, 5, 6, 1, 1)), used_axes((4, 5, 6, 7, 1), 4), used_axes((4, 5, 6, 7))
    ((4, 5, 6), (4, 5, 6, 7), (4, 5, 6, 7))
    """
    sizes = tuple(int(n) for n in shape)
    while len(sizes) > dims and sizes[-1] == 1:
        sizes = sizes[:-1]
    return sizes


def read_voxels(image: Any, path: Path | str, dims: int = 3) -> np.ndarray:
    """The values of a nibabel image as float32, scaled, without axes of one, read slab by slab.

    Reading at once would hold a float64 image and its float32 copy beside each other.

    Raises:
        ImageError: it has another number of axes.
        TemporaryFailure: there is not enough memory; names how much is needed.
    """
    shape = used_axes(image.shape, dims)
    if len(shape) != dims:
        raise ImageError(f"{path} has {len(shape)} axes {shape}; a {dims}-D image is needed: choose one volume")
    try:
        result = np.empty(shape, np.float32, order="F")
        step = max(_SLAB_VOXELS // max(int(np.prod(shape[:-1])), 1), 1)
        rest = (0,) * (len(image.shape) - dims)
        for start in range(0, shape[-1], step):
            part = slice(start, min(start + step, shape[-1]))
            place = (*(slice(None),) * (dims - 1), part, *rest)
            with np.errstate(over="ignore"):  # what does not fit is infinite, and refused as such
                result[..., part] = image.dataobj[place]
    except MemoryError as error:
        needed = 4 * np.prod(shape, dtype=float) / 2**30
        raise TemporaryFailure(
            f"there is not enough memory for {path}: its {' x '.join(map(str, shape))} voxels alone take "
            f"{needed:.1f} GB; give the session more, run fewer side by side (--nprocs), or make the image smaller"
        ) from error
    return result


def whole_numbers(values: np.ndarray) -> np.ndarray | None:
    """Labels as integers where every value is one up to `ROUNDING`; None where some are not, or not finite."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64, copy=False)
    if not np.isfinite(values).all():
        return None
    rounded = np.rint(values)
    return rounded.astype(np.int64) if np.abs(values - rounded).max(initial=0) <= ROUNDING else None


def is_mask(values: np.ndarray) -> bool:
    """Whether an image holds nothing but zero and one other value above it, up to rounding (0 and 1, or 0 and 255)."""
    if not np.isfinite(values).all():
        return False
    top = float(values.max(initial=0))
    if top <= 0 or float(values.min(initial=0)) < -ROUNDING * top:
        return False
    share = values / top
    return bool(np.minimum(np.abs(share), np.abs(share - 1)).max(initial=0) <= ROUNDING)


def marked(values: np.ndarray) -> np.ndarray:
    """The voxels that a mask marks: above half of its largest value; none where that is not above zero."""
    top = float(values.max(initial=0))
    return values > top / 2 if top > 0 else np.zeros(values.shape, bool)
