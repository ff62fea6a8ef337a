"""What a network on resting-state maps has to beat: correlations between regions, and age, sex and motion alone.

The linear model is that of the target's kind (`TargetKind.baseline`), on the folds of the arms. Whatever is fitted, the
mean of the tangent space among it, is fitted on the training side of each fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.bids.tables import read_numbers
from bids_app.cohort.cohort import CohortSession
from bids_app.cohort.split import Split
from bids_app.errors import DataError
from bids_app.judge.baselines import answer_with
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan

CORRELATION, TANGENT, KNOWN = "connectivity", "connectivity-tangent", "age-sex-motion"
#: A parcel is looked at where this part of the training side's series show it.
SHOWN = 0.9
#: Correlations are cut here before Fisher's z.
LARGEST = 0.999


@dataclass(frozen=True)
class Evidence:
    """What these baselines read of one session.

    Attributes:
        courses: mean course of every parcel, ``(t, parcels)``, NaN in the column of one that the series does not show;
            None where the session has no series.
        known: age in years, sex as a number, mean framewise displacement in mm; NaN where not known.
    """

    courses: np.ndarray | None
    known: np.ndarray


def evidence_of(sessions: Iterable[CohortSession]) -> dict[str, Evidence]:
    """Evidence of every session of a cohort by its key; empty where nobody has a resting-state series.

    Raises:
        DataError: a table of courses that cannot be read.
    """
    sessions = list(sessions)
    if not any(session.courses for session in sessions):
        return {}
    words = sorted({session.sex for session in sessions if session.sex})
    found = {}
    for one in sessions:
        sex = float(words.index(one.sex)) if one.sex else np.nan
        courses = read_numbers(one.courses)[1] if one.courses else None
        found[one.key] = Evidence(courses, np.array([one.age, sex, one.motion], float))
    return found


def functional_baselines(recipe: Recipe, evidence: Mapping[str, Evidence]) -> list[str]:
    """Which of these baselines there is anything for."""
    return [CORRELATION, TANGENT, KNOWN] if recipe.targets and evidence else []


def answer_functional(
    name: str, scans: Sequence[Scan], split: Split, recipe: Recipe, folder: Path, evidence: Mapping[str, Evidence]
) -> list[Path]:
    """As `bids_app.judge.baselines.answer_baseline`, for a name of `functional_baselines`.

    Raises:
        DataError: no such baseline, or nobody on a training side has a series.
    """

    def columns(train: Sequence[Scan], new: Sequence[Scan], _: Target) -> tuple[np.ndarray, np.ndarray]:
        mine, other = ([evidence[scan.key] for scan in some] for some in (train, new))
        if name == KNOWN:
            return np.stack([one.known for one in mine]), np.stack([one.known for one in other])
        if name not in (CORRELATION, TANGENT):
            raise DataError(f"there is no baseline {name!r}; there are {CORRELATION}, {TANGENT} and {KNOWN}")
        return connectivity([e.courses for e in mine], [e.courses for e in other], tangent=name == TANGENT)

    return answer_with(columns, scans, split, recipe, folder)


def connectivity(
    train: Sequence[np.ndarray | None], new: Sequence[np.ndarray | None], *, tangent: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Connections of every pair of parcels that `SHOWN` of the training side have: ``(n, pairs)`` and ``(m, pairs)``.

    Fisher's z of correlations; or displacements in the tangent space at the training side's mean (Varoquaux 2010,
    MICCAI, LNCS 6361:200-208), which also hold each parcel with itself. Covariances are shrunk (Ledoit and Wolf 2004).
    A session without a series has a row of NaN. A parcel that a session lacks is uncorrelated with all others.

    Args:
        train, new: courses as in `Evidence`.

    Raises:
        DataError: nobody on the training side has a series, or no two parcels are shown by that many.
    """
    from nilearn.connectome import ConnectivityMeasure

    there = [one for one in train if one is not None]
    if not there:
        raise DataError("nobody on the training side has courses of parcels: run the participant level again")
    common = np.mean([np.isfinite(one).all(0) for one in there], axis=0) >= SHOWN
    if common.sum() < 2:
        raise DataError("the series of the training side have no two parcels in common: are they of parts of a brain?")
    kind = "tangent" if tangent else "correlation"
    measure = ConnectivityMeasure(
        kind=kind, vectorize=True, discard_diagonal=not tangent, standardize="zscore_sample"
    ).fit([_ready(one, common) for one in there])

    def rows(some: Sequence[np.ndarray | None]) -> np.ndarray:
        shown = [_ready(one, common) for one in some if one is not None]
        size = int(common.sum())
        out = np.full((len(some), size * (size + 1 if tangent else size - 1) // 2), np.nan)
        if shown:
            # nilearn refuses one alone in tangent space, though each is transformed by itself
            values = np.asarray(measure.transform([*shown, shown[0]]))[:-1]
            values = values if tangent else np.arctanh(np.clip(values, -LARGEST, LARGEST))
            out[[one is not None for one in some]] = values
        return out

    return rows(train), rows(new)


def _ready(courses: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Courses of the common parcels; noise of its own for one that is lacking, or that does not change."""
    kept = courses[:, common].astype(float)
    lacking = ~np.isfinite(kept).all(0) | (np.nan_to_num(kept).std(0) <= 0)
    kept[:, lacking] = np.random.default_rng(0).normal(size=(len(kept), int(lacking.sum())))
    return kept
