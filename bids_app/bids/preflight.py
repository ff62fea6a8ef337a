"""Is an image whole and plausible? Asked of every chosen file before any work, with one sequential read."""

from __future__ import annotations

import gzip
import stat
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from bids_app.bids.geometry import check_geometry
from bids_app.errors import ImageError, InputMissing
from bids_app.imaging.templates import Template
from bids_app.imaging.voxels import MAX_VOXELS, used_axes

BLOCK_BYTES = 8 << 20
#: Bytes behind the last voxel that are read even behind a small image: some programs append a note.
BEHIND_AT_MOST = 1 << 20
LARGEST = float(np.finfo(np.float32).max)  # every later step reads single precision
MAX_OFFSET = 256 << 20  # of the first voxel: room for large header extensions, but not for a damaged number
#: How files begin that are something else than the image their name promises, and what to do about it.
STAND_INS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the image: run `git lfs pull` in the dataset"),
    (b"/annex/objects/", "is a git-annex pointer, not the image: run `datalad get {path}`"),
    (b"../.git/annex/objects/", "is a git-annex pointer, not the image: run `datalad get {path}`"),
    (b".git/annex/objects/", "is a git-annex pointer, not the image: run `datalad get {path}`"),
    (b"<!doctype html", "is a web page, not an image: the download failed; fetch the file again"),
    (b"<html", "is a web page, not an image: the download failed; fetch the file again"),
    (b"<?xml", "is an XML text, not an image: the download failed; fetch the file again"),
    (b"PK\x03\x04", "is a zip archive, not a NIfTI image: unpack it"),
)


@dataclass(frozen=True)
class ImageFacts:
    """What the preflight saw: voxel sizes in mm, seconds along a fourth axis; orientation as letters ("RAS")."""

    path: Path
    shape: tuple[int, ...]
    zooms: tuple[float, ...]
    orientation: str
    dtype: str
    minimum: float
    maximum: float
    warnings: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """For JSON; the path as text."""
        plain = asdict(self)
        return plain | {"path": str(self.path), "file": self.path.name}


def check_image(
    path: Path, dims: int = 3, *, head: bool = True, constant: bool = False, thickness: float | None = None
) -> ImageFacts:
    """Check one NIfTI file from its first byte to its last.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        dims: 3 for a volume (a fourth axis of length 1 is fine), 4 for a series.
        head: a whole head is expected; False for a part that was cut out, of whatever size.
        constant: one value everywhere is fine: an empty mask.
        thickness: of an image of one slice, mm, see `bids_app.bids.thickness`; where given, two dimensions will do.

    Returns:
        What was seen; things a person should know but that stop nothing are in ``warnings``.

    Raises:
        InputMissing: the file is absent, a dangling link, a pointer that stands for content not fetched, unreadable.
        ImageError: the file is damaged, or its header or values cannot be those of a brain image.
    """
    path = Path(path)
    _check_present(path)
    try:
        with _open(path) as stream:
            header = _read_header(stream, path)
            shape, series = _check_shape(header, path, dims, flat=thickness is not None)
            _check_readable(path)
            zooms, orientation, told = check_geometry(header, shape, path, head=head, thickness=thickness)
            low, high, behind = _check_values(stream, header, path, constant=constant)
            told += [f"{behind} bytes follow the last voxel; they are not read"] if behind else []
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(f"{path} is damaged: {_gzip_trouble(error)}; copy or download it again") from error
    except OSError as error:
        raise InputMissing(f"{path} cannot be read to its end: {error.strerror or error}") from error
    step = (float(header.get_zooms()[3]),) if series else ()
    return ImageFacts(
        path, shape + series, zooms + step, orientation, str(header.get_data_dtype()), low, high, tuple(told)
    )


def check_template(template: Template) -> None:
    """Refuse a template whose files are not whole: every session would fail with it after minutes of work.

    Raises:
        ImageError, InputMissing: naming the template and its file.
    """
    for path in (template.image, template.mask, *template.tissues.values()):
        if path is None:
            continue
        try:
            check_image(path, head=False)
        except (ImageError, InputMissing) as error:
            raise type(error)(f"the template {template.name} cannot be used: {error}") from error


def _check_present(path: Path) -> None:
    """The file is there, can be read, and is no stand-in for content that was never fetched."""
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        if ".git/annex" in str(target):
            raise InputMissing(
                f"{path} has not been fetched (a git-annex link without content): run `datalad get {path}`"
            )
        raise InputMissing(f"{path} is a link to {target}, which does not exist: mend the link or copy the file")
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(f"{path} is a folder, not an image")
        with path.open("rb") as stream:
            start = stream.read(512)
    except FileNotFoundError as error:
        raise InputMissing(f"{path} does not exist") from error
    except OSError as error:
        raise InputMissing(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not start:
        raise ImageError(f"{path} is empty (0 bytes): copy or download it again")
    for beginning, trouble in STAND_INS:
        if start.lstrip().lower().startswith(beginning.lower()):
            kind = InputMissing if "pointer" in trouble else ImageError
            raise kind(f"{path} {trouble.format(path=path)}")
    if start[128:132] == b"DICM":
        raise ImageError(
            f"{path} is a DICOM file with the name of a NIfTI image: convert it, for example with dcm2niix"
        )
    packed = start[:2] == b"\x1f\x8b"
    if packed != path.name.endswith(".gz"):
        have, need = ("is", "rename it to .nii.gz") if packed else ("is not", "rename it to .nii")
        raise ImageError(f"{path} {have} compressed, against its name: {need}, or make it again")


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    # Python's gzip module, not nibabel's fast reader: only this one compares the checksum at the end.
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def _gzip_trouble(error: Exception) -> str:
    text = str(error)
    if isinstance(error, EOFError):
        return "it ends too early (a copy that was cut off)"
    if "CRC" in text:
        return "its checksum is wrong (CRC check failed), some bytes have changed"
    return f"its compressed data cannot be read ({text})"


def _read_header(stream: gzip.GzipFile | BinaryIO, path: Path) -> nib.Nifti1Header:
    """The header as it is on disk: nibabel's own checks would mend or refuse it without naming the file."""
    start = stream.read(4)
    sizes = {int.from_bytes(start, order) for order in ("little", "big")} if len(start) == 4 else set()
    kind = nib.Nifti1Header if 348 in sizes else nib.Nifti2Header if 540 in sizes else None
    if kind is None:
        raise ImageError(f"{path} does not begin with a NIfTI header: it is damaged or another kind of file")
    block = start + stream.read(kind.sizeof_hdr - 4)
    if len(block) < kind.sizeof_hdr:
        raise ImageError(f"{path} ends inside its header ({len(block)} bytes): copy or download it again")
    header = kind(block, check=False)
    magic = bytes(header["magic"])
    if magic[:3] not in (b"n+1", b"n+2"):
        raise ImageError(
            f"{path} is not a single-file NIfTI image (magic {magic[:3]!r}): convert it, for example with dcm2niix"
        )
    return header


def _check_shape(
    header: nib.Nifti1Header, path: Path, dims: int, *, flat: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Spatial shape, and the length of a series as ``(n,)`` or ``()``."""
    count = int(header["dim"][0])
    sizes = tuple(int(n) for n in header["dim"][1 : count + 1]) if 1 <= count <= 7 else ()
    if not sizes or min(sizes) < 1:
        raise ImageError(f"{path} has impossible dimensions {header['dim'].tolist()}: its header is damaged")
    sizes = used_axes(sizes, dims)
    sizes = (*sizes, 1) if flat and len(sizes) == 2 else sizes
    shown = " x ".join(map(str, sizes))
    if len(sizes) > 3 and dims == 3:
        raise ImageError(
            f"{path} is {len(sizes)}-D ({shown}), a single volume is needed: split it, or name the right file "
            f"with --bids-filter-file"
        )
    if len(sizes) != dims:
        raise ImageError(f"{path} is {len(sizes)}-D ({shown}), {dims}-D is needed")
    if np.prod(sizes[:3], dtype=float) > MAX_VOXELS:
        raise ImageError(f"{path} has {shown} voxels, more than any head: its header is damaged, or make it smaller")
    return sizes[:3], sizes[3:]


def _check_readable(path: Path) -> None:
    """Every step after this one reads with nibabel, which has rules of its own for headers, extensions and offsets.

    Raises:
        ImageError: it refuses the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nib.load(path)
    except Exception as error:  # nibabel raises many kinds for a damaged header, NumPy and struct errors among them
        if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
            raise
        raise ImageError(f"{path} has a header that cannot be used ({error or type(error).__name__})") from error


def _check_values(
    stream: gzip.GzipFile | BinaryIO, header: nib.Nifti1Header, path: Path, *, constant: bool
) -> tuple[float, float, int]:
    """Read all voxels in blocks, then to the end of the file.

    Returns:
        The smallest and largest scaled value, and how many bytes follow the last voxel.
    """
    try:
        dtype = header.get_data_dtype()
        offset = int(header.get_data_offset())
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise ImageError(f"{path} has a header that makes no sense ({error})") from error
    if not 0 <= offset <= MAX_OFFSET:
        raise ImageError(f"{path} has a damaged header: its voxels would begin at byte {offset}")
    if dtype.names or dtype.kind not in "iuf":
        what = "colour" if dtype.names else "complex" if dtype.kind == "c" else str(dtype)
        raise ImageError(f"{path} holds {what} values, plain numbers are needed: save the magnitude or grey values")
    stream.read(max(offset - header.sizeof_hdr, 0))
    voxels = int(np.prod([max(int(n), 1) for n in header["dim"][1 : int(header["dim"][0]) + 1]], dtype=np.int64))
    low, high, seen, strange = np.inf, -np.inf, 0, 0
    while seen < voxels:
        wanted = min(BLOCK_BYTES // dtype.itemsize, voxels - seen)
        block = stream.read(wanted * dtype.itemsize)
        if len(block) < wanted * dtype.itemsize:
            share = 100 * (seen + len(block) // dtype.itemsize) / voxels
            raise ImageError(f"{path} ends too early: {share:.0f} % of its voxels are there; copy or download it again")
        values = np.frombuffer(block, dtype)
        seen += wanted
        if dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                strange += int(values.size - np.count_nonzero(finite))
                values = values[finite]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    behind = _bytes_behind(stream, path, voxels * dtype.itemsize)
    if strange:
        share = 100 * strange / voxels
        raise ImageError(
            f"{path} has {strange} voxels ({share:.3g} %) that are NaN or infinite: replace them, e.g. by 0"
        )
    low, high = _scaled(header, low, high, path)
    if not constant and np.float32(low) == np.float32(high):  # what every later step reads
        raise ImageError(f"{path} is constant (every voxel is {low:g}): there is no image in it")
    return low, high, behind


def _bytes_behind(stream: gzip.GzipFile | BinaryIO, path: Path, image_bytes: int) -> int:
    """Read whatever follows the voxels, for a gzip stream compares its checksum only at its end.

    Raises:
        ImageError: more follows than the image itself is long; it is not read to its end.
    """
    behind, most = 0, max(image_bytes, BEHIND_AT_MOST)
    while block := stream.read(min(BLOCK_BYTES, most)):
        behind += len(block)
        if behind > most:
            raise ImageError(
                f"{path} goes on behind its voxels for longer than it has any: its header gives wrong dimensions, or "
                f"it is damaged; make it again from its source"
            )
    return behind


def _scaled(header: nib.Nifti1Header, low: float, high: float, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    ends = [low, high]
    if np.isfinite(slope) and slope != 0:  # NIfTI-1: a slope of 0 means that values are as stored
        if not np.isfinite(intercept):
            raise ImageError(f"{path} has a damaged header: scl_inter is {intercept}, so its values are not known")
        ends = sorted((low * slope + intercept, high * slope + intercept))
    if not max(abs(end) for end in ends) < LARGEST:
        raise ImageError(f"{path} has values up to {ends[1]:g}, beyond single precision: it is damaged")
    return ends[0], ends[1]
