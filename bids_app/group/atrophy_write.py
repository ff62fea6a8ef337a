"""The maps of one session's atrophy: which voxels count, and the files that are written of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.bids.naming import parse_name, source_entities
from bids_app.bids.sink import Sink
from bids_app.group.atrophy_maps import DensityMap
from bids_app.imaging.ants_registrar import moved_mask
from bids_app.imaging.grey_matter import SPACING, map_grid
from bids_app.imaging.stacking import Grid

#: Labels of the files.
LABEL, DESC = "GM", "atrophy"
RESOLUTION = {"res": f"{SPACING:g}"}


def atrophied(z: np.ndarray, mask: np.ndarray, threshold: float, extent_ml: float) -> np.ndarray:
    """Which voxels of a model count as atrophied: bool, ``(voxels,)``.

    Args:
        z: of its voxels.
        mask: bool, where these lie.
        threshold: z has to be below it.
        extent_ml: volume of the piece (26 neighbours) that a voxel has to belong to.
    """
    from scipy import ndimage

    low = np.zeros(mask.shape, bool)
    low[mask] = z < threshold
    pieces, _ = ndimage.label(low, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel()) * map_grid().voxel_volume / 1000
    sizes[0] = 0
    return np.asarray((sizes >= extent_ml)[pieces[mask]])


def write_maps(
    output_dir: Path, one: DensityMap, z: np.ndarray, inside: np.ndarray, told: Mapping[str, Any]
) -> list[Path]:
    """Write a session's z-map and mask in the template's space, and the mask on its own T1w.

    Args:
        output_dir: the derivatives folder.
        one: the session's map of grey matter.
        z, inside: `bids_app.imaging.grey_matter.SHAPE`; 0 and False outside the model.
        told: fields of the sidecars: threshold, extent, model.

    Returns:
        The files; the last is missing where the session has no transform back any more.

    Raises:
        ImageError: that transform cannot be read.
        CannotWrite: a file cannot be written.
    """
    sink = Sink(output_dir, one.participant, one.session, datasets={})
    kept = source_entities(one.reference) if one.reference else {}
    kept = {name: value for name, value in kept.items() if name not in ("desc", "space", "res")}
    entities = {**kept, "space": one.template, **RESOLUTION, "desc": DESC}
    fields = {**told, "Resolution": f"{SPACING:g} mm, isotropic", "ResearchUseOnly": True}
    affine = map_grid().affine
    about = {**fields, "Units": "z", "Description": "Grey matter against a normative model; below zero is less"}
    made = [
        sink.image(nib.Nifti1Image(z, affine), "statmap", sources=[one.path], sidecar=about, **entities, label=LABEL)
    ]
    picture = nib.Nifti1Image(inside.astype(np.uint8), affine)
    mask = {"suffix": "mask", "label": LABEL}
    fields = {**told, "Type": "ROI", "ResearchUseOnly": True}
    resolved = {**fields, "Resolution": f"{SPACING:g} mm, isotropic"}
    made.append(sink.image(picture, sources=[made[0]], sidecar=resolved, **entities, **mask))
    if one.back is None or one.reference is None or not one.back.is_file() or not one.reference.is_file():
        return made
    native = Grid.of(one.reference)
    own = nib.Nifti1Image(moved_mask(inside, map_grid(), one.back, native).astype(np.uint8), native.affine)
    space = parse_name(one.reference)[1]
    entities = {**kept, "space": space, "desc": DESC}
    sources = [made[1], one.back]
    made.append(sink.image(own, sources=sources, reference=one.reference, sidecar=fields, **entities, **mask))
    return made
