"""Take out noise and the slow shading of the coils."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.ants_parts import load_ants
from bids_app.imaging.background import BLANK_WITHIN, background_of
from bids_app.imaging.n4 import log_bias_field
from bids_app.imaging.stacking import Grid, sample
from bids_app.imaging.transforms import set_threads, to_ants

#: The field bends over centimetres; it is seen at 5 mm as well as at 1 mm, at a fraction of the time.
WORKING_MM = 5.0
#: A field beyond this (20 times, a twentieth) is no coil's.
LARGEST_LOG = float(np.log(20))
#: N4's iterations per level (antspyx's defaults), and those of a run that only has to be quick.
ITERATIONS, SLOPPY_ITERATIONS = (50, 50, 50, 50), (10, 10, 5, 5)


def correct_bias(
    path: Path | str,
    out: Path | str,
    *,
    mask: Path | str | None = None,
    working_mm: float = WORKING_MM,
    sloppy: bool = False,
) -> dict[str, Any]:
    """N4 on a small copy, its field applied to every voxel of the original.

    Tustison et al., IEEE Transactions on Medical Imaging 29 (2010) 1310-1320.

    Args:
        path: 3-D image, conformed.
        out: where the corrected image goes, float32; its mean over the mask is that of the input.
        mask: image on the same grid, non-zero where the tissue is; without it, what is brighter than Otsu's threshold.
        working_mm: voxel size of the small copy.
        sloppy: few iterations: for tests.

    Returns:
        ``method``, ``field_min``, ``field_max`` (5th and 95th centile inside the mask), ``seconds``; of an image that
        was standardised or inverted, which is left as it is, ``skipped`` and ``warnings``.

    Raises:
        ImageError: no tissue to look at.
    """
    import nibabel as nib

    start = time.perf_counter()
    image = nib.load(path)
    array = np.asarray(image.dataobj, dtype=np.float32)
    native = Grid(image.shape, image.affine)
    ground = background_of(array)
    if ground.side != "above" or ground.value < -BLANK_WITHIN * ground.scale:
        _save(array, image, out)
        where = {"above": "above a blank below zero", "below": "below the blank", "both": "on both sides of the blank"}
        return {
            "method": "left out",
            "skipped": True,
            "warnings": [
                f"the bias field was not corrected: tissue lies {where[ground.side]} ({ground.value:.3g}), so that the "
                f"image was standardised or inverted before, and a field that multiplies cannot be told any more"
            ],
            "field_min": 1.0,
            "field_max": 1.0,
            "seconds": round(time.perf_counter() - start, 2),
        }
    log_field, low, high = estimate_log_field(path, native, mask=mask, working_mm=working_mm, sloppy=sloppy)
    corrected = array * np.exp(-upsample_log_field(log_field[0], log_field[1], native))
    _save(corrected, image, out)
    return {
        "method": f"N4, estimated at {working_mm:g} mm",
        "field_min": round(float(np.exp(low)), 4),
        "field_max": round(float(np.exp(high)), 4),
        "seconds": round(time.perf_counter() - start, 2),
    }


def estimate_log_field(
    path: Path | str, native: Grid, *, mask: Path | str | None, working_mm: float, sloppy: bool = False
) -> tuple[tuple[np.ndarray, Grid], float, float]:
    """The logarithm of the bias field on a coarse grid parallel to the voxels, zero on average over the tissue.

    Returns:
        The field and its grid, and its 5th and 95th centile over the tissue.
    """
    small, tissue, grid, box = coarse_image(path, native, mask, working_mm)
    log_field = log_bias_field(small, tissue, SLOPPY_ITERATIONS if sloppy else ITERATIONS)
    log_field = np.clip(log_field, -LARGEST_LOG, LARGEST_LOG).astype(np.float32)
    log_field -= log_field[tissue].mean()
    low, high = np.percentile(log_field[tissue], [5, 95])
    outside = [(b.start, max(n - b.stop, 0)) for b, n in zip(box, grid.shape, strict=True)]
    return (np.pad(log_field, outside, mode="edge"), grid), float(low), float(high)


def coarse_image(
    path: Path | str, native: Grid, mask: Path | str | None, working_mm: float
) -> tuple[np.ndarray, np.ndarray, Grid, tuple[slice, ...]]:
    """What a field is estimated from: the box with the tissue of an image that was made coarse.

    Returns:
        Values and tissue in the box, ``(x, y, z)``; the whole coarse grid; where the box lies in it.

    Raises:
        ImageError: no tissue to look at.
    """
    grid = coarse_grid(native, working_mm)
    small = np.maximum(sample(path, np.eye(4), grid), 0)
    tissue = _tissue(small) if mask is None else (sample(mask, np.eye(4), grid) > 0.5) & (small > 0)
    if tissue.sum() < 100:
        raise ImageError(f"{path} has no tissue to estimate its shading from; is the brain mask empty?")
    box = tuple(slice(max(int(w.min()) - 2, 0), int(w.max()) + 3) for w in np.nonzero(tissue))
    return small[box], tissue[box], grid, box


def coarse_grid(native: Grid, spacing: float) -> Grid:
    """A grid over the same voxels' box, along the same axes, with steps of at least ``spacing`` mm."""
    factor = np.maximum(spacing / native.spacing, 1)
    shape = np.ceil(np.array(native.shape) / factor).astype(int)
    affine = native.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] = native.affine[:3, :3] @ ((factor - 1) / 2) + native.affine[:3, 3]
    return Grid(tuple(shape), affine)


def upsample_log_field(field: np.ndarray, grid: Grid, native: Grid) -> np.ndarray:
    """A smooth field on every native voxel; linear along one axis after the other."""
    from scipy import ndimage

    steps = np.diag(np.linalg.inv(grid.affine) @ native.affine)[:3]
    shift = (np.linalg.inv(grid.affine) @ native.affine)[:3, 3]
    result = field
    for axis in range(3):
        places = np.clip(np.arange(native.shape[axis]) * steps[axis] + shift[axis], 0, field.shape[axis] - 1)
        weights = ndimage.map_coordinates(
            np.eye(field.shape[axis], dtype=np.float32),
            np.stack(np.meshgrid(places, np.arange(field.shape[axis]), indexing="ij")),
            order=1,
        )
        result = np.moveaxis(np.tensordot(weights.astype(np.float32), result, axes=(1, axis)), 0, axis)
    return result


def denoise(path: Path | str, out: Path | str, *, threads: int = 1) -> dict[str, Any]:
    """Non-local means adapted to Rician noise (Gaussian in an image that is no magnitude any more), by ANTs.

    Manjón et al., Journal of Magnetic Resonance Imaging 31 (2010) 192-203.

    Args:
        path: 3-D image, conformed.
        out: where the denoised image goes, float32.
        threads: for ITK.

    Returns:
        ``method``, ``noise`` (standard deviation of what was taken out), ``seconds``.
    """
    import nibabel as nib

    start = time.perf_counter()
    set_threads(threads)
    ants = load_ants()
    image = nib.load(path)
    array = np.asarray(image.dataobj, dtype=np.float32)
    plain = Grid(image.shape, np.diag([*Grid(image.shape, image.affine).spacing, 1.0]))
    ground = background_of(array)
    content, model = (array > 0, "Rician") if ground.side == "above" else (~ground.is_blank(array), "Gaussian")
    try:
        cleaned = ants.denoise_image(to_ants(array, plain), mask=to_ants(content, plain), noise_model=model).numpy()
    except RuntimeError as error:
        raise ImageError(f"denoising failed on {path}: {error}") from error
    cleaned = np.where(content, cleaned, array)
    _save(cleaned, image, out)
    return {
        "method": f"adaptive non-local means, {model}",
        "noise": float((cleaned - array)[content].std()) if content.any() else 0.0,
        "seconds": round(time.perf_counter() - start, 2),
    }


def _tissue(small: np.ndarray) -> np.ndarray:
    """What is brighter than Otsu's threshold of the logarithms."""
    positive = np.log(small[small > 0] + 1e-6)
    if positive.size < 100:
        return small > 0
    if (small == 0).mean() > 0.3:  # background is blank: everything else is tissue
        return small > 0.05 * np.percentile(small[small > 0], 99)
    counts, edges = np.histogram(small[small > 0], 256)
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * middle) / np.maximum(below, 1)
    mean_above = ((counts * middle).sum() - np.cumsum(counts * middle)) / np.maximum(above, 1)
    return small > 0.7 * middle[np.argmax(below * above * (mean_below - mean_above) ** 2)]


def _save(array: np.ndarray, like: Any, out: Path | str) -> None:
    import nibabel as nib

    result = nib.Nifti1Image(array.astype(np.float32, copy=False), like.affine, like.header)
    result.set_data_dtype(np.float32)
    result.header.set_slope_inter(1, 0)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    nib.save(result, out)
