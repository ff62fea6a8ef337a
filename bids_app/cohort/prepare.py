"""Every session of a cohort on the recipe's grid, kept as scans."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bids.digest import sha256_of
from bids_app.bids.files import told_plainly, write_text
from bids_app.errors import DataError, ImageError
from bids_app.recipes.recipe import Recipe
from bids_app.scans.lay import LAYOUT, MARGIN_MM, lay, lay_labels, place_level
from bids_app.scans.scan import Scan, save_scan

if TYPE_CHECKING:
    from bids_app.cohort.cohort import Cohort, CohortSession
    from bids_app.imaging.stacking import Grid


#: What follows a session's key in the name of a scan of another slice than that at the level.
SLICE = "_slice"


def prepare_cohort(
    cohort: Cohort, recipe: Recipe, folder: Path, *, jobs: int = 1, told: Callable[[int, int, str], None] | None = None
) -> list[Path]:
    """Lay every session of a cohort and keep it as a `Scan`; labels by their nearest voxel, by world coordinates.

    A scan whose inputs and recipe are unchanged is left as it is; one of a session that left the cohort is deleted.

    Args:
        cohort: from `load_cohort`.
        folder: one ``KEY.npz`` per session, and beside it ``KEY.json`` with the digest of what it was made from. Of a
            flat recipe with a range also ``KEY_slice+1.npz`` and so on: further slices of the same participant.
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
    parts = _parts(session, recipe)
    digest = _hash(parts)
    if path.is_file() and _noted(note).get("digest") == digest:
        return None
    try:
        laid = {offset: _laid(session, recipe, grid) for offset, grid in _grids(session, recipe).items()}
    except (OSError, EOFError, ValueError, zlib.error, ImageError) as error:
        return f"{session.key}: cannot be laid on the grid ({error}); run the participant level on it again"
    structures = [region.name for region in recipe.regions if region.kind == "structure"]
    labelled = [labels for _, _, labels, _ in laid.values() if labels is not None]
    if structures and labelled and not any(labels.any() for labels in labelled):
        return f"{session.labels}: no labelled voxel lies on the grid of the recipe {recipe.name}"
    _forget_slices(folder, session.key)
    for offset, (stack, present, labels, grid) in laid.items():
        scan = Scan(
            slice_key(session.key, offset),
            session.participant,
            stack,
            present.astype(bool),
            labels,
            float(grid.spacing[: 2 if recipe.flat else 3].mean()),
            session.targets,
            session.covariates,
            session.site,
            session.sex,
            session.age,
            offset,
        )
        with told_plainly(path):
            save_scan(scan, folder)
    write_text(note, json.dumps({"digest": digest, "parts": parts}) + "\n")
    return None


def slice_key(key: str, offset: int) -> str:
    """Name of the scan of a slice above or below the level; the session's own at the level."""
    return f"{key}{SLICE}{offset:+d}" if offset else key


def _grids(session: CohortSession, recipe: Recipe) -> dict[int, Grid | None]:
    """Where a session is laid, by offset from the level; None for the place that `lay` chooses itself."""
    reference = session.images.get(recipe.reference)
    if not recipe.flat or not recipe.needed_grid.range_mm or reference is None:
        return {0: None}
    placed = place_level(recipe, reference, session.to_template, session.mask)
    return {one.offset: one.grid for one in placed}


def _laid(session: CohortSession, recipe: Recipe, grid: Grid | None) -> tuple[Any, Any, Any, Grid]:
    """Stack, flags, labels and grid."""
    margin = MARGIN_MM if recipe.needed_grid.kind == "region" else 0.0
    images, mask = session.images, session.mask
    stack, present, grid = lay(recipe, images, {}, session.to_template, mask, grid=grid, margin_mm=margin)
    return stack, present, None if session.labels is None else lay_labels(session.labels, recipe, grid), grid


def scan_parts(folder: Path, key: str) -> dict[str, str]:
    """What a scan that `prepare_cohort` made holds, a digest by part: images, labels, targets, covariates."""
    parts = _noted(folder / f"{key}.json").get("parts") or {}
    return {name: parts[name] for name in ("images", "labels", "targets", "covariates")}


def _parts(session: CohortSession, recipe: Recipe) -> dict[str, str]:
    """Hash of everything a scan is made from, by part."""
    files = {name: sha256_of(path) for name, path in sorted(session.images.items())}
    files |= {"mask": sha256_of(session.mask)} if session.mask else {}
    place = None if session.to_template is None else np.asarray(session.to_template).tolist()
    labels = sha256_of(session.labels) if session.labels else None
    grid = [recipe.needed_grid.model_dump(), recipe.network.slices]
    return {
        "images": _hash([LAYOUT, files, place, grid, [s.name for s in recipe.sequences]]),
        "labels": _hash([labels, [r.index for r in recipe.regions], recipe.labels.suffix]),
        "targets": _hash(np.asarray(session.targets).tolist()),
        "covariates": _hash(np.asarray(session.covariates).tolist()),
        "person": _hash([session.site, session.sex, session.age]),
    }


def _hash(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


def _noted(path: Path) -> dict[str, Any]:
    """What lies beside a scan; empty where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _forget_others(folder: Path, keys: set[str]) -> None:
    """Delete scans that this module made of sessions that are no longer in the cohort."""
    for note in folder.glob("sub-*.json"):
        if note.stem not in keys and "digest" in _noted(note):
            _forget_slices(folder, note.stem)
            note.with_suffix(".npz").unlink(missing_ok=True)
            note.unlink()


def _forget_slices(folder: Path, key: str) -> None:
    """Delete scans of a session's slices beside the level."""
    for path in folder.glob(f"{key}{SLICE}*.npz"):
        path.unlink()
