"""Label maps of whole heads that training scans are drawn from: FreeSurfer's numbers (1035 and 2035: the
insula), and 502 to 530 outside the brain.

A map is held as one byte a voxel: the position of its label in :data:`LABELS`, cut to the head, axes right-anterior-
superior. What a position means to a generator (which tissue) and to a recipe (which region) are tables beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from bids_app.errors import ImageError, InputMissing, UsageError
from bids_app.imaging.stacking import box_of

#: Tissue of every label a map may hold. Grey matter is told apart by how much white matter it holds.
TISSUE: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "fluid": (4, 5, 14, 15, 24, 43, 44, 72, 136, 137, 163, 164),
    "white": (2, 41, 25, 57, 7, 46),
    "brainstem": (16, 28, 60, 85),
    "cortex": (3, 42, 8, 47, 1035, 2035),
    "limbic": (17, 18, 53, 54, 26, 58),
    "thalamus": (10, 49),
    "striatum": (11, 12, 50, 51),
    "pallidum": (13, 52),
    "vessel": (30, 62),
    "bone": (515, 516),
    "scalp": (507,),
    "outside": (502, 506, 508, 509, 511, 512, 513, 514, 530),
}
#: What lies around the brain and its fluid. The maps tell these labels apart by brightness on T1w, not by anatomy.
OUTSIDE = ("bone", "scalp", "outside")
LABELS: tuple[int, ...] = tuple(sorted(label for members in TISSUE.values() for label in members))
POSITION = {label: place for place, label in enumerate(LABELS)}
#: Labels of the left, and of the same structure on the right.
SIDES = {
    2: 41,
    3: 42,
    4: 43,
    5: 44,
    7: 46,
    8: 47,
    10: 49,
    11: 50,
    12: 51,
    13: 52,
    17: 53,
    18: 54,
    25: 57,
    26: 58,
    28: 60,
    30: 62,
    136: 163,
    137: 164,
    1035: 2035,
}
#: Counted as another label: lesions as white matter, parts of a ventricle as the ventricle.
COUNTED_AS = {25: 2, 57: 41, 136: 4, 137: 5, 163: 43, 164: 44, 72: 14}
#: Fluid around the brain: inside the skull, outside what `brain` means.
OUTER_FLUID = 24
MOST = 2099
#: A map of fewer of these than this share of its brain on one side has only the other.
LEAST_SIDE = 0.2


@dataclass(frozen=True)
class LabelMap:
    """One head.

    Attributes:
        name: of the file.
        labels: positions in :data:`LABELS`, uint8, ``(x, y, z)``, right-anterior-superior.
        spacing: mm.
        brain: first and one-past-last voxel of the brain, ``(2, 3)``.
    """

    name: str
    labels: torch.Tensor
    spacing: float
    brain: torch.Tensor


def load_label_map(path: Path, *, margin: int = 8) -> LabelMap:
    """Read one label map; any order of axes.

    Raises:
        InputMissing: no such file.
        ImageError: not to be read, empty, not whole numbers, labels that are not in the table, one side missing, voxels
            of unequal sides.
    """
    array, spacing = _read(path)
    array = array.astype(np.int16)
    counts = np.bincount(array.ravel())
    found = np.flatnonzero(counts)
    if not found.any():
        raise ImageError(f"{path} is an empty label map")
    unknown = sorted(set(found.tolist()) - set(LABELS))
    if unknown:
        raise ImageError(
            f"{path} holds labels that the table of tissues does not have ({', '.join(map(str, unknown[:8]))}); "
            f"known are FreeSurfer's subcortical labels and 502 to 530"
        )
    left, right = (sum(int(counts[label]) for label in side if label < len(counts)) for side in (SIDES, SIDES.values()))
    if not left + right:
        raise ImageError(
            f"{path} holds no brain: none of its labels belongs to a structure that has a left and a right"
        )
    if min(left, right) < LEAST_SIDE * max(left, right):
        raise ImageError(f"{path}: one side of the brain is missing ({left} voxels left, {right} right)")
    table = np.zeros(max(LABELS) + 1, np.uint8)
    table[list(LABELS)] = np.arange(len(LABELS))
    labels = _cut(table[array], margin)
    paired = np.zeros(len(LABELS), bool)
    paired[[POSITION[label] for label in (*SIDES, *SIDES.values())]] = True
    brain = torch.tensor([[part.start, part.stop] for part in box_of(paired[labels])]).T
    return LabelMap(path.name.split(".")[0], torch.from_numpy(labels), spacing, brain)


def _read(path: Path) -> tuple[np.ndarray, float]:
    """Whole numbers from 0 to `MOST`, right-anterior-superior, and the side of a voxel in mm; errors as above."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if not path.is_file():
        raise InputMissing(f"the label map {path} does not exist")
    try:
        image = nib.as_closest_canonical(nib.load(path))
        array = np.asarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"the label map {path} cannot be read ({reason}); get the file again") from error
    spacing = np.asarray(image.header.get_zooms()[:3], float)
    if array.ndim != 3 or spacing.max() > 1.05 * spacing.min():
        raise ImageError(f"{path}: a label map is 3-D with voxels of equal sides, not {array.shape} of {spacing} mm")
    if array.dtype.kind not in "biuf":
        raise ImageError(f"{path} holds colours or complex numbers; a label map holds one whole number a voxel")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ImageError(f"{path} holds voxels that are not numbers (NaN or infinite); a label map has none")
        if not np.array_equal(array, np.rint(array)):
            raise ImageError(f"{path} holds broken numbers; a label map holds whole ones (was an image given instead?)")
    if array.min() < 0 or array.max() > MOST:
        raise ImageError(f"{path} holds numbers from {array.min():g} to {array.max():g}; labels go from 0 to {MOST}")
    return array, float(spacing.mean())


def _cut(labels: np.ndarray, margin: int) -> np.ndarray:
    """The head and ``margin`` voxels of air around it."""
    return np.pad(labels[box_of(labels > 0)], margin)


def load_label_maps(folder: Path, names: Sequence[str] | None = None) -> list[LabelMap]:
    """All maps of a folder (``*.nii.gz``), or those named.

    Raises:
        InputMissing: there are none, or one that was named is not there.
    """
    paths = sorted(p for p in Path(folder).glob("*.nii*") if names is None or p.name.split(".")[0] in names)
    if paths and (gone := sorted(set(names or ()) - {path.name.split(".")[0] for path in paths})):
        raise InputMissing(f"{folder} holds no label map named {', '.join(gone)}")
    if not paths:
        raise InputMissing(f"{folder} holds no label maps (*.nii.gz)")
    return [load_label_map(path) for path in paths]


@lru_cache(maxsize=1)
def tissue_table() -> torch.Tensor:
    """Position in :data:`TISSUE` of every label position, ``(labels,)``."""
    of = {label: place for place, members in enumerate(TISSUE.values()) for label in members}
    return torch.tensor([of[label] for label in LABELS])


def is_tissue(*names: str) -> torch.Tensor:
    """Which label positions belong to the tissues, bool ``(labels,)``.

    Raises:
        UsageError: no such tissue.
    """
    if unknown := set(names) - set(TISSUE):
        raise UsageError(f"there is no tissue {', '.join(sorted(unknown))}; there are {', '.join(TISSUE)}")
    return torch.tensor([any(label in TISSUE[name] for name in names) for label in LABELS])


@lru_cache(maxsize=1)
def brain_table() -> torch.Tensor:
    """Which label positions are brain, its ventricles with it and the fluid around it not, bool ``(labels,)``."""
    inside = ~is_tissue("air", *OUTSIDE)
    inside[POSITION[OUTER_FLUID]] = False
    return inside


@lru_cache(maxsize=1)
def mirror_table() -> torch.Tensor:
    """Position of every label's partner on the other side (or its own), uint8 ``(labels,)``."""
    both = {**SIDES, **{right: left for left, right in SIDES.items()}}
    return torch.tensor([POSITION[both.get(label, label)] for label in LABELS], dtype=torch.uint8)


def region_table(indices: Sequence[int]) -> torch.Tensor:
    """Class (0: background, then the regions in order) of every label position, uint8 ``(labels,)``.

    Args:
        indices: FreeSurfer's number of every region.
    """
    classes = {index: place + 1 for place, index in enumerate(indices)}
    return torch.tensor([classes.get(COUNTED_AS.get(label, label), 0) for label in LABELS], dtype=torch.uint8)
