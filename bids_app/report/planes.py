"""Planes through volumes, in world millimetres: sampling, grey values, contours.

Every picture of a report is made the same way: the world points of a plane are looked up in each volume that is to be
shown there. A volume's own grid, orientation and spacing therefore never matter to the picture.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError

#: plane -> world axes (across, up, normal); both drawn axes run from high to low, which is radiological order
AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
#: plane -> what lies at the left, right, top and bottom edge
MARKS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Volume:
    """Values ``data`` of shape ``(x, y, z)`` and the voxel-to-world matrix ``affine``, mm, shape ``(4, 4)``."""

    data: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Plane:
    """A rectangle of a world plane.

    Args:
        name: axial, coronal or sagittal (of the scanner's axes).
        position: where the plane cuts its normal, mm.
        centre: middle of the rectangle along the plane's two axes, mm.
        size: width and height, mm.
        spacing: mm per pixel.
    """

    name: str
    position: float
    centre: tuple[float, float]
    size: tuple[float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        width, height = self.size
        return max(2, round(height / self.spacing)), max(2, round(width / self.spacing))

    def points(self) -> np.ndarray:
        """World coordinates of the pixel centres, shape ``(3, rows, columns)``."""
        rows, columns = self.shape
        across, up, normal = AXES[self.name]
        points = np.empty((3, rows, columns))
        points[across] = self.centre[0] + self.spacing * ((columns - 1) / 2 - np.arange(columns))[None, :]
        points[up] = self.centre[1] + self.spacing * ((rows - 1) / 2 - np.arange(rows))[:, None]
        points[normal] = self.position
        return points

    def place(self, point: np.ndarray) -> tuple[float, float]:
        """Where a world point falls in the picture, mm from its left and top edge."""
        rows, columns = self.shape
        across, up, _ = AXES[self.name]
        left = self.centre[0] + self.spacing * columns / 2 - point[across]
        top = self.centre[1] + self.spacing * rows / 2 - point[up]
        return float(left), float(top)


def plane_through(name: str, point: np.ndarray, size: tuple[float, float], spacing: float) -> Plane:
    """The plane of that name centred on a world point."""
    across, up, normal = AXES[name]
    return Plane(name, float(point[normal]), (float(point[across]), float(point[up])), size, spacing)


def load_volume(path: Path, index: int | None = None) -> Volume:
    """Read an image; of a 4-D one the volume ``index``, or of a cleaned series the spread over its frames.

    Raises:
        ImageError: the file cannot be read or is not 3-D after that.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.load(path)
        data = np.asanyarray(image.dataobj[..., index] if index is not None and image.ndim == 4 else image.dataobj)
    except (OSError, EOFError, ValueError, IndexError, ImageFileError) as error:
        raise ImageError(f"{path.name} cannot be read ({error})") from error
    if data.ndim == 4 and index is None and path.name.partition(".")[0].endswith("_bold"):
        data = data.std(-1, dtype=np.float64).astype(np.float32)
    if data.ndim != 3:
        raise ImageError(f"{path.name} has {data.ndim} dimensions where 3 are needed")
    if data.dtype.kind == "f":
        data = data.astype(np.float32, copy=False)
    return Volume(data, np.asarray(image.affine, float))


def sample(volume: Volume, points: np.ndarray, *, to_volume: np.ndarray | None = None, order: int = 1) -> np.ndarray:
    """Values at world points, shape of ``points`` without its first axis; 0 outside.

    Args:
        points: shape ``(3, ...)``, mm.
        to_volume: matrix that takes these points to the volume's own world, where the two differ.
        order: 0 nearest, 1 linear, 3 cubic. Cubic is computed on the part of the volume around the points only.
    """
    from scipy.ndimage import map_coordinates

    matrix = np.linalg.inv(volume.affine)
    if to_volume is not None:
        matrix = matrix @ to_volume
    where = np.einsum("ij,j...->i...", matrix[:3, :3], points) + matrix[:3, 3].reshape((3,) + (1,) * (points.ndim - 1))
    data = volume.data
    if order > 1:
        low = np.maximum(np.floor(where.reshape(3, -1).min(axis=1)).astype(int) - 6, 0)
        high = np.minimum(np.ceil(where.reshape(3, -1).max(axis=1)).astype(int) + 7, data.shape)
        if np.any(high - low < 2):
            return np.zeros(points.shape[1:], np.float32)
        data = data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
        where = where - low.reshape((3,) + (1,) * (points.ndim - 1))
    return map_coordinates(data, where, order=order, mode="constant", cval=0, output=np.float32)


def grey_window(volume: Volume, mask: Volume | None = None) -> tuple[float, float]:
    """Darkest and brightest value to show: 0.5th and 99.7th percentile, inside ``mask`` where it has the same grid."""
    step = tuple(slice(None, None, max(1, n // 64)) for n in volume.data.shape)
    values = volume.data[step]
    if mask is not None and mask.data.shape == volume.data.shape and np.any(mask.data[step]):
        values = values[mask.data[step] > 0]
    else:
        values = values[values != 0]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.7]))
    return low, high if high > low else low + 1.0


def jpeg(values: np.ndarray, window: tuple[float, float]) -> str:
    """A grey picture as a data URI."""
    from PIL import Image

    low, high = window
    grey = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1) * 255
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def contour(values: np.ndarray, level: float, spacing: float, *, shortest: float = 0.0) -> str:
    """The lines where ``values`` cross ``level``, as an SVG path in mm from the picture's left and top edge.

    Args:
        values: sampled on a plane, shape ``(rows, columns)``.
        spacing: mm per pixel.
        shortest: lines shorter than this, mm, are left out.
    """
    if values.max() <= level or values.min() > level:
        return ""
    from contourpy import contour_generator

    digits = 2 if spacing < 0.3 else 1
    parts = []
    for vertices in contour_generator(z=values).lines(level):
        line = (np.asarray(vertices) + 0.5) * spacing
        if len(line) < 3 or np.linalg.norm(np.diff(line, axis=0), axis=1).sum() < shortest:
            continue
        line = np.vstack([line[:-1:2], line[-1:]]) if len(line) > 24 else line
        parts.append("M" + "L".join(f"{x:.{digits}f} {y:.{digits}f}" for x, y in line))
    return "".join(parts)


def bounds(mask: Volume) -> np.ndarray | None:
    """World box of the non-zero voxels, shape ``(2, 3)`` (low, high), mm; None where there is none."""
    ranges = []
    for axis in range(3):
        used = np.flatnonzero(np.any(mask.data > 0, axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            return None
        ranges.append((used[0] - 0.5, used[-1] + 0.5))
    corners = np.array(np.meshgrid(*ranges, indexing="ij")).reshape(3, -1)
    world = mask.affine[:3, :3] @ corners + mask.affine[:3, 3:]
    return np.stack([world.min(axis=1), world.max(axis=1)])


def middle(volume: Volume, level: float) -> np.ndarray | None:
    """Centre of mass of what reaches ``level``, world mm; None where nothing does."""
    inside = np.argwhere(volume.data >= level)
    if len(inside) == 0:
        return None
    weights = volume.data[tuple(inside.T)].astype(float)
    centre = (inside * weights[:, None]).sum(axis=0) / weights.sum()
    return volume.affine[:3, :3] @ centre + volume.affine[:3, 3]


def extent(volume: Volume) -> np.ndarray:
    """World box of the whole grid, shape ``(2, 3)``, mm."""
    ranges = [(-0.5, n - 0.5) for n in volume.data.shape]
    corners = np.array(np.meshgrid(*ranges, indexing="ij")).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    return np.stack([world.min(axis=1), world.max(axis=1)])
