"""Where the structures of a head lie: tissue with its place, places in MNI space, and label maps that are placed there.

Places are said in MNI coordinates, mm (right, anterior, superior from the anterior commissure); `PlacedTissue.at`
counts from the middle of the brain instead, which in the ICBM152 template lies at `MIDDLE_MNI`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bids_app.errors import DataError
from bids_app.synthesis.heads.labelmaps import LABELS, TISSUE, LabelMap

#: Middle of the ICBM152 brain's bounding box in MNI coordinates, measured on the template that nilearn carries.
MIDDLE_MNI = (0.0, -17.0, 6.0)

# FreeSurfer labels of each tissue; those that are neither are half of both.
_GREY = tuple(label for name in ("cortex", "limbic", "thalamus", "striatum") for label in TISSUE[name])
_WHITE = (*TISSUE["white"], 16)
_MIXED = (*TISSUE["pallidum"], 28, 60)
_VENTRICLE = (4, 5, 14, 43, 44, 136, 137, 163, 164)

#: Middle of structures on the right, MNI mm. Deep nuclei and hippocampus: centres of Tzourio-Mazoyer 2002 (NeuroImage
#: 15:273) in whole mm; cortex and cerebellum: measured on the ICBM152 grey matter that nilearn carries; stem: a round
#: number chosen here.
LANDMARKS = {
    "thalamus": ((10, 49), (11, -18, 8)),
    "caudate": ((11, 50), (12, 11, 9)),
    "putamen": ((12, 51), (24, 4, 2)),
    "pallidum": ((13, 52), (18, 0, 0)),
    "hippocampus": ((17, 53), (25, -21, -10)),
    "amygdala": ((18, 54), (23, -1, -17)),
    "cerebral cortex": ((3, 42), (31, -16, 12)),
    "cerebellar cortex": ((8, 47), (26, -62, -38)),
}
STEM = (16, (0, -28, -33))
LEAST_LANDMARKS = 6


@dataclass(frozen=True)
class PlacedTissue:
    """Where lesions can lie, of one head or a part of it.

    Attributes:
        tissue: shares of fluid, grey and white matter in [0, 1], ``(3, x, y, z)``.
        ventricle: share inside the lateral and third ventricles, ``(x, y, z)``.
        at: mm from the middle of the brain (right, anterior, superior), in a head of about MNI size, ``(x, y, z, 3)``.
        spacing: of the grid, mm.
    """

    tissue: torch.Tensor
    ventricle: torch.Tensor
    at: torch.Tensor
    spacing: float


def from_mni(point: Sequence[float]) -> tuple[float, float, float]:
    """A point in MNI coordinates, mm, as `PlacedTissue.at` counts."""
    right, anterior, superior = (float(p - m) for p, m in zip(point, MIDDLE_MNI, strict=True))
    return right, anterior, superior


def tissue_of_labels(labels: torch.Tensor, spacing: float, at: torch.Tensor) -> PlacedTissue:
    """Tissue of a map of FreeSurfer labels, or of a part of one.

    Args:
        labels: integers, ``(x, y, z)``; labels that are no brain tissue or its fluid (skull, scalp) count as outside.
        spacing: of the grid, mm.
        at: as `PlacedTissue.at`; `places_of_head` makes it for a whole head.

    Raises:
        DataError: ``at`` does not fit ``labels``, or a label is negative.
    """
    if tuple(at.shape) != (*labels.shape, 3):
        raise DataError(f"places of shape {tuple(at.shape)} do not fit labels of shape {tuple(labels.shape)}")
    if int(labels.min()) < 0:
        raise DataError(f"a label map has no negative labels; {int(labels.min())} is there")
    table = torch.zeros(4, max(int(labels.max()), max(_GREY)) + 1)
    for row, members in enumerate((TISSUE["fluid"], _GREY, _WHITE, _VENTRICLE)):
        table[row, list(members)] = 1.0
    table[1:3, list(_MIXED)] = 0.5
    found = table.index_select(1, labels.flatten().long()).reshape(4, *labels.shape)
    return PlacedTissue(found[:3], found[3], at, float(spacing))


def places_of_head(labels: np.ndarray, affine: np.ndarray) -> torch.Tensor:
    """`PlacedTissue.at` for a whole map of FreeSurfer labels, any orientation.

    The affine map that brings the middles of nuclei, hippocampi, cortex and stem closest to where they are in MNI space
    (least squares); over the label maps it was tried on they come to within 2.5 mm on average.

    Args:
        labels: integers, ``(x, y, z)``.
        affine: voxel to world (right, anterior, superior), mm, ``(4, 4)``.

    Returns:
        float32, ``(x, y, z, 3)``.

    Raises:
        DataError: too few of these structures are in the map, or all on one side.
    """
    known = {left: (-m[0], *m[1:]) for (left, _), m in LANDMARKS.values()}
    known |= {right: m for (_, right), m in LANDMARKS.values()} | dict([STEM])
    middles = _middles(np.asarray(labels), known)
    there = [from_mni(known[label]) for label in middles]
    here = [[*middle, 1.0] for middle in middles.values()]
    sides = {np.sign(place[0]) for place in there}
    if len(there) < LEAST_LANDMARKS or not {-1.0, 1.0} <= sides:
        raise DataError(
            f"{len(there)} of the {len(known)} structures by which a head is placed are in the label map; it needs "
            f"{LEAST_LANDMARKS} or more, on both sides (FreeSurfer labels {', '.join(map(str, sorted(known)))})"
        )
    world = np.asarray(here) @ np.asarray(affine, float).T
    to_head, *_ = np.linalg.lstsq(world, np.asarray(there), rcond=None)
    step = torch.from_numpy((np.asarray(affine, float).T @ to_head).astype(np.float32))
    axes = [torch.arange(n, dtype=torch.float32)[:, None] * step[a] for a, n in enumerate(labels.shape)]
    return axes[0][:, None, None] + axes[1][None, :, None] + (axes[2] + step[3])[None, None]


def _middles(labels: np.ndarray, wanted: Iterable[int]) -> dict[int, np.ndarray]:
    """Middle of each label that is there, voxels."""
    kept = np.isin(labels, list(wanted))
    found, where = labels[kept], np.nonzero(kept)
    counts = np.bincount(found) if len(found) else np.zeros(0)
    sums = np.stack([np.bincount(found, weights=axis) for axis in where], -1) if len(found) else np.zeros((0, 3))
    return {label: sums[label] / counts[label] for label in wanted if label < len(counts) and counts[label]}


@dataclass(frozen=True)
class PlacedMap:
    """A label map and where its voxels lie in a head of about MNI size.

    Attributes:
        origin, steps: mm from the middle of the brain of voxel 0, ``(3,)``, and of a step along each axis, ``(3, 3)``.
    """

    label_map: LabelMap
    origin: torch.Tensor
    steps: torch.Tensor

    def places(self, at: torch.Tensor) -> torch.Tensor:
        """mm from the middle of the brain, ``(x, y, z, 3)``, of places ``(3, x, y, z)`` in voxels of the map."""
        return torch.einsum("axyz,ab->xyzb", at, self.steps) + self.origin


def place_map(label_map: LabelMap) -> PlacedMap:
    """Find where a label map's structures are; see `places_of_head`."""
    affine = np.diag([label_map.spacing] * 3 + [1.0])
    at = places_of_head(np.array(LABELS)[label_map.labels.numpy()], affine)
    steps = torch.stack([at[1, 0, 0] - at[0, 0, 0], at[0, 1, 0] - at[0, 0, 0], at[0, 0, 1] - at[0, 0, 0]])
    return PlacedMap(label_map, at[0, 0, 0].clone(), steps)


def around(placed: PlacedMap, middle_mm: Sequence[float]) -> LabelMap:
    """The map with a place of the head, mm from the middle of the brain, where patches have their middle."""
    voxel = (torch.tensor(middle_mm) - placed.origin) @ torch.linalg.inv(placed.steps)
    return replace(placed.label_map, brain=torch.stack([voxel, voxel + 1]).round().long())
