"""The insula on label maps that count it as cortex: cortex that lies where an atlas has the insula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bids_app.synthesis.heads.labelmaps import POSITION, LabelMap
from bids_app.synthesis.heads.placed import MIDDLE_MNI, place_map

ATLAS = Path("habenula_atlas") / "AllenAtlas.nii.gz"
INSULA_SOURCE = "the Allen human reference atlas in MNI space (Ding et al. 2016, J Comp Neurol 524:3127; CC BY 4.0)"
#: Long, short and limen of the insula in the Allen human reference atlas; both sides bear the same numbers.
INSULA = (108, 109, 110)
#: Cortex as near to the atlas's insula as this counts as insula, mm: a head is placed to within 2.5 mm on average.
NEAR_MM = 2.0
#: FreeSurfer's numbers: cortex and insula, left and right.
CORTEX_TO_INSULA = {3: 1035, 42: 2035}


def load_insula(data_root: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Distance from the atlas's insula, mm, and voxel to MNI world, ``(4, 4)``; None where there is no atlas.

    Args:
        data_root: the folder that holds `ATLAS`, `INSULA_SOURCE`, 0.5 mm.
    """
    import nibabel as nib
    from scipy.ndimage import distance_transform_edt

    path = Path(data_root) / ATLAS
    if not path.is_file():
        return None
    image = nib.load(path)
    inside = np.isin(np.asarray(image.dataobj)[::2, ::2, ::2], INSULA)
    spacing = np.asarray(image.header.get_zooms()[:3], float) * 2
    affine = image.affine.copy()
    affine[:3, :3] *= 2
    return distance_transform_edt(~inside, sampling=spacing).astype(np.float32), affine


def with_insula(label_map: LabelMap, atlas: tuple[np.ndarray, np.ndarray]) -> LabelMap:
    """The map with cortex named insula where the atlas, brought there by the middles of structures, has it.

    Args:
        atlas: of `load_insula`.
    """
    from scipy.ndimage import map_coordinates

    distance, affine = atlas
    placed, labels = place_map(label_map), label_map.labels.clone()
    for cortex, insula in CORTEX_TO_INSULA.items():
        where = (label_map.labels == POSITION[cortex]).nonzero()
        mni = (where.float() @ placed.steps + placed.origin).numpy() + np.asarray(MIDDLE_MNI)
        voxel = (np.c_[mni, np.ones(len(mni))] @ np.linalg.inv(affine).T)[:, :3]
        near = map_coordinates(distance, voxel.T, order=1, mode="nearest") <= NEAR_MM
        x, y, z = where[torch.from_numpy(near)].unbind(1)
        labels[x, y, z] = POSITION[insula]
    return replace(label_map, labels=labels)
