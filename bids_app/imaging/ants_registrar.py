"""Registration by ANTs (Avants et al., NeuroImage 54 (2011) 2033-2044): a `bids_app.imaging.registrar.Registrar`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.ants_parts import load_ants
from bids_app.imaging.registrar import Working
from bids_app.imaging.stacking import Grid
from bids_app.imaging.transforms import read_matrix, to_ants, write_matrix

#: Per kind: transform, convergence, shrink factors and smoothing of every stage.
LEVELS = {
    "rigid": [("Rigid[0.1]", "[60x40x20,1e-6,8]", "4x2x1", "4x2x1mm")],
    "affine": [("Rigid[0.1]", "[50,1e-5,6]", "4", "4mm"), ("Affine[0.1]", "[60x40,1e-6,8]", "4x2", "4x2mm")],
}


class AntsRegistrar:
    """ANTs, by its Python package."""

    def linear(
        self, fixed: Working, moving: Working, begin: np.ndarray, kind: str, *, seed: int, folder: Path
    ) -> np.ndarray:
        """Mattes mutual information, from ``begin`` on.

        Raises:
            ImageError: ANTs failed on these images.
        """
        stages: list[str] = []
        for transform, convergence, shrink, smooth in LEVELS[kind]:
            stages += ["--metric", "mattes[{fixed},{moving},1,32,regular,0.1]", "--transform", transform]
            stages += ["--convergence", convergence, "--shrink-factors", shrink, "--smoothing-sigmas", smooth]
            stages += ["--masks", "{masks}"]
        with tempfile.TemporaryDirectory(dir=folder, prefix="ants_") as place:
            start = write_matrix(begin, Path(place) / "start.txt")
            _registration(fixed, moving, start, stages, seed, f"{place}/out_")
            return read_matrix(Path(place) / "out_0GenericAffine.mat")

    def deform(self, fixed: Working, moving: Working, affine: Path, *, seed: int, prefix: Path) -> tuple[Path, Path]:
        """SyN after an affine.

        Raises:
            ImageError: ANTs failed on these images.
        """
        stages = ["--metric", "mattes[{fixed},{moving},1,32]", "--transform", "SyN[0.2,3,0]"]
        stages += ["--convergence", "[40x20x8,1e-6,6]", "--shrink-factors", "4x2x1", "--smoothing-sigmas", "2x1x0.5vox"]
        stages += ["--masks", "{masks}"]
        with tempfile.TemporaryDirectory(dir=prefix.parent, prefix="ants_") as place:
            _registration(fixed, moving, affine, stages, seed, f"{place}/out_")
            warp = (Path(place) / "out_1Warp.nii.gz").rename(f"{prefix}_warp.nii.gz")
            return warp, (Path(place) / "out_1InverseWarp.nii.gz").rename(f"{prefix}_warpinverse.nii.gz")

    def composite(self, transforms: Sequence[Path | str], out: Path | str) -> Path:
        """A chain as an ITK composite transform (HDF5), which ANTs, 3D Slicer and fMRIPrep read.

        Args:
            transforms: ITK files in ANTs' order, that of `Registration.forward`: warps (``.nii.gz``) and linear ones.
            out: a name that ends in ``.h5``.

        Returns:
            ``out``. Applied to an image it does what the chain does.

        Raises:
            ImageError: a linear transform cannot be read.
        """
        ants = load_ants()

        parts = []
        for path in transforms:
            if str(path).endswith((".nii", ".nii.gz")):
                parts.append(ants.transform_from_displacement_field(ants.image_read(str(path))))
            else:
                read_matrix(path)  # a damaged file ends here with its name, not inside ITK
                parts.append(ants.read_transform(str(path), precision="float"))
        ants.write_transform(parts[0] if len(parts) == 1 else ants.compose_ants_transforms(parts), str(out))
        return Path(out)


def moved_mask(mask: np.ndarray, grid: Grid, transform: Path, onto: Grid) -> np.ndarray:
    """A mask on another grid, through a transform that was written by `AntsRegistrar.composite`.

    Args:
        mask: bool, ``grid.shape``.
        grid: where it lies; its axes, and those of ``onto``, are at right angles.
        transform: ITK file that carries an image of the mask's world to the other world.
        onto: where the result lies.

    Returns:
        bool, ``onto.shape``: where the mask, interpolated once, is at least a half.

    Raises:
        ImageError: the transform cannot be read, or axes are not at right angles.
    """
    ants = load_ants()

    reference = to_ants(np.zeros(onto.shape, np.float32), onto)
    try:
        how = ants.read_transform(str(transform), precision="float")
    except Exception as error:  # ITK's errors have no class of their own
        raise ImageError(f"the transform {transform} cannot be read: {error}") from error
    moved = ants.apply_ants_transform_to_image(how, to_ants(mask.astype(np.float32), grid), reference, "linear")
    return np.asarray(moved.numpy() >= 0.5)


def _registration(fixed: Working, moving: Working, start: Path, stages: list[str], seed: int, out: str) -> None:
    ants = load_ants()
    from ants.internal import get_pointer_string

    images = {"fixed": to_ants(fixed.array, fixed.grid), "moving": to_ants(moving.array, moving.grid)}
    pointers = {name: get_pointer_string(image) for name, image in images.items()}
    masks = []
    for image in (fixed, moving):
        masks.append(None if image.mask is None else to_ants(image.mask, image.grid).clone("unsigned char"))
    named = ["NA" if mask is None else get_pointer_string(mask) for mask in masks]
    pointers["masks"] = f"[{named[0]},{named[1]}]"
    call = ["--dimensionality", "3", "--float", "1", "--random-seed", str(int(seed)), "--output", out]
    call += ["--initial-moving-transform", str(start), "--collapse-output-transforms", "1", "-u", "0"]
    try:
        ants.registration(fixed=call + [part.format(**pointers) for part in stages], moving=None)
    except RuntimeError as error:
        raise ImageError(
            f"ANTs could not register the images: {error}; are both whole and of the same head?"
        ) from error
