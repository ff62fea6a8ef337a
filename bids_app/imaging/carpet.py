"""A series as one picture: a row per place in the brain, a column per volume. Power 2017, NeuroImage 154:150-158."""

from __future__ import annotations

import numpy as np

#: Rows of the picture at most, and standard deviations at which it is black and white.
ROWS, FAR = 240, 2.5


def carpet(frames: np.ndarray, mask: np.ndarray, affine: np.ndarray, rows: int = ROWS) -> np.ndarray:
    """Courses of the brain, slice by slice from the top to the bottom, after mean and line are taken out.

    Every course is brought to unit spread; neighbours that share a row are averaged, and all rows have one scale.

    Args:
        frames: ``(x, y, z, t)``, of a still head.
        mask: of the brain, ``(x, y, z)``.
        affine: voxel to world, which says where the top is.
        rows: at most.

    Returns:
        Grey values, ``(rows, t)``, uint8: 0 is `FAR` standard deviations below a place's mean, 255 above it.
    """
    upward = np.asarray(affine)[2, :3]
    height = np.argwhere(mask) @ upward
    courses = frames[mask][np.argsort(-height, kind="stable")].astype(np.float64)
    volumes = courses.shape[1]
    line = np.linspace(-1, 1, volumes)
    courses -= courses.mean(1, keepdims=True)
    courses -= (courses @ line / (line @ line))[:, None] * line
    spread = courses.std(1, keepdims=True)
    courses = np.divide(courses, spread, out=np.zeros_like(courses), where=spread > 0)
    starts = np.linspace(0, len(courses), min(rows, len(courses)), endpoint=False).astype(int)
    means = np.add.reduceat(courses, starts) / np.diff(np.append(starts, len(courses)))[:, None]
    scaled = means / (means.std() or 1.0)
    return np.rint(np.clip(scaled / FAR, -1, 1) * 127.5 + 127.5).astype(np.uint8)
