"""Every lesion of a session by itself: how large, where, and how sure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.measure.volumes import centroid_mm, pieces, voxel_volume

#: A lesion whose centre lies closer to the template's middle plane than this is on neither side, mm. A round number of
#: ours: the interhemispheric fissure is about that wide, and registration is no better.
MIDDLE_MM = 3.0
SIDE = re.compile(r"^(left|right)\b")


def lesion_rows(
    segmentation: np.ndarray,
    probability: np.ndarray,
    affine: np.ndarray,
    *,
    regions: Mapping[int, str],
    to_template: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
) -> list[dict[str, Any]]:
    """One row per connected piece of all lesion regions together (26 neighbours), largest first.

    Args:
        segmentation: whole numbers, shape ``(x, y, z)``.
        probability: of any lesion region, the highest of them, shape ``(x, y, z)``, in [0, 1].
        affine: voxel to world, mm, shape ``(4, 4)``.
        regions: index of every lesion region and its name; other indices are no lesion.
        to_template: world to the template's world, ``(4, 4)``; without it there are no template coordinates.
        labels: whole numbers of the brain's structures, shape ``(x, y, z)``.
        names: name of each label; ``left`` or ``right`` in front says the side.

    Returns:
        ``index`` (the piece's number), ``volume_mm3``, ``centre_mm`` and ``template_mm`` (three numbers or None),
        ``region`` (the structure that most of its labelled voxels are in, or None), ``side`` (``left``, ``right``,
        ``middle`` or None), ``probability`` (the highest) and ``contains`` (names of the lesion regions in it).

    Raises:
        ImageError: the arrays have different shapes.
    """
    given = [segmentation, probability, *([] if labels is None else [labels])]
    if len({np.shape(one) for one in given}) > 1:
        raise ImageError(f"segmentation, probability and labels have different shapes: {[np.shape(g) for g in given]}")
    numbers, sizes = pieces(np.isin(segmentation, list(regions)))
    volume, rows = voxel_volume(affine), []
    for number, size in enumerate(sizes.tolist(), 1):
        inside = numbers == number
        centre = centroid_mm(inside, affine)
        there = None if to_template is None else (np.asarray(to_template) @ [*centre, 1.0])[:3]
        region = None if labels is None else _structure(np.asarray(labels)[inside], names or {})
        rows.append(
            {
                "index": number,
                "volume_mm3": size * volume,
                "centre_mm": [float(one) for one in centre],
                "template_mm": None if there is None else [float(one) for one in there],
                "region": region,
                "side": _side(region, there),
                "probability": float(np.asarray(probability)[inside].max()),
                "contains": [name for index, name in regions.items() if (segmentation[inside] == index).any()],
            }
        )
    return rows


def _structure(labels: np.ndarray, names: Mapping[int, str]) -> str | None:
    """The named label that most voxels have; None where none has one."""
    known = labels[np.isin(labels, list(names))]
    if not known.size:
        return None
    values, counts = np.unique(known, return_counts=True)
    return names[int(values[counts.argmax()])]


def _side(region: str | None, template_mm: np.ndarray | None) -> str | None:
    """By the structure's name, else by the template's middle plane."""
    if region and (found := SIDE.match(region)):
        return found.group(1)
    if template_mm is None:
        return None
    return "middle" if abs(template_mm[0]) < MIDDLE_MM else "left" if template_mm[0] < 0 else "right"
