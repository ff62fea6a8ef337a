"""Is a mask of a lesion whole, and can it lie on its image? Asked before any work, as of every other file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_app.bids.preflight import ImageFacts, check_image
from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.voxels import is_mask, marked, read_voxels, whole_numbers

#: Of the field of view: no lesion fills that much of a head and the air around it, its inverse and a brain do.
LARGEST_SHARE = 0.5
#: Of the marked voxels that lie in the field of view of the image; below it is said.
INSIDE_AT_LEAST = 0.99


def check_mask(path: Path, reference: Path) -> ImageFacts:
    """Check a lesion mask from its first byte to its last, and against the image it belongs to.

    Args:
        path: of the mask, on any grid of the image's world.
        reference: the image, checked before.

    Returns:
        What was seen; ``warnings`` say what stops nothing: an empty mask, some voxels outside, probabilities.

    Raises:
        InputMissing, ImageError: as `check_image`; or it is inverted, negative, or lies in another place.
    """
    import nibabel as nib

    facts = check_image(path, head=False, constant=True)
    image = nib.load(path)
    values = read_voxels(image, path)
    if facts.minimum < 0:
        raise ImageError(f"{path} has values below 0 ({facts.minimum:g}): a lesion mask is 0 outside and 1 inside")
    warnings = list(facts.warnings)
    if not is_mask(values) and facts.maximum > 0:
        kind = "labels" if whole_numbers(values) is not None else "values between 0 and its largest"
        warnings.append(f"it holds {kind}, not 0 and 1 alone; voxels above half of its largest value count as lesion")
    inside = marked(values)
    if facts.maximum > 0 and whole_numbers(values) is not None:
        inside = np.rint(values) > 0
    share = float(inside.mean())
    if share > LARGEST_SHARE:
        raise ImageError(
            f"{path} marks {100 * share:.0f} % of its field of view: is it inverted, or the mask of the brain?"
        )
    if not share:
        warnings.append("it marks no voxel: nothing is left out of the registration")
    else:
        warnings += _check_place(path, inside, np.asarray(image.affine, float), Grid.of(reference), reference)
    return ImageFacts(**{**vars(facts), "warnings": tuple(warnings)})


def _check_place(path: Path, inside: np.ndarray, affine: np.ndarray, grid: Grid, reference: Path) -> list[str]:
    place = transform_points(np.linalg.inv(grid.affine) @ affine, np.argwhere(inside))
    there = ((place > -1) & (place < np.asarray(grid.shape))).all(axis=1)
    share = float(there.mean())
    if share == 0:
        raise ImageError(
            f"{path} lies outside {reference.name}: it is in another space; bring it to the image's own space first"
        )
    if share < INSIDE_AT_LEAST:
        return [f"{100 * (1 - share):.0f} % of what it marks lies outside {reference.name}; look at its picture"]
    return []
