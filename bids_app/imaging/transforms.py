"""Between ITK's conventions (LPS, fixed to moving, a centre of rotation) and ours (RAS, 4x4, moving to fixed)."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.ants_parts import load_ants
from bids_app.imaging.stacking import Grid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
log = logging.getLogger(__name__)


def set_threads(threads: int) -> int:
    """Tell ITK how many threads to use; it listens only until antspyx is first imported in a process.

    Returns:
        The number that is in force, which is an earlier one when antspyx is imported already.
    """
    if "ants" in sys.modules:
        in_force = int(os.environ.get(THREADS) or os.cpu_count() or 1)
        if in_force != threads:
            log.debug("ITK keeps %d threads: antspyx was imported before %d were asked for", in_force, threads)
        return in_force
    os.environ[THREADS] = str(int(threads))
    return int(threads)


def to_ants(array: np.ndarray, grid: Grid) -> Any:
    """An ANTs image from an array and its grid, whose axes must be orthogonal."""
    ants = load_ants()

    linear = LPS[:3, :3] @ grid.affine[:3, :3]
    direction = linear / grid.spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise ImageError("the image's axes are not at right angles; it must be resampled first")
    u, _, vt = np.linalg.svd(direction)
    origin = LPS[:3, :3] @ grid.affine[:3, 3]
    return ants.from_numpy(
        np.ascontiguousarray(array, dtype=np.float32),
        origin=tuple(origin),
        spacing=tuple(float(s) for s in grid.spacing),
        direction=u @ vt,
    )


def matrix_from_itk(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The RAS matrix of an ITK affine: parameters (9 of the matrix by rows, 3 of translation) and centre.

    ITK maps a point x to ``A (x - c) + c + t``, in LPS, from the fixed image's world to the moving one's.

    Returns:
        Moving world to fixed world, RAS, shape ``(4, 4)``.
    """
    parameters, centre = np.asarray(parameters, dtype=float), np.asarray(centre, dtype=float)
    fixed_to_moving = np.eye(4)
    fixed_to_moving[:3, :3] = parameters[:9].reshape(3, 3)
    fixed_to_moving[:3, 3] = parameters[9:12] + centre - fixed_to_moving[:3, :3] @ centre
    return LPS @ np.linalg.inv(fixed_to_moving) @ LPS


def matrix_to_itk(matrix: np.ndarray) -> np.ndarray:
    """The twelve parameters, for a centre at the origin, of a moving-to-fixed RAS matrix."""
    fixed_to_moving = LPS @ np.linalg.inv(np.asarray(matrix, dtype=float)) @ LPS
    return np.concatenate([fixed_to_moving[:3, :3].ravel(), fixed_to_moving[:3, 3]])


def write_matrix(matrix: np.ndarray, path: Path | str) -> Path:
    """Write a moving-to-fixed RAS matrix as an ITK text transform, which ANTs reads."""
    numbers = " ".join(repr(float(v)) for v in matrix_to_itk(matrix))
    path = Path(path)
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
        encoding="ascii",
    )
    return path


def read_matrix(path: Path | str) -> np.ndarray:
    """The RAS matrix, moving world to fixed world, of a linear ITK transform (``.txt``, ``.mat`` or ``.h5``).

    Raises:
        ImageError: the file is absent, damaged or holds no linear transform.
    """
    path = Path(path)
    try:
        if path.suffix in (".txt", ".tfm"):
            lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            parameters = np.array(lines["Parameters"].split(), dtype=float)
            centre = np.array(lines["FixedParameters"].split(), dtype=float)
        else:
            ants = load_ants()

            transform = ants.read_transform(str(path))
            parameters, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
        if parameters.shape != (12,) or centre.shape != (3,):
            raise ValueError(f"{len(parameters)} parameters where 12 are due")
        return matrix_from_itk(parameters, centre)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ImageError(f"{path} is not a linear ITK transform: {error}") from error


def decompose(matrix: np.ndarray) -> dict[str, Any]:
    """What a linear transform does, in numbers a person reads.

    Returns:
        ``rotation_deg`` (the angle of its rotation), ``translation_mm`` (how far it moves the origin), ``scales``
        (three, sorted) and ``volume_scale`` (determinant).
    """
    linear = np.asarray(matrix, dtype=float)[:3, :3]
    u, scales, vt = np.linalg.svd(linear)
    cosine = (np.trace(u @ vt) - 1) / 2
    return {
        "rotation_deg": float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        "translation_mm": float(np.linalg.norm(np.asarray(matrix)[:3, 3])),
        "scales": sorted(float(s) for s in scales),
        "volume_scale": float(np.linalg.det(linear)),
    }
