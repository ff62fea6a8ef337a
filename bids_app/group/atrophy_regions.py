"""Structures of the template: what the bundle `anatomy` finds in it, on the grid of the maps."""

from __future__ import annotations

import numpy as np

from bids_app.imaging.grey_matter import GREY, SHAPE, map_grid
from bids_app.imaging.stacking import Grid
from bids_app.imaging.templates import find_template
from bids_app.imaging.warping import pull
from bids_app.predict.anatomy import anatomy_bundle, find_anatomy

#: A voxel without a structure belongs to the nearest one up to this distance, mm: maps are smoothed.
REACH_MM = 4.0


def template_regions(template: str) -> tuple[np.ndarray, dict[int, str]]:
    """The grey structure that each voxel of the maps belongs to, int16, `SHAPE`, 0 for none; and their names.

    Args:
        template: its name.

    Returns:
        All zero and no names where there is no bundle `anatomy`.
    """
    bundle = anatomy_bundle()
    if bundle is None:
        return np.zeros(SHAPE, np.int16), {}
    image = find_template(template).image
    labels = find_anatomy(bundle, image).labels.astype(np.int16)
    on_grid = pull(labels, Grid.of(image), map_grid(), [], order=0)
    names = {region.index: region.name for region in bundle.recipe.regions if region.index in GREY}
    return nearest_grey(on_grid), names


def nearest_grey(labels: np.ndarray) -> np.ndarray:
    """Labels of grey matter alone, grown by `REACH_MM` into what has none."""
    from scipy.ndimage import distance_transform_edt

    grey = np.where(np.isin(labels, GREY), labels, 0).astype(np.int16)
    far, nearest = distance_transform_edt(grey == 0, map_grid().spacing, return_indices=True)
    return np.where(far <= REACH_MM, grey[tuple(nearest)], 0).astype(np.int16)
