"""The brain of a whole head of any contrast, by the bundle that learned it from drawn heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.stacking import Grid, stack, to_grid, whole_grid
from bids_app.learning.bundle import load_bundle, shipped
from bids_app.learning.predict import predict
from bids_app.measure.volumes import largest_piece

NAME = "brain"
#: A brain smaller or larger than this, in ml, is worth a warning.
USUAL_ML = (900, 2100)


def can_find_brains() -> bool:
    """True where the bundle is part of this installation."""
    return NAME in shipped()


def find_brain(
    image_path: Path | str, out: Path | str, *, device: str = "cpu", threads: int | None = None
) -> dict[str, Any]:
    """Write a mask of the brain on the image's own grid.

    Args:
        image_path: 3-D image, conformed; any contrast, with or without skull, slices up to 7 mm.
        out: the mask, uint8.
        device: as `bids_app.learning.predict.resolve_device` gives it.
        threads: of torch on the CPU.

    Returns:
        ``method``, ``volume_ml``, ``weights_sha256`` and ``warnings``.

    Raises:
        ImageError: nothing like a brain is in the image.
    """
    import nibabel as nib
    from scipy import ndimage

    bundle, native = load_bundle(NAME), Grid.of(image_path)
    grid = whole_grid(np.eye(4), native, bundle.recipe.grid.spacing_mm)
    stacked, present = stack([image_path], [np.eye(4)], grid)
    probability = predict(bundle, np.maximum(stacked, 0), present, device=device, threads=threads)
    mask = to_grid(probability, grid, native)[0] >= bundle.calibration["threshold"]
    if not mask.any():
        raise ImageError(f"no brain was found in {image_path}; is it a head? (--skull-strip skip takes it as it is)")
    mask = ndimage.binary_fill_holes(largest_piece(mask, corners=False))
    volume = round(float(mask.sum() * native.voxel_volume / 1000), 1)
    warnings = []
    if not USUAL_ML[0] <= volume <= USUAL_ML[1]:
        warnings.append(f"the brain mask measures {volume:.0f} ml, which is unusual; look at its picture")
    result = nib.Nifti1Image(mask.astype(np.uint8), native.affine)
    result.header.set_xyzt_units("mm", "sec")
    nib.save(result, out)
    return {
        "method": f"network of the bundle {NAME}, at {bundle.recipe.grid.spacing_mm:g} mm",
        "volume_ml": volume,
        "weights_sha256": bundle.sha256,
        "warnings": warnings,
    }
