"""A network that learned crops of one side, in a whole brain: a crop on either side where a label map says.

Both crops lie on one lattice with the network's spacing, along the image's own axes as the crops that trained do, so
that the answers of both sides are put together, and one of them mirrored, without another interpolation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, rotation_of, sample, transform_points
from bids_app.predict.predict import RegionPrediction, predict_vote
from bids_app.predict.regions import main_piece, within
from bids_app.predict.vote import Vote
from bids_app.recipes.recipe import Recipe
from bids_app.scans.lay import lay

SIDES = ("left", "right")
TOTAL_COLOR = "#888888"
#: A smaller piece of a label is no structure to look around, mm³. This and the numbers below are round ones of ours.
LEAST_MM3 = 200.0
#: Looks at one side at most, each centred on what the one before it found, until that stays where it is.
MOST_LOOKS = 4
#: Probability further than this from the main piece of all regions of a side together is dropped, mm.
KEPT_MM = 3.0
#: An answer that overlaps less than this (Dice) with the label that it was looked for around may be another structure.
#: Labels of the bundle that finds the places overlap by 0.18 to 0.70 with right answers (16 brains): they are coarser.
AGREEING = 0.1


@dataclass(frozen=True)
class Side:
    """What was found on one side.

    Attributes:
        start: first voxel of the crop, in steps of the lattice, shape ``(3,)``.
        seen: the crop's stack as it lies in the brain, shape ``(sequences, x, y, z)``.
        vote: of the network, as it lies in the brain.
        shift_mm: from the middle of the label to the middle of what was found.
        dice: overlap of what was found with the label.
        at_border: it reaches the border of the crop.
    """

    start: np.ndarray
    seen: np.ndarray
    vote: Vote
    shift_mm: float
    dice: float
    at_border: bool


def both_sides(bundle: Bundle) -> Bundle:
    """A bundle whose recipe has every region once a side, each with the threshold of the one that was learned."""
    recipe, thresholds = bundle.recipe.on_both_sides(), bundle.calibration.get("thresholds")
    if not thresholds:
        return replace(bundle, recipe=recipe)
    named = {f"{side} {name}": value for side in SIDES for name, value in thresholds.items()}
    return replace(bundle, recipe=recipe, calibration={**bundle.calibration, "thresholds": named})


def side_totals(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All regions of a side together, for a recipe of several regions on both sides: rows as `measure_regions` gives.

    A sum has neither index nor centre, and no interval: those of its regions are not independent.
    """
    totals = []
    for side in SIDES:
        mine = [row for region, row in zip(recipe.regions, rows, strict=True) if region.side == side]
        if len(mine) < 2:
            continue
        nothing = dict.fromkeys(("index", "centre_mm", "soft_low_mm3", "soft_high_mm3"))
        sums = {name: sum(row[name] for row in mine) for name in ("soft_mm3", "hard_mm3")}
        about = {
            "name": f"{side} {recipe.name}",
            "kind": "total",
            "color": TOTAL_COLOR,
            "threshold": mine[0]["threshold"],
        }
        totals.append({**nothing, **about, **sums, "found": any(row["found"] for row in mine)})
    return totals


def predict_sides(
    bundle: Bundle,
    images: Mapping[str, Path],
    to_images: Mapping[str, np.ndarray],
    labels: Path | str,
    *,
    device: str = "cpu",
    low_mem: bool = False,
    threads: int | None = None,
) -> tuple[RegionPrediction, dict[str, Any]]:
    """Look for the recipe's regions on either side, and again centred on what was found there.

    Args:
        bundle: of a recipe with a table ``locate``.
        images: file of every sequence that is there, by the recipe's names.
        to_images: reference world to each image's world, ``(4, 4)``.
        labels: whole numbers in the reference's world, among them ``locate.left`` and ``locate.right``.
        device, low_mem, threads: as in `bids_app.predict.predict.predict`.

    Returns:
        Probabilities in the order of `both_sides`' regions on one grid over both crops, zero where nothing was found;
        and for each side what it was found by: ``shift_mm`` and ``dice`` with the label, None where nothing is.
    """
    recipe, where = bundle.recipe, bundle.recipe.needed_locate
    lattice = lattice_of(Path(images[recipe.reference]), recipe.needed_grid.spacing_mm)
    options = {"device": device, "low_mem": low_mem, "threads": threads}
    found: dict[str, Side] = {}
    warnings, facts = [], {}
    for side in SIDES:
        centre = place_of(labels, getattr(where, side))
        if centre is None:
            warnings.append(f"{recipe.title}: no {side} one was looked for, because {where.by} found none")
        else:
            one = _look(bundle, images, to_images, labels, lattice, centre, side, options)
            warnings += [f"{recipe.title}, {side}: {text}" for text in _doubts(recipe, one)]
            found |= {side: one} if one.dice else {}
        facts[side] = {"shift_mm": found[side].shift_mm, "dice": found[side].dice} if side in found else None
    return _joined(recipe, lattice, found, warnings), facts


def lattice_of(path: Path, spacing: float) -> np.ndarray:
    """Steps along an image's own axes, in the order closest to right, front, top, from the middle of its first voxel:
    step to world, ``(4, 4)``."""
    import nibabel as nib

    own = nib.as_closest_canonical(nib.load(path)).affine
    lattice = np.eye(4)
    lattice[:3, :3] = rotation_of(own) * spacing
    lattice[:3, 3] = own[:3, 3]
    return lattice


def place_of(labels: Path | str, label: int) -> np.ndarray | None:
    """Middle of the box around a label's largest piece, world mm; None where that piece is below `LEAST_MM3`.

    Raises:
        ImageError: no image of whole numbers can be read there.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from scipy import ndimage

    try:
        image = nib.load(labels)
        inside = np.asarray(image.dataobj).reshape(image.shape[:3]) == label
    except (OSError, ValueError, ImageFileError) as error:
        raise ImageError(f"the label map {labels} cannot be read ({error})") from error
    box = ndimage.find_objects(inside.astype(np.uint8))
    if not box or box[0] is None:
        return None
    pieces, _ = ndimage.label(inside[box[0]], structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if sizes.max() * abs(np.linalg.det(image.affine[:3, :3])) < LEAST_MM3:
        return None
    return transform_points(image.affine, _middle(pieces == sizes.argmax()) + [part.start for part in box[0]])


def _look(
    bundle: Bundle,
    images: Mapping[str, Path],
    to_images: Mapping[str, np.ndarray],
    labels: Path | str,
    lattice: np.ndarray,
    centre: np.ndarray,
    side: str,
    options: Mapping[str, Any],
) -> Side:
    """One side: a crop around the label, then around what was found in it, until that stays in the middle."""
    recipe = bundle.recipe
    shape = np.rint(np.asarray(recipe.needed_locate.size_mm) / recipe.needed_grid.spacing_mm).astype(int)
    to_step = np.linalg.inv(lattice)
    middle = transform_points(to_step, centre)
    for look in range(1, MOST_LOOKS + 1):
        start = np.rint(middle - (shape - 1) / 2).astype(int)
        grid = crop_of(lattice, start, shape)
        seen, present, _ = lay(recipe, images, to_images, grid=grid)
        vote = _seen_by(bundle, seen, present, recipe.needed_locate.mirrored == side, options)
        piece = main_piece(vote.mean.sum(0), bundle.calibration["threshold"])
        if look == MOST_LOOKS or not piece.any():
            break
        middle = start + _middle(piece)
        if np.array_equal(np.rint(middle - (shape - 1) / 2), start):
            break
    if not piece.any():
        return Side(start, seen, replace(vote, mean=np.zeros_like(vote.mean)), 0.0, 0.0, False)
    kept = replace(vote, mean=np.where(within(piece, grid, KEPT_MM), vote.mean, 0))
    label = sample(labels, np.eye(4), grid, order=0) == getattr(recipe.needed_locate, side)
    away = transform_points(lattice, start + _middle(piece)) - centre
    return Side(
        start,
        seen,
        kept,
        round(float(np.linalg.norm(away)), 2),
        round(float(2 * (piece & label).sum() / (piece.sum() + label.sum())), 3) or 1e-3,
        any(piece.take(end, axis).any() for axis in range(3) for end in (0, -1)),
    )


def crop_of(lattice: np.ndarray, start: np.ndarray, shape: np.ndarray) -> Grid:
    """The grid of a crop that begins at a step of the lattice."""
    affine = lattice.copy()
    affine[:3, 3] = transform_points(lattice, start)
    return Grid(tuple(shape), affine)


def _seen_by(bundle: Bundle, seen: np.ndarray, present: np.ndarray, mirrored: bool, options: Mapping[str, Any]) -> Vote:
    """The network's vote on a crop, or on its mirror image and mirrored back."""
    if not mirrored:
        return predict_vote(bundle, seen, present, **options)
    vote = predict_vote(bundle, np.ascontiguousarray(seen[:, ::-1]), present, **options)
    return replace(vote, mean=vote.mean[:, ::-1], mutual_information=vote.mutual_information[::-1])


def _doubts(recipe: Recipe, side: Side) -> list[str]:
    """What a person should look at."""
    by = recipe.needed_locate.by
    if not side.dice:
        return [f"nothing was found where {by} has it"]
    told = ["it reaches the border of the crop that was looked at; a part may be missing"] if side.at_border else []
    if side.dice < AGREEING:
        told.append(f"it hardly overlaps with what {by} found (Dice {side.dice:.2f}); look at its picture")
    return told


def _joined(recipe: Recipe, lattice: np.ndarray, found: Mapping[str, Side], warnings: list[str]) -> RegionPrediction:
    """Both sides on one grid over their crops; one voxel where neither was found."""
    n, sequences = len(recipe.regions), len(recipe.sequences)
    low = np.min([one.start for one in found.values()], axis=0) if found else np.zeros(3, int)
    high = np.max([one.start + one.seen.shape[1:] for one in found.values()], axis=0) if found else low + 1
    shape = tuple(int(side) for side in high - low)
    probability, stack = np.zeros((2 * n, *shape), np.float32), np.zeros((sequences, *shape), np.float32)
    disagreement = np.zeros(shape, np.float32)
    for side, one in found.items():
        box = tuple(slice(a, a + size) for a, size in zip(one.start - low, one.seen.shape[1:], strict=True))
        first = n * SIDES.index(side)
        probability[(slice(first, first + n), *box)] = one.vote.mean
        stack[(slice(None), *box)] = one.seen
        disagreement[box] = np.maximum(disagreement[box], one.vote.mutual_information)
    grid = crop_of(lattice, low, np.array(shape))
    present = np.ones(sequences, np.float32)
    return RegionPrediction(probability, grid, stack, np.zeros(3), warnings, disagreement, present)


def _middle(mask: np.ndarray) -> np.ndarray:
    """Of the box around the true voxels, shape ``(3,)``."""
    index = np.argwhere(mask)
    return (index.min(0) + index.max(0)) / 2
