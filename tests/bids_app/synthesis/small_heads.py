"""A small head of ellipsoids with FreeSurfer's labels, sides told apart, as label map tests share it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

#: Label on the left and on the right, middle of the left one and half axes, as shares of half the field of view.
PAIRS = (
    (3, 42, (-0.30, 0.0, 0.1), (0.26, 0.50, 0.42)),
    (2, 41, (-0.28, 0.0, 0.1), (0.19, 0.40, 0.32)),
    (4, 43, (-0.16, 0.0, 0.15), (0.06, 0.24, 0.12)),
    (17, 53, (-0.34, -0.1, -0.1), (0.08, 0.16, 0.10)),
)


def head_labels(side: int = 48) -> np.ndarray:
    """FreeSurfer's numbers, int16, ``(side, side, side)``; axes right-anterior-superior.

    Skin (513) around skull (514) around fluid (24) around cortex, white matter, ventricle and hippocampus per side. The
    left thalamus (10) is bigger than the right one (49); a nose (513) and a brainstem (16) tell front from back and
    up from down.
    """
    axes = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij")

    def inside(middle: tuple[float, ...], half: tuple[float, ...]) -> np.ndarray:
        return sum(((axis - m) / h) ** 2 for axis, m, h in zip(axes, middle, half, strict=True)) < 1

    labels = np.zeros((side,) * 3, np.int16)
    labels[inside((0, 0.8, -0.1), (0.1, 0.17, 0.1))] = 513
    for label, half in ((513, (0.82, 0.88, 0.85)), (514, (0.74, 0.80, 0.77)), (24, (0.66, 0.72, 0.69))):
        labels[inside((0, 0, 0), half)] = label
    for left, right, (x, y, z), half in PAIRS:
        labels[inside((x, y, z), half)] = left
        labels[inside((-x, y, z), half)] = right
    labels[inside((0, -0.12, -0.42), (0.14, 0.16, 0.22))] = 16
    labels[inside((-0.16, 0.0, -0.12), (0.09, 0.14, 0.09))] = 10
    labels[inside((0.16, 0.0, -0.12), (0.06, 0.10, 0.07))] = 49
    return labels


def save_labels(path: Path, labels: np.ndarray, *, spacing: float | tuple[float, ...] = 1.0, axes: str = "RAS") -> Path:
    """Write a map whose file keeps its axes in the order of ``axes``; the world is the same."""
    affine = np.diag([*np.broadcast_to(spacing, 3), 1.0])
    image = nib.Nifti1Image(labels, affine)
    if axes != "RAS":
        image = image.as_reoriented(
            nib.orientations.ornt_transform(
                nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(axes))
            )
        )
    nib.save(image, path)
    return path
