"""Effects of one linear model: estimates with intervals, standardised sizes, checks; arrays in, numbers out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

LEVEL = 0.95
POWER = 0.80
#: Sessions beyond which a mixed model per measure takes minutes; see `fit_repeated`.
MOST_FOR_MIXED = 3000
#: Largest sample that the test of Shapiro and Wilk is made for.
MOST_FOR_SHAPIRO = 5000
#: Classical t beyond which a model explains all to rounding, and the noncentral distributions give NaN.
PERFECT = 1e4
#: Noncentrality from which on scipy's noncentral F may be NaN.
FAR = 500.0
LEAST_SQUARES = "least squares, HC3 errors"
MIXED = "mixed model, random intercept per participant"
CLUSTERED = "least squares, errors clustered by participant"


@dataclass(frozen=True)
class Fitted:
    """A fitted model: coefficients, their covariance, and what effect sizes are measured by.

    Attributes:
        beta: ``(p,)``.
        covariance: ``(p, p)``, robust.
        df: of the t distribution: participants less coefficients.
        inverse: ``(p, p)``, inverse of X'X, for classical sizes; of one row per participant where sessions repeat.
        spread: standard deviation of what is not explained, in units of the measure.
        residuals: ``(n,)``.
        model: how it was fitted, in words.
        note: what did not go as planned.
        checks: p of normal residuals and of constant spread, the largest of Cook's distances.
    """

    beta: np.ndarray
    covariance: np.ndarray
    df: float
    inverse: np.ndarray
    spread: float
    residuals: np.ndarray
    model: str
    note: str = ""
    checks: dict[str, float] = field(default_factory=dict)


def fit(y: np.ndarray, design: np.ndarray) -> Fitted:
    """Least squares with errors that hold where spread differs (HC3: MacKinnon and White, J Econometrics 29 (1985)).

    Args:
        y: ``(n,)``, without NaN.
        design: ``(n, p)``, of full rank, an intercept among its columns.
    """
    import statsmodels.api as sm

    found = sm.OLS(y, design).fit(cov_type="HC3", use_t=True)
    inverse = np.linalg.pinv(design.T @ design)
    residuals, df = np.asarray(found.resid), float(found.df_resid)
    spread = float(np.sqrt(residuals @ residuals / df))
    checks = _checks(residuals, design, inverse, spread)
    return Fitted(
        found.params, np.asarray(found.cov_params()), df, inverse, spread, residuals, LEAST_SQUARES, checks=checks
    )


def fit_repeated(y: np.ndarray, design: np.ndarray, people: np.ndarray) -> Fitted:
    """A random intercept per participant (restricted maximum likelihood); least squares with clustered errors where it
    does not converge, its variance between people is zero, or there are more than `MOST_FOR_MIXED` sessions.

    Tests have as many degrees of freedom as participants less coefficients: on the side of caution for what varies
    within a participant.
    """
    import statsmodels.api as sm

    count = len(np.unique(people))
    df = float(max(count - design.shape[1], 1))
    note = f"more than {MOST_FOR_MIXED} sessions" if len(y) > MOST_FOR_MIXED else ""
    if not note:
        scale = float(y.std()) or 1.0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = sm.MixedLM(y / scale, design, groups=people).fit(reml=True)
            between = float(np.asarray(found.cov_re).ravel()[0])
            if found.converged and between > 1e-8:
                p = design.shape[1]
                beta, covariance = found.fe_params * scale, np.asarray(found.cov_params())[:p, :p] * scale**2
                spread = float(np.sqrt(between + found.scale)) * scale
                residuals = y - design @ beta
                return Fitted(
                    np.asarray(beta), covariance, df, covariance / spread**2, spread, residuals, MIXED,
                    checks=_checks(residuals, design, np.linalg.pinv(design.T @ design), spread),
                )  # fmt: skip
            note = "the mixed model did not converge" if not found.converged else "no variance between participants"
        except (np.linalg.LinAlgError, ValueError, Warning) as error:
            note = f"the mixed model did not converge ({str(error).splitlines()[0][:80]})"
    _, groups = np.unique(people, return_inverse=True)
    clustered = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    residuals = np.asarray(clustered.resid)
    spread = float(np.sqrt(residuals @ residuals / max(len(y) - design.shape[1], 1)))
    covariance = np.asarray(clustered.cov_params())
    checks = _checks(residuals, design, np.linalg.pinv(design.T @ design), spread)
    return Fitted(
        clustered.params, covariance, df, covariance / spread**2, spread, residuals, CLUSTERED, note, checks=checks
    )


def _checks(residuals: np.ndarray, design: np.ndarray, inverse: np.ndarray, spread: float) -> dict[str, float]:
    """Shapiro and Wilk (D'Agostino and Pearson of many), Breusch and Pagan, and the largest of Cook's distances."""
    from scipy.stats import normaltest, shapiro
    from statsmodels.stats.diagnostic import het_breuschpagan

    nan = float("nan")
    if spread <= 0 or len(residuals) < 8:
        return {"normal_p": nan, "spread_p": nan, "cook": nan}
    normal = (shapiro if len(residuals) <= MOST_FOR_SHAPIRO else normaltest)(residuals).pvalue
    even = het_breuschpagan(residuals, design)[1] if design.shape[1] > 1 else nan
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    cook = residuals**2 / (design.shape[1] * spread**2) * leverage / np.maximum(1 - leverage, 1e-9) ** 2
    return {"normal_p": float(normal), "spread_p": float(even), "cook": float(cook.max())}


def effect(fitted: Fitted, contrast: np.ndarray) -> dict[str, float]:
    """One number of a model: ``contrast @ beta`` with its interval, test and sizes.

    Args:
        contrast: ``(p,)``.

    Returns:
        ``estimate``, ``standard_error``, ``low``, ``high``, ``statistic`` (t), ``df``, ``p``; Hedges' g with its
        interval; partial eta squared with its interval; ``detectable_g``: the smallest true effect that is found with
        80 % power at 0.05.
    """
    from scipy.stats import t as student

    estimate = float(contrast @ fitted.beta)
    error = float(np.sqrt(max(contrast @ fitted.covariance @ contrast, 0)))
    half = student.ppf((1 + LEVEL) / 2, fitted.df) * error
    statistic = estimate / error if error > 0 else float("nan")
    p = float(2 * student.sf(abs(statistic), fitted.df))
    factor = float(np.sqrt(max(contrast @ fitted.inverse @ contrast, 0)))
    classic = estimate / (fitted.spread * factor) if fitted.spread * factor > 0 else float("nan")
    reach = student.ppf((1 + LEVEL) / 2, fitted.df) + student.ppf(POWER, fitted.df)
    return {
        "estimate": estimate,
        "standard_error": error,
        "low": estimate - half,
        "high": estimate + half,
        "statistic": statistic,
        "df": fitted.df,
        "p": p,
        **hedges(classic, factor, fitted.df),
        **partial_eta2(classic**2, 1, fitted.df),
        "detectable_g": float(reach * factor),
    }


def joint(fitted: Fitted, contrasts: np.ndarray) -> dict[str, float]:
    """Wald's F of several contrasts at once being zero, with partial eta squared.

    Args:
        contrasts: ``(k, p)``.
    """
    from scipy.stats import f as fisher

    values, k = contrasts @ fitted.beta, len(contrasts)
    statistic = float(values @ np.linalg.solve(contrasts @ fitted.covariance @ contrasts.T, values)) / k
    inverse = contrasts @ fitted.inverse @ contrasts.T
    classic = float(values @ np.linalg.solve(inverse, values)) / k / fitted.spread**2
    p = float(fisher.sf(statistic, k, fitted.df))
    return {"statistic": statistic, "df": fitted.df, "p": p, **partial_eta2(classic, k, fitted.df)}


def hedges(t: float, factor: float, df: float) -> dict[str, float]:
    """Hedges' g of an adjusted difference, from its classical t, with the interval of the noncentral t.

    Args:
        t: difference over its classical standard error.
        factor: that error over the residual standard deviation: ``sqrt(1/n1 + 1/n2)`` of two plain groups.
        df: of the residuals.

    Hedges, J Educational Statistics 6 (1981) 107-128; Cumming and Finch, Educ Psychol Meas 61 (2001) 532-574.
    """
    from scipy.special import gammaln, nctdtr  # thirty times faster than scipy.stats.nct, and equal to it

    nan = float("nan")
    if not abs(t) < PERFECT or df < 2 or factor <= 0:
        return {"hedges_g": nan, "g_low": nan, "g_high": nan}
    small = float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))
    tail = (1 - LEVEL) / 2
    low = _solve(lambda shift: 1 - nctdtr(df, shift, t) - tail, t)
    high = _solve(lambda shift: nctdtr(df, shift, t) - tail, t)
    return {"hedges_g": small * t * factor, "g_low": small * low * factor, "g_high": small * high * factor}


def _solve(function, near: float) -> float:
    """Root of a monotone function of the noncentrality near a t."""
    from scipy.optimize import brentq

    width = 4.0
    while width < 1e3:
        low, high = near - width, near + width
        if (at := function(low)) == at and (to := function(high)) == to and at * to <= 0:
            return float(brentq(function, low, high, xtol=1e-8))
        width *= 2
    return float("nan")


def partial_eta2(f: float, k: int, df: float) -> dict[str, float]:
    """Part of the variance left by the other terms that ``k`` of them explain, with its interval.

    From the classical F by the noncentral F (Steiger, Psychol Methods 9 (2004) 164-182).
    """
    from scipy.optimize import brentq

    nan = float("nan")
    if not f < PERFECT**2:
        return {"partial_eta2": nan, "eta2_low": nan, "eta2_high": nan}
    tail, ends = (1 - LEVEL) / 2, []
    for below in (1 - tail, tail):
        if noncentral_f(f, k, df, 0) < below:
            ends.append(0.0)
            continue
        most = max(4 * k * f + 50, 50.0)
        while noncentral_f(f, k, df, most) > below and most < 1e9:
            most *= 2
        shift = brentq(lambda nc, below=below: noncentral_f(f, k, df, nc) - below, 0, most)
        ends.append(shift / (shift + k + df + 1))
    return {"partial_eta2": k * f / (k * f + df), "eta2_low": ends[0], "eta2_high": ends[1]}


def noncentral_f(f: float, k: int, df: float, shift: float) -> float:
    """Distribution function of the noncentral F; from `FAR` on by the cube-root approximation, where scipy's is NaN.

    Severo and Zelen, Biometrika 47 (1960) 411-416 (Abramowitz and Stegun 26.6.27).
    """
    from scipy.special import ncfdtr
    from scipy.stats import norm

    if shift < FAR:
        return float(ncfdtr(k, df, shift, f))
    middle, spread = k + shift, 2 * (k + 2 * shift) / (9 * (k + shift) ** 2)
    root = (k * f / middle) ** (1 / 3)
    return float(norm.cdf((root * (1 - 2 / (9 * df)) - (1 - spread)) / np.sqrt(spread + 2 / (9 * df) * root**2)))


def freedman_lane(y: np.ndarray, design: np.ndarray, contrast: np.ndarray, draws: int, seed: int) -> float:
    """Two-sided p of one contrast by permuting what the other terms leave over.

    Args:
        y, design: as `fit`.
        contrast: ``(p,)``.
        draws: permutations.

    Freedman and Lane, J Bus Econ Stat 1 (1983) 292-298; Winkler et al., NeuroImage 92 (2014) 381-397. Never 0: the data
    themselves count.
    """
    inverse = np.linalg.pinv(design.T @ design)
    weight = design @ (inverse @ contrast)  # what the coefficient is a sum by; orthogonal to all other terms
    basis = np.linalg.qr(design)[0]
    beta = inverse @ design.T @ y
    alone = weight * (contrast @ beta) / (contrast @ inverse @ contrast)
    rest = y - design @ beta + alone  # residuals of the model without the contrast
    rng, at_once = np.random.default_rng(seed), max(1, 2_000_000 // len(y))
    squares, df = float(rest @ rest), len(y) - design.shape[1]

    def statistic(rows: np.ndarray) -> np.ndarray:
        left = np.maximum(squares - ((rows @ basis) ** 2).sum(1), 1e-12 * squares)
        return np.abs(rows @ weight) / np.sqrt(left / df)

    own, larger = statistic(rest[None])[0], 0
    for start in range(0, draws, at_once):
        drawn = rng.permuted(np.tile(rest, (min(at_once, draws - start), 1)), axis=1)
        larger += int((statistic(drawn) >= own * (1 - 1e-12)).sum())
    return (larger + 1) / (draws + 1)


def correlation(x: np.ndarray, y: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Pearson's partial correlation with Fisher's interval, and Spearman's rho of the same residuals.

    Args:
        x, y: ``(n,)``, without NaN.
        others: ``(n, p)``, what both are adjusted for, an intercept among its columns.
    """
    from scipy.stats import norm, spearmanr
    from scipy.stats import t as student

    left = [v - others @ np.linalg.lstsq(others, v, rcond=None)[0] for v in (x, y)]
    length = float(np.sqrt((left[0] @ left[0]) * (left[1] @ left[1])))
    df = len(x) - others.shape[1] - 1
    if df < 2 or length <= 1e-12 * float(np.sqrt((x @ x) * (y @ y))):
        return dict.fromkeys(("estimate", "low", "high", "statistic", "df", "p", "rho"), float("nan"))
    r = float(np.clip(left[0] @ left[1] / length, -1, 1))
    statistic = r * np.sqrt(df / max(1 - r**2, 1e-15))
    half = norm.ppf((1 + LEVEL) / 2) / np.sqrt(max(df - 1, 1))
    low, high = np.tanh(np.arctanh(np.clip(r, -0.9999999, 0.9999999)) + np.array([-half, half]))
    p = float(2 * student.sf(abs(statistic), df))
    rho = float(spearmanr(*left).statistic)
    return {
        "estimate": r, "low": float(low), "high": float(high), "statistic": float(statistic), "df": float(df), "p": p,
        "rho": rho,
    }  # fmt: skip
