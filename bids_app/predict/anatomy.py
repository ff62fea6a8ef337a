"""Every structure of a whole head, and from them the brain: one run of the network, before anything else is known.

Of the recipe's many probabilities only labels and a few sums leave this module: those of 34 structures of a whole head
are a gigabyte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bundle.bundle import Bundle, load_bundle, shipped
from bids_app.errors import ImageError
from bids_app.imaging.background import faces_of
from bids_app.imaging.brain import BRAIN_ML, CUT_AT_MOST
from bids_app.imaging.head import template_brain
from bids_app.imaging.landmarks import FEWEST, MIDDLES, affine_to_template, agreement, middles_of
from bids_app.imaging.stacking import Grid, box_of, part_of, to_grid, transform_points
from bids_app.imaging.templates import find_template
from bids_app.measure.volumes import largest_piece
from bids_app.predict.predict import predict
from bids_app.predict.regions import measure_regions, weights_of
from bids_app.recipes.recipe import ANATOMY, Recipe
from bids_app.scans.lay import lay

#: Index of the fluid around the brain (FreeSurfer's CSF): inside the skull, not of the brain.
FLUID = 24
#: Brighter than this part of the 98th percentile is head and not air.
HEAD_LEVEL = 0.12
#: A slice with a smaller part of such voxels is left out: noise has some everywhere. Both are round numbers of ours.
HEAD_SHARE = 0.002
#: Kept around the head, mm.
ROOM_MM = 8.0
#: What is called brain lies in one piece but for this part. Pieces in necks and faces, which are dropped, measure up to
#: 0.15 where the brain is right (31 whole heads).
ASTRAY_AT_MOST = 0.3
#: Dice of the brain with the template's, placed by its structures: below the first it is not one, below the second it
#: is worth a look. Right brains of 20 to 75 years have 0.89 to 0.95, brains without their lower half 0.47 to 0.68.
AGREES_AT_LEAST, AGREES_WELL = 0.75, 0.85
#: Fluid in furrows narrower than twice this counts to the brain's mask, as in the masks of others, mm. With 4, 6, 8 and
#: 12 mm the mean Dice with the space within the skull of 7 heads is 0.970, 0.973, 0.974 and 0.976, and that with the
#: extent of 4 distributed brains 0.969, 0.970, 0.970 and 0.969.
FURROW_MM = 8.0
#: Probability further than this from the head's one piece is dropped, voxels of the network's grid.
KEPT_VOXELS = 2


@dataclass(frozen=True)
class AnatomyPrediction:
    """What the network found in one head.

    Attributes:
        labels: the recipe's indices on the image's grid, shape ``grid.shape``; 0 for none.
        brain: everything but the fluid around it (that in its furrows is in), one piece without holes, on the image's
            grid. The row of the brain in ``rows`` is without any of that fluid.
        grid: of the image.
        seen: the grid that the network worked on.
        rows: one per region as `bids_app.predict.regions.measure_regions` gives them, then the brain and all within
            the skull (their ``index`` is None).
        trouble: why this cannot be the whole brain; empty where it can.
        to_template: where its structures put it, image world to template world, ``(4, 4)``; None where they do not lie
            as in a head.
        remark: what a person should look at in the brain, though it can be one; empty where there is nothing.
        warnings: sentences about the regions, for the report.
        view: what targets are answered from: the stack ``(1, x, y, z)`` around the middle of the head's structures, of
            the sides that trained; None where the recipe has no targets.
    """

    labels: np.ndarray
    brain: np.ndarray
    grid: Grid
    seen: Grid
    rows: list[dict[str, Any]]
    trouble: str
    to_template: np.ndarray | None = None
    remark: str = ""
    warnings: list[str] = field(default_factory=list)
    view: np.ndarray | None = None


def anatomy_bundle(given: Path | None = None) -> Bundle | None:
    """The bundle that finds the brain: the one given where it is for that recipe, else the one that ships, if any."""
    if given is not None and (given / "recipe.toml").is_file():
        bundle = load_bundle(given)
        if bundle.recipe.name == ANATOMY:
            return bundle
    return load_bundle(ANATOMY) if ANATOMY in shipped() else None


def find_anatomy(
    bundle: Bundle,
    image_path: Path | str,
    *,
    device: str = "cpu",
    tta: bool = False,
    low_mem: bool = False,
    threads: int | None = None,
    within: Path | None = None,
) -> AnatomyPrediction:
    """Label a whole head, or a stripped brain, of any contrast.

    Args:
        bundle: of a recipe whose grid has the kind ``head``.
        image_path: 3-D image; nothing needs to be known of it.
        device, tta, low_mem, threads: as in `bids_app.predict.predict.predict`.
        within: labels that another network gave the same head: nothing that lies apart from them is labelled.

    Raises:
        ImageError: nothing was found in it.
    """
    recipe = bundle.recipe
    stack, _, grid = lay(recipe, {recipe.reference: Path(image_path)}, {})
    box = head_box(stack[0], grid)
    seen = looked = part_of(grid, box)
    probability = predict(bundle, stack[(slice(None), *box)], device=device, tta=tta, low_mem=low_mem, threads=threads)
    if within is not None:
        probability[:, ~reached_by(within, seen)] = 0
    weights = weights_of(bundle)
    labels = likeliest(recipe, probability, weights)
    astray = _keep_one_piece(labels, probability)
    if not labels.any():
        raise ImageError(f"the network of {bundle.name} found nothing in {image_path}: is it a head?")
    view = view_of(bundle, stack, box, labels) if recipe.targets else None
    inside = box_of(labels > 0, KEPT_VOXELS + 1)  # there is nothing outside it
    seen, labels, probability = part_of(seen, inside), labels[inside], probability[(slice(None), *inside)]
    measured = measure_regions(bundle, probability, seen, labels)
    rows = measured.rows + _totals(recipe, probability, labels, seen)
    native = Grid.of(image_path)
    brain = _solid(to_native(_share_of_brain(recipe, probability, labels, seen), seen, native) > 0.5)
    placed, agrees = placed_by(rows, brain, native)
    trouble = doubt(brain, native, astray, agrees)
    remark = ""
    if not trouble and agrees is not None and agrees < AGREES_WELL:
        remark = (
            f"the brain that was found agrees little with the template's (Dice {agrees:.2f}, usual are 0.89 and more); "
            f"look at the picture of its mask"
        )
    labels = labels_on(recipe, probability, labels, seen, native, weights)
    return AnatomyPrediction(labels, brain, native, looked, rows, trouble, placed, remark, measured.warnings, view)


def placed_by(
    rows: Sequence[Mapping[str, Any]], brain: np.ndarray, grid: Grid
) -> tuple[np.ndarray | None, float | None]:
    """Where a head's structures put it in the template's space, and the Dice of its brain with the template's there.

    Args:
        rows: of `measure_regions`.
        brain: shape ``grid.shape``.

    Returns:
        As `AnatomyPrediction.to_template`; and 0 where the structures do not lie as in a head, None where the network
        does not know enough of them to say so.
    """
    if len({row["index"] for row in rows} & set(MIDDLES)) < FEWEST:
        return None, None
    matrix = affine_to_template(middles_of(rows))
    if matrix is None:
        return None, 0.0
    _, where, inside = template_brain(find_template())
    return matrix, agreement(brain, grid, matrix, inside, where)


def view_of(bundle: Bundle, stack: np.ndarray, box: tuple[slice, ...], labels: np.ndarray) -> np.ndarray:
    """What targets are answered from: sides that trained, around the structures; the head where no plan says them."""
    sides = bundle.plans[0].get("patch")
    if sides is None:
        return stack[(slice(None), *box)]
    middle = [part.start + (one.start + one.stop) // 2 for part, one in zip(box, box_of(labels > 0), strict=True)]
    return view_around(stack, middle, sides)


def view_around(stack: np.ndarray, middle: Sequence[int], sides: Sequence[int]) -> np.ndarray:
    """A part of a stack ``(sequences, x, y, z)`` around a voxel, with zeros where it reaches beyond."""
    room = [(0, 0), *((side, side) for side in sides)]
    starts = [place + side - side // 2 for place, side in zip(middle, sides, strict=True)]
    return np.pad(stack, room)[(slice(None), *(slice(a, a + n) for a, n in zip(starts, sides, strict=True)))]


def head_box(image: np.ndarray, grid: Grid) -> tuple[slice, ...]:
    """The part of an image that shows a head, with `ROOM_MM` around it: air costs as much time as brain."""
    there = image > HEAD_LEVEL * np.percentile(image[::2, ::2, ::2], 98)
    box = []
    for axis, spacing in enumerate(grid.spacing):
        share = there.mean(tuple(a for a in range(3) if a != axis))
        inside = np.flatnonzero(share > HEAD_SHARE)
        room = int(np.ceil(ROOM_MM / spacing))
        ends = (inside[0] - room, inside[-1] + 1 + room) if len(inside) else (0, image.shape[axis])
        box.append(slice(max(int(ends[0]), 0), min(int(ends[1]), image.shape[axis])))
    return tuple(box)


def likeliest(recipe: Recipe, probability: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """The recipe's index of the likeliest region of each voxel, 0 where none of them is as likely as that there is
    none; uint8 or int16, ``(x, y, z)``.

    Args:
        probability: shape ``(regions, x, y, z)``.
        weights: of `bids_app.predict.regions.weights_of`; 1 each where not given.
    """
    most = 1 - probability.sum(0)
    labels = np.zeros(most.shape, _kind(recipe))
    for region, values, weight in zip(recipe.regions, probability, weights or [1.0] * len(probability), strict=True):
        weighed = values if weight == 1 else weight * values
        np.copyto(labels, region.index, where=weighed > most)
        np.maximum(most, weighed, out=most)
    return labels


def labels_on(
    recipe: Recipe,
    probability: np.ndarray,
    labels: np.ndarray,
    seen: Grid,
    native: Grid,
    weights: Sequence[float] | None = None,
) -> np.ndarray:
    """`likeliest` on another grid: every probability is brought there by itself, each only where its region lies.

    Args:
        labels: `likeliest` on ``seen``, with the same ``weights``.
    """
    if shift := _shift(seen, native):
        result = np.zeros(native.shape, labels.dtype)
        result[shift] = labels
        return result
    result = np.zeros(native.shape, labels.dtype)
    most = 1 - to_grid(probability.sum(0), seen, native)
    for region, values, weight in zip(recipe.regions, probability, weights or [1.0] * len(probability), strict=True):
        inside = labels == region.index  # it is the likeliest between voxels only near one where it is the likeliest
        if not inside.any():
            continue
        box = box_of(inside, 2)
        target = _reached_part(part_of(seen, box), native)
        brought = weight * to_grid(values[box], part_of(seen, box), part_of(native, target))
        np.copyto(result[target], region.index, where=brought > most[target])
        np.maximum(most[target], brought, out=most[target])
    return result


def to_native(values: np.ndarray, seen: Grid, native: Grid) -> np.ndarray:
    """One map on the image's grid; as it is where its voxels lie there already."""
    if shift := _shift(seen, native):
        result = np.zeros(native.shape, np.float32)
        result[shift] = values
        return result
    return to_grid(values, seen, native)


def doubt(brain: np.ndarray, grid: Grid, astray: float, agrees: float | None) -> str:
    """Why a mask cannot be that of a whole brain; empty where it can.

    Args:
        brain: shape ``grid.shape``.
        astray: part of what was called brain that lay apart from it.
        agrees: Dice with the template's brain, 0 where the structures lie otherwise than in a head; None: not known.
    """
    ml = float(brain.sum() * grid.voxel_volume / 1000)
    cut = max(float(face.mean()) for face in faces_of(brain))
    found = []
    if not BRAIN_ML[0] <= ml <= BRAIN_ML[1]:
        found.append(f"it measures {ml:.0f} ml")
    if astray > ASTRAY_AT_MOST:
        found.append(f"{100 * astray:.0f} % of it lies apart")
    if cut > CUT_AT_MOST:
        found.append(f"it is cut off by the image over {100 * cut:.0f} % of a face")
    if agrees == 0:
        found.append("its structures do not lie as in a head")
    elif agrees is not None and agrees < AGREES_AT_LEAST:
        found.append(f"it agrees too little with the template's brain (Dice {agrees:.2f})")
    return ", ".join(found)


def reached_by(labels: Path, grid: Grid) -> np.ndarray:
    """Where an image's labels lie on a grid, and one voxel around them: bool, ``grid.shape``."""
    from scipy.ndimage import binary_dilation

    from bids_app.imaging.stacking import sample

    return binary_dilation(sample(labels, np.eye(4), grid, order=0) > 0)


def _keep_one_piece(labels: np.ndarray, probability: np.ndarray) -> float:
    """Drop, in place, what lies apart from the largest piece of the brain and the fluid that touches it.

    Returns:
        The part of the brain's voxels that was dropped.
    """
    from scipy import ndimage

    brain = (labels > 0) & (labels != FLUID)
    total = int(brain.sum())
    if not total:
        labels[:] = 0
        return 0.0
    main = largest_piece(brain, corners=False)
    inside = largest_piece(main | (labels == FLUID), corners=False)
    labels[~inside] = 0
    outside = ~ndimage.binary_dilation(inside, iterations=KEPT_VOXELS)
    for values in probability:
        values[outside] = 0
    return 1 - float(main.sum()) / total


def _totals(recipe: Recipe, probability: np.ndarray, labels: np.ndarray, grid: Grid) -> list[dict[str, Any]]:
    """The brain and everything within the skull: sums of probability, and voxels that have a label."""
    rows = []
    for name, whole, fluid in (("brain", "#f5c542", False), ("total intracranial volume", "#7f7f7f", True)):
        soft = sum(
            float(values.sum(dtype=float))
            for region, values in zip(recipe.regions, probability, strict=True)
            if fluid or region.index != FLUID
        )
        hard = int(((labels > 0) & (fluid | (labels != FLUID))).sum())
        rows.append(
            {
                "index": None,
                "name": name,
                "color": whole,
                "found": True,
                "threshold": None,
                "kind": "total",
                "soft_mm3": soft * grid.voxel_volume,
                "hard_mm3": hard * grid.voxel_volume,
                "centre_mm": None,
                "soft_low_mm3": None,
                "soft_high_mm3": None,
            }
        )
    return rows


def _share_of_brain(recipe: Recipe, probability: np.ndarray, labels: np.ndarray, grid: Grid) -> np.ndarray:
    """Probability that a voxel is of the brain or of the fluid in its furrows, float32, ``(x, y, z)``."""
    total = np.zeros(probability.shape[1:], np.float32)
    furrows = furrows_of((labels > 0) & (labels != FLUID), grid) & (labels == FLUID)
    for region, values in zip(recipe.regions, probability, strict=True):
        total += values if region.index != FLUID else np.where(furrows, values, 0)
    return total


def furrows_of(brain: np.ndarray, grid: Grid) -> np.ndarray:
    """A brain and what lies in its furrows: closed by a ball of `FURROW_MM`."""
    from scipy import ndimage

    room = int(np.ceil(FURROW_MM / grid.spacing.min())) + 1
    padded = np.pad(brain, room)
    around = ndimage.distance_transform_edt(~padded, sampling=grid.spacing) <= FURROW_MM
    closed = ndimage.distance_transform_edt(around, sampling=grid.spacing) > FURROW_MM
    return (closed | padded)[room:-room, room:-room, room:-room]


def _solid(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    if not mask.any():
        return mask
    box = box_of(mask, 1)
    solid = np.zeros_like(mask)
    solid[box] = ndimage.binary_fill_holes(largest_piece(mask[box], corners=False))
    return solid


def _kind(recipe: Recipe) -> type:
    return np.uint8 if max(region.index for region in recipe.regions) < 256 else np.int16


def _reached_part(source: Grid, target: Grid) -> tuple[slice, ...]:
    """The part of a target that a source reaches; one voxel at least."""
    corners = transform_points(np.linalg.inv(target.affine), source.corners())
    low = np.clip(np.floor(corners.min(0)) - 1, 0, np.array(target.shape) - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 2, low + 1, target.shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _shift(seen: Grid, native: Grid) -> tuple[slice, ...] | None:
    """Where a grid lies in another with the same voxels; None where their voxels are not the same."""
    to_native = np.linalg.inv(native.affine) @ seen.affine
    start = np.rint(to_native[:3, 3])
    same = np.allclose(to_native[:3, :3], np.eye(3), atol=1e-4) and np.allclose(to_native[:3, 3], start, atol=1e-3)
    if not same or (start < 0).any() or (start + seen.shape > native.shape).any():
        return None
    return tuple(slice(int(a), int(a) + n) for a, n in zip(start, seen.shape, strict=True))
