"""A normative model: where a measure lies among healthy people of the same age, sex, head size and site, as a z.

A measure is a cubic B-spline of age, plus linear covariates, plus a shift per site that is drawn to zero where a site
has few people (restricted maximum likelihood), plus what is left, whose spread may change with age. What is fitted is
saved as JSON and can score new people; a site that was not there is taken in by a few controls of its own, or else
scored with the spread between sites added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bids_app.errors import DataError

VERSION = 1
#: People from which on the spline has one column more than 3. Of 536 people, 4 predicted best (`normative_oracle`).
MORE_SPLINES = (50, 1000, 5000)
#: Fewest controls of a model; fewest for a spread that changes with age.
FEWEST, FEWEST_FOR_SPREAD = 20, 100
#: p below which the spread is taken to change with age.
SPREAD_P = 0.01
#: Ratio of the variance between sites to the variance within, as powers of ten, among which the likelihood chooses.
RATIOS = np.concatenate([[0.0], 10.0 ** np.arange(-3, 2.01, 0.1)])


@dataclass(frozen=True)
class Scale:
    """What turns a person's age and covariates into columns.

    Attributes:
        low, high: range of ages that the model has seen; ages outside are set to the nearer end.
        knots: of the spline, inside that range.
        covariates: name -> mean and standard deviation of a number.
        levels: name -> levels of a category; the first has no column.
    """

    low: float
    high: float
    knots: tuple[float, ...]
    covariates: dict[str, tuple[float, float]] = field(default_factory=dict)
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def columns(self, age: np.ndarray, others: pd.DataFrame) -> np.ndarray:
        """A row per person: intercept, spline, covariates; NaN where something is not known or a level was not seen."""
        known = np.isfinite(age)
        at = np.clip(np.where(known, age, self.low), self.low, self.high)
        parts = [np.ones((len(at), 1)), spline(at, self.low, self.high, self.knots)]
        for name, (mean, spread) in self.covariates.items():
            parts.append(((others[name].to_numpy(float) - mean) / spread)[:, None])
        for name, levels in self.levels.items():
            cells = others[name].astype(object)
            told = cells.isin(levels).to_numpy()
            for level in levels[1:]:
                parts.append(np.where(told, (cells == level).to_numpy(), np.nan)[:, None])
        rows = np.concatenate(parts, axis=1)
        rows[~known] = np.nan
        return rows

    def place(self, age: np.ndarray) -> np.ndarray:
        """Where ages lie in the range, between -0.5 and 0.5."""
        return (np.clip(age, self.low, self.high) - self.low) / (self.high - self.low) - 0.5


@dataclass(frozen=True)
class Curve:
    """The model of one measure.

    Attributes:
        beta: ``(p,)`` of `Scale.columns`.
        sites: shift of each site, in the measure's unit.
        between: variance of sites' shifts.
        spread: log of the standard deviation at the middle of the ages, and its change per range of ages.
        covariance: ``(p + sites, p + sites)`` of coefficients and shifts, sites in the order of ``sites``.
        n: controls.
    """

    beta: np.ndarray
    sites: dict[str, float]
    between: float
    spread: tuple[float, float]
    covariance: np.ndarray
    n: int

    def deviation(self, place: np.ndarray) -> np.ndarray:
        """Standard deviation of what is left, at a place between -0.5 and 0.5 of the range of ages."""
        return np.exp(self.spread[0] + self.spread[1] * place)


@dataclass(frozen=True)
class Normative:
    """A fitted model of several measures.

    Attributes:
        scale: of ages and covariates.
        curves: by measure.
        age, site: names of the columns.
        fitted_on: in words, who it was fitted on.
    """

    scale: Scale
    curves: dict[str, Curve]
    age: str
    site: str | None
    fitted_on: str = ""

    @property
    def needs(self) -> list[str]:
        """Columns that a table must have."""
        own = [self.age, *self.scale.covariates, *self.scale.levels]
        return [*own, *([self.site] if self.site else [])]


def spline(age: np.ndarray, low: float, high: float, knots: Sequence[float]) -> np.ndarray:
    """Cubic B-spline of ages in ``[low, high]``, ``(n, k)``, less its first column: the intercept makes up for it."""
    from scipy.interpolate import BSpline

    places = np.concatenate([[low] * 4, knots, [high] * 4])
    return np.asarray(BSpline.design_matrix(age, places, 3, extrapolate=False).toarray())[:, 1:]


def knots_of(age: np.ndarray, columns: int) -> tuple[float, ...]:
    """Inner knots at quantiles of the ages: ``columns`` of the spline are 3 more than they."""
    count = max(columns - 3, 0)
    inner = np.quantile(age, np.arange(1, count + 1) / (count + 1)) if count else np.zeros(0)
    inside = (inner > age.min()) & (inner < age.max())
    return tuple(float(v) for v in np.unique(inner[inside]))


def fit_normative(
    table: pd.DataFrame,
    measures: Sequence[str],
    age: str,
    *,
    covariates: Mapping[str, pd.Series] | None = None,
    site: pd.Series | None = None,
    fitted_on: str = "",
) -> tuple[Normative, pd.DataFrame, pd.DataFrame]:
    """Fit every measure on controls.

    Args:
        table: a row per session of a control; ``age`` and measures are numbers, NaN where not known.
        measures: columns.
        age: column, in years.
        covariates: by name; numbers, or texts for categories.
        site: of each row.
        fitted_on: who they are, in words.

    Returns:
        The model; and of every control and measure the z-score by the model without it, and what that model expects
        (leave-one-out, exact at the same ratio of variances and the same change of spread); NaN where something is not
        known.

    Raises:
        DataError: fewer than `FEWEST` controls with everything known, or all of one age.
    """
    ages = table[age].to_numpy(float)
    others = pd.DataFrame(dict(covariates or {}), index=table.index)
    known = np.isfinite(ages) & others.notna().all(axis=1).to_numpy()
    if site is not None:
        known &= site.notna().to_numpy()
    if known.sum() < FEWEST:
        raise DataError(
            f"a normative model needs {FEWEST} controls whose {age} and covariates are known; there are {known.sum()}"
        )
    if np.ptp(ages[known]) == 0:
        raise DataError(f"a normative model of {age} needs controls of different {age}; all have {ages[known][0]:g}")
    scale = scale_of(ages[known], others[known])
    design = scale.columns(ages, others)
    place = scale.place(ages)
    curves: dict[str, Curve] = {}
    scores = pd.DataFrame(np.nan, index=table.index, columns=list(measures))
    expected = scores.copy()
    names = None if site is None else site.astype(object)
    for measure in measures:
        y = table[measure].to_numpy(float)
        rows = known & np.isfinite(y) & np.isfinite(design).all(axis=1)
        if rows.sum() < max(FEWEST, 2 * design.shape[1]) or np.ptp(y[rows]) == 0:
            continue
        own = None if names is None else names[rows].to_numpy()
        curves[measure], scores.loc[rows, measure], error = _fit(y[rows], design[rows], place[rows], own)
        expected.loc[rows, measure] = y[rows] - error
    if not curves:
        raise DataError(f"no measure is known of {FEWEST} controls or more, so that there is no normative model")
    model = Normative(scale, curves, age, str(site.name) if site is not None else None, fitted_on)
    return model, scores, expected


def scale_of(ages: np.ndarray, others: pd.DataFrame) -> Scale:
    """Range of ages, knots, and how covariates are standardised, of people of whom all is known."""
    columns = 3 + sum(len(ages) >= many for many in MORE_SPLINES)
    numbers, levels = {}, {}
    for name in others:
        if pd.api.types.is_numeric_dtype(others[name]):
            spread = float(others[name].std())
            numbers[str(name)] = (float(others[name].mean()), spread if spread > 0 else 1.0)
        else:
            levels[str(name)] = tuple(sorted(str(v) for v in others[name].unique()))
    return Scale(float(ages.min()), float(ages.max()), knots_of(ages, columns), numbers, levels)


def _fit(
    y: np.ndarray, x: np.ndarray, place: np.ndarray, site: np.ndarray | None
) -> tuple[Curve, np.ndarray, np.ndarray]:
    """One measure, with z and error of each person by the model without it: the mean with weights 1, then once more
    with those of a spread that changes with age, if it does."""
    names = sorted(set(site)) if site is not None else []
    if len(names) < 2:
        names = []
    z = np.stack([site == name for name in names], axis=1).astype(float) if names else np.zeros((len(y), 0))
    slope = 0.0
    mean = _mixed(y, x, z, np.ones(len(y)))
    if len(y) >= FEWEST_FOR_SPREAD:
        for _ in range(2):
            slope = _spread_slope(mean, place)
            mean = _mixed(y, x, z, np.exp(-2 * slope * place))
    spread = (float(0.5 * np.log(mean.variance)), float(slope))
    shifts = dict(zip(names, (float(v) for v in mean.solution[x.shape[1] :]), strict=True))
    curve = Curve(
        mean.solution[: x.shape[1]], shifts, mean.ratio * mean.variance, spread, mean.inverse * mean.variance, len(y)
    )
    # without a person: its error is r / (1 - h), of variance s² / (1 - h); and the variance is that of the others
    free = np.maximum(1 - mean.leverage, 1e-9)
    t = mean.left / (curve.deviation(place) * np.sqrt(free))
    rest = np.maximum((mean.freedom - t**2) / max(mean.freedom - 1, 1), 1e-6)
    return curve, t / np.sqrt(rest), mean.left / free


@dataclass(frozen=True)
class _Mixed:
    solution: np.ndarray
    inverse: np.ndarray
    variance: float
    ratio: float
    left: np.ndarray
    leverage: np.ndarray
    freedom: float


def _mixed(y: np.ndarray, x: np.ndarray, z: np.ndarray, weight: np.ndarray) -> _Mixed:
    """Coefficients and shrunk shifts by Henderson's equations (Biometrics 31 (1975) 423-447); the ratio of variances by
    restricted maximum likelihood over `RATIOS`."""
    p, q = x.shape[1], z.shape[1]
    both = np.concatenate([x, z], axis=1) * np.sqrt(weight)[:, None]
    target = y * np.sqrt(weight)
    gram, right, total = both.T @ both, both.T @ target, float(target @ target)
    # a little ridge on the spline keeps columns without people (a gap of ages) from making the matrix singular
    gram[np.arange(1, p), np.arange(1, p)] += 1e-8 * np.trace(gram[:p, :p]) / p
    best = (np.inf, 0.0)
    for ratio in RATIOS[1:] if q else []:
        solved = _solve(gram, right, p, ratio)
        squares = total - float(right @ solved[0])
        # -2 log of the restricted likelihood, less constants, at the best variance
        value = (len(y) - p) * np.log(max(squares, 1e-300)) + solved[2] + q * np.log(ratio)
        best = min(best, (value, float(ratio)))
    if q:
        inside = gram[:p, :p]
        alone = np.linalg.solve(inside, right[:p])
        squares = total - float(right[:p] @ alone)
        best = min(best, ((len(y) - p) * np.log(max(squares, 1e-300)) + np.linalg.slogdet(inside)[1], 0.0))
    solution, inverse, _ = _solve(gram, right, p, max(best[1], 1e-8))
    variance = max((total - float(right @ solution)) / (len(y) - p), 1e-300)
    leverage = np.einsum("ij,jk,ik->i", both, inverse, both)
    return _Mixed(
        solution, inverse, variance, best[1], y - np.concatenate([x, z], axis=1) @ solution, leverage, len(y) - p
    )


def _solve(gram: np.ndarray, right: np.ndarray, p: int, ratio: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Solution, inverse and log determinant of Henderson's equations."""
    left = gram.copy()
    tail = np.arange(p, len(left))
    left[tail, tail] += 1 / ratio
    inverse = np.linalg.inv(left)
    return inverse @ right, inverse, float(np.linalg.slogdet(left)[1])


def _spread_slope(mean: _Mixed, place: np.ndarray) -> float:
    """Change of the log standard deviation over the range of ages; 0 where the likelihood does not ask for it."""
    import statsmodels.api as sm
    from scipy.stats import chi2

    squares = mean.left**2 / np.maximum(1 - mean.leverage, 1e-9)
    squares = np.maximum(squares, 1e-8 * squares.mean())
    design = np.stack([np.ones(len(place)), place], axis=1)
    found = sm.GLM(squares, design, family=sm.families.Gamma(sm.families.links.Log())).fit()
    log_variance = np.log(squares.mean())
    flat = float((log_variance + squares / squares.mean()).sum())
    fitted = np.asarray(found.fittedvalues)
    bent = float((np.log(fitted) + squares / fitted).sum())
    return float(found.params[1]) / 2 if chi2.sf(flat - bent, 1) < SPREAD_P else 0.0
