"""How good answers for a participant-level target are: classes, ordered levels, and continuous values.

A truth is the position of its level (or a value), NaN where it is not known: such rows do not count. Where a number is
not defined (one level only in the truth, say) it is NaN and a sentence says why; it never raises, and never is a number
that looks like a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_app.errors import DataError
from bids_app.measure.calibration import calibration_error, calibration_intercept, calibration_slope

#: Agreement of 95 % of the differences, Bland and Altman.
LIMITS = 1.96


@dataclass(frozen=True)
class Scores:
    """``values``: measure -> number, NaN where not defined; ``notes``: why; ``count``: rows with a known truth."""

    values: dict[str, float]
    notes: tuple[str, ...] = ()
    count: int = 0


def probabilities(kind: str, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of every level from a network's logits; rows sum to one.

    Args:
        kind: ``binary`` and ``categorical``: softmax. ``ordinal``: logit k is that of lying beyond level k; where they
            are out of order (P(level > 1) above P(level > 0)), the later is lowered to the earlier.
        logits: ``(n, outputs)`` or ``(outputs,)``; ordinal has one output fewer than levels.
        temperature: logits are divided by it.

    Raises:
        DataError: a continuous target, which has no levels.
    """
    from scipy.special import expit, softmax

    scaled = np.asarray(logits, np.float64) / temperature
    if kind in ("binary", "categorical"):
        return softmax(scaled, axis=-1)
    if kind != "ordinal":
        raise DataError(f"a {kind} target has a value, not probabilities of levels")
    beyond = np.minimum.accumulate(expit(scaled), axis=-1)
    edge = np.ones_like(beyond[..., :1])
    return -np.diff(np.concatenate([edge, beyond, 0 * edge], -1), axis=-1)


def decided_level(kind: str, probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """One level per row: binary by a threshold on the last one; categorical the likeliest; ordinal the median.

    The median of the levels' distribution has the least expected distance to the truth.
    """
    probability = np.asarray(probability)
    if kind == "binary":
        return (probability[..., 1] >= threshold).astype(int)
    if kind == "ordinal":
        return (1 - np.cumsum(probability, -1)[..., :-1] >= 0.5 - 1e-12).sum(-1)
    return probability.argmax(-1)


def classification_metrics(
    truth: np.ndarray,
    probability: np.ndarray,
    *,
    levels: Sequence[str] = (),
    threshold: float = 0.5,
    kind: str | None = None,
) -> Scores:
    """Discrimination, error and calibration of a target with levels.

    Args:
        truth: ``(n,)``, position of the level; NaN is left out.
        probability: ``(n, levels)``, rows sum to one.
        levels: names for the sentences.
        threshold: binary only: the last level is answered from this probability on.
        kind: binary for two levels and categorical for more, unless ``ordinal`` is said.

    Returns:
        ``auc`` (binary; categorical: mean of one level against the rest; ordinal: mean over all cuts),
        ``balanced_accuracy`` (mean over the levels of the part answered rightly), ``brier``, ``log_loss``,
        ``calibration_slope``, ``ece``; binary also ``sensitivity``, ``specificity`` and ``calibration_intercept``.
    """
    truth, probability = _known(truth, probability)
    count = probability.shape[1]
    kind = kind or ("binary" if count == 2 else "categorical")
    names = list(levels) or [f"level {k}" for k in range(count)]
    if not len(truth):
        return Scores({name: float("nan") for name in _names(kind)}, ("nobody's value is known",))
    truth = truth.astype(int)
    decided = decided_level(kind, probability, threshold)
    recalls = [float((decided[truth == k] == k).mean()) if (truth == k).any() else float("nan") for k in range(count)]
    absent, notes = [k for k in range(count) if not (truth == k).any()], []
    single = len(absent) == count - 1
    if single:
        notes.append(
            f"everybody ({len(truth)}) has the same value, {names[truth[0]]}: AUC, balanced accuracy and calibration "
            "slope are not defined"
        )
    elif absent:
        notes.append(f"nobody has {', '.join(names[k] for k in absent)}: left out of AUC and balanced accuracy")
    values = {
        "auc": _mean_auc(kind, truth, probability),
        "balanced_accuracy": float("nan") if single else float(np.nanmean(recalls)),
        **_errors(truth, probability),
    }
    if kind == "binary":
        values |= {"sensitivity": recalls[1], "specificity": recalls[0]}
        values["calibration_intercept"] = calibration_intercept(truth, probability[:, 1])
    values["calibration_slope"] = calibration_slope(truth, probability)
    if not single and not np.isfinite(values["calibration_slope"]):
        notes.append("the calibration slope is not defined: the answers are all equal or separate the levels perfectly")
    return Scores(values, tuple(notes), len(truth))


def ordinal_metrics(truth: np.ndarray, probability: np.ndarray, *, levels: Sequence[str] = ()) -> Scores:
    """Those of `classification_metrics`, and ``mae`` in levels and quadratic weighted ``kappa`` of the median level."""
    from sklearn.metrics import cohen_kappa_score

    scores = classification_metrics(truth, probability, levels=levels, kind="ordinal")
    truth, probability = _known(truth, probability)
    if not len(truth):
        return scores
    decided, truth = decided_level("ordinal", probability), truth.astype(int)
    kappa, notes = float("nan"), scores.notes
    if len(np.union1d(decided, truth)) > 1:
        kappa = float(cohen_kappa_score(truth, decided, weights="quadratic", labels=np.arange(probability.shape[1])))
    else:
        notes += ("kappa is not defined: truth and answers are all the same level",)
    return Scores({**scores.values, "mae": float(np.abs(decided - truth).mean()), "kappa": kappa}, notes, len(truth))


def regression_metrics(truth: np.ndarray, answer: np.ndarray) -> Scores:
    """``mae``, ``r2``, ``correlation`` (Pearson) and ``bias`` (mean of answer minus truth), in the target's unit.

    Args:
        truth: ``(n,)``; NaN is left out.
        answer: ``(n,)``.
    """
    from sklearn.metrics import mean_absolute_error, r2_score

    truth, answer = _known(truth, np.asarray(answer, np.float64))
    if not len(truth):
        return Scores(
            {name: float("nan") for name in ("mae", "r2", "correlation", "bias")}, ("nobody's value is known",)
        )
    values = {"mae": float(mean_absolute_error(truth, answer)), "r2": float("nan"), "correlation": float("nan")}
    notes = []
    if np.ptp(truth) > 0:
        values["r2"] = float(r2_score(truth, answer))
    else:
        notes.append(f"everybody ({len(truth)}) has the same value: R² and correlation are not defined")
    if np.ptp(truth) > 0 and np.ptp(answer) > 0:
        values["correlation"] = float(np.corrcoef(truth, answer)[0, 1])
    elif np.ptp(truth) > 0:
        notes.append("the answers are all equal: the correlation is not defined")
    return Scores({**values, "bias": float((answer - truth).mean())}, tuple(notes), len(truth))


def bland_altman(truth: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    """``bias`` of answer minus truth, ``sd`` of the differences, and ``low`` and ``high`` limits of agreement.

    One pair per participant: pairs of one person are not independent. Bland and Altman, Lancet 327 (1986) 307-310.
    ``slope``: of the differences over the means; away from zero the error grows with size, and the limits mislead.
    """
    truth, answer = _known(truth, np.asarray(answer, np.float64))
    apart, means, nan = answer - truth, (answer + truth) / 2, float("nan")
    bias, sd = (float(apart.mean()) if len(apart) else nan), (float(apart.std(ddof=1)) if len(apart) > 1 else nan)
    slope = float(np.polyfit(means, apart, 1)[0]) if len(apart) > 2 and np.ptp(means) > 0 else nan
    return {
        "bias": bias,
        "sd": sd,
        "low": bias - LIMITS * sd,
        "high": bias + LIMITS * sd,
        "slope": slope,
        "count": len(apart),
    }


def auc_cuts(kind: str, truth: np.ndarray, probability: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of yes-or-no truth and score whose areas under the curve are averaged into ``auc``."""
    if kind == "binary":
        return [(truth == 1, probability[:, 1])]
    if kind == "ordinal":
        beyond = 1 - np.cumsum(probability, 1)
        return [(truth > k, beyond[:, k]) for k in range(probability.shape[1] - 1)]
    return [(truth == k, probability[:, k]) for k in range(probability.shape[1])]


def _mean_auc(kind: str, truth: np.ndarray, probability: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    cuts = [(yes, score) for yes, score in auc_cuts(kind, truth, probability) if 0 < yes.sum() < len(yes)]
    return float(np.mean([roc_auc_score(yes, score) for yes, score in cuts])) if cuts else float("nan")


def _errors(truth: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import log_loss

    return {
        "brier": float(brier_terms(truth, probability).mean()),
        "log_loss": float(log_loss(truth, probability, labels=np.arange(probability.shape[1]))),
        "ece": calibration_error(truth, probability),
    }


def brier_terms(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Each row's part of the Brier score: of the last level for two levels, summed over levels for more."""
    squares = (probability - np.eye(probability.shape[1])[truth.astype(int)]) ** 2
    return squares[:, -1] if squares.shape[1] == 2 else squares.sum(1)


def _names(kind: str) -> list[str]:
    more = {"binary": ["sensitivity", "specificity", "calibration_intercept"], "ordinal": ["mae", "kappa"]}
    return ["auc", "balanced_accuracy", "brier", "log_loss", "ece", "calibration_slope", *more.get(kind, [])]


def _known(truth: np.ndarray, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, answer = np.asarray(truth, np.float64), np.asarray(answer, np.float64)
    if len(truth) != len(answer):
        raise DataError(f"{len(truth)} true values and {len(answer)} answers do not belong together")
    known = np.isfinite(truth)
    if not np.isfinite(answer[known]).all():
        raise DataError("an answer is not a number: the network's output overflowed; look at its log.csv")
    return truth[known], answer[known]
