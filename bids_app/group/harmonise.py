"""ComBat: differences of scanners in mean and spread taken out of regional volumes, what covariates explain kept.

Fit and apply are two things: sites are estimated from the rows that are given (a training fold, or controls only), then
taken out of any rows of these sites. Johnson, Li and Rabinovic, Biostatistics 8 (2007) 118-127; Fortin et al.,
NeuroImage 167 (2018) 104-120, whose published outputs this equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bids_app.errors import DataError

#: Fewest rows from which mean and spread of a site are taken.
FEWEST_PER_SITE = 5
#: Relative change at which the published iteration stops.
CONVERGED = 1e-4
MOST_ITERATIONS = 10_000
#: Part of a column's variance that sites explain: from here on a warning, and beyond any estimate.
ENTANGLED, CONFOUNDED = 0.5, 0.999


@dataclass(frozen=True)
class Combat:
    """What was estimated; arrays by feature (``f``), site (``s``) and covariate (``c``).

    Attributes:
        features, sites, covariates: names, in the order of the arrays.
        reference: site that stays as it is, or None for the mean of all.
        mean: ``(f,)``, of all sites (or of the reference) at covariates of zero.
        slopes: ``(c, f)``, what a unit of a covariate adds.
        variance: ``(f,)``, of what sites and covariates do not explain.
        shift, scale: ``(s, f)``, of each site, in standard deviations and variances of the rest.
        pooled: whether sites' estimates were drawn together over features (empirical Bayes).
        rows: how many rows of each site were used.
        left_out: features and sites that could not be estimated, each with a sentence.
    """

    features: tuple[str, ...]
    sites: tuple[str, ...]
    covariates: tuple[str, ...]
    reference: str | None
    mean: np.ndarray
    slopes: np.ndarray
    variance: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    pooled: bool
    rows: tuple[int, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def apply(self, values: pd.DataFrame, site: pd.Series, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Values without what sites add; missing where a value, site or covariate is missing or was left out.

        Args:
            values: rows are sessions; the columns that were fitted are looked for by name.
            site: of each row.
            covariates: the columns that the fit had, in any order.

        Raises:
            DataError: a site or column that was not there when sites were estimated.
        """
        names = site.astype(object)
        unseen = sorted({str(name) for name in names.dropna()} - set(self.sites) - set(self.left_out))
        if unseen:
            raise DataError(
                f"ComBat has not seen the site {', '.join(unseen)}; it was estimated on {', '.join(self.sites)}: "
                "estimate again with rows of that site"
            )
        for wanted, table, what in (
            (self.features, values, "measure"),
            (self.covariates, () if covariates is None else covariates, "covariate"),
        ):
            if lacking := [name for name in wanted if name not in table]:
                raise DataError(f"ComBat was estimated with the {what} {', '.join(lacking)}, which is not there now")
        known = names.isin(self.sites).to_numpy()
        place = np.array([self.sites.index(name) if name in self.sites else 0 for name in names], int)
        raw = values[list(self.features)].to_numpy(float)
        fixed = np.tile(self.mean, (len(raw), 1))
        if self.covariates and covariates is not None:
            fixed = fixed + covariates[list(self.covariates)].to_numpy(float) @ self.slopes
        spread = np.sqrt(self.variance)
        out = ((raw - fixed) / spread - self.shift[place]) / np.sqrt(self.scale[place]) * spread + fixed
        if self.reference is not None:
            own = place == self.sites.index(self.reference)
            out[own] = raw[own]
        out[~known] = np.nan
        result = pd.DataFrame(np.nan, index=values.index, columns=values.columns, dtype=float)
        result[list(self.features)] = out
        return result

    def to_plain(self) -> dict[str, Any]:
        """For JSON; `from_plain` reads it."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Combat:
        """The inverse of `to_plain`.

        Raises:
            DataError: a part is missing.
        """
        try:
            known: dict[str, Any] = {k: np.asarray(plain[k], float) for k in ("mean", "variance", "shift", "scale")}
            known["slopes"] = np.asarray(plain["slopes"], float).reshape(len(plain["covariates"]), -1)
            known |= {k: tuple(plain[k]) for k in ("features", "sites", "covariates", "rows")}
            return cls(**known, **{k: plain[k] for k in ("reference", "pooled", "left_out")})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"this is no saved ComBat ({error})") from error


def fit_combat(
    values: pd.DataFrame,
    site: pd.Series,
    covariates: pd.DataFrame | None = None,
    *,
    reference: str | None = None,
    parametric: bool = True,
    fewest: int = FEWEST_PER_SITE,
) -> Combat:
    """Estimate what each site adds.

    Args:
        values: ``(rows, features)``; a missing value leaves only itself out.
        site: of each row; rows without one are not used.
        covariates: numbers whose effect is kept (see `bids_app.group.design`); rows without one are not used.
        reference: site to bring the others to.
        parametric: priors of normal and inverse gamma shape, else the empirical ones.
        fewest: rows that a site must have in every feature.

    Raises:
        DataError: fewer than two sites of that size, no feature left, or covariates that sites determine.
    """
    covariates = pd.DataFrame(index=values.index) if covariates is None else covariates.astype(float)
    usable = (site.notna() & covariates.notna().all(axis=1)).to_numpy()
    sites, left_out = _large_sites(site[usable], fewest)
    if reference is not None and reference not in sites:
        raise DataError(
            f"the reference site {reference!r} is none of those of {fewest} rows or more: {', '.join(sites)}"
        )
    usable = usable & site.isin(sites).to_numpy()
    place = np.array([sites.index(name) for name in site[usable]])
    raw, fixed = values[usable].to_numpy(float), covariates[usable].to_numpy(float)
    kept = _usable_features(raw, place, list(values.columns), sites, fewest, left_out)
    batch = np.eye(len(sites))[place]
    _check_estimable(batch, fixed, list(covariates.columns))
    raw = raw[:, kept]
    at = None if reference is None else sites.index(reference)
    mean, slopes, variance = _explain(raw, batch, fixed, at)
    standard = (raw - mean - fixed @ slopes) / np.sqrt(variance)
    shift = np.stack([np.nanmean(standard[place == s], 0) for s in range(len(sites))])
    scale = np.stack([np.nanvar(standard[place == s], 0, ddof=1) for s in range(len(sites))])
    pooled = len(kept) > 1
    if pooled:
        draw = _parametric if parametric else _nonparametric
        for s in (s for s in range(len(sites)) if s != at):
            shift[s], scale[s] = draw(standard[place == s], shift[s], scale[s])
    if at is not None:
        shift[at], scale[at] = 0.0, 1.0
    rows = tuple(int((place == s).sum()) for s in range(len(sites)))
    features = tuple(values.columns[kept])
    names = tuple(map(str, covariates.columns))
    return Combat(
        features, tuple(sites), names, reference, mean, slopes, variance, shift, scale, pooled, rows, left_out
    )


def _large_sites(site: pd.Series, fewest: int) -> tuple[list[str], dict[str, str]]:
    """Names of the sites with enough rows, and a sentence for each of the others."""
    counts = site.value_counts().sort_index()
    sites = [str(name) for name, n in counts.items() if n >= fewest]
    small = {str(name): int(n) for name, n in counts.items() if n < fewest}
    if len(sites) < 2:
        shown = ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"
        raise DataError(f"ComBat needs two sites of {fewest} sessions or more; there are: {shown}")
    told = {
        name: f"The site {name} has {n} usable session{'s' if n > 1 else ''}, fewer than {fewest}: not harmonised, n/a."
        for name, n in small.items()
    }
    return sites, told


def _usable_features(
    raw: np.ndarray, place: np.ndarray, names: list[str], sites: list[str], fewest: int, left_out: dict[str, str]
) -> list[int]:
    """Columns that every site has often enough and not constant; adds a sentence for each of the others."""
    kept = []
    for column, name in enumerate(names):
        parts = [part[np.isfinite(part)] for part in (raw[place == s, column] for s in range(len(sites)))]
        short = [sites[s] for s, part in enumerate(parts) if len(part) < fewest]
        flat = [sites[s] for s, part in enumerate(parts) if len(part) >= fewest and np.ptp(part) == 0]
        if short:
            left_out[name] = f"{name} is known fewer than {fewest} times at {', '.join(short)}: not harmonised, n/a."
        elif flat:
            left_out[name] = f"{name} is the same in all sessions of {', '.join(flat)}: not harmonised, n/a."
        else:
            kept.append(column)
    if not kept:
        raise DataError("no measure can be harmonised: " + " ".join(left_out.values()))
    return kept


def _check_estimable(batch: np.ndarray, fixed: np.ndarray, names: list[str]) -> None:
    design = np.hstack([batch, fixed])
    if len(design) <= design.shape[1]:
        raise DataError(f"ComBat has {len(design)} usable sessions for {design.shape[1]} sites and covariates: too few")
    for column, name in enumerate(names):
        if np.ptp(fixed[:, column]) == 0:
            raise DataError(f"the covariate {name} is the same in all sessions that ComBat can use; leave it out")
        if explained(fixed[:, column], batch) > CONFOUNDED:
            raise DataError(
                f"the covariate {name} is determined by the site, so that the two cannot be told apart; "
                "leave one of them out"
            )
    scale = np.linalg.norm(design, axis=0)
    if np.linalg.matrix_rank(design / np.where(scale, scale, 1)) < design.shape[1]:
        raise DataError(f"sites and covariates ({', '.join(names)}) determine each other; leave one of them out")


def explained(column: np.ndarray, batch: np.ndarray) -> float:
    """Part of a column's variance that site means explain; NaN of a constant."""
    fitted = batch @ np.linalg.lstsq(batch, column, rcond=None)[0]
    total = float(((column - column.mean()) ** 2).sum())
    return 1 - float(((column - fitted) ** 2).sum()) / total if total > 0 else float("nan")


def entangled(group: pd.Series, site: pd.Series) -> list[str]:
    """Sentences about groups that sites (nearly) determine: their difference is one of scanners as well."""
    both = pd.DataFrame({"group": group, "site": site}).dropna()
    if both["site"].nunique() < 2 or both["group"].nunique() < 2:
        return []
    batch, found = pd.get_dummies(both["site"]).to_numpy(float), []
    for level in sorted(both["group"].astype(str).unique()):
        part = explained((both["group"].astype(str) == level).to_numpy(float), batch)
        if part >= ENTANGLED:
            how = "determines" if part > CONFOUNDED else "nearly determines"
            found.append(
                f"The site {how} who is in the group {level} ({100 * part:.0f} % of its variance): "
                "a difference of groups cannot be told from one of scanners."
            )
    return found


def negative(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """A sentence for every measure that had no value below zero and has some now."""
    counts = (after < 0).sum().where((before < 0).sum() == 0, 0)
    return [
        f"{name}: {int(n)} value{'s' if n > 1 else ''} below zero after ComBat, which no volume has; "
        "do not use this measure harmonised."
        for name, n in counts.items()
        if n
    ]


def _explain(
    raw: np.ndarray, batch: np.ndarray, fixed: np.ndarray, at: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, slopes and remaining variance of each feature by least squares on sites and covariates."""
    design = np.hstack([batch, fixed])
    beta = np.empty((design.shape[1], raw.shape[1]))
    known = np.isfinite(raw)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        rows, columns = patterns[:, number], which.ravel() == number
        beta[:, columns] = np.linalg.lstsq(design[rows], raw[np.ix_(rows, columns)], rcond=None)[0]
    sites = batch.shape[1]
    if at is None:
        counts = batch.T @ known
        mean, rows = (counts * beta[:sites]).sum(0) / counts.sum(0), np.ones(len(raw), bool)
    else:
        mean, rows = beta[at], batch[:, at] > 0
    variance = np.nanmean((raw - design @ beta)[rows] ** 2, 0)
    return mean, beta[sites:], np.where(variance > 0, variance, np.median(variance[variance > 0]))


def _parametric(standard: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior shift and scale of one site under normal and inverse gamma priors.

    The iteration ends as the published ones do: by the largest change relative to the signed value before.
    """
    count = np.isfinite(standard).sum(0)
    prior_mean, prior_variance = shift.mean(), shift.var(ddof=1)
    m, s2 = scale.mean(), scale.var(ddof=1)
    if not (s2 > 1e-12 * m**2 and prior_variance > 0):  # features that say the same: the prior is their estimate
        return shift, scale
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    g_old, d_old = shift, scale
    for _ in range(MOST_ITERATIONS):
        g = (prior_variance * count * shift + d_old * prior_mean) / (prior_variance * count + d_old)
        d = (0.5 * np.nansum((standard - g) ** 2, 0) + b) / (count / 2 + a - 1)
        change = max((np.abs(g - g_old) / g_old).max(), (np.abs(d - d_old) / d_old).max())
        g_old, d_old = g, d
        if not change > CONVERGED:
            break
    return g_old, d_old


def _nonparametric(standard: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of one site, each feature weighted by how likely the estimates of all others make its values."""
    g, d = np.empty_like(shift), np.empty_like(scale)
    for feature in range(len(shift)):
        others = np.arange(len(shift)) != feature
        x = standard[np.isfinite(standard[:, feature]), feature]
        squares = ((x[None] - shift[others, None]) ** 2).sum(1)
        log = -len(x) / 2 * np.log(2 * np.pi * scale[others]) - squares / (2 * scale[others])
        weight = np.exp(log - log.max())
        g[feature], d[feature] = (weight @ shift[others], weight @ scale[others]) / weight.sum()
    return g, d


def differences(values: pd.DataFrame, groups: Sequence[Any]) -> pd.Series:
    """Part of each measure's variance that lies between sites, in [0, 1]: to see before and after."""
    site = pd.Series(list(groups), index=values.index)
    total = ((values - values.mean()) ** 2).sum()
    means = values.groupby(site.to_numpy()).transform("mean")
    return ((means - values.mean()) ** 2).sum() / total
