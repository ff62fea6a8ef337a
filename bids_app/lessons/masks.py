"""Real lesion masks in the template's space, and what a table knows of the people: what outcomes are learned from.

A dataset of such masks is ``FOLDER/participants.tsv`` and, anywhere below, one ``sub-LABEL_*_mask.nii*`` per person,
registered to MNI space. Nobody's scan is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from bids_app.cohort.tables import code_all, named_levels, read_tables
from bids_app.errors import DataError, InputMissing, UsageError
from bids_app.recipes.recipe import Recipe
from bids_app.synthesis.fields import read
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.pathology.stroke import Core

#: The grid that masks are kept on: sides, mm, and its middle in MNI space, mm.
SPACING_MM, SHAPE, MIDDLE = 2.0, (80, 96, 80), (0.0, -18.0, 10.0)
#: Every so many-th person, in the order of their names, trains nothing: calibrates and judges.
HELD_OUT_EVERY = 5


@dataclass(frozen=True)
class Masks:
    """Lesions of people and their targets.

    Attributes:
        names: ``sub-...``.
        voxels, shares: per person the voxels of the kept grid that the lesion touches (flat, int32), and how much of
            each it fills, 1 to 255 (uint8).
        targets: ``(people, targets)``, NaN where not known.
        levels: of every target with levels.
        scalings: per target what its kind fits on them.
    """

    names: list[str]
    voxels: list[np.ndarray]
    shares: list[np.ndarray]
    targets: np.ndarray
    levels: dict[str, tuple[str, ...]]
    scalings: dict[str, dict[str, Any]]

    def core(self, person: int) -> Core:
        """The lesion of one of them, for a painter; see `bids_app.synthesis.pathology.stroke.Core`."""
        volume = torch.zeros(int(np.prod(SHAPE)))
        volume[torch.from_numpy(self.voxels[person]).long()] = torch.from_numpy(self.shares[person]).float() / 255
        volume, middle = volume.reshape(1, *SHAPE), torch.tensor(from_mni(MIDDLE))

        def core(at: torch.Tensor) -> torch.Tensor:
            return read(volume, at - middle, SPACING_MM)[0]

        return core

    def ml(self, person: int) -> float:
        """Volume of the lesion in the template's space."""
        return float(self.shares[person].sum(dtype=np.int64)) / 255 * SPACING_MM**3 / 1000


def load_masks(
    recipe: Recipe, data_root: Path, folder_name: str, *, held_out: bool, leave_out: Sequence[str] = ()
) -> Masks:
    """Everybody with a mask, those who train or those who calibrate and judge; targets as the recipe names them.

    Raises:
        InputMissing: there is no such folder, or no mask in it.
        DataError: two masks of one person, one that is no mask in MNI space, or a table that cannot be read.
        UsageError: somebody is left out who is not there.
    """
    folder = Path(data_root) / folder_name
    files = _files(folder)
    if gone := sorted(set(leave_out) - files.keys()):
        raise UsageError(f"{', '.join(gone)} cannot be left out: they are not in {folder}")
    names = [n for place, n in enumerate(sorted(files), 1) if (place % HELD_OUT_EVERY == 0) == held_out]
    names = [name for name in names if name not in leave_out]
    if not names:
        task = "judge" if held_out else "train"
        raise InputMissing(f"{folder} has too few masks: of {len(files)}, nobody is left to {task}")
    keys = [(name.removeprefix("sub-"), None) for name in names]
    coded = code_all(recipe, read_tables(folder, keys, named_levels(recipe)), keys)
    if coded.wrong:
        raise DataError(f"{folder}/participants.tsv: " + "; ".join(coded.wrong))
    kept = [on_grid(files[name]) for name in names]
    scalings = {}
    for column, target in enumerate(recipe.targets):
        known = coded.targets[np.isfinite(coded.targets[:, column]), column]
        scalings[target.name] = target.behaviour.fit(known, len(coded.levels[target.name]))
    return Masks(names, [v for v, _ in kept], [s for _, s in kept], coded.targets, coded.levels, scalings)


def _files(folder: Path) -> dict[str, Path]:
    """The mask of every person."""
    if not folder.is_dir():
        raise InputMissing(f"{folder} does not exist; it should hold masks in MNI space and participants.tsv")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("sub-*_mask.nii*")):
        name = path.name.split("_")[0]
        if name in found:
            raise DataError(f"{folder}: {name} has two masks, {found[name].name} and {path.name}; leave one")
        found[name] = path
    if not found:
        raise InputMissing(f"{folder} holds no sub-LABEL_*_mask.nii.gz")
    return found


def on_grid(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of the kept grid that a mask touches, and how much of each it fills, 1 to 255.

    Raises:
        DataError: a mask of nothing, or one that lies outside the template's brain.
    """
    try:
        image = nib.load(path)
        mask = np.asarray(image.dataobj) > 0.5
    except (OSError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    if mask.ndim != 3:
        raise DataError(f"{path} has {mask.ndim} axes; a mask has 3")
    affine = np.asarray(image.affine, float)
    eighths = np.stack(np.meshgrid(*[[-0.25, 0.25]] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    marked = np.unravel_index(np.flatnonzero(mask.ravel(order="F")), mask.shape, order="F")
    at = (np.stack(marked, -1) + eighths).reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]
    corner = np.array(MIDDLE) - SPACING_MM * np.array(SHAPE) / 2
    voxel = np.floor((at - corner) / SPACING_MM).astype(int)
    inside = ((voxel >= 0) & (voxel < SHAPE)).all(1)
    if inside.sum() < max(1, len(at) / 2):
        what = "marks nothing" if not len(at) else "lies outside the brain of the template: is it in MNI space?"
        raise DataError(f"{path} {what}")
    flat = np.ravel_multi_index(tuple(voxel[inside].T), SHAPE)
    touched, counts = np.unique(flat, return_counts=True)
    full = 8 * SPACING_MM**3 / abs(np.linalg.det(affine[:3, :3]))
    return touched.astype(np.int32), np.clip(np.rint(255 * counts / full), 1, 255).astype(np.uint8)
