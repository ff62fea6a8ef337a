"""A brain-like thing to register: blobs inside an ellipsoid, drawn at any place exactly."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from bids_app.imaging.stacking import Grid, transform_points


def draw(grid, to_world=None, *, contrast=1.0, skull=False):
    """Values of the phantom on a grid; ``to_world`` carries the grid's world to the phantom's."""
    rng = np.random.default_rng(3)
    matrix = np.eye(4) if to_world is None else to_world
    points = transform_points(matrix @ grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    radius = np.linalg.norm(points / [60, 75, 55], axis=-1)
    values = np.full(grid.shape, 0.55)
    for _ in range(60):
        centre, width = rng.uniform(-45, 45, 3), rng.uniform(5, 14)
        values += rng.choice([-0.3, 0.35]) * np.exp(-((points - centre) ** 2).sum(-1) / 2 / width**2)
    values = np.clip(values, 0.15, 1) ** contrast * 100 / (1 + np.exp((radius - 1) * 60))
    if skull:
        values += 90 * np.exp(-(((radius - 1.15) / 0.03) ** 2))
    return values.astype(np.float32)


def grid_of(spacing=3.0, extent=170.0):
    spacing = np.broadcast_to(np.asarray(spacing, float), 3)
    shape = np.ceil(extent / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(shape - 1) / 2 * spacing
    return Grid(tuple(shape), affine)


def save(path, array, grid):
    nib.save(nib.Nifti1Image(array, grid.affine), path)
    return path
