"""How good the targets' answers are where participants.tsv knows the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_app.group.collect import Collection
from bids_app.group.predictions import COLUMNS, Given, prediction_table, target_of, truth_of
from bids_app.group.results import Answers, with_none
from bids_app.judge.answers import summarise_target
from bids_app.measure.calibration import reliability_bins
from bids_app.recipes.recipe import Target
from bids_app.report.training_figures import frame

#: Fewest participants with answer and truth.
FEWEST = 10
#: Thresholds of the decision curve.
THRESHOLDS = np.linspace(0.05, 0.95, 19)
PERFORMANCE = {
    "recipe": "Recipe that has the target.",
    "target": "Participant-level quantity.",
    "who": "everybody, or one site or sex.",
    "participants": "Participants with an answer and a known truth.",
    "n": "Their sessions.",
    "measure": "What was measured; counts are cells of the confusion matrix at the likeliest level.",
    "value": "The number; n/a where it is not defined.",
    "low": "Lower end of its 95 % interval (bootstrap over participants).",
    "high": "Upper end.",
}


def answer_performance(found: Collection, answers: Answers, seed: int) -> None:
    """Tables of answers, and of how good they are; nothing where no recipe has targets."""
    if not found.scores:
        return
    answers.add("group_predictions", prediction_table(found.scores, found.participants), COLUMNS)
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    by_target: dict[tuple[str, str], list[Given]] = {}
    for one in found.scores:
        by_target.setdefault((one.recipe, one.target), []).append(one)
    for (recipe, name), given in by_target.items():
        target = target_of(given)
        if target is None:
            continue
        judged = _judged(given, target, found)
        if len({row["participant"] for row in judged}) < FEWEST:
            continue
        summary = summarise_target(target, judged, seed)
        rows += [{"recipe": recipe, "target": name, **row} for row in _rows(summary, target, judged)]
        figures += _figures(f"{name} ({recipe})", target, judged)
    if not rows:
        return
    table = pd.DataFrame(rows, columns=list(PERFORMANCE))
    answers.add("group_performance", table, PERFORMANCE)
    answers.shown["performance"] = {"rows": with_none(table), "figures": figures}
    answers.methods.append(
        "Answers of the targets were compared with participants.tsv, with 95 % intervals by a bootstrap over "
        "participants."
    )


def _judged(given: Sequence[Given], target: Target, found: Collection) -> list[dict[str, Any]]:
    """Rows as `bids_app.judge.answers.target_rows` makes them."""
    known, rows = found.participants, []
    by_lower = {c.lower(): c for c in reversed(known.columns)}
    for one in given:
        if one.abstained or one.bad or not np.isfinite(truth := truth_of(one, target, known)):
            continue
        who = {
            name: ""
            if (text := known.value(one.participant_id, one.session_id, by_lower.get(name, ""))) == "n/a"
            else text
            for name in ("site", "sex")
        }
        row = {"key": one.key, "participant": one.participant_id, **who, "target": target.name, "truth": truth}
        levels = one.answer.get("levels")
        probability = [levels[name] for name in target.levels] if levels else None
        answer = float(np.argmax(probability)) if probability else float(one.answer["value"])
        rows.append({**row, "answer": answer, "probability": probability})
    return rows


def _rows(summary: Mapping[str, Any], target: Target, judged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    parts = {"everybody": summary}
    for column in ("site", "sex"):
        parts |= {f"{column} {value}": part for value, part in summary.get(f"by_{column}", {}).items()}
    rows = []
    for who, part in parts.items():
        for measure, found in part["measures"].items():
            rows.append(
                {
                    "who": who, "participants": found["participants"], "n": found["sessions"], "measure": measure,
                    "value": found["value"], "low": found["low"], "high": found["high"],
                }
            )  # fmt: skip
    if target.behaviour.has_levels:
        people = len({row["participant"] for row in judged})
        for t, true in enumerate(target.levels):
            for a, said in enumerate(target.levels):
                count = sum(row["truth"] == t and row["answer"] == a for row in judged)
                rows.append(
                    {
                        "who": "everybody", "participants": people, "n": len(judged),
                        "measure": f"count: {true} answered {said}", "value": count,
                    }
                )  # fmt: skip
    return rows


def _figures(title: str, target: Target, judged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    truth = np.array([row["truth"] for row in judged])
    if not target.behaviour.has_levels:
        return [_agreement(title, target, truth, np.array([row["answer"] for row in judged]))]
    if len(target.levels) != 2 or len(np.unique(truth)) < 2:
        return []
    probability = np.array([row["probability"][1] for row in judged])
    positive = truth == 1
    return [
        _roc(title, positive, probability),
        _calibration(title, positive, probability),
        _decision(title, positive, probability),
    ]


def _plain(figure: dict[str, Any]) -> dict[str, Any]:
    """Without the functions that placed what is in it."""
    return {name: value for name, value in figure.items() if name not in ("x", "y")}


def _line(
    figure: Mapping[str, Any], xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray, kind: str = ""
) -> dict[str, Any]:
    points = " ".join(f"{figure['x'](a):.1f},{figure['y'](b):.1f}" for a, b in zip(xs, ys, strict=True))
    return {"points": points, "class": kind}


def _roc(title: str, positive: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    false, true, _ = roc_curve(positive, probability)
    average = average_precision_score(positive, probability)
    precision, recall, _ = precision_recall_curve(positive, probability)
    figure = frame(
        [0, 1], [0, 1], title=f"{title}: ROC, precision and recall", alt="", across="false positives; recall (orange)",
        up="true positive rate; precision",
        note=f"average precision {average:.2f}, prevalence {positive.mean():.2f}",
    )  # fmt: skip
    figure["lines"] = [
        _line(figure, [0, 1], [0, 1], "chance"), _line(figure, false, true), _line(figure, recall, precision, "other")
    ]  # fmt: skip
    return _plain(figure)


def _calibration(title: str, positive: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    bins = reliability_bins(probability, positive)
    figure = frame([0, 1], [0, 1], title=f"{title}: calibration", alt="", across="stated probability", up="came true")
    figure["lines"] = [_line(figure, [0, 1], [0, 1], "chance")]
    figure["dots"] = [
        (
            figure["x"](one["said"]),
            figure["y"](one["happened"]),
            f"{one['count']}: {one['said']:.2f}, {one['happened']:.2f}",
        )
        for one in bins
    ]
    return _plain(figure)


def _decision(title: str, positive: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Net benefit (Vickers and Elkin, Med Decis Making 26 (2006) 565-574) beside treating all and treating nobody."""
    odds = THRESHOLDS / (1 - THRESHOLDS)
    above = probability[None] >= THRESHOLDS[:, None]
    benefit = (above & positive).mean(1) - odds * (above & ~positive).mean(1)
    everybody = positive.mean() - odds * (~positive).mean()
    seen = everybody >= -0.1
    figure = frame(
        [0, 1], [-0.1, float(max(positive.mean(), benefit.max()))], title=f"{title}: decision curve", alt="",
        across="threshold", up="net benefit", note="dashed: all and nobody positive",
    )  # fmt: skip
    figure["lines"] = [
        _line(figure, [0, 1], [0, 0], "chance"),
        _line(figure, THRESHOLDS[seen], everybody[seen], "chance"),
        _line(figure, THRESHOLDS, np.maximum(benefit, -0.1)),
    ]
    return _plain(figure)


def _agreement(title: str, target: Target, truth: np.ndarray, answer: np.ndarray) -> dict[str, Any]:
    unit = f", {target.unit}" if target.unit else ""
    figure = frame(
        truth.tolist(), answer.tolist(), title=title, alt="", across=f"truth{unit}", up=f"answer{unit}", same=True
    )
    ends = [figure["low"], figure["high"]]
    figure["lines"] = [_line(figure, ends, ends, "chance")]
    figure["dots"] = [(figure["x"](t), figure["y"](a), f"{t:g}, {a:.3g}") for t, a in zip(truth, answer, strict=True)]
    return _plain(figure)
