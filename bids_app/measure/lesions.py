"""Lesion by lesion: which were found, which were made up, and of what size.

The rule of matching: a lesion is a connected piece of the true mask, an answer a connected piece of the answered mask
(26 neighbours; 8 in a flat image). A lesion is *found* when at least one voxel of it is answered; an answer is *right*
when at least one voxel of it is truly lesion. One answer may find two lesions, and two answers may be right about one;
both are then counted, and `count_error` shows the merging or splitting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bids_app.errors import ImageError
from bids_app.measure.volumes import pieces

#: Volumes of a true lesion, mm³, lower end included and upper not; the smallest is LST-AI's lower range.
STRATA = ((10.0, 100.0), (100.0, 1000.0), (1000.0, float("inf")))


@dataclass(frozen=True)
class Counts:
    """How many lesions and answers; counts of several sessions add up with ``+``.

    Attributes:
        lesions: true ones.
        found: of these, by any overlap.
        answers: connected pieces of the answer.
        right: of these, by any overlap.
    """

    lesions: int = 0
    found: int = 0
    answers: int = 0
    right: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.lesions + other.lesions,
            self.found + other.found,
            self.answers + other.answers,
            self.right + other.right,
        )

    @property
    def recall(self) -> float:
        """Found of the true lesions; NaN where there are none."""
        return self.found / self.lesions if self.lesions else float("nan")

    @property
    def precision(self) -> float:
        """Right of the answers; NaN where nothing was answered."""
        return self.right / self.answers if self.answers else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where only one side is empty, NaN where both are."""
        if not self.lesions and not self.answers:
            return float("nan")
        if not self.found or not self.right:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)

    @property
    def count_error(self) -> int:
        """Answers minus true lesions."""
        return self.answers - self.lesions


@dataclass(frozen=True)
class Detection:
    """One session.

    Attributes:
        counts: over all sizes.
        strata: name of a stratum (``10-100``) -> counts. A true lesion and the right answers belong to the stratum of
            the true lesion (of the largest one an answer touches); an answer that is not right to that of its own
            volume.
        volumes_mm3: of each true lesion, largest first.
        covered: part of each that was answered.
    """

    counts: Counts
    strata: dict[str, Counts] = field(default_factory=dict)
    volumes_mm3: tuple[float, ...] = ()
    covered: tuple[float, ...] = ()


def detect(
    answer: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    strata: Sequence[tuple[float, float]] = STRATA,
) -> Detection:
    """Match the answered with the true lesions of one session by the rule at the top of this module.

    Args:
        answer: mask, shape ``(x, y, z)``; a flat one has ``z = 1``.
        truth: mask of the same shape.
        spacing: voxel sizes, mm.
        strata: volumes from and below, mm³.

    Raises:
        ImageError: the shapes differ.
    """
    if np.shape(answer) != np.shape(truth):
        raise ImageError(f"masks of shape {np.shape(answer)} and {np.shape(truth)} cannot be compared")
    voxel = float(np.prod(spacing))
    lesions, lesion_sizes = pieces(truth)
    answers, answer_sizes = pieces(answer)
    both = (lesions > 0) & (answers > 0)
    touched = np.bincount(lesions[both], minlength=len(lesion_sizes) + 1)[1:]
    # pieces are numbered from the largest on: the smallest number that an answer touches is its largest lesion
    owner = np.zeros(len(answer_sizes), int)
    for answered, lesion in sorted(set(zip(answers[both].tolist(), lesions[both].tolist(), strict=True)), reverse=True):
        owner[answered - 1] = lesion
    lesion_mm3, found, right = lesion_sizes * voxel, touched > 0, owner > 0
    answer_mm3 = np.where(right, lesion_mm3[owner - 1] if len(lesion_mm3) else 0, answer_sizes * voxel)
    in_strata = {}
    for low, high in strata:
        here, said = (lesion_mm3 >= low) & (lesion_mm3 < high), (answer_mm3 >= low) & (answer_mm3 < high)
        in_strata[stratum_name(low, high)] = _counts(found[here], right[said])
    return Detection(
        _counts(found, right), in_strata, tuple(lesion_mm3.tolist()), tuple((touched / lesion_sizes).tolist())
    )


def stratum_name(low: float, high: float) -> str:
    """``10-100``, or ``>1000`` where there is no upper end; mm³."""
    return f">{low:g}" if np.isinf(high) else f"{low:g}-{high:g}"


def pooled(counts: Iterable[Counts]) -> Counts:
    """All lesions of all sessions together, so that a session without lesions still brings its false positives."""
    return sum(counts, Counts())


def _counts(found: np.ndarray, right: np.ndarray) -> Counts:
    return Counts(len(found), int(found.sum()), len(right), int(right.sum()))
