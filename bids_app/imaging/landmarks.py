"""Where a head lies in the template's space, from the middles of its structures: a start that cannot be far off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bids_app.imaging.stacking import Grid
from bids_app.imaging.warping import pull
from bids_app.measure.overlap import dice

#: Middles of structures in MNI152NLin2009c space, mm, by FreeSurfer's numbers: what the bundle `anatomy` finds in the
#: template itself (``python -m tests.benchmarks.template_landmarks``).
MIDDLES: dict[int, tuple[float, float, float]] = {
    4: (-13.9, -13.1, 13.8),
    7: (-18.9, -53.1, -35.8),
    8: (-24.0, -63.1, -37.4),
    10: (-12.3, -18.3, 5.7),
    11: (-13.8, 10.2, 9.4),
    12: (-26.2, 1.7, -0.4),
    13: (-20.9, -2.8, -1.8),
    14: (0.0, -10.3, -3.5),
    15: (0.0, -45.6, -35.3),
    16: (0.0, -31.0, -33.0),
    17: (-26.7, -21.0, -14.9),
    18: (-23.0, -5.1, -19.5),
    26: (-10.0, 13.2, -7.7),
    28: (-10.1, -13.2, -11.6),
    43: (13.9, -13.1, 13.8),
    46: (18.9, -53.1, -35.8),
    47: (24.0, -63.1, -37.4),
    49: (12.3, -18.3, 5.7),
    50: (13.8, 10.2, 9.4),
    51: (26.2, 1.7, -0.4),
    52: (20.9, -2.8, -1.8),
    53: (26.7, -21.0, -14.9),
    54: (23.0, -5.1, -19.5),
    58: (10.0, 13.2, -7.7),
    60: (10.1, -13.2, -11.6),
    1035: (-37.1, 4.2, -1.0),
    2035: (37.1, 4.2, -1.0),
}
#: Fewer structures than this place no head; nor do structures that lie further from the template's than this on
#: average once the affine is applied, mm.
FEWEST, LARGEST_ERROR_MM = 12, 6.0


def affine_to_template(middles: Mapping[int, Sequence[float]]) -> np.ndarray | None:
    """The affine that brings the middles of structures nearest to the template's (least squares).

    Args:
        middles: world position, mm, by FreeSurfer's number; numbers that `MIDDLES` lacks do not count.

    Returns:
        Image world to template world, ``(4, 4)``; None where too few were found, or they do not lie as in a head.
    """
    shared = sorted(set(middles) & set(MIDDLES))
    if len(shared) < FEWEST:
        return None
    here = np.array([[*middles[number], 1.0] for number in shared])
    there = np.array([MIDDLES[number] for number in shared])
    solution, _, rank, _ = np.linalg.lstsq(here, there, rcond=None)
    if rank < 4 or np.linalg.norm(here @ solution - there, axis=1).mean() > LARGEST_ERROR_MM:
        return None
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return matrix if np.linalg.det(matrix[:3, :3]) > 0 else None


def middles_of(rows: Sequence[Mapping[str, Any]]) -> dict[int, Sequence[float]]:
    """Of rows as `bids_app.predict.regions.measure_regions` gives them: structures that were found."""
    return {row["index"]: row["centre_mm"] for row in rows if row["index"] is not None and row["centre_mm"]}


def agreement(mask: np.ndarray, grid: Grid, to_template: np.ndarray, brain: np.ndarray, template_grid: Grid) -> float:
    """Dice of a brain mask with the template's brain, where an affine puts them on each other.

    Args:
        mask: shape ``grid.shape``.
        grid: of the mask.
        to_template: world of the mask to that of the template, ``(4, 4)``.
        brain: of the template, shape ``template_grid.shape``.
        template_grid: its grid.
    """
    return dice(pull(mask.astype(np.float32), grid, template_grid, [np.linalg.inv(to_template)]) > 0.5, brain)
