"""Grey matter of one head in the template's space, its amount kept: the map of voxel-based morphometry.

What is registered is a picture of the tissues made from labels, and not the scan: it has no bias field and looks the
same for every scanner. Every piece of grey matter is then carried to the template with its volume (Ashburner and
Friston, NeuroImage 11 (2000) 805-821; Good et al., NeuroImage 14 (2001) 21-36). To move pieces instead of
reading values back through the warp is the same as to multiply by the Jacobian determinant, affine part included, and
no volume is lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.ants_registrar import AntsRegistrar
from bids_app.imaging.registrar import Registrar
from bids_app.imaging.registration import Image, content_overlap, working_image
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.transforms import set_threads, write_matrix
from bids_app.imaging.warping import load_chain

#: FreeSurfer's numbers, which the recipe `anatomy` has. Ventral diencephalon and brainstem are mostly white.
GREY = (3, 8, 10, 11, 12, 13, 17, 18, 26, 42, 47, 49, 50, 51, 52, 53, 54, 58, 1035, 2035)
WHITE = (2, 7, 16, 28, 41, 46, 60)
FLUID = (4, 5, 14, 15, 24, 43, 44)
#: Brightness of the tissues in the picture that is registered: in the order that a T1w has.
LEVELS = {FLUID: 1.0, GREY: 2.0, WHITE: 3.0}
#: Grid of the maps: the template's field of view at 2 mm, as that of the lesion maps.
SHAPE, SPACING, CORNER = (91, 109, 91), 2.0, (-90.0, -126.0, -72.0)
#: Full width at half maximum of the Gaussian, mm: usual in voxel-based morphometry (Good et al. 2001 took 12, most
#: since take 8).
FWHM_MM = 8.0
#: A voxel is carried in pieces no longer than this, mm, so that no place of the maps' grid stays empty between them.
PIECE_MM = 1.0
#: Pieces that are carried at once.
PIECES = 300_000
#: Dice of the tissues' contents on the template, below which a map is not to be trusted.
PLAUSIBLE_DICE = 0.85
#: Resolution of the registration, mm. On two heads of IXI maps by 2 and 3 mm correlate by 0.99, and two people's maps
#: agree as well (r 0.857 and 0.859), at a third to a half of the time.
WORKING = 3.0


def map_grid() -> Grid:
    """Where the voxels of all maps lie."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = CORNER
    return Grid(SHAPE, affine)


@dataclass(frozen=True)
class GreyMatter:
    """A map, and how the head lies on the template.

    Attributes:
        density: grey matter per volume of the template, ml per ml, smoothed, float32, `SHAPE`; its sum times the
            voxels' volume is ``grey_ml`` (less what lies outside the grid).
        grey_ml, inside_ml: volume of the grey matter, and of all that is labelled: the intracranial volume.
        forward, inverse: as `bids_app.imaging.registration.Registration` has them.
        dice: of the head's content and the template's after the affine part.
        seconds: how long it took.
        warnings: sentences.
    """

    density: np.ndarray
    grey_ml: float
    inside_ml: float
    forward: list[Path]
    inverse: list[Path]
    dice: float
    seconds: float
    warnings: tuple[str, ...] = ()


def grey_matter_map(
    labels: Path | str,
    template: Image,
    to_template: np.ndarray,
    prefix: Path | str,
    *,
    seed: int = 1,
    fwhm: float = FWHM_MM,
    spacing: float = WORKING,
    lesion: Path | str | None = None,
    program: Registrar | None = None,
) -> GreyMatter:
    """From the labels of a head to its map in the template's space.

    Args:
        labels: image of FreeSurfer's numbers, as the recipe `anatomy` writes it.
        template: its T1w, with a brain mask unless it holds nothing but brain.
        to_template: the head's world to the template's, mm, ``(4, 4)``: where the deformation begins.
        prefix: beginning of the names of the transforms' files.
        seed: of the program's sampling.
        fwhm: of the Gaussian, mm.
        spacing: resolution of the registration, mm.
        lesion: image of what is left out of the registration.
        program: that registers; ANTs where None is given.

    Raises:
        ImageError: the labels hold no grey matter, or the program failed on them.
    """
    import nibabel as nib

    started, program, prefix = time.perf_counter(), program or AntsRegistrar(), Path(prefix)
    set_threads(1)
    image = nib.load(labels)
    numbers, grid = np.asarray(image.dataobj).astype(np.int64), Grid(image.shape[:3], image.affine)
    if not np.isin(numbers, GREY).any():
        raise ImageError(f"{labels} holds no grey matter: are these labels of the recipe anatomy?")
    picture = Path(f"{prefix}_tissues.nii")
    picture.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(tissues(numbers), image.affine), picture)
    moving = working_image(picture, spacing, None, lesion)
    fixed = working_image(template.path, spacing, template.mask, cut=True)
    affine = write_matrix(to_template, Path(f"{prefix}_affine.txt"))
    back = write_matrix(np.linalg.inv(to_template), Path(f"{prefix}_affineinverse.txt"))
    warp, unwarp = program.deform(fixed, moving, affine, seed=seed, prefix=prefix)
    target, forward, inverse = map_grid(), [warp, affine], [back, unwarp]
    density = smoothed(carried(np.isin(numbers, GREY), grid, inverse, target), target, fwhm)
    dice = content_overlap(fixed, moving, to_template)
    told = []
    if dice < PLAUSIBLE_DICE:
        told.append(f"the labels overlap poorly with the template (Dice {dice:.2f}): do not trust the grey-matter map")
    ml = grid.voxel_volume / 1000
    volumes = float(np.isin(numbers, GREY).sum() * ml), float((numbers > 0).sum() * ml)
    return GreyMatter(density, *volumes, forward, inverse, dice, time.perf_counter() - started, tuple(told))


def tissues(labels: np.ndarray) -> np.ndarray:
    """The picture that is registered: `LEVELS`, 0 where there is no label; float32."""
    picture = np.zeros(labels.shape, np.float32)
    for numbers, level in LEVELS.items():
        picture[np.isin(labels, numbers)] = level
    return picture


def carried(inside: np.ndarray, grid: Grid, back: list, target: Grid) -> np.ndarray:
    """Volume that arrives in every voxel of another grid, by its volume: float32, ``target.shape``.

    Args:
        inside: bool, ``grid.shape``: what is carried.
        grid: where its voxels lie.
        back: transforms that take points of its world to the target's: `Registration.inverse`.
        target: where it arrives.

    Every voxel is cut into pieces of at most `PIECE_MM`, and each is shared among the eight voxels around the place
    where it arrives, by their nearness: the sum of all volumes stays what it was.
    """
    voxels = np.argwhere(inside)
    total = np.zeros(target.shape, np.float64)
    cuts = np.maximum(np.ceil(grid.spacing / PIECE_MM - 1e-6), 1).astype(int)
    parts = [(np.arange(n) + 0.5) / n - 0.5 for n in cuts]
    to_target = np.linalg.inv(target.affine)
    offsets = np.stack(np.meshgrid(*parts, indexing="ij"), -1).reshape(-1, 3)
    chain, at_once = load_chain(back), max(PIECES // len(offsets), 1)
    for start in range(0, len(voxels), at_once):
        pieces = (voxels[start : start + at_once, None] + offsets).reshape(-1, 3)
        for step in [grid.affine, *chain, to_target]:
            pieces = transform_points(step, pieces) if isinstance(step, np.ndarray) else step(pieces)
        _share(pieces, total)
    return (total * (grid.voxel_volume / cuts.prod() / target.voxel_volume)).astype(np.float32)


def _share(places: np.ndarray, total: np.ndarray) -> None:
    """Add one piece for each place (voxel coordinates, ``(n, 3)``) to the eight voxels around it."""
    low = np.floor(places).astype(np.int64)
    part = places - low
    corners = np.array(list(np.ndindex(2, 2, 2)))
    at = (low[:, None] + corners).reshape(-1, 3)
    weight = np.where(corners, part[:, None], 1 - part[:, None]).prod(axis=-1).ravel()
    there = ((at >= 0) & (at < total.shape)).all(axis=1)
    flat = np.ravel_multi_index(at[there].T, total.shape)
    total += np.bincount(flat, weight[there], total.size).reshape(total.shape)


def smoothed(values: np.ndarray, grid: Grid, fwhm: float) -> np.ndarray:
    """Smoothed by a Gaussian of that full width at half maximum, mm; float32."""
    from scipy import ndimage

    sigma = fwhm / np.sqrt(8 * np.log(2)) / grid.spacing
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float32), sigma, mode="constant"), np.float32)
