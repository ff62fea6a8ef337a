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
    4: (-14.0, -13.7, 13.7),
    7: (-19.1, -52.9, -36.0),
    8: (-23.9, -63.4, -36.8),
    10: (-12.2, -17.1, 5.7),
    11: (-14.0, 10.9, 8.8),
    12: (-25.8, 2.0, -0.7),
    13: (-21.0, -3.2, -1.8),
    14: (0.0, -10.9, -3.1),
    15: (0.0, -45.3, -33.8),
    16: (0.0, -31.4, -32.9),
    17: (-26.8, -21.3, -15.4),
    18: (-23.3, -5.5, -19.8),
    26: (-10.6, 11.8, -8.4),
    28: (-10.5, -14.6, -11.3),
    43: (14.0, -13.7, 13.7),
    46: (19.1, -52.9, -36.0),
    47: (23.9, -63.4, -36.8),
    49: (12.2, -17.1, 5.7),
    50: (14.0, 10.9, 8.8),
    51: (25.8, 2.0, -0.7),
    52: (21.0, -3.2, -1.8),
    53: (26.8, -21.3, -15.4),
    54: (23.3, -5.5, -19.8),
    58: (10.6, 11.8, -8.4),
    60: (10.5, -14.6, -11.3),
    1035: (-37.5, 4.0, -2.5),
    2035: (37.5, 4.0, -2.5),
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
