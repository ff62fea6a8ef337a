"""Slices of a map over the template, as one picture."""

from __future__ import annotations

import base64
import io

import numpy as np

from bids_app.imaging.templates import find_template
from bids_app.report.planes import Plane, Volume, load_volume, sample

#: Heights of the slices, mm; columns of the picture; mm and pixels of one slice.
HEIGHTS, COLUMNS = (-40, -28, -16, -4, 8, 20, 32, 44, 56, 68), 5
SIZE, SPACING = (160.0, 200.0), 1.25
#: Colours from weak to strong, above and below zero.
WARM = np.array([[120, 20, 10], [255, 120, 20], [255, 245, 170]], float)
COLD = np.array([[10, 30, 120], [40, 130, 255], [190, 240, 255]], float)


def mosaic(values: Volume) -> str:
    """Axial slices, left of the head at the right: the template in grey, the map in colour up to its own largest value.

    Args:
        values: in the template's world; 0 is not drawn.

    Returns:
        A data URI.
    """
    from PIL import Image

    template = load_volume(find_template().image)
    high = float(np.percentile(template.data[template.data > 0], 99.5))
    most = float(np.abs(values.data).max()) or 1.0
    tiles = []
    for height in HEIGHTS:
        points = Plane("axial", float(height), (0.0, -18.0), SIZE, SPACING).points()
        grey = np.clip(sample(template, points) / high, 0, 1)[..., None] * np.full(3, 200.0)
        shown = sample(values, points)
        strength = np.clip(np.abs(shown) / most, 0, 1)
        colour = np.where((shown > 0)[..., None], _coloured(strength, WARM), _coloured(strength, COLD))
        tiles.append(np.where((strength > 0.02)[..., None], 0.25 * grey + 0.75 * colour, grey))
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(buffer, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _coloured(strength: np.ndarray, colours: np.ndarray) -> np.ndarray:
    place = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(strength, place, colours[:, c]) for c in range(3)], axis=-1)
