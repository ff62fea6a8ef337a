"""What is blank in an image, and on which side of it tissue lies: asked before tissue is taken to be brighter.

Scanners write tissue above a blank of zero, or above noise. Images that were standardised (z-scores) have their blank
in the middle of the tissue's values, inverted ones above them, and some come with an offset. Interpolation by splines
leaves ripples around an edge, so that blank is no longer one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

#: Of the range of an image: closer to the blank is blank. Ripples of a cubic spline fall below it 3 voxels from an edge
#: (from a tenth, by 0.27 a voxel); the noise of air in magnitude images is ten times as strong.
BLANK_WITHIN = 0.002
#: Of the range: values that are certainly no ripple (cubic splines overshoot by up to an eighth of a step).
BEYOND_RIPPLES = 0.15
#: Share of these on the other side of the blank from which on it counts as a side of tissue.
SOME = 0.02
#: Share of an image that has its most frequent value where that is the blank.
BLANK_SHARE = 0.05
#: Share of an image, and of the faces of its box, that is blank around a head or brain; a crop through tissue has less.
AROUND, ON_FACES = 0.15, 0.3
#: The darkest tissue is lifted above the blank by this part of the tissue's range, as fluid lies above air on a T1w.
LIFT = 0.25
_LOOKED_AT = 2_000_000
Side = Literal["above", "below", "both"]


@dataclass(frozen=True)
class Background:
    """The blank of an image.

    Attributes:
        value: of blank voxels.
        share: of voxels within `BLANK_WITHIN` of it.
        scale: how far the brightest tissue lies from it.
        side: where tissue lies: ``above`` it, ``below``, or on ``both`` sides (z-scores, maps with a sign).
    """

    value: float
    share: float
    scale: float
    side: Side

    def is_blank(self, array: np.ndarray) -> np.ndarray:
        """The voxels that are blank."""
        return np.abs(array - np.float32(self.value)) <= BLANK_WITHIN * self.scale


def background_of(array: np.ndarray) -> Background:
    """The blank of an image: its most frequent value, else the middle of the values on the faces of its box.

    Args:
        array: shape ``(x, y, z)``, finite.
    """
    step = max(round((array.size / _LOOKED_AT) ** (1 / 3)), 1)
    seen = np.asarray(array[::step, ::step, ::step], dtype=np.float32)
    values, counts = np.unique(seen, return_counts=True)
    value = float(values[counts.argmax()])
    if counts.max() < BLANK_SHARE * seen.size:
        value = float(np.median(_faces(seen)))
    away = seen - np.float32(value)
    scale = float(np.percentile(np.abs(away), 99.5))
    share = float((np.abs(away) <= BLANK_WITHIN * scale).mean())
    strong = away[np.abs(away) > BEYOND_RIPPLES * scale]
    below = float((strong < 0).mean()) if len(strong) else 0.0
    around = share >= AROUND and (np.abs(_faces(away)) <= BLANK_WITHIN * scale).mean() >= ON_FACES
    side: Side = "above" if below < SOME or not around else "below" if below > 1 - SOME else "both"
    return Background(value, share, scale, side)


def lifted(array: np.ndarray, ground: Background | None = None) -> np.ndarray:
    """The image with its blank at the bottom: itself where tissue is brighter than the blank, as scanners write it.

    Else blank becomes zero, and tissue lies above it in its own order, the darkest by `LIFT` of its range.

    Args:
        array: shape ``(x, y, z)``.
        ground: from `background_of`; asked for where it is not given.

    Returns:
        float32 where anything changes.
    """
    ground = ground or background_of(array)
    if ground.side == "above":
        return array
    blank = ground.is_blank(array)
    tissue = array[~blank]
    low, high = (float(end) for end in np.percentile(tissue[:: max(tissue.size // _LOOKED_AT, 1)], [0.1, 99.9]))
    up = np.maximum(array - np.float32(low), 0) + np.float32(LIFT * (high - low))
    return np.where(blank, np.float32(0), up).astype(np.float32)


def air_ceiling(array: np.ndarray) -> float:
    """Above it a value is hardly noise of air: from the faces of the box; 0 where they are blank.

    Args:
        array: magnitudes, shape ``(x, y, z)``.
    """
    faces = _faces(array)
    middle = float(np.median(faces))
    return middle + 5 * 1.4826 * float(np.median(np.abs(faces - middle)))


def faces_of(array: np.ndarray) -> list[np.ndarray]:
    """The six faces of an image's box; views, for `numpy.take` copies an image that lies in another order of axes."""
    return [np.moveaxis(array, axis, 0)[end] for axis in range(3) for end in (0, -1)]


def _faces(array: np.ndarray) -> np.ndarray:
    return np.concatenate([face.ravel() for face in faces_of(array)])
