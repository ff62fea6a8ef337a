"""How a head moved during a series, rigidly, and the series with that taken out. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Blur before frames are compared, mm (full width at half maximum), and points that are compared at most.
BLUR_MM, POINTS = 8.0, 40_000
#: Steps of one frame, and where they end: mm and radians on a head.
MOST_STEPS, SMALL_MM = 12, 0.002
#: Radius on which turns are counted in mm. Power 2012 (NeuroImage 59:2142-2154).
HEAD_MM = 50.0


@dataclass(frozen=True)
class Motion:
    """Rigid motion of each frame.

    Attributes:
        parameters: ``(t, 6)``: shifts in mm along the grid's axes and turns in radians about them, in the middle of the
            grid: a place ``x`` (mm from the middle) of the reference lies at ``turn @ x + shift`` in the frame.
        converged: ``(t,)``.
    """

    parameters: np.ndarray
    converged: np.ndarray

    @property
    def displacement(self) -> np.ndarray:
        """Framewise displacement of Power 2012, mm: ``(t,)``, 0 for the first frame."""
        steps = np.abs(np.diff(self.parameters, axis=0))
        moved = steps[:, :3].sum(1) + HEAD_MM * steps[:, 3:].sum(1)
        return np.concatenate([[0.0], moved])


def turn_of(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix: about the first axis, then the second, then the third."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    first = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    second = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    third = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return third @ second @ first


def angles_of(turn: np.ndarray) -> np.ndarray:
    """The angles of `turn_of`."""
    return np.array(
        [np.arctan2(turn[2, 1], turn[2, 2]), np.arcsin(np.clip(-turn[2, 0], -1, 1)), np.arctan2(turn[1, 0], turn[0, 0])]
    )


def estimate_motion(series: np.ndarray, spacing: np.ndarray, mask: np.ndarray, reference: np.ndarray) -> Motion:
    """Register every frame to a reference by least squares (Gauss and Newton on the reference's own gradients).

    Derivatives are those of the reference, so that the normal equations are solved once for all frames (inverse
    compositional: Baker and Matthews, Int J Comput Vis 56 (2004) 221-255).

    Args:
        series: ``(x, y, z, t)``.
        spacing: mm.
        mask: ``(x, y, z)``: where frames are compared.
        reference: ``(x, y, z)``, such as the mean frame.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    blur = BLUR_MM / 2.3548 / spacing
    smooth = gaussian_filter(reference.astype(np.float32), blur)
    middle = (np.array(reference.shape) - 1) / 2
    voxels = np.argwhere(mask)
    voxels = voxels[:: max(1, len(voxels) // POINTS)]
    places = (voxels - middle) * spacing
    slopes = np.stack(np.gradient(smooth, *spacing), axis=-1)[tuple(voxels.T)]
    x, y, z = places.T
    gx, gy, gz = slopes.T
    jacobian = np.stack([gx, gy, gz, gz * y - gy * z, gx * z - gz * x, gy * x - gx * y], axis=1).astype(np.float64)
    values = smooth[tuple(voxels.T)].astype(np.float64)
    both = np.column_stack([jacobian, values])  # the last column takes up a change of gain
    normal = np.linalg.pinv(both.T @ both)
    found, converged = np.zeros((series.shape[-1], 6)), np.zeros(series.shape[-1], bool)
    turn, shift = np.eye(3), np.zeros(3)
    for t in range(series.shape[-1]):
        frame = gaussian_filter(series[..., t].astype(np.float32), blur)
        for _ in range(MOST_STEPS):
            at = (places @ turn.T + shift) / spacing + middle
            seen = map_coordinates(frame, at.T, order=1, mode="nearest")
            step = normal @ (both.T @ (seen - values))
            small, move = turn_of(step[3:6]), step[:3]
            # the reference moved by `step` looks like the frame: take it back
            turn = turn @ small.T
            shift = shift - turn @ move
            if np.abs(move).max() < SMALL_MM and np.abs(step[3:6]).max() * HEAD_MM < SMALL_MM:
                converged[t] = True
                break
        found[t] = np.concatenate([shift, angles_of(turn)])
    return Motion(found, converged)


def realigned(series: np.ndarray, spacing: np.ndarray, motion: Motion) -> np.ndarray:
    """Every frame where the reference is, by cubic splines: ``(x, y, z, t)``, float32."""
    from scipy.ndimage import affine_transform

    middle = (np.array(series.shape[:3]) - 1) / 2
    out = np.empty(series.shape, np.float32)
    for t, row in enumerate(motion.parameters):
        matrix = turn_of(row[3:]) * spacing[None, :] / spacing[:, None]
        offset = middle + row[:3] / spacing - matrix @ middle
        frame = series[..., t].astype(np.float32)
        out[..., t] = affine_transform(frame, matrix, offset, order=3, mode="nearest", output=np.float32)
    return out
