"""Find the brain in a whole head of any contrast, by carrying a template's brain over."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.imaging import registration
from bids_app.imaging.ants_registrar import AntsRegistrar
from bids_app.imaging.deform import greedy
from bids_app.imaging.similarity import MutualInformation, climb, scaled, turned
from bids_app.imaging.stacking import Grid, sample, transform_points
from bids_app.imaging.templates import Template, find_template
from bids_app.imaging.transforms import decompose, set_threads
from bids_app.imaging.warping import Displacements, pull

WORKING_MM = 2.0
#: The template's brain and this much around it decide; with more, a brain blown up to the size of the head looks as
#: good: its edge lies in air as the right one does in bone.
RIM_MM = 4.0
#: The middle of the template's brain, and how far below the top of the head (with scalp) it lies, mm.
MIDDLE = np.array([0.0, -18.0, 5.0])
BELOW_TOP_MM = 83.0
#: Within this distance of the middle of a head nearly everything is brain, mm.
CENTRAL_MM = 40.0
FAT_OVER_BRAIN = 1.2
#: A head is smaller than the MNI template by this, along each axis.
TEMPLATE_IS_LARGER = 1.08


def find_brain(
    image_path: Path | str, *, template: Template | None, seed: int, threads: int, sloppy: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """The brain of a whole head.

    The template's brain is placed under the top of the head, matched by an affine and a deformation inside a mask of
    the brain and its rim, and its outline is then moved onto the nearest edge of the image.

    Returns:
        The mask on the image's grid, and facts for `brain_mask`.
    """
    from scipy import ndimage

    set_threads(threads)
    template = template or find_template()
    brain, grid, inside = template_brain(template)
    rim = ndimage.binary_dilation(inside, iterations=round(RIM_MM / WORKING_MM))
    fixed = registration.Working(brain, grid, rim)
    moving = registration.working_image(image_path, WORKING_MM)
    middle = middle_of_head(moving)
    moving = without_fat(moving, middle)
    measure = MutualInformation(brain, grid, moving.array, moving.grid, fixed_mask=rim, points=6000)
    begin = place_brain(middle, measure)
    with tempfile.TemporaryDirectory(dir=Path(image_path).parent, prefix="brain_") as folder:
        matrix = AntsRegistrar().linear(fixed, moving, begin, "affine", seed=seed, folder=Path(folder))
        matrix = max(matrix, begin, key=measure.at)
    native = Grid.of(image_path)
    soft = inside.astype(np.float32)
    chain: list = [matrix]
    if not sloppy:
        head = pull(moving.array, moving.grid, grid, [np.linalg.inv(matrix)])
        chain.append(Displacements(_deformation(head, brain, inside, rim), grid))
    mask = ndimage.binary_fill_holes(pull(soft, grid, native, chain) > 0.5)
    similarity = measure.at(matrix)
    warnings = []
    if similarity < registration.POOR:
        warnings.append(f"the brain was hard to find (similarity {similarity:.2f}); look at the picture of its mask")
    scale = decompose(matrix)["volume_scale"]
    if not registration.PLAUSIBLE_SCALE[0] <= scale <= registration.PLAUSIBLE_SCALE[1]:
        warnings.append(f"the brain that was found is {1 / scale:.2f} times the template's; look at the picture")
    return mask, {
        "method": f"brain of {template.name} carried over by an affine" + ("" if sloppy else " and a deformation"),
        "similarity": round(similarity, 4),
        "to_template": matrix.tolist(),
        "warnings": warnings,
    }


def template_brain(template: Template) -> tuple[np.ndarray, Grid, np.ndarray]:
    """The template's brain at working resolution: intensities, grid, and which voxels it fills."""
    from scipy import ndimage

    grid = registration.working_grid(Grid.of(template.image), WORKING_MM)
    image = sample(template.image, np.eye(4), grid)
    if template.mask is None:
        inside = ndimage.binary_fill_holes(image > 0.03 * image.max())
    else:
        inside = sample(template.mask, np.eye(4), grid) > 0.5
    return np.where(inside, image, 0).astype(np.float32), grid, inside


def middle_of_head(moving: registration.Working) -> np.ndarray:
    """Roughly where the middle of the brain lies, from the top of the head: necks make a centre of mass useless."""
    head = moving.array > 0.15 * np.percentile(moving.array, 98)
    where = transform_points(moving.grid.affine, np.argwhere(head))
    top = np.percentile(where[:, 2], 99.8)
    upper = where[where[:, 2] > top - 110]
    front, back = np.percentile(upper[:, 1], [99, 1])
    return np.array([np.median(upper[:, 0]), (front + back) / 2, top - BELOW_TOP_MM])


def without_fat(moving: registration.Working, middle: np.ndarray) -> registration.Working:
    """Darken what is brighter than any brain: the fat of the scalp, whose edge is the strongest of a T1w head."""
    index = np.moveaxis(np.indices(moving.array.shape), 0, -1)
    near = np.linalg.norm(transform_points(moving.grid.affine, index) - middle, axis=-1) < CENTRAL_MM
    inside = moving.array[near & (moving.array > 0)]
    if inside.size < 100:
        return moving
    limit = FAT_OVER_BRAIN * float(np.percentile(inside, 95))
    over = np.clip((moving.array - limit) / (0.3 * limit), 0, 1)
    return replace(moving, array=np.minimum(moving.array, limit) * (1 - over))


def place_brain(middle: np.ndarray, measure: MutualInformation) -> np.ndarray:
    """Try the template's brain at many places around the middle of the head, and follow the best of them uphill in
    nine directions: shift, turn and size.

    Returns:
        Image world to template world, ``(4, 4)``.
    """
    size = scaled(np.full(3, TEMPLATE_IS_LARGER), MIDDLE)
    starts = [
        size @ turned((pitch, 0, 0), middle + np.array([0, forward, up]), MIDDLE)
        for pitch, forward, up in itertools.product((-30, -15, 0, 15, 30), (-20, -10, 0, 10, 20), (-20, -10, 0, 10, 20))
    ]
    starts.append(size)  # as the header says
    found = [climb(measure, start, MIDDLE, bounds=(40, 40, 25)) for start in sorted(starts, key=measure.at)[:-4:-1]]
    return max(found, key=measure.at)


def _deformation(head: np.ndarray, brain: np.ndarray, inside: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Displacements from the head (already on the template's grid) to the template, mm, shape ``(3, x, y, z)``."""
    where = np.argwhere(rim)
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    field = np.zeros((3, *head.shape), np.float32)
    part = greedy(head[box], brain[box], rim[box].astype(np.float32))
    field[(slice(None), *box)] = part[(slice(None), *(slice(0, n) for n in rim[box].shape))] * WORKING_MM
    return field
