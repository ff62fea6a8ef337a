"""A head of which the answer is known: brightness says what is where, and a stand-in for the network reads it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.recipes.recipe import Recipe, parse_recipe
from tests.learned.small_bundle import small_manifest, write_small

#: Brightness of each structure.
LEFT, RIGHT, FLUID, SKIN = 400, 500, 200, 900
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = -94.0


def head_recipe(spacing_mm: float = 4.0, **more) -> Recipe:
    """The recipe ``anatomy`` with two halves of a brain and the fluid around them."""
    content = {
        "name": "anatomy",
        "title": "Halves of a brain",
        "reference": "T1w",
        "sequences": [{"name": "T1w", "suffix": "T1w", "alternatives": ["T2w", "FLAIR"]}],
        "grid": {"kind": "head", "spacing_mm": spacing_mm},
        "regions": [
            {"index": 2, "name": "left half", "side": "left", "partner": 41},
            {"index": 24, "name": "cerebrospinal fluid"},
            {"index": 41, "name": "right half", "side": "right", "partner": 2},
        ],
        "network": {"filters": 4, "blocks": [1, 1], "deep_supervision": 1},
    }
    return parse_recipe({**content, **more}, source="test")


def head_bundle(folder: Path, **more) -> Bundle:
    """A bundle of `head_recipe` with random weights."""
    return write_small(folder, recipe=head_recipe(**more), manifest=small_manifest(participants=["80"]))


def head_image(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = (48, 48, 48)) -> nib.Nifti1Image:
    """A ball of a brain of 1150 ml in 5 mm of fluid and a skin, with a lesser ball of brain far below, on any grid."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    at = index @ affine[:3, :3].T + affine[:3, 3]
    away = np.linalg.norm(at, axis=-1)
    values = np.select(
        [away < 65, away < 70, (away > 78) & (away < 84)], [np.where(at[..., 0] < 0, LEFT, RIGHT), FLUID, SKIN], 0
    )
    values[np.linalg.norm(at - [0, 0, -90], axis=-1) < 6] = RIGHT
    return nib.Nifti1Image(values.astype(np.float32), affine)


def read_brightness(bundle: Bundle, stacked: np.ndarray, present=None, **options) -> np.ndarray:
    """In place of a network: certain of what the brightness says, and half of each between left and right."""
    shown = {2: LEFT, 24: FLUID, 41: RIGHT}
    each = [np.clip(1 - np.abs(stacked[0] - shown[region.index]) / 100, 0, 1) for region in bundle.recipe.regions]
    return np.stack(each).astype(np.float32)
