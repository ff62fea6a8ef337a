"""How alike repeated measurements are: intraclass correlation, repeatability, Bland and Altman's limits. Arrays in."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95


def icc(values: np.ndarray) -> dict[str, float]:
    """Intraclass correlations of Shrout and Fleiss (Psychol Bull 86 (1979) 420-428).

    Args:
        values: ``(n, k)``: people by repetitions, without NaN; n and k at least 2.

    Returns:
        ``icc_1_1``, ``icc_2_1`` (absolute agreement), ``icc_3_1`` (consistency), ``icc_1_k``, ``icc_2_k``, ``icc_3_k``,
        with 95 % intervals of ``icc_2_1`` (McGraw and Wong, Psychol Methods 1 (1996) 30-46) and ``icc_3_1`` as
        ``_low`` and ``_high``. NaN where nothing varies.

    Raises:
        ValueError: too few people or repetitions.
    """
    from scipy.stats import f as fisher

    n, k = values.shape
    if n < 2 or k < 2:
        raise ValueError(f"two people and two repetitions are needed, not {n} and {k}")
    mean = values.mean()
    between = k * ((values.mean(1) - mean) ** 2).sum() / (n - 1)
    columns = n * ((values.mean(0) - mean) ** 2).sum() / (k - 1)
    within = ((values - values.mean(1, keepdims=True)) ** 2).sum() / (n * (k - 1))
    error = max(within * n * (k - 1) - columns * (k - 1), 0.0) / ((n - 1) * (k - 1))
    if between + within <= 1e-24 * max(mean**2, 1e-300):
        return dict.fromkeys((*_NAMES, "icc_2_1_low", "icc_2_1_high", "icc_3_1_low", "icc_3_1_high"), float("nan"))
    agreement = between + (k - 1) * error + k * (columns - error) / n
    found = {
        "icc_1_1": (between - within) / (between + (k - 1) * within),
        "icc_2_1": (between - error) / agreement,
        "icc_3_1": (between - error) / (between + (k - 1) * error),
        "icc_1_k": (between - within) / between if between > 0 else float("nan"),
        "icc_2_k": (between - error) / (between + (columns - error) / n),
        "icc_3_k": (between - error) / between if between > 0 else float("nan"),
    }
    tail = (1 - LEVEL) / 2
    if error > 0:
        ratio, df = between / error, (n - 1) * (k - 1)
        low, high = ratio / fisher.isf(tail, n - 1, df), ratio * fisher.isf(tail, df, n - 1)
        found |= {"icc_3_1_low": (low - 1) / (low + k - 1), "icc_3_1_high": (high - 1) / (high + k - 1)}
        one = found["icc_2_1"]
        a, b = k * one / (n * (1 - one)), 1 + k * one * (n - 1) / (n * (1 - one))
        free = (a * columns + b * error) ** 2 / ((a * columns) ** 2 / (k - 1) + (b * error) ** 2 / df)
        upper, lower = fisher.isf(tail, n - 1, free), fisher.isf(tail, free, n - 1)
        found["icc_2_1_low"] = (
            n * (between - upper * error) / (upper * (k * columns + (k * n - k - n) * error) + n * between)
        )
        found["icc_2_1_high"] = (
            n * (lower * between - error) / (k * columns + (k * n - k - n) * error + n * lower * between)
        )
    else:
        found |= dict.fromkeys(("icc_2_1_low", "icc_2_1_high", "icc_3_1_low", "icc_3_1_high"), float("nan"))
    return {name: float(value) for name, value in found.items()}


_NAMES = ("icc_1_1", "icc_2_1", "icc_3_1", "icc_1_k", "icc_2_k", "icc_3_k")


def repeatability(values: np.ndarray) -> dict[str, float]:
    """Spread between repetitions of one person (Bland and Altman, Lancet 327 (1986) 307-310; BMJ 313 (1996) 744).

    Args:
        values: ``(n, k)`` as `icc`.

    Returns:
        ``within_sd``; ``repeatability``, below which 95 % of differences between two repetitions lie; ``within_cv`` in
        per cent of the mean; and of the last repetition less the first ``mean_change``, ``limit_low``, ``limit_high``.
    """
    within = float(np.sqrt(values.var(axis=1, ddof=1).mean()))
    change = values[:, -1] - values[:, 0]
    spread = float(change.std(ddof=1)) if len(change) > 1 else float("nan")
    mean, middle = float(change.mean()), float(values.mean())
    return {
        "within_sd": within,
        "repeatability": 1.959964 * np.sqrt(2) * within,
        "within_cv": 100 * within / abs(middle) if middle else float("nan"),
        "mean_change": mean,
        "limit_low": mean - 1.959964 * spread,
        "limit_high": mean + 1.959964 * spread,
    }
