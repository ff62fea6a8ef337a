"""Where the brain is: heads that come without a skull are recognised, others are matched to a template's brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.background import BLANK_SHARE, BLANK_WITHIN, background_of, faces_of, lifted
from bids_app.imaging.stacking import Grid, box_of
from bids_app.imaging.templates import Template
from bids_app.measure.volumes import largest_piece

#: What tells a stripped brain from a head, each measured at 3 mm on 24 stripped and 18 whole images.
BLANK_AT_LEAST = 0.3  # share of the box that has one and the same value, but for ripples
BRAIN_ML = (600.0, 2050.0)  # what is left, holes filled (the MNI average, larger than most people: 1884 ml)
CUT_AT_MOST = 0.08  # share of a face of the box that it covers: necks do, brains do not
DARK_AT_MOST = 0.022  # share of dark voxels (bone, air) 3-9 mm below the surface
#: Of the range of an image with tissue on both sides of its blank: ripples of interpolation stay below it.
RIPPLES = 0.1


def detect_stripped(array: np.ndarray, affine: np.ndarray) -> tuple[bool, str]:
    """Whether an image shows a brain without skull and scalp.

    Args:
        array: shape ``(x, y, z)``.
        affine: voxel to world, mm, shape ``(4, 4)``.

    Returns:
        The answer, and a sentence why.

    Raises:
        ImageError: the image is the same everywhere.
    """
    from scipy import ndimage

    spacing = np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0)
    step = np.maximum(np.rint(3 / spacing), 1).astype(int)
    small = np.asarray(array)[:: step[0], :: step[1], :: step[2]].astype(np.float32)
    spacing = spacing * step
    if small.min() == small.max():
        raise ImageError("the image is the same everywhere; there is no brain in it")
    ground = background_of(small)
    blank = ground.share
    small = lifted(small, ground) - np.float32(ground.value if ground.side == "above" else 0)
    bright = small > 0.12 * np.percentile(small[small > 0.02 * small.max()], 95)
    solid = largest_piece(ndimage.binary_opening(ndimage.binary_fill_holes(bright)), corners=False)
    ml = float(solid.sum() * np.prod(spacing) / 1000)
    depth = ndimage.distance_transform_edt(np.pad(solid, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    shell = (depth > 3) & (depth <= 9)
    dark = float((~bright)[shell].mean()) if shell.any() else 1.0
    cut = max(float(face.mean()) for face in faces_of(solid))
    reasons = []
    if blank < BLANK_AT_LEAST:
        reasons.append(f"only {100 * blank:.0f} % of the box is blank")
    if not BRAIN_ML[0] <= ml <= BRAIN_ML[1]:
        reasons.append(f"what it shows measures {ml:.0f} ml")
    if cut > CUT_AT_MOST:
        reasons.append(f"it is cut off by the box over {100 * cut:.0f} % of a face")
    if dark > DARK_AT_MOST:
        reasons.append(f"{100 * dark:.0f} % of the layer below its surface is dark as bone")
    if reasons:
        return False, "whole head: " + ", ".join(reasons)
    return True, f"already stripped: {ml:.0f} ml on a blank ground, no dark layer of bone below the surface"


def is_stripped(image_path: Path | str, told: str = "auto") -> tuple[bool, str]:
    """`detect_stripped` of a file, unless a person says what it is.

    Args:
        image_path: 3-D image.
        told: ``auto``, ``skip`` (it is stripped) or ``force`` (it is not).
    """
    import nibabel as nib

    if told != "auto":
        return told == "skip", f"--skull-strip {told} was given"
    image = nib.load(image_path)
    return detect_stripped(np.asanyarray(image.dataobj), image.affine)


def brain_mask(
    image_path: Path | str,
    out: Path | str,
    *,
    template: Template | None = None,
    stripped: bool | None = None,
    known: tuple[np.ndarray, str] | None = None,
    seed: int = 1,
    threads: int = 1,
    sloppy: bool = False,
) -> dict[str, Any]:
    """Write a mask of the brain.

    Args:
        image_path: 3-D image, conformed; any contrast.
        out: the mask, uint8, on the image's grid.
        template: to match a whole head with; by default what `find_template` finds.
        stripped: what the image shows; by default `detect_stripped` is asked.
        known: the brain of a whole head on the image's grid, and how it was found, where no template is to look for it.
        seed: of the registration.
        threads: for ITK.
        sloppy: no deformation and no refinement: for tests.

    Returns:
        ``stripped``, ``why``, ``method``, ``volume_ml``, ``warnings`` and, of a whole head, ``to_template``: image
        world to template world, ``(4, 4)`` as lists.

    Raises:
        ImageError: nothing like a brain is in the image.
    """
    import nibabel as nib

    image = nib.load(image_path)
    array = np.asarray(image.dataobj, dtype=np.float32)
    grid = Grid(image.shape, image.affine)
    why = "as told"
    if stripped is None:
        stripped, why = detect_stripped(array, image.affine)
    facts: dict[str, Any] = {"stripped": bool(stripped), "why": why}
    if stripped:
        mask = content_mask(array, grid)
        facts["method"] = "everything that is not blank, holes filled"
    elif known is not None:
        mask, facts["method"] = known
        if mask.shape != grid.shape:
            raise ImageError(f"the mask that is known has shape {mask.shape}, {image_path} has {grid.shape}")
    else:
        from bids_app.imaging.head import find_brain

        mask, found = find_brain(image_path, template=template, seed=seed, threads=threads, sloppy=sloppy)
        facts.update(found)
    if not mask.any():
        raise ImageError(f"no brain was found in {image_path}; give a stripped image, or one that shows a whole head")
    _save_mask(mask, image.affine, Path(out))
    volume = round(float(mask.sum() * grid.voxel_volume / 1000), 1)
    warnings = list(facts.get("warnings", []))
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        warnings.append(f"the brain mask measures {volume:.0f} ml, which is unusual; look at its picture")
    return {**facts, "volume_ml": volume, "warnings": warnings}


def _save_mask(mask: np.ndarray, affine: np.ndarray, out: Path) -> None:
    import nibabel as nib

    result = nib.Nifti1Image(mask.astype(np.uint8), affine)
    result.header.set_xyzt_units("mm", "sec")
    out.parent.mkdir(parents=True, exist_ok=True)
    nib.save(result, out)


def content_mask(array: np.ndarray, grid: Grid) -> np.ndarray:
    """Everything of a stripped image that is not blank, darker or brighter, as one solid piece.

    Args:
        array: shape ``grid.shape``.
        grid: its grid.
    """
    from scipy import ndimage

    rough = _beyond_blank(np.asarray(array))
    box = box_of(rough)
    part = ndimage.binary_opening(rough[box], iterations=1)
    part = largest_piece(part, corners=False)
    part = ndimage.binary_dilation(part, iterations=2) & rough[box]
    part = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(part, 3), iterations=2))[3:-3, 3:-3, 3:-3]
    mask = np.zeros(array.shape, bool)
    mask[box] = part
    return mask


def _beyond_blank(array: np.ndarray) -> np.ndarray:
    """Voxels that are not blank, with small holes where tissue crosses the blank's value closed."""
    from scipy import ndimage

    ground = background_of(array)
    if ground.side == "below":
        array = np.float32(2 * ground.value) - array
    if ground.side == "both":
        exact = (array == np.float32(ground.value)).mean() >= BLANK_SHARE
        away = np.abs(array - np.float32(ground.value)) > (BLANK_WITHIN if exact else RIPPLES) * ground.scale
        return ndimage.binary_closing(np.pad(away, 2))[2:-2, 2:-2, 2:-2]
    corner = np.concatenate([face.ravel()[::7] for face in faces_of(array)])
    value = float(np.median(corner))
    level = value + 0.02 * (np.percentile(array[array > value], 95) - value) if (array > value).any() else value
    return array > level
