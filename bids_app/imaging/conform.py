"""One honest form for every image: 3-D, float32, closest to RAS, header repaired, voxels untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.slices import with_thickness
from bids_app.imaging.voxels import read_voxels, used_axes


def conform(path: Path | str, out: Path | str, *, thickness: float | None = None) -> dict[str, Any]:
    """Write an image as uncompressed float32 NIfTI with axes flipped and permuted to the closest RAS.

    Nothing is interpolated: every voxel keeps its value and its place in the world, so that results can be written
    back onto the original grid exactly.

    Args:
        path: NIfTI image, 3-D (further axes of length one are dropped), any data type and scaling.
        out: ends in ``.nii``; its folder is made.
        thickness: of an image of one slice, mm; such an image may have two dimensions, and gets a third.

    Returns:
        ``shape``, ``zooms`` (mm), ``orientation`` of the input, ``affine`` of the output, ``repaired`` (sentences
        about what was put right in the header).

    Raises:
        ImageError: not three-dimensional, values that are not finite, no usable position in the header.
        TemporaryFailure: not enough memory for it.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.load(path)
        flat = thickness is not None and len(used_axes(image.shape)) == 2
        array = read_voxels(image, path, 2)[..., None] if flat else read_voxels(image, path)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise ImageError(f"{path} cannot be read ({error}); copy it again from its source") from error
    repaired: list[str] = []
    if len(image.shape) > array.ndim:
        repaired.append(f"axes of one volume were dropped: the file has {len(image.shape)} axes")
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ImageError(
            f"{path} has {bad} voxels that are not finite numbers; replace them or convert the image again"
        )
    axis = array.shape.index(1) if thickness is not None and 1 in array.shape else None
    affine = usable_affine(image, path, repaired, thickness=None if axis is None else thickness, axis=axis or 0)
    orientation = "".join(nib.aff2axcodes(affine))
    straight = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    result = nib.Nifti1Image(np.asarray(straight.dataobj, dtype=np.float32), straight.affine)
    result.set_sform(straight.affine, code=1)
    result.set_qform(straight.affine, code=1)
    result.header.set_xyzt_units("mm", "sec")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    nib.save(result, out)
    return {
        "shape": [int(n) for n in array.shape],
        "zooms": [float(z) for z in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": orientation,
        "affine": straight.affine.tolist(),
        "repaired": repaired,
    }


def usable_affine(
    image: Any, path: Path | str, repaired: list[str], *, thickness: float | None = None, axis: int = 2
) -> np.ndarray:
    """The voxel-to-world matrix of a header, with what is missing filled in; says so in ``repaired``.

    Args:
        thickness: of the one slice of an image, which lies across ``axis``.

    Raises:
        ImageError: the matrix is singular or not finite.
    """
    affine = np.asarray(image.affine, dtype=float)
    affine = affine if thickness is None else with_thickness(affine, axis, thickness)
    header = image.header
    if "sform_code" in header and int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        repaired.append(
            "the header has neither qform nor sform: axes are taken as left to right (radiological), back to front, "
            "feet to head, and the middle of the image as the origin; left and right cannot be verified"
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ImageError(f"{path} has a header that gives no position in space (singular affine); repair it first")
    linear = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    shear = np.abs(linear.T @ linear - np.eye(3)).max()
    if shear > 1e-3:
        repaired.append(
            f"the axes are not at right angles (cosine {shear:.3f}); distances along them are kept as they are"
        )
    return affine


def to_native(array: np.ndarray, conformed: Path | str, original: Path | str, out: Path | str | None = None) -> Any:
    """Bring voxels on the conformed grid back to the order of the original file, without interpolation.

    Args:
        array: shape ``(x, y, z)`` or ``(x, y, z, n)`` on the conformed grid.
        conformed: the file that `conform` wrote.
        original: the file it was made from.
        out: where to save, if anywhere.

    Returns:
        A nibabel image with the original's shape and affine.
    """
    import nibabel as nib
    from nibabel import orientations

    source, target = nib.load(conformed), nib.load(original)
    turn = orientations.ornt_transform(
        orientations.io_orientation(source.affine), orientations.io_orientation(target.affine)
    )
    back = orientations.apply_orientation(array, turn)
    if back.shape[:3] != target.shape[:3]:
        raise ImageError(f"{conformed} was not made from {original}: {back.shape[:3]} is not {target.shape[:3]}")
    image = nib.Nifti1Image(np.ascontiguousarray(back), target.affine)
    for code in ("sform", "qform"):
        value = int(target.header[f"{code}_code"]) if f"{code}_code" in target.header else 1
        getattr(image, f"set_{code}")(target.affine, code=value or 1)
    if out is not None:
        nib.save(image, out)
    return image
