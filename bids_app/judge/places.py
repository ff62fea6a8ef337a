"""What a network has to beat where there are lesions: where they lie, how large they are, and the covariates.

Of 711 people with acute infarcts (true masks in template space), how much of the infarct lies in each cell of the brain
told the NIHSS with r 0.58, and its volume and their age with 0.50 (``tests.benchmarks.stroke_outcome``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_app.cohort.split import Split
from bids_app.errors import DataError
from bids_app.judge.baselines import answer_with, decided_masks, volumes_of
from bids_app.networks.reading import CELLS_PER_AXIS, in_cells
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan
from bids_app.targets.closed_form import fit_ridge

LESION_PLACES = "lesion-places"


def measured_lesions(
    scans: Sequence[Scan],
    answers: Path | Sequence[Path],
    recipe: Recipe,
    *,
    threshold: float | Mapping[str, float] = 0.5,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Volumes, as `bids_app.judge.baselines.measured_volumes` gives them, and how much of every lesion lies in each
    cell of the field of view, both by a scan's key, from out-of-fold masks that are read once.

    Shape ``(regions * cells,)``, as `bids_app.networks.reading.in_cells` gives it. Cells are parts of the brain where
    the grid is placed by the template (kinds ``whole`` and ``region``, and images that lie in it). Give the answers of
    an arm that learned no target; see `bids_app.judge.baselines.measured_volumes`.
    """
    volumes, places, regions = {}, {}, len(recipe.regions)
    for scan, mask in decided_masks(scans, answers, recipe, threshold=threshold):
        volumes[scan.key] = volumes_of(mask, regions, scan.spacing)
        places[scan.key] = cells_of(mask, regions)
    return volumes, places


def cells_of(mask: np.ndarray, regions: int) -> np.ndarray:
    """`bids_app.networks.reading.in_cells` of a mask ``(x, y, z)`` that holds positions of regions from 1."""
    import torch

    parts = np.stack([mask == position for position in range(1, regions + 1)]).astype(np.float32)
    if parts.shape[-1] == 1:  # one slice
        parts = parts[..., 0]
    return in_cells(torch.from_numpy(parts)[None], CELLS_PER_AXIS)[0].numpy().astype(float)


def answer_places(
    scans: Sequence[Scan],
    split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    places: Mapping[str, np.ndarray],
    volumes: Mapping[str, np.ndarray],
) -> list[Path]:
    """Answer every fold's test side from places, volumes and covariates, and leave the answers as a network does.

    Args:
        scans, split, recipe, folder: as for `bids_app.judge.baselines.answer_baseline`.
        places, volumes: see `measured_lesions`; mm³.

    Raises:
        DataError: a scan has neither: named.
    """
    for scan in scans:
        if scan.key not in places or scan.key not in volumes:
            raise DataError(f"the baseline {LESION_PLACES} has no mask for {scan.key}: did its fold finish?")

    def columns(known: Sequence[Scan], test: Sequence[Scan], target: Target) -> tuple[np.ndarray, np.ndarray]:
        hidden = list(recipe.hidden_from(target))
        blocks = [
            lambda scan: places[scan.key],
            lambda scan: np.concatenate([np.log1p(volumes[scan.key]), np.cbrt(volumes[scan.key])]),
            lambda scan: np.delete(np.asarray(scan.covariates, float), hidden),
        ]
        pairs = [alike(*(np.stack([block(scan) for scan in side]) for side in (known, test))) for block in blocks]
        train, new = zip(*pairs, strict=True)
        return np.concatenate(train, 1), np.concatenate(new, 1)

    return answer_with(columns, scans, split, recipe, folder, fit=ridge_answer)


def alike(train: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A block of columns with the mean 0 and, all together, the variance 1 of those who train.

    Where a number is not known the mean stands for it; what is the same in everybody who trains says nothing.
    """
    if not train.shape[1]:
        return train, new
    known = np.isfinite(train)
    count = np.maximum(known.sum(0), 1)
    middle = np.where(known, train, 0).sum(0) / count
    spread = np.sqrt(np.where(known, (train - middle) ** 2, 0).sum(0) / count)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0) / np.sqrt(train.shape[1])
    first, second = (np.where(np.isfinite(side), side - middle, 0.0) * scale for side in (train, new))
    return first, second


def ridge_answer(target: Target, x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The ridge solution of a head (`bids_app.train.heads`), its penalty by people left out; see `fit_and_answer`."""
    kind = target.behaviour
    levels = max(len(target.levels), int(y.max()) + 1, 2) if kind.has_levels else 0
    if len(np.unique(y)) < 2:
        return kind.baseline(x, y, new, levels)
    scaling = kind.fit(y, levels)
    fit = fit_ridge(x, kind.codes(y, levels, scaling), [str(n) for n in range(len(y))])
    matrix, shift = kind.from_codes(fit.left_out, y, levels)
    return kind.in_unit((new @ fit.weights + fit.intercept) @ matrix + shift, scaling)
