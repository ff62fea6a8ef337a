"""Real whole heads with maps of 145 regions, merged to the recipe's structures, for the recipe ``anatomy`` to learn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import DataError, InputMissing
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.heads.labelmaps import OUTER_FLUID, POSITION, LabelMap

if TYPE_CHECKING:
    import torch

#: Dataset below the data folder where a recipe names no other: T1w images, and maps in ``derivatives/regions`` whose
#: labels above 0 fill the skull.
HEADS = "ixi"
#: Every so many-th person, in the order of their names, trains nothing and judges: the third, the sixth, ...
HELD_OUT_EVERY = 3
#: FreeSurfer's numbers, left and right, of the regions whose names begin so and end in ``_L`` or ``_R``.
PAIRED = {
    "AccumbensArea": (26, 58), "Amygdala": (18, 54), "Caudate": (11, 50), "CerebellumExterior": (8, 47),
    "Cerebellum_WM": (7, 46), "Hippocampus": (17, 53), "InfLatVentricle": (5, 44), "LateralVentricle": (4, 43),
    "Pallidum": (13, 52), "Putamen": (12, 51), "ThalamusProper": (10, 49), "VentralDC": (28, 60),
    "BasalForebrain": (28, 60), "Frontal_WM": (2, 41), "Occipital_WM": (2, 41), "Parietal_WM": (2, 41),
    "Temporal_WM": (2, 41), "Fornix": (2, 41), "AnteriorLimbInternalCapsule": (2, 41),
    "PosteriorLimbInternalCapsule": (2, 41), "AnteriorInsula": (1035, 2035), "PosteriorInsula": (1035, 2035),
}  # fmt: skip
#: Of regions in the middle that the recipe splits in two: every voxel goes to the side of the nearest paired region.
SPLIT = {
    "CorpusCallosum": (2, 41), "CerebellarVermalLobules_1to5": (8, 47), "CerebellarVermalLobules_6to7": (8, 47),
    "CerebellarVermalLobules_8to10": (8, 47),
}  # fmt: skip
SINGLE = {
    "3rdVentricle": 14, "4thVentricle": 15, "BrainStem": 16, "CSF": OUTER_FLUID,
    "CSF outside the ventricles": OUTER_FLUID,
}  # fmt: skip
#: All other regions of a side are cortex.
CORTEX = (3, 42)
#: Ventricles: FreeSurfer's numbers.
VENTRICLES = (4, 43, 5, 44, 14, 15)
#: Grid of the two fields that widen ventricles and the space around the brain, mm.
FIELD_MM = 4.0
#: Spread of the smoothed ventricles whose slope is the first field, mm.
VENTRICLE_REACH = 8.0
#: Depth below the skull at which the second field is largest, mm.
OUTER_REACH = 10.0


@dataclass(frozen=True)
class RealHead:
    """One person on the recipe's grid, axes right-anterior-superior.

    Attributes:
        label_map: labels as drawn scans have them.
        image: T1w, float32, ``(x, y, z)``; its 99.5th percentile is 1, air about 0.
        levels: brightness of fluid, cortex and white matter on it (medians).
        fields: where to look instead so that ventricles (first) and the space around the brain (second) become wider,
            mm per mm, ``(2, 3, x', y', z')``, at `FIELD_MM`.
    """

    label_map: LabelMap
    image: torch.Tensor
    levels: tuple[float, float, float]
    fields: torch.Tensor


def heads_of(recipe: Recipe) -> str:
    """The dataset of real heads that a recipe's table ``[lesson]`` names."""
    return recipe.lesson.real[0].folder if recipe.lesson is not None and recipe.lesson.real else HEADS


def head_names(data_root: Path, *, held_out: bool, dataset: str = HEADS) -> list[str]:
    """People with an image and a map, those who train or those who judge; empty where there is no such dataset."""
    names = sorted(path.name for path in (Path(data_root) / dataset).glob("sub-*") if path.is_dir())
    return [name for place, name in enumerate(names, 1) if (place % HELD_OUT_EVERY == 0) == held_out]


def files_of(data_root: Path, name: str, dataset: str = HEADS) -> tuple[Path, Path]:
    """A person's T1w and map of regions.

    Raises:
        DataError: one of them is not there.
    """
    folder = Path(data_root) / dataset
    image = folder / name / "anat" / f"{name}_T1w.nii.gz"
    found = sorted((folder / "derivatives/regions" / name / "anat").glob(f"{name}_*_dseg.nii.gz"))
    if not image.is_file() or len(found) != 1:
        raise DataError(f"{folder}: {name} lacks its T1w, or has {len(found)} maps in derivatives/regions")
    return image, found[0]


@lru_cache(maxsize=4)
def merging_table(data_root: Path, dataset: str = HEADS) -> np.ndarray:
    """FreeSurfer's number on the left and on the right for every index of the maps, int64, ``(indices, 2)``.

    Both are the same where the side is known, or where there is none; 0 for an index that names nothing.

    Raises:
        InputMissing: the maps' table of names is not there.
    """
    path = Path(data_root) / dataset / "derivatives/regions/seg-muse_dseg.tsv"
    if not path.is_file():
        raise InputMissing(f"{path}, the names of the regions, does not exist")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    table = np.zeros((max(int(index) for index, *_ in rows) + 1, 2), np.int64)
    for index, name, *_ in rows:
        table[int(index)] = _merged(name.strip())
    return table


def _merged(name: str) -> tuple[int, int]:
    if name in SINGLE:
        return SINGLE[name], SINGLE[name]
    if name in SPLIT:
        return SPLIT[name]
    stem, _, side = name.rpartition("_")
    if side not in ("L", "R"):
        raise DataError(f"the region {name!r} of the maps is not in the table of regions to merge")
    label = PAIRED.get(stem, CORTEX)["LR".index(side)]
    return label, label


def merge(regions: np.ndarray, table: np.ndarray) -> np.ndarray:
    """FreeSurfer's numbers of a map of regions, int64, ``(x, y, z)``.

    Args:
        regions: index of every voxel, ``(x, y, z)``.
        table: of `merging_table`.

    Raises:
        DataError: indices that the table does not name.
    """
    from scipy.ndimage import distance_transform_edt

    found = np.unique(regions)
    unknown = [int(n) for n in found if n and (n >= len(table) or not table[n].any())]
    if unknown:
        raise DataError(f"a map of regions holds {unknown}, which its table of names does not have")
    both = table[regions]
    merged = both[..., 0].copy()
    middle = both[..., 0] != both[..., 1]
    left, right = (np.isin(merged, [pair[side] for pair in PAIRED.values()]) & ~middle for side in (0, 1))
    if middle.any() and left.any() and right.any():
        nearer_right = distance_transform_edt(~right) < distance_transform_edt(~left)
        merged[middle & nearer_right] = both[..., 1][middle & nearer_right]
    return merged


def load_heads(data_root: Path, names: list[str], spacing: float, dataset: str = HEADS) -> list[RealHead]:
    """People on a grid of ``spacing`` mm, held in memory.

    Raises:
        DataError: as `files_of` and `merge`.
    """
    table = merging_table(Path(data_root), dataset)
    return [_head(name, *files_of(data_root, name, dataset), table, spacing) for name in names]


def _head(name: str, image_path: Path, map_path: Path, table: np.ndarray, spacing: float) -> RealHead:
    import nibabel as nib
    import torch

    from bids_app.imaging.stacking import Grid, box_of, sample
    from bids_app.scans.lay import image_grid

    image = nib.as_closest_canonical(nib.load(image_path))
    grid = image_grid(Grid(image.shape[:3], image.affine), spacing)
    values = sample(image_path, np.eye(4), grid, order=1).astype(np.float32)
    labels = merge(np.rint(sample(map_path, np.eye(4), grid, order=0)).astype(np.int64), table)
    values /= max(float(np.percentile(values, 99.5)), 1e-6)
    fluid, grey, white = (float(np.median(values[np.isin(labels, some)])) for some in (VENTRICLES, CORTEX, (2, 41)))
    positions = np.zeros(max(POSITION) + 1, np.uint8)
    positions[list(POSITION)] = list(POSITION.values())
    brain = torch.tensor([[part.start, part.stop] for part in box_of(labels > 0)]).T
    label_map = LabelMap(name, torch.from_numpy(positions[labels]), spacing, brain)
    return RealHead(label_map, torch.from_numpy(values.clip(0, 2)), (fluid, grey, white), _fields(labels, spacing))


def _fields(labels: np.ndarray, spacing: float) -> torch.Tensor:
    """See `RealHead`."""
    import torch
    from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

    factor = spacing / FIELD_MM
    ventricles = zoom(np.isin(labels, VENTRICLES).astype(np.float32), factor, order=1)
    slope = np.stack(np.gradient(gaussian_filter(ventricles, VENTRICLE_REACH / FIELD_MM)))
    slope /= max(float(np.sqrt((slope**2).sum(0)).max()), 1e-6)
    depth = (distance_transform_edt(labels > 0, sampling=spacing) - spacing).clip(0).astype(np.float32)
    depth = zoom(depth, factor, order=1)
    inward = np.stack(np.gradient(gaussian_filter(depth, 1.0)))
    inward /= np.sqrt((inward**2).sum(0)).clip(0.3)
    share = depth / OUTER_REACH * np.exp(1 - depth / OUTER_REACH)
    return torch.from_numpy(np.stack([slope, -inward * share]).astype(np.float32))
