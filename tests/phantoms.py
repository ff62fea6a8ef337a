"""Very small datasets, made at once, and the ways in which files come damaged."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

TINY_AFFINE = np.array([[5.0, 0, 0, -80], [0, 5, 0, -95], [0, 0, 5, -70], [0, 0, 0, 1]])


def tiny_image(path: Path, *, shape: tuple[int, ...] = (32, 32, 32), affine: np.ndarray = TINY_AFFINE, seed: int = 0):
    """A bright ball with some noise, int16, world origin inside; returns ``path``."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape[:3])]
    ball = (sum(a**2 for a in axes) < 0.6) * 400.0
    if len(shape) == 4:
        ball = ball[..., None]
    save(path, np.round(ball + rng.uniform(0, 60, shape)).astype(np.int16), affine)
    return path


def save(path: Path, array: np.ndarray, affine: np.ndarray = TINY_AFFINE) -> Path:
    """Write ``array`` with both qform and sform; makes the folder."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def tiny_dataset(
    directory: Path,
    files: Iterable[str] = ("sub-01/anat/sub-01_T1w.nii.gz",),
    *,
    participants: dict[str, dict[str, object]] | None = None,
    sidecars: bool = True,
    shape: tuple[int, ...] = (32, 32, 32),
) -> Path:
    """A BIDS dataset in ``directory`` with an image of 32³ voxels (5 mm) under each name in ``files``.

    ``participants`` adds participants.tsv: ``{"sub-01": {"age": 30, "sex": "F"}}``. Returns ``directory``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    description = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (directory / "dataset_description.json").write_text(json.dumps(description))
    (directory / "README").write_text("A very small dataset for tests.\n" * 5)
    for seed, name in enumerate(files):
        tiny_image(directory / name, shape=shape, seed=seed)
        if sidecars:
            (directory / f"{name.removesuffix('.gz').removesuffix('.nii')}.json").write_text("{}")
    if participants:
        columns = list(next(iter(participants.values())))
        lines = ["\t".join(["participant_id", *columns])]
        lines += ["\t".join([name, *(str(row[c]) for c in columns)]) for name, row in participants.items()]
        (directory / "participants.tsv").write_text("\n".join(lines) + "\n")
    return directory


def checksums(directory: Path) -> dict[str, bytes]:
    """Every file (links as where they point) below ``directory``, to show that nothing was touched."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(directory))] = os.readlink(path).encode()
        elif path.is_file():
            found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def _rewrite(path: Path, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).astype(np.float32), image.affine.copy())
    save(path, array, affine)


def truncate(path: Path) -> None:
    """Keep the first two thirds of the file."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def wrong_crc(path: Path) -> None:
    """Flip a bit of the checksum at the end of the gzip stream; everything else unpacks."""
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))


def not_gzip(path: Path) -> None:
    """An uncompressed image under a name that ends in ``.gz``."""
    path.write_bytes(gzip.decompress(path.read_bytes()))


def empty_file(path: Path) -> None:
    """No bytes at all."""
    path.write_bytes(b"")


def nan_voxels(path: Path) -> None:
    """Some voxels are not a number."""

    def change(array, affine):
        array[:3] = np.nan
        return array, affine

    _rewrite(path, change)


def all_nan(path: Path) -> None:
    """No voxel is a number."""
    _rewrite(path, lambda array, affine: (np.full_like(array, np.nan), affine))


def infinite_voxels(path: Path) -> None:
    """One voxel is infinite."""

    def change(array, affine):
        array.flat[0] = np.inf
        return array, affine

    _rewrite(path, change)


def constant(path: Path) -> None:
    """Every voxel has the same value."""
    _rewrite(path, lambda array, affine: (np.full_like(array, 7), affine))


def four_dimensional(path: Path) -> None:
    """Five volumes where one is expected."""
    _rewrite(path, lambda array, affine: (np.stack([array] * 5, axis=-1), affine))


def two_dimensional(path: Path) -> None:
    """A single slice."""
    _rewrite(path, lambda array, affine: (array[..., array.shape[2] // 2], affine))


def singular_affine(path: Path) -> None:
    """The header's sform cannot be inverted, and there is no qform."""
    _edit_header(path, srow_z=(0, 0, 0, 0), qform_code=0, sform_code=1)


def no_affine(path: Path) -> None:
    """Neither qform nor sform is set."""
    _edit_header(path, qform_code=0, sform_code=0)


def forms_disagree(path: Path) -> None:
    """qform and sform both claim to be valid and place the image 30 mm apart."""
    _edit_header(path, qoffset_x=float(TINY_AFFINE[0, 3] + 30))


def zero_zoom(path: Path) -> None:
    """The voxel size in the header is zero along one direction."""
    header = _raw_header(path)
    header["pixdim"][2] = 0
    _put_header(path, header)


def _raw_header(path: Path) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes())[:348], dtype=nib.nifti1.header_dtype, count=1).copy()[0]


def _put_header(path: Path, header: np.ndarray) -> None:
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(header.tobytes() + content[348:]))


def _edit_header(path: Path, **fields: object) -> None:
    header = _raw_header(path)
    for name, value in fields.items():
        header[name] = value
    _put_header(path, header)


def annex_pointer(path: Path) -> None:
    """A git-annex pointer: a small text file, as in a clone whose contents were not fetched."""
    path.write_text("/annex/objects/MD5E-s9876543--0123456789abcdef0123456789abcdef.nii.gz\n")


def annex_link(path: Path) -> None:
    """A git-annex link whose content was not fetched."""
    key = "MD5E-s9876543--0123456789abcdef0123456789abcdef.nii.gz"
    path.unlink()
    path.symlink_to(Path("../../.git/annex/objects/X1/f2") / key / key)


def dangling_link(path: Path) -> None:
    """A link to a file that is not there."""
    path.unlink()
    path.symlink_to("gone.nii.gz")


def lfs_pointer(path: Path) -> None:
    """A Git LFS pointer instead of the image."""
    digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 12345\n")


def not_an_image(path: Path) -> None:
    """Text under an image's name, compressed."""
    path.write_bytes(gzip.compress(b"this is no image\n" * 100))


DAMAGES: dict[str, Callable[[Path], None]] = {
    f.__name__: f
    for f in (
        truncate,
        wrong_crc,
        not_gzip,
        empty_file,
        nan_voxels,
        all_nan,
        infinite_voxels,
        constant,
        four_dimensional,
        two_dimensional,
        singular_affine,
        no_affine,
        forms_disagree,
        zero_zoom,
        annex_pointer,
        annex_link,
        dangling_link,
        lfs_pointer,
        not_an_image,
    )
}


def damage(path: Path, how: str) -> Path:
    """Damage the image ``path`` (``.nii.gz``) in the way named ``how``, one of ``DAMAGES``; returns ``path``."""
    DAMAGES[how](Path(path))
    return Path(path)
