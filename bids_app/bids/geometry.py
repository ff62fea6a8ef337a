"""Where a NIfTI header says the voxels are, and whether that can be a head."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.quaternions import fillpositive
from nibabel.spatialimages import HeaderDataError

from bids_app.errors import ImageError
from bids_app.imaging.slices import with_thickness

MAX_ZOOM_MM = 10.0
#: A head with some air: outside the first pair it is said, outside the second it stops the session.
USUAL_FIELD_MM, POSSIBLE_FIELD_MM = (50.0, 400.0), (25.0, 700.0)
#: qform and sform of one file: rounding stays below the first (0.003 mm in the datasets looked at).
SAME_MM, LARGE_MM = 0.1, 2.0
MAX_ANISOTROPY = 3.0
FAR_MM = 1000.0  # from the scanner's or template's origin to the centre of a head
SHEAR = 0.02  # cosine between two axes; gantry tilt, or an affine that was baked in
FORM_NAMES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}


def check_geometry(
    header: nib.Nifti1Header,
    shape: tuple[int, ...],
    path: Path,
    *,
    head: bool = True,
    thickness: float | None = None,
) -> tuple[tuple[float, ...], str, list[str]]:
    """Check voxel sizes, affine, the agreement of qform and sform, and the field of view.

    Args:
        header: as read from disk, unmended.
        shape: spatial, ``(x, y, z)``.
        path: for messages.
        head: a whole head is expected; False for a part that was cut out, of whatever size.
        thickness: of an image of one slice, mm, where its header may not say it.

    Returns:
        Voxel sizes in mm from the affine, orientation letters, warnings.

    Raises:
        ImageError: names the file and the numbers.
    """
    pixdim = np.asarray(header["pixdim"][1:4], dtype=float)
    axis = shape.index(1) if thickness is not None and 1 in shape else None
    if axis is not None:
        pixdim[axis] = thickness
    if not np.isfinite(pixdim).all() or (pixdim <= 0).any():
        raise ImageError(f"{path} has voxel sizes {_row(pixdim)} mm: they must be positive; mend pixdim in its header")
    affine, warnings = _check_forms(header, shape, path)
    if axis is not None and thickness is not None and np.isfinite(affine).all():
        affine = with_thickness(affine, axis, thickness)
    if not np.isfinite(affine).all():
        raise ImageError(f"{path} has an affine with NaN or infinite numbers: its header is damaged")
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if (zooms == 0).any() or abs(np.linalg.det(affine[:3, :3] / np.maximum(zooms, 1e-12))) < 1e-3:
        raise ImageError(f"{path} has an affine that cannot be inverted (singular): its header is damaged")
    if (zooms >= MAX_ZOOM_MM).any():
        raise ImageError(
            f"{path} has voxels of {_row(zooms)} mm: below {MAX_ZOOM_MM:g} mm are needed; are the units mm?"
        )
    if not np.allclose(zooms, pixdim, rtol=0.01, atol=1e-3):
        warnings.append(f"voxel sizes differ: {_row(pixdim)} mm in pixdim, {_row(zooms)} mm in the affine (used)")
    if int(header["xyzt_units"]) & 7 in (1, 3):
        warnings.append("the header gives its lengths in another unit than mm; they are read as mm")
    warnings += (_check_field(zooms * shape, path) if head else []) + _odd_position(affine, zooms, shape)
    if zooms.max() / zooms.min() > MAX_ANISOTROPY:
        warnings.append(f"thick slices: voxels of {_row(zooms)} mm, small regions are uncertain along the thick axis")
    orientation = "".join(nib.aff2axcodes(affine))
    return tuple(float(round(z, 5)) for z in zooms), orientation, warnings


def _check_field(field: np.ndarray, path: Path) -> list[str]:
    """``field``: extent along each axis, mm."""
    if field.min() < POSSIBLE_FIELD_MM[0] or field.max() > POSSIBLE_FIELD_MM[1]:
        raise ImageError(
            f"{path} has a field of view of {_row(field)} mm, which is no head: a slice, a scout image, or wrong voxel "
            f"sizes; name the right file with --bids-filter-file"
        )
    if field.min() < USUAL_FIELD_MM[0] or field.max() > USUAL_FIELD_MM[1]:
        return [f"unusual field of view of {_row(field)} mm; part of the head may be missing"]
    return []


def _odd_position(affine: np.ndarray, zooms: np.ndarray, shape: tuple[int, ...]) -> list[str]:
    """Headers that can be used but that no scanner writes."""
    told = []
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    if np.linalg.norm(centre) > FAR_MM:
        told.append(f"the image lies {np.linalg.norm(centre):.0f} mm from the origin: was its position lost?")
    axes = affine[:3, :3] / zooms
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        told.append("the axes of the image are not at right angles (a sheared affine); was it resampled before?")
    return told


def _check_forms(header: nib.Nifti1Header, shape: tuple[int, ...], path: Path) -> tuple[np.ndarray, list[str]]:
    """The affine that programs use (sform, else qform, else pixdim alone) and what there is to say about it."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    sform = header.get_sform()
    if sform_code <= 0 and qform_code <= 0:
        text = "the header has no orientation (qform and sform codes are 0): left and right are guessed, not known"
        return header.get_base_affine(), [text]
    if qform_code <= 0:
        return sform, []
    try:
        _check_quaternion(header)
        qform = header.get_qform()
    except (ValueError, HeaderDataError) as error:
        if sform_code > 0:
            return sform, [f"the qform is damaged ({error}); the sform is used"]
        raise ImageError(f"{path} has a damaged qform and no sform: its position is unknown") from error
    if sform_code <= 0:
        return qform, []
    return sform, _compare_forms(qform, sform, (qform_code, sform_code), shape, path)


def _check_quaternion(header: nib.Nifti1Header) -> None:
    values = np.array([float(header[f"quatern_{axis}"]) for axis in "bcd"])
    offset = np.array([float(header[f"qoffset_{axis}"]) for axis in "xyz"])
    if not np.isfinite([*values, *offset]).all():
        raise ValueError("not finite")
    fillpositive(values, w2_thresh=-1e-5)


def _compare_forms(
    qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int], shape: tuple[int, ...], path: Path
) -> list[str]:
    """Compare the corners of the image; refuse what could swap left and right or hide a damaged header.

    Different codes may differ by the NIfTI standard (scanner position and an aligned one): that is only said.
    """
    if not np.isfinite(sform).all() or abs(np.linalg.det(sform[:3, :3])) < 1e-12:
        return []  # refused by the caller, who sees the same affine
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    moved = (qform - sform)[:3]
    apart = float(np.linalg.norm(moved[:, :3] @ corners + moved[:, 3:], axis=0).max())
    if apart <= SAME_MM:
        return []
    named = " and ".join(f"{k} ({FORM_NAMES.get(c, c)})" for k, c in zip(("qform", "sform"), codes, strict=True))
    text = f"{named} put the image up to {apart:.1f} mm apart"
    if np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0:
        raise ImageError(f"{path}: {text} and one of them swaps left and right: mend the header before measuring sides")
    if apart > LARGE_MM and codes[0] == codes[1]:
        raise ImageError(f"{path}: {text} though both claim the same space: mend the header (copy the right one over)")
    return [f"{text}; the sform is used"]


def _row(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
