"""Intervals and tests that respect who the numbers come from: the participant is the unit, never the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DRAWS = 2000
PERMUTATIONS = 9999
LEVEL = 0.95
#: Numbers held at once in a bootstrap.
AT_ONCE = 4_000_000
#: An interval needs this part of the draws to be defined.
USABLE = 0.9

#: Weights ``(draws, rows)`` -> one number per draw.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A number with its interval (percentiles of the bootstrap), and whom it rests on.

    ``low`` and ``high`` are NaN with one participant, and where more than a tenth of the draws leave it undefined.
    """

    value: float
    low: float
    high: float
    participants: int
    sessions: int

    def to_plain(self) -> dict[str, Any]:
        return plain(asdict(self))

    def holds(self, value: float) -> bool:
        """Whether a value lies in the interval."""
        return bool(self.low <= value <= self.high)


def bootstrap(
    statistic: Statistic, participants: Sequence[str], *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Percentile interval of any statistic, participants drawn again with all of their sessions.

    Args:
        statistic: see `Statistic`; a row's weight is how often its participant was drawn.
        participants: whose each row is.
        draws: how often.
        seed: of the draws: the same for two arms, so that both see the same participants.
        level: part of the draws inside the interval.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. By weights, not by rows drawn again as
    `scipy.stats.bootstrap` has it: that knows no clusters, and measures of drawn rows take 400 times as long (see
    `bids_app.measure.weighted`).
    """
    rows = len(participants)
    people, owner = np.unique(np.asarray(participants, dtype=str), return_inverse=True)
    nan = float("nan")
    if not rows:
        return Interval(nan, nan, nan, 0, 0)
    value = float(statistic(np.ones((1, rows)))[0])
    if len(people) < 2:
        return Interval(value, nan, nan, len(people), rows)
    rng, found = np.random.default_rng(seed), []
    for part in _parts(draws, rows):
        counts = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=part)
        found.append(statistic(counts[:, owner].astype(np.float64)))
    drawn = np.concatenate(found)
    drawn = drawn[np.isfinite(drawn)]
    low = high = nan
    if np.isfinite(value) and len(drawn) >= USABLE * draws:
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(people), rows)


def by_participant(
    values: np.ndarray | Sequence[float], participants: Sequence[str], *, total: bool = False
) -> tuple[list[str], np.ndarray]:
    """Names, and mean (or sum) of each participant's rows that are known; participants without any are left out."""
    values, known = np.asarray(values, np.float64), np.isfinite(np.asarray(values, np.float64))
    people, owner = np.unique(np.asarray(participants, dtype=str)[known], return_inverse=True)
    sums = np.bincount(owner, values[known], minlength=len(people))
    return people.tolist(), sums if total else sums / np.maximum(np.bincount(owner, minlength=len(people)), 1)


def mean_interval(
    values: np.ndarray | Sequence[float], participants: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean over participants of each one's mean over sessions, with its interval; NaN rows do not count."""
    people, means = by_participant(values, participants)
    found = bootstrap(lambda weights: weights @ means / weights.sum(1), people, draws=draws, seed=seed)
    return Interval(found.value, found.low, found.high, len(people), int(np.isfinite(np.asarray(values, float)).sum()))


def paired_difference(
    one: np.ndarray, other: np.ndarray, participants: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean over participants of ``one`` minus ``other``, row by row; a row where either is NaN does not count."""
    return mean_interval(np.asarray(one, float) - np.asarray(other, float), participants, draws=draws, seed=seed)


def sign_flip(differences: np.ndarray, *, draws: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p of a mean difference of zero, when each participant's sign could as well have been the other.

    Args:
        differences: one per participant (see `by_participant`), NaN left out.
        draws: random choices of signs; all are looked at instead where there are no more.

    Returns:
        NaN without participants. Never 0: the data themselves count as one choice (Phipson and Smyth 2010).
    """
    from scipy.stats import permutation_test

    values = np.asarray(differences, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:  # of one participant both choices are as far from zero
        return 1.0 if len(values) else float("nan")
    found = permutation_test(
        (values,),
        np.sum,
        permutation_type="samples",
        n_resamples=draws,
        batch=max(1, AT_ONCE // len(values)),
        random_state=np.random.default_rng(seed),
    )
    return min(float(found.pvalue), 1.0)


@dataclass(frozen=True)
class DeLong:
    """Two areas under the curve of the same people, ``difference`` of the first minus the second, and its test.

    ``p`` is NaN where the standard error is zero (both answers perfect, say) and the test does not exist.
    """

    auc_one: float
    auc_other: float
    difference: float
    standard_error: float
    p: float


def delong(
    positive: np.ndarray, one: np.ndarray, other: np.ndarray, participants: Sequence[str] | None = None
) -> DeLong:
    """Test of two correlated areas under the receiver operating characteristic.

    Args:
        positive: ``(n,)``, yes or no; both must occur.
        one: ``(n,)``, scores of one arm.
        other: ``(n,)``, scores of the other, in the same order.
        participants: whose each row is; with several rows of one person the variance is that of clusters.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845; by midranks as in Sun and Xu, IEEE Signal Process
    Lett 21 (2014) 1389-1393; clusters after Obuchowski, Biometrics 53 (1997) 567-578, which is DeLong's for one row
    each. Neither scipy, statsmodels nor scikit-learn has this test.
    """
    positive = np.asarray(positive, bool)
    names = np.arange(len(positive)) if participants is None else np.asarray(participants, dtype=str)
    owner = np.unique(names, return_inverse=True)[1]
    nan = float("nan")
    if positive.all() or not positive.any():
        return DeLong(nan, nan, nan, nan, nan)
    parts = [_components(positive, np.asarray(score, np.float64)) for score in (one, other)]
    first, second = (float(yes.mean()) for yes, _ in parts)
    yes, no = (np.subtract(a, b) for a, b in zip(*parts, strict=True))
    error = float(np.sqrt(_cluster_variance(yes, no, owner[positive], owner[~positive])))
    difference = first - second
    return DeLong(first, second, difference, error, _two_sided(difference / error) if error > 1e-12 else nan)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p: as many tests as are not NaN (Scand J Stat 6 (1979) 65-70). NaN stays NaN."""
    from statsmodels.stats.multitest import multipletests

    raw = np.asarray(p_values, np.float64)
    tested = np.isfinite(raw)
    adjusted = np.full(len(raw), np.nan)
    if tested.any():
        adjusted[tested] = multipletests(raw[tested], method="holm")[1]
    return adjusted.tolist()


def plain(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have: they become None."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _components(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of the other class each row is ranked rightly against: of the positive rows, of the negative ones."""
    from scipy.stats import rankdata

    yes, no, every = score[positive], score[~positive], rankdata(score)
    of_yes = (every[positive] - rankdata(yes)) / len(no)
    of_no = 1 - (every[~positive] - rankdata(no)) / len(yes)
    return of_yes, of_no


def _cluster_variance(yes: np.ndarray, no: np.ndarray, owner_yes: np.ndarray, owner_no: np.ndarray) -> float:
    """Variance of the difference of two areas, from the differences of their components."""
    mean, clusters = yes.mean(), int(max(owner_yes.max(), owner_no.max())) + 1
    sums = [np.bincount(owner, part - mean, minlength=clusters) for part, owner in ((yes, owner_yes), (no, owner_no))]
    factors = [n / max(n - 1, 1) for n in (len(np.unique(owner_yes)), len(np.unique(owner_no)))]
    own = sum(
        factor * (part**2).sum() / n**2 for factor, part, n in zip(factors, sums, (len(yes), len(no)), strict=True)
    )
    shared = clusters / max(clusters - 1, 1) * (sums[0] * sums[1]).sum() / (len(yes) * len(no))
    return max(float(own + 2 * shared), 0.0)


def _two_sided(z: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.sf(abs(z)))


def _parts(draws: int, rows: int) -> list[int]:
    """So many draws in parts that fit in memory."""
    size = max(1, min(draws, AT_ONCE // max(rows, 1)))
    return [min(size, draws - start) for start in range(0, draws, size)]
