"""Real scans with masks that people drew, which a lesson mixes among the drawn ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.lesson import taught_by
from bids_app.networks.standardise import normalise
from bids_app.recipes.recipe import Recipe
from bids_app.scans.lay import lay, lay_labels, place_level
from bids_app.scans.scan import Scan
from bids_app.synthesis.heads.placed import MIDDLE_MNI
from bids_app.train.augment import apply, augmentation_of, draw
from bids_app.train.batches import Patches

if TYPE_CHECKING:
    import torch

#: How often each change is made: there are few of these scans.
CHANGED = 0.4
REAL_LICENSE = """
Real scans with masks drawn by people were mixed among them: {real}. No image and no mask of
them is in this bundle.
"""


def images_of(recipe: Recipe, data_root: Path, participant: str) -> tuple[dict[str, Path], Path]:
    """Every image that the recipe knows, by sequence, and the manual mask.

    Raises:
        UsageError: an image or the mask is not there.
    """
    folder = folders_of(recipe, data_root).get(participant, data_root)
    images = {
        sequence.name: path
        for sequence in recipe.sequences
        if (path := folder / participant / "anat" / f"{participant}_{sequence.suffix}.nii.gz").is_file()
    }
    masks = sorted((folder / "derivatives/manual" / participant / "anat").glob(f"*_{recipe.labels.suffix}.nii.gz"))
    if recipe.reference not in images or len(masks) != 1:
        raise UsageError(
            f"{folder}: {participant} lacks a {recipe.reference} or has {len(masks)} masks in derivatives/manual"
        )
    return images, masks[0]


def folders_of(recipe: Recipe, data_root: Path) -> dict[str, Path]:
    """The folder of every participant whom the recipe can learn from: of the datasets that its lesson names.

    Their images lie on one another and show no skull; a mask of each lies in ``derivatives/manual``.

    Raises:
        UsageError: two datasets have a participant of the same name.
    """
    found: dict[str, Path] = {}
    for dataset in recipe.lesson.real if recipe.lesson else ():
        for path in sorted((Path(data_root) / dataset.folder).glob("sub-*")):
            if path.name in found:
                raise UsageError(f"{path} and {found[path.name]} both have a {path.name}: rename one of them")
            if path.is_dir():
                found[path.name] = path.parent
    return found


def licence_of(recipe: Recipe, data_root: Path, participants: Sequence[str]) -> str:
    """What the licence of a bundle says of the real scans that taught it."""
    folders = folders_of(recipe, data_root)
    used = {folders[name].name for name in participants}
    return REAL_LICENSE.format(real="; ".join(one.licence for one in taught_by(recipe).real if one.folder in used))


def load_real(recipe: Recipe, data_root: Path, leave_out: Sequence[str] = ()) -> list[Scan]:
    """Participants with manual masks below ``data_root`` that may train, on the recipe's grid; none where none are.

    Args:
        recipe: of kind ``whole``, or flat.
        data_root: holds the datasets that the recipe's lesson names.
        leave_out: participants that must not train.

    Raises:
        UsageError: a participant that is left out but not there, or one without image or mask.
    """
    known = sorted(folders_of(recipe, Path(data_root)))
    if gone := sorted(set(leave_out) - set(known)):
        raise UsageError(f"{', '.join(gone)} cannot be left out: real scans of {recipe.name} are {known or 'none'}")
    return [scan for name in known if name not in leave_out for scan in _scans(recipe, data_root, name)]


def _scans(recipe: Recipe, data_root: Path, participant: str) -> list[Scan]:
    """One scan of a participant; of a flat recipe one of every slice near its level.

    A height in the template is found by the middle of the brain alone: there is no registration here.
    """
    import nibabel as nib

    from bids_app.imaging.brain import content_mask
    from bids_app.imaging.stacking import Grid, transform_points

    images, labels = images_of(recipe, data_root, participant)
    reference = nib.load(images[recipe.reference])
    inside = content_mask(reference.get_fdata(dtype=np.float32), Grid(reference.shape, reference.affine))
    with tempfile.TemporaryDirectory() as place:
        mask = Path(place) / "mask.nii.gz"
        nib.save(nib.Nifti1Image(inside.astype(np.uint8), reference.affine), mask)
        places: dict[int, Grid | None] = {0: None}
        to_template = np.eye(4)
        if recipe.flat:
            to_template[:3, 3] = MIDDLE_MNI - transform_points(reference.affine, _middle(inside))
            level = place_level(recipe, images[recipe.reference], to_template, mask)
            places = {one.offset: one.grid for one in level}
        laid = {at: lay(recipe, images, {}, to_template, mask, grid=grid) for at, grid in places.items()}
    return [
        Scan(
            participant,
            participant.removeprefix("sub-"),
            stack,
            present,
            lay_labels(labels, recipe, grid),
            recipe.needed_grid.spacing_mm,
            np.zeros(0),
            np.zeros(0),
            offset=offset,
        )
        for offset, (stack, present, grid) in laid.items()
    ]


def _middle(mask: np.ndarray) -> np.ndarray:
    """Middle of the box around a mask, voxels, ``(3,)``."""
    where = np.argwhere(mask)
    middle: np.ndarray = (where.min(0) + where.max(0)) / 2
    return middle


class RealPatches:
    """Patches of real scans, changed at random; the ``n``-th depends on the seed and ``n`` alone.

    Args:
        scans: that train.
        recipe: says which sequences may be missing, and how often.
        patch: voxels.
        normalisation: per sequence, as `networks.standardise.normalise` wants it.
        seed: of places and changes.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        recipe: Recipe,
        patch: Sequence[int],
        normalisation: Sequence[dict[str, Any]],
        seed: int,
    ) -> None:
        always = tuple(n for n, sequence in enumerate(recipe.sequences) if sequence.required)
        self.seed, self.how = seed, replace(augmentation_of(recipe).at(CHANGED), always=always)
        self.participants = list(dict.fromkeys(scan.key for scan in scans))
        self.patches = Patches(
            scans,
            patch,
            1,
            seed,
            regions=len(recipe.regions),
            normalise=lambda stack: normalise(stack, normalisation),
            flat=recipe.flat,
        )

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``(sequences, x, y, z)``, normalised, and classes ``(x, y, z)``, uint8; of a flat recipe without
        ``z``, and with a channel per slice."""
        import torch

        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        batch = self.patches.batch(number)
        batch = apply(batch, draw(batch, self.how, generator))
        return batch.images[0], batch.labels[0].argmax(0).to(torch.uint8)
