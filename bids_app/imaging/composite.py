"""A chain of transforms as one file, in the form that ANTs, 3D Slicer and fMRIPrep read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_app.imaging.transforms import read_matrix


def write_composite(transforms: Sequence[Path | str], out: Path | str) -> Path:
    """Write a chain as an ITK composite transform (HDF5).

    Args:
        transforms: ITK files in ANTs' order, that of `Registration.forward`: warps (``.nii.gz``) and linear ones.
        out: a name that ends in ``.h5``.

    Returns:
        ``out``. Applied to an image it does what the chain does.

    Raises:
        ImageError: a linear transform cannot be read.
    """
    import ants

    parts = []
    for path in transforms:
        if str(path).endswith((".nii", ".nii.gz")):
            parts.append(ants.transform_from_displacement_field(ants.image_read(str(path))))
        else:
            read_matrix(path)  # a damaged file ends here with its name, not inside ITK
            parts.append(ants.read_transform(str(path), precision="float"))
    ants.write_transform(parts[0] if len(parts) == 1 else ants.compose_ants_transforms(parts), str(out))
    return Path(out)
