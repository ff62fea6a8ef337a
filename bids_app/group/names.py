"""Names of numbers in the group's tables: short, and the same in every run and version.

A name is ``recipe_region_measure_unit``: ``habenula_left_soft_mm3``. Words that the recipe's name has already are left
out of the region (``left habenula``), and every word is in small letters and digits. The measures are the columns of a
session's own tables. These names are part of the program's interface: one that is published is never given to another
number.
"""

from __future__ import annotations

import re

#: Measure -> its unit; columns of ``*_volumes.tsv``, then what is measured once a session.
UNITS = {
    "soft_mm3": "mm3",
    "soft_low_mm3": "mm3",
    "soft_high_mm3": "mm3",
    "hard_mm3": "mm3",
    "area_mm2": "mm2",
    "centre_x_mm": "mm",
    "centre_y_mm": "mm",
    "centre_z_mm": "mm",
    "lesion_count": "lesions",
    "lesion_load_mm3": "mm3",
    "brain_mask_ml": "ml",
    "mean_fd_mm": "mm",
    "bold_tsnr": "1",
    "bold_volumes": "volumes",
}
DEFINITIONS = {
    "soft_mm3": "Calibrated probability, integrated over the prediction grid in and around the region's main "
    "piece, in the participant's own space; no threshold.",
    "soft_low_mm3": "Lower end of the interval that holds 95 % of repeated scans of the same brain.",
    "soft_high_mm3": "Upper end of the interval that holds 95 % of repeated scans of the same brain.",
    "hard_mm3": "Voxels of the prediction grid, in the region's main piece, at or above the bundle's threshold.",
    "area_mm2": "Of a recipe of one slice: soft_mm3, which is then the volume in that slice alone, divided by its "
    "thickness.",
    "centre_x_mm": "Centre of mass, to the right, in the reference image's world.",
    "centre_y_mm": "Centre of mass, to the front, in the reference image's world.",
    "centre_z_mm": "Centre of mass, upwards, in the reference image's world.",
    "lesion_count": "Connected pieces (26 neighbours) of the mask of all lesions.",
    "lesion_load_mm3": "Volume of that mask: of all lesions together, on the reference's own grid.",
    "mean_fd_mm": "Mean framewise displacement of the resting-state series.",
    "bold_tsnr": "Median temporal signal-to-noise of the resting-state series in the brain.",
    "bold_volumes": "Volumes of the resting-state series that were kept.",
    "brain_mask_ml": "Volume of the brain mask; an estimate of brain size, not of the intracranial volume.",
}
#: What is measured of a recipe or session as a whole, and needs no region in its name.
OF_ALL = ("lesion_count", "lesion_load_mm3", "brain_mask_ml", "mean_fd_mm", "bold_tsnr", "bold_volumes")


def column_name(recipe: str, region: str, measure: str) -> str:
    """A column of letters, digits and underscores; ``n/a`` is the recipe of what is measured in every session."""
    own = [] if recipe == "n/a" else words(recipe)
    place = [] if measure in OF_ALL else [word for word in words(region) if word not in own]
    return "_".join([*own, *place, measure])


def words(text: str) -> list[str]:
    """A name in small words."""
    return [word for word in re.split(r"[^0-9a-z]+", text.lower()) if word]
