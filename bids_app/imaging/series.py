"""A cleaned series made ready for a network: one spread for all brains, one step between frames, one grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_app.imaging.stacking import Grid, sample

#: Steps in which a stored series changes, where its spread over the brain is 1.
FINEST = 1 / 1024


def evenly_timed(courses: np.ndarray, tr: float, step: float) -> np.ndarray:
    """Courses ``(voxels, t)`` at times ``step`` seconds apart, from the first frame on, by cubic interpolation.

    Made for courses without frequencies near half of either rate. Courses of that step already are left as they are.
    """
    if abs(tr - step) <= 1e-6 * step:
        return courses
    from scipy.interpolate import CubicSpline

    frames = courses.shape[1]
    times = np.arange(int(np.floor((frames - 1) * tr / step + 1e-6)) + 1) * step
    spline = CubicSpline(np.arange(frames) * tr, courses, axis=1)
    return np.asarray(spline(times), dtype=courses.dtype)


def in_one_spread(courses: np.ndarray) -> np.ndarray:
    """Courses ``(voxels, t)`` around zero, over the root of their mean variance: what a brain's signal is as a whole
    says nothing, how much a place's is above another's stays."""
    away = courses - courses.mean(1, keepdims=True)
    return away / max(float(np.sqrt(np.square(away, dtype=np.float64).mean())), 1e-12)


def placed_frames(courses: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Courses ``(voxels of the mask, t)`` in their places, ``(x, y, z, t)``, float32; exactly 0 outside the mask.

    Values are rounded to `FINEST`, so that a file of them can be packed.
    """
    frames = np.zeros((*mask.shape, courses.shape[1]), np.float32)
    frames[mask] = np.rint(courses / FINEST) * FINEST
    return frames


def sample_series(path: Path, to_image: np.ndarray, grid: Grid) -> np.ndarray:
    """Every frame of a series on a grid, each by one interpolation, ``(t, x, y, z)``, float32; see `sample`.

    Args:
        path: 4-D image.
        to_image: grid world to image world, ``(4, 4)``.
    """
    import nibabel as nib

    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32)
    values = values[..., None] if values.ndim == 3 else values
    frames = (nib.Nifti1Image(values[..., t], image.affine) for t in range(values.shape[3]))
    return np.stack([sample(frame, to_image, grid) for frame in frames])
