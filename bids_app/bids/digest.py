"""What a file is: its checksum, and the cheap sign that it has not changed."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.voxels import used_axes

BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: Path) -> dict[str, int]:
    """Size in bytes and time of change in nanoseconds; both -1 for a file that is not there or a dangling link."""
    try:
        found = Path(path).stat()
    except OSError:
        return {"size": -1, "mtime_ns": -1}
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def fingerprints(paths: list[Path] | tuple[Path, ...]) -> dict[str, dict[str, int]]:
    """`fingerprint` of each file, by its path as given: what a status file remembers of its inputs."""
    return {str(path): fingerprint(path) for path in paths}


def content_hash(path: Path) -> str:
    """SHA-256 of an image's voxels (float32, axes closest to RAS) and affine (0.001 mm): the same after repacking.

    Raises:
        ImageError: the file cannot be read.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.load(path)
        axes = used_axes(image.shape)  # a raw diffusion series has 4
        axes = (*axes, 1) if len(axes) == 2 else axes  # one slice
        values = np.asarray(image.dataobj, np.float32).reshape(axes)
        straight = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    except (OSError, ValueError, EOFError, zlib.error, ImageFileError) as error:
        raise ImageError(f"{path} cannot be read ({error}); copy it again, or run the participant level") from error
    values = np.ascontiguousarray(np.asarray(straight.dataobj))
    digest = hashlib.sha256(np.asarray(values.shape, np.int64).tobytes())
    digest.update(values.tobytes())
    digest.update((np.rint(straight.affine * 1000).astype(np.int64)).tobytes())
    return digest.hexdigest()
