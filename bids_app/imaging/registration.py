"""Rigid, affine and deformable registration, on images brought to a working resolution first.

Registration needs no more than 2 mm: the full-resolution levels of a usual ANTs call are nine tenths of its time and
move a structure by less than a tenth of a voxel. Positions to start from are tried with `MutualInformation`, so that
a head turned by 40° or a brain far from the origin is found.
"""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.ants_registrar import AntsRegistrar
from bids_app.imaging.background import lifted
from bids_app.imaging.registrar import Registrar, Working
from bids_app.imaging.similarity import MutualInformation, climb, turned
from bids_app.imaging.stacking import Grid, rotation_of, sample
from bids_app.imaging.transforms import decompose, set_threads, write_matrix

log = logging.getLogger(__name__)
KINDS = ("rigid", "affine", "syn")
#: An adult brain is not three fifths of a template, nor one and a half of it (determinant of the affine).
PLAUSIBLE_SCALE = (0.6, 1.8)
PLAUSIBLE_DICE = 0.8
#: Similarity below which the search is repeated from every side. Unrelated positions give 1.00 to 1.03.
POOR = 1.04
WORKING_MM = {"rigid": 1.5, "affine": 2.0, "syn": 2.0}


@dataclass(frozen=True)
class Registration:
    """How a moving image lies on a fixed one.

    Attributes:
        kind: rigid, affine or syn.
        forward: ITK transform files that carry the moving image to the fixed one, in ANTs' order (last is applied
            to the image first).
        inverse: the same for the way back.
        matrix: moving world to fixed world, RAS, ``(4, 4)``; of a syn, its affine part.
        similarity: normalised mutual information, 1 (unrelated) to 2.
        dice: overlap of the two contents where both are brains; None for others.
        seconds: how long it took.
        warnings: sentences for the report.
    """

    kind: str
    forward: list[Path]
    inverse: list[Path]
    matrix: np.ndarray
    similarity: float
    dice: float | None
    seconds: float
    warnings: tuple[str, ...] = field(default=())

    @property
    def plausible(self) -> bool:
        return not self.warnings


@dataclass(frozen=True)
class Image:
    """An image that is registered.

    Attributes:
        path: 3-D image.
        mask: image on its grid, non-zero where voxels count.
        lesion: image on its grid, non-zero where voxels do not count (cost-function masking: Brett et al., NeuroImage
            14 (2001) 486-500).
        name: what warnings call it; the file's name where none is given.
    """

    path: Path | str
    mask: Path | str | None = None
    lesion: Path | str | None = None
    name: str = ""

    def __str__(self) -> str:
        return self.name or Path(self.path).name


@dataclass(frozen=True)
class Fit:
    """How two images are registered.

    Attributes:
        kind: ``rigid`` (same head), ``affine`` (to a template) or ``syn`` (affine, then deformation).
        initial: moving world to fixed world, ``(4, 4)``; without it several starts are compared.
        spacing: working resolution, mm; by default `WORKING_MM`.
        seed: of the program's sampling.
        threads: for ITK; ignored when ``reproducible``, and when antspyx is imported already.
        reproducible: one thread: ITK with more gives another result in every run.
        brains: a brain is laid on a brain: what lies outside the masks is blanked (an image without a mask holds
            nothing but brain), and the two are expected to overlap.
    """

    kind: str = "rigid"
    initial: np.ndarray | None = None
    spacing: float | None = None
    seed: int = 1
    threads: int = 1
    reproducible: bool = True
    brains: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"registration is one of {', '.join(KINDS)}, not {self.kind}")

    @property
    def linear(self) -> str:
        """Kind of its linear part."""
        return "rigid" if self.kind == "rigid" else "affine"


def register(
    moving: Image, fixed: Image, how: Fit, out_prefix: Path | str, *, program: Registrar | None = None
) -> Registration:
    """Find where ``moving`` lies on ``fixed``.

    Args:
        moving: what is carried over.
        fixed: where to.
        how: kind, start, resolution.
        out_prefix: beginning of the names of the transform files.
        program: that registers; ANTs where None is given.

    Returns:
        The registration; ``warnings`` tells when it is not to be trusted.

    Raises:
        ImageError: an image has no content, or the program failed on it.
    """
    start, program = time.perf_counter(), program or AntsRegistrar()
    in_force = set_threads(1 if how.reproducible else how.threads)
    if how.reproducible and in_force > 1:
        log.warning("ITK runs with %d threads, set before: this registration will not repeat exactly", in_force)
    prefix = Path(out_prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    spacing = how.spacing or WORKING_MM[how.kind]
    on_fixed = working_image(fixed.path, spacing, fixed.mask, fixed.lesion, cut=how.brains)
    on_moving = working_image(moving.path, spacing, moving.mask, moving.lesion, cut=how.brains)
    measure = MutualInformation(
        on_fixed.array,
        on_fixed.grid,
        on_moving.array,
        on_moving.grid,
        fixed_mask=on_fixed.mask,
        moving_mask=on_moving.mask,
    )
    matrix = _best_linear(on_fixed, on_moving, measure, how, program, prefix.parent)
    forward = [write_matrix(matrix, Path(f"{prefix}_affine.txt"))]
    inverse = [write_matrix(np.linalg.inv(matrix), Path(f"{prefix}_affineinverse.txt"))]
    if how.kind == "syn":
        warp, back = program.deform(on_fixed, on_moving, forward[0], seed=how.seed, prefix=prefix)
        forward, inverse = [warp, *forward], [*inverse, back]
    similarity = measure.at(matrix)
    dice = content_overlap(on_fixed, on_moving, matrix) if how.brains else None
    warnings = _doubts(how.kind, matrix, similarity, dice, f"{moving} on {fixed}")
    return Registration(how.kind, forward, inverse, matrix, similarity, dice, time.perf_counter() - start, warnings)


def _best_linear(
    fixed: Working, moving: Working, measure: MutualInformation, how: Fit, program: Registrar, folder: Path
) -> np.ndarray:
    """The matrix from the given start, or from the best of several; from every side where that finds nothing alike."""
    kind, seed = how.linear, how.seed
    given = None if how.initial is None else np.asarray(how.initial, float)
    begin = starting_position(fixed, moving, measure, how.kind) if given is None else given
    matrix = program.linear(fixed, moving, begin, kind, seed=seed, folder=folder)
    if given is None and measure.at(matrix) < POOR:
        begin = starting_position(fixed, moving, measure, how.kind, everywhere=True)
        other = program.linear(fixed, moving, begin, kind, seed=seed, folder=folder)
        matrix = max(matrix, other, key=measure.at)
    return max(matrix, begin, key=measure.at)


def _doubts(kind: str, matrix: np.ndarray, similarity: float, dice: float | None, what: str) -> tuple[str, ...]:
    said = []
    scale = decompose(matrix)["volume_scale"]
    if kind != "rigid" and not PLAUSIBLE_SCALE[0] <= scale <= PLAUSIBLE_SCALE[1]:
        said.append(f"the registration of {what} changes volumes by a factor of {scale:.2f}; look at its picture")
    if similarity < POOR:
        said.append(
            f"after registration {what} have little in common (similarity {similarity:.2f}); look at its picture"
        )
    if dice is not None and dice < PLAUSIBLE_DICE:
        said.append(f"after registration {what} overlap poorly (Dice {dice:.2f}); look at its picture")
    return tuple(said)


def working_image(path, spacing: float, mask=None, lesion=None, *, cut: bool = False) -> Working:
    """Read an image at working resolution; ``cut`` blanks it outside the mask instead of masking the metric."""
    grid = working_grid(Grid.of(path), spacing)
    array = sample(path, np.eye(4), grid)
    if not np.isfinite(array).all() or array.max() <= array.min():
        raise ImageError(f"{path} has no content to register, or values that are not finite")
    array = lifted(array)
    array = array - min(float(array.min()), 0.0)
    counts = None if mask is None else sample(mask, np.eye(4), grid) > 0.5
    if counts is not None and not counts.any():
        raise ImageError(f"the mask for the registration of {path} leaves no voxel")
    if cut and counts is not None:
        array, counts = np.where(counts, array, 0).astype(np.float32), None
    if lesion is not None:
        healthy = sample(lesion, np.eye(4), grid) < 0.05
        counts = healthy if counts is None else counts & healthy
    return Working(array, grid, counts)


def working_grid(native: Grid, spacing: float) -> Grid:
    """A grid over the same box, voxels of at least ``spacing``, axes at right angles even where a header's are not."""
    rotation = rotation_of(native.affine[:3, :3] / native.spacing)
    steps = np.maximum(native.spacing, spacing)
    along = native.corners() @ rotation
    low, high = along.min(0), along.max(0)
    shape = np.maximum(np.ceil((high - low) / steps - 0.01), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * steps
    affine[:3, 3] = rotation @ ((low + high) / 2) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def centre_of_mass(image: Working) -> np.ndarray:
    """World position of the middle of an image's content (every bright voxel counts the same), mm."""
    bright = image.array > 0.1 * np.percentile(image.array, 99)
    if image.mask is not None and (bright & image.mask).any():
        bright &= image.mask
    where = np.argwhere(bright)
    return image.grid.affine[:3, :3] @ where.mean(0) + image.grid.affine[:3, 3]


def starting_position(
    on_fixed: Working, on_moving: Working, measure, kind: str, *, everywhere: bool = False
) -> np.ndarray:
    """The most similar of many positions: as the headers say, centres of mass on each other, turned heads.

    Args:
        on_fixed: fixed image.
        on_moving: moving image.
        measure: similarity of the two.
        kind: of a rigid registration the headers are believed unless another position is clearly better.
        everywhere: also a head upside down or on its side, as after a wrong header.
    """
    about, to = centre_of_mass(on_moving), centre_of_mass(on_fixed)
    steps = (-20, 0, 20) if kind == "rigid" else (-40, -20, 0, 20, 40)
    angles = list(itertools.product(steps, (-20, 0, 20), (-20, 0, 20)))
    if everywhere:
        angles += list(itertools.product(range(-180, 180, 30), (-60, -30, 0, 30, 60), range(-180, 180, 30)))
    candidates = [turned(a, about, to) for a in angles]
    best = max(candidates, key=measure.at)
    as_it_is = np.eye(4)
    margin = 1.005 if kind == "rigid" else 1.0
    start = as_it_is if measure.at(as_it_is) * margin >= measure.at(best) else best
    return climb(measure, start, to, bounds=(20, 20, 0 if kind == "rigid" else 25))


def content_overlap(on_fixed: Working, on_moving: Working, matrix: np.ndarray) -> float:
    """Dice of what is bright in the one and in the other, after ``matrix``."""
    from scipy import ndimage

    here = on_fixed.array > 0.05 * np.percentile(on_fixed.array, 99)
    there = (on_moving.array > 0.05 * np.percentile(on_moving.array, 99)).astype(np.float32)
    to_voxel = np.linalg.inv(on_moving.grid.affine) @ np.linalg.inv(matrix) @ on_fixed.grid.affine
    moved = ndimage.affine_transform(there, to_voxel[:3, :3], to_voxel[:3, 3], here.shape, order=1) > 0.5
    return float(2 * (here & moved).sum() / max(here.sum() + moved.sum(), 1))
