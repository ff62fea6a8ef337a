"""How thick the slice of an image of one slice is: as its header says, else as its sidecar does."""

from __future__ import annotations

import math
from pathlib import Path

from bids_app.bids.gradients import find_gradients
from bids_app.errors import ImageError
from bids_app.imaging.voxels import used_axes
from bids_app.text import TextError, read_json

#: Field of a sidecar, mm.
FIELD = "SliceThickness"


def one_slice(path: Path) -> int | None:
    """Axis of an image of one slice; None for any other image, and for one that cannot be read.

    A file of two dimensions has its slice across the third.
    """
    import nibabel as nib

    try:
        shape = used_axes(nib.load(path).shape)
    except Exception:  # nibabel raises many kinds for a damaged header; the preflight says which
        return None
    if len(shape) == 2:
        return 2
    return shape.index(1) if len(shape) == 3 and sum(n > 1 for n in shape) == 2 else None


def slice_thickness(path: Path, root: Path) -> float | None:
    """Thickness of the slice of an image of one slice, mm; None for any other image.

    The header's voxel size counts where the file has three dimensions; of a file of two, which has none, the field
    `FIELD` of the sidecar comes first.

    Args:
        path: of the image.
        root: of the dataset, beyond which no sidecar is looked for.

    Raises:
        ImageError: neither header nor sidecar says it.
    """
    import nibabel as nib
    from nibabel.openers import Opener

    axis = one_slice(path)
    if axis is None:
        return None
    flat = len(used_axes(nib.load(path).shape)) == 2
    with Opener(str(path)) as stream:
        header = nib.Nifti1Header.from_fileobj(stream, check=False)  # nibabel's own check makes a 1 of no thickness
    in_header, told = float(header["pixdim"][axis + 1]), _told(path, root)
    for value in (told, in_header) if flat else (in_header, told):
        if value is not None and math.isfinite(value) and value > 0:
            return float(value)
    raise ImageError(
        f"{path} is one slice, and neither its header (pixdim) nor its sidecar ({FIELD}) says how thick it is: add "
        f"{FIELD} in mm to the sidecar"
    )


def _told(path: Path, root: Path) -> float | None:
    """What the nearest sidecar says."""
    sidecar = find_gradients(path, root, ".json")
    try:
        fields = read_json(sidecar)[0] if sidecar else {}
    except (OSError, TextError):
        return None
    value = fields.get(FIELD) if isinstance(fields, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
