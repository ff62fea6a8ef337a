"""A session's images on the recipe's grid: laid in the same way for training and for prediction."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bids.digest import sha256_of
from bids_app.bids.files import told_plainly, write_text
from bids_app.errors import DataError, ImageError
from bids_app.imaging.stacking import Grid, region_grid, sample, transform_points, whole_grid
from bids_app.learning.scans import Scan, save_scan
from bids_app.recipes.recipe import AS_IT_LIES, GridSpec, Recipe

if TYPE_CHECKING:
    from bids_app.learning.cohort import Cohort, CohortSession

#: Around a region's cube in training, mm: room to turn and shift it by augmentation without running out of image.
MARGIN_MM = 10.0
#: Voxels whose size differs by no more than this part from the recipe's are used as they are.
SAME_SPACING = 0.01
#: Changes when scans are laid in another way, so that those prepared before are made again.
LAYOUT = 1


def lay(
    recipe: Recipe, images: Mapping[str, Path], matrices: Mapping[str, np.ndarray],
    reference_to_template: np.ndarray | None = None, mask: Path | None = None, *, grid: Grid | None = None,
    margin_mm: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, Grid]:  # fmt: skip
    """Every sequence on the recipe's grid, each by one interpolation.

    Kinds ``image`` and ``head``: the reference's own voxels where they have the recipe's spacing, else its field of
    view at that spacing, its axes in the order closest to right, front, top; neither mask nor template are looked at.
    Kind ``whole``: a box around the brain mask, zero outside the mask. Kind ``region``: a cube around the template's
    place, not masked: a mask that cuts too deep would change what the network sees. A flat grid is one slice of these,
    across the third axis.

    Args:
        recipe: with a grid.
        images: file of every sequence that is there, by the recipe's names.
        matrices: reference world to each image's world, ``(4, 4)``.
        reference_to_template: affine, reference world to template world, ``(4, 4)``; not for kinds ``image`` and
            ``head``.
        mask: brain mask, any grid in the reference's world; kind ``whole`` needs it.
        grid: lay here instead of where `place_grid` says.
        margin_mm: more on every side of a region's cube.

    Returns:
        float32 ``(sequences, x, y, z)``, zero for a missing sequence; one flag per sequence; the grid.

    Raises:
        ImageError: the reference is not there, or what the kind of grid needs is missing.
    """
    if recipe.reference not in images:
        raise ImageError(f"the recipe {recipe.name} cannot be used without its reference, {recipe.reference}")
    if grid is None:
        grid = place_grid(recipe, Path(images[recipe.reference]), reference_to_template, mask, margin_mm=margin_mm)
    names = [sequence.name for sequence in recipe.sequences]
    stack = np.zeros((len(names), *grid.shape), np.float32)
    for channel, name in zip(stack, names, strict=True):
        if name in images:
            channel[:] = _on_grid(Path(images[name]), np.asarray(matrices.get(name, np.eye(4))), grid)
    if recipe.grid.kind == "whole":
        stack *= sample(mask, np.eye(4), grid, order=0) > 0
    return stack, np.array([name in images for name in names], np.float32), grid


def place_grid(
    recipe: Recipe, reference: Path, reference_to_template: np.ndarray | None, mask: Path | None,
    *, margin_mm: float = 0.0,
) -> Grid:  # fmt: skip
    """Where the recipe looks in one session, in the reference's world; see `lay`.

    Raises:
        ImageError: no template or no mask for a grid that is placed by it.
    """
    spec = recipe.grid
    if spec.kind in AS_IT_LIES:
        straight = _straight(reference)  # a raw image and the participant level's copy of it give the same grid
        grid = image_grid(Grid(straight.shape[:3], straight.affine), spec.spacing_mm)
        return _slice_of(grid, grid.centre) if spec.flat else grid
    if reference_to_template is None or (spec.kind == "whole" and mask is None):
        raise ImageError(f"{reference}: a grid of kind {spec.kind!r} needs the brain mask and the way to the template")
    back = np.linalg.inv(reference_to_template)
    if spec.kind == "region":
        size = spec.size_mm + 2 * margin_mm
        return region_grid(back, spec.centre_mm, (size, size, spec.spacing_mm) if spec.flat else size, spec.spacing_mm)
    grid = whole_grid(back, Grid.of(mask), spec.spacing_mm, mask=_values(mask))
    return _slice_of(grid, _place(spec, back, grid)) if spec.flat else grid


def image_grid(native: Grid, spacing: float) -> Grid:
    """An image's own grid where its voxels have this size, else its field of view with voxels that do.

    Args:
        native: of the image.
        spacing: wanted, mm.
    """
    own = native.spacing
    if np.all(np.abs(own / spacing - 1) <= SAME_SPACING):
        return native
    factors = spacing / own
    shape = np.maximum(np.rint(np.asarray(native.shape) / factors).astype(int), 1)
    affine = native.affine.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] = native.centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def prepare_cohort(
    cohort: Cohort, recipe: Recipe, folder: Path, *, jobs: int = 1, told: Callable[[int, int, str], None] | None = None
) -> list[Path]:
    """Lay every session of a cohort and keep it as a `Scan`; labels by their nearest voxel, by world coordinates.

    A scan whose inputs and recipe are unchanged is left as it is; one of a session that left the cohort is deleted.

    Args:
        cohort: from `load_cohort`.
        folder: one ``KEY.npz`` per session, and beside it ``KEY.json`` with the digest of what it was made from.
        jobs: sessions at a time.
        told: called after each session with how many are done, how many there are, and the session's key.

    Returns:
        The scans' files, in the cohort's order.

    Raises:
        DataError: images that cannot be read and labelled structures outside the recipe's grid, all sessions together.
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _forget_others(folder, {session.key for session in cohort.sessions})
    troubles, paths = [], []
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        answers = pool.map(lambda session: _prepare(session, recipe, folder), cohort.sessions)
        for done, (session, trouble) in enumerate(zip(cohort.sessions, answers, strict=True), 1):
            troubles += [trouble] if trouble else []
            paths.append(folder / f"{session.key}.npz")
            if told:
                told(done, len(cohort.sessions), session.key)
    if troubles:
        raise DataError(
            f"these sessions cannot be prepared for the recipe {recipe.name}:\n"
            + "\n".join(f"  {line}" for line in troubles)
        )
    return paths


def _prepare(session: CohortSession, recipe: Recipe, folder: Path) -> str | None:
    """Lay one session; what is wrong with it, or None."""
    path, note = folder / f"{session.key}.npz", folder / f"{session.key}.json"
    digest = _digest(session, recipe)
    if path.is_file() and _noted(note) == digest:
        return None
    margin = MARGIN_MM if recipe.grid.kind == "region" else 0.0
    try:
        stack, present, grid = lay(recipe, session.images, {}, session.to_template, session.mask, margin_mm=margin)
        labels = None if session.labels is None else lay_labels(session.labels, recipe, grid)
    except (OSError, EOFError, ValueError, zlib.error, ImageError) as error:
        return f"{session.key}: cannot be laid on the grid ({error}); run the participant level on it again"
    structures = [region.name for region in recipe.regions if region.kind == "structure"]
    if labels is not None and structures and not labels.any():
        return f"{session.labels}: no labelled voxel lies on the grid of the recipe {recipe.name}"
    scan = Scan(
        session.key, session.participant, stack, present.astype(bool), labels, float(grid.spacing.mean()),
        session.targets, session.covariates, session.site, session.sex, session.age,
    )  # fmt: skip
    with told_plainly(path):
        save_scan(scan, folder)
    write_text(note, json.dumps({"digest": digest}) + "\n")
    return None


def lay_labels(path: Path, recipe: Recipe, grid: Grid) -> np.ndarray:
    """Position of each voxel's region in the recipe's list, from 1; 0 for none; uint8, ``grid.shape``."""
    values = np.rint(sample(path, np.eye(4), grid, order=0)).astype(int)
    labels = np.zeros(grid.shape, np.uint8)
    for position, region in enumerate(recipe.regions, 1):
        labels[values == (1 if recipe.labels.suffix == "mask" else region.index)] = position
    return labels


def _on_grid(path: Path, to_image: np.ndarray, grid: Grid) -> np.ndarray:
    """One image on a grid; its voxels as they are where they lie there already, in whatever order."""
    own = _straight(path)
    to_voxel = np.linalg.inv(own.affine) @ to_image @ grid.affine
    if own.shape[:3] == grid.shape and np.allclose(to_voxel, np.eye(4), atol=1e-4):
        return np.asarray(own.dataobj, dtype=np.float32).reshape(grid.shape)
    return sample(path, to_image, grid)


def _straight(path: Path) -> Any:
    """An image with its axes closest to right, front, top, as `bids_app.imaging.conform` writes it."""
    import nibabel as nib

    return nib.as_closest_canonical(nib.load(path))


def _values(path: Path) -> np.ndarray:
    import nibabel as nib

    image = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])


def _place(spec: GridSpec, template_to_reference: np.ndarray, grid: Grid) -> np.ndarray:
    return grid.centre if spec.centre_mm is None else transform_points(template_to_reference, spec.centre_mm)


def _slice_of(grid: Grid, place_mm: np.ndarray) -> Grid:
    """The slice across the grid's third axis that holds a place of the world."""
    index = transform_points(np.linalg.inv(grid.affine), place_mm)[2]
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * np.clip(np.rint(index), 0, grid.shape[2] - 1)
    return Grid((*grid.shape[:2], 1), affine)


def _digest(session: CohortSession, recipe: Recipe) -> str:
    """Hash of everything a scan is made from."""
    files = {name: sha256_of(path) for name, path in sorted(session.images.items())}
    files |= {name: sha256_of(path) for name, path in (("mask", session.mask), ("labels", session.labels)) if path}
    parts: list[Any] = [
        LAYOUT, files, None if session.to_template is None else np.asarray(session.to_template).tolist(),
        recipe.grid.model_dump(), [s.name for s in recipe.sequences], [r.index for r in recipe.regions],
        recipe.labels.suffix, np.asarray(session.targets).tolist(), np.asarray(session.covariates).tolist(),
        session.site, session.sex, session.age,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _noted(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forget_others(folder: Path, keys: set[str]) -> None:
    """Delete scans that this module made of sessions that are no longer in the cohort."""
    for note in folder.glob("sub-*.json"):
        if note.stem not in keys and _noted(note):
            note.with_suffix(".npz").unlink(missing_ok=True)
            note.unlink()
