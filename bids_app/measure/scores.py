"""How good answers for a participant-level target are: classes, ordered levels, and continuous values.

A truth is the position of its level (or a value), NaN where it is not known: such rows do not count. Where a number is
not defined (one level only in the truth, say) it is NaN and a sentence says why; it never raises, and never is a number
that looks like a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bids_app.errors import DataError
from bids_app.measure.calibration import calibration_error, calibration_slope

#: Agreement of 95 % of the differences, Bland and Altman.
LIMITS = 1.96


@dataclass(frozen=True)
class Scores:
    """``values``: measure -> number, NaN where not defined; ``notes``: why; ``count``: rows with a known truth."""

    values: dict[str, float]
    notes: tuple[str, ...] = ()
    count: int = 0


#: Yes-or-no truth and score, ``(n,)`` each, of one area under the curve.
Cut = tuple[np.ndarray, np.ndarray]
LEVEL_SCORES = ("auc", "balanced_accuracy", "brier", "log_loss", "ece", "calibration_slope")


def level_scores(
    truth: np.ndarray,
    probability: np.ndarray,
    decide: Callable[[np.ndarray], np.ndarray],
    cuts: Callable[[np.ndarray, np.ndarray], Sequence[Cut]],
    *,
    levels: Sequence[str] = (),
) -> Scores:
    """Discrimination, error and calibration of a target with levels.

    Args:
        truth: ``(n,)``, position of the level; NaN is left out.
        probability: ``(n, levels)``, rows sum to one.
        decide: the level that is answered, from probabilities.
        cuts: of truth and probabilities; their areas under the curve are averaged into ``auc``.
        levels: names for the sentences.

    Returns:
        `LEVEL_SCORES`; ``balanced_accuracy`` is the mean over the levels of the part answered rightly.
    """
    truth, probability = known_rows(truth, probability)
    count = probability.shape[1]
    names = list(levels) or [f"level {k}" for k in range(count)]
    if not len(truth):
        return Scores(dict.fromkeys(LEVEL_SCORES, float("nan")), ("nobody's value is known",))
    truth = truth.astype(int)
    decided = decide(probability)
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
        "auc": _mean_auc(cuts(truth, probability)),
        "balanced_accuracy": float("nan") if single else float(np.nanmean(recalls)),
        **_errors(truth, probability),
        "calibration_slope": calibration_slope(truth, probability),
    }
    if not single and not np.isfinite(values["calibration_slope"]):
        notes.append("the calibration slope is not defined: the answers are all equal or separate the levels perfectly")
    return Scores(values, tuple(notes), len(truth))


def ordinal_errors(
    scores: Scores, truth: np.ndarray, probability: np.ndarray, decide: Callable[[np.ndarray], np.ndarray]
) -> Scores:
    """``scores`` with ``mae`` in levels and quadratic weighted ``kappa`` of the level decided on.

    Arguments as in `level_scores`.
    """
    from sklearn.metrics import cohen_kappa_score

    truth, probability = known_rows(truth, probability)
    nan = float("nan")
    if not len(truth):
        return Scores({**scores.values, "mae": nan, "kappa": nan}, scores.notes)
    decided, truth = decide(probability), truth.astype(int)
    kappa, notes = nan, scores.notes
    if len(np.union1d(decided, truth)) > 1:
        kappa = float(cohen_kappa_score(truth, decided, weights="quadratic", labels=np.arange(probability.shape[1])))
    else:
        notes += ("kappa is not defined: truth and answers are all the same level",)
    return Scores({**scores.values, "mae": float(np.abs(decided - truth).mean()), "kappa": kappa}, notes, len(truth))


def regression_scores(truth: np.ndarray, answer: np.ndarray) -> Scores:
    """``mae``, ``r2``, ``correlation`` (Pearson) and ``bias`` (mean of answer minus truth), in the target's unit.

    Args:
        truth: ``(n,)``; NaN is left out.
        answer: ``(n,)``.
    """
    from sklearn.metrics import mean_absolute_error, r2_score

    truth, answer = known_rows(truth, np.asarray(answer, np.float64))
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
    truth, answer = known_rows(truth, np.asarray(answer, np.float64))
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


def _mean_auc(cuts: Sequence[Cut]) -> float:
    from sklearn.metrics import roc_auc_score

    defined = [(yes, score) for yes, score in cuts if 0 < yes.sum() < len(yes)]
    return float(np.mean([roc_auc_score(yes, score) for yes, score in defined])) if defined else float("nan")


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


def known_rows(truth: np.ndarray, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose truth is known.

    Raises:
        DataError: the two have different lengths, or an answer is not finite.
    """
    truth, answer = np.asarray(truth, np.float64), np.asarray(answer, np.float64)
    if len(truth) != len(answer):
        raise DataError(f"{len(truth)} true values and {len(answer)} answers do not belong together")
    known = np.isfinite(truth)
    if not np.isfinite(answer[known]).all():
        raise DataError("an answer is not a number: the network's output overflowed; look at its log.csv")
    return truth[known], answer[known]
