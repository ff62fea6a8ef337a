"""Geometry of the training page's figures: forest plot, agreement, reliability, learning curves. Templates draw it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from bids_app.report.charts import axis, short, ticks

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 20.0, 24.0, 40.0
#: Points of one line; what lies between is averaged.
POINTS = 80
#: From here on volumes of a figure are shown in ml, mm³.
LONG_MM3 = 10_000.0
#: The arm whose difference from another is shown, and not the other way; see `turned`.
SPOKEN_OF = "multi-task"


def frame(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    title: str,
    alt: str,
    across: str,
    up: str,
    note: str = "",
    same: bool = False,
) -> dict[str, Any]:
    """An empty figure around what is to be drawn, with the functions ``x`` and ``y`` that place a value.

    Args:
        xs, ys: all values; the axes reach round numbers beyond them.
        across, up: what the axes show.
        same: both axes have one range.
    """
    if same:
        xs = ys = [*xs, *ys]
    x_marks, y_marks = ticks(min(xs), max(xs), 4), ticks(min(ys), max(ys), 4)
    x = axis(x_marks[0], x_marks[-1], LEFT, WIDTH - RIGHT)
    y = axis(y_marks[0], y_marks[-1], HEIGHT - BOTTOM, TOP)
    return {
        "title": title,
        "alt": alt,
        "across": across,
        "up": up,
        "note": note,
        "x": x,
        "y": y,
        "x_ticks": [(short(v), x(v)) for v in x_marks],
        "y_ticks": [(short(v), y(v)) for v in y_marks],
        "low": x_marks[0],
        "high": x_marks[-1],
        "lines": [],
        "dots": [],
        "texts": [],
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
    }


def forest(rows: Sequence[Mapping[str, Any]], heading: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of a comparison by measure; each measure has its own axis, in percent of the width, with its zero.

    Args:
        rows: of ``Comparison.to_plain()``.
        heading: what a reader calls a measure.
    """
    groups: list[dict[str, Any]] = []
    for measure in dict.fromkeys(str(row.get("measure")) for row in rows):
        mine = [turned(row) for row in rows if str(row.get("measure")) == measure]
        ends = [row[end] for row in mine for end in ("low", "high", "difference") if is_number(row.get(end))]
        marks = ticks(min([0.0, *ends]), max([0.0, *ends]), 4)
        place = axis(marks[0], marks[-1], 6.0, 94.0)
        reference, spoken_of = mine[0].get("reference") or "reference", mine[0].get("reference") == SPOKEN_OF
        better = (mine[0].get("better") is not False) != spoken_of  # the rows are turned round then
        sides = (f"{reference} better", "the other arm better")
        groups.append(
            {
                "title": heading.get(measure, measure),
                "zero": place(0.0),
                "ticks": [(short(v), place(v)) for v in marks],
                "left": sides[0] if better else sides[1],
                "right": sides[1] if better else sides[0],
                "rows": [
                    {**row, "at": {e: place(row[e]) for e in ("low", "high", "difference") if is_number(row.get(e))}}
                    for row in mine
                ],
            }
        )
    return groups


def turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a comparison as the sentences speak of it: multi-task learning minus the other, where it takes part."""
    if row.get("reference") != SPOKEN_OF:
        return dict(row)
    found = dict(row)
    for name, source in (("difference", "difference"), ("low", "high"), ("high", "low")):
        found[name] = -row[source] if is_number(row.get(source)) else row.get(source)
    found["value"], found["reference_value"] = row.get("reference_value"), row.get("value")
    return found


def agreement(name: str, facts: Mapping[str, Any], unit: str = "mm³") -> dict[str, Any] | None:
    """Bland-Altman plot of one region: difference over mean, one dot per participant, bias and limits of agreement."""
    truth, answer = known_pairs(facts.get("truth"), facts.get("answer"))
    if not len(truth):
        return None
    factor, unit = (1e-3, "ml") if max(truth.max(), answer.max()) >= LONG_MM3 and unit == "mm³" else (1.0, unit)
    means, apart = (truth + answer) / 2 * factor, (answer - truth) * factor
    levels = [(kind, facts[kind] * factor) for kind in ("bias", "low", "high") if is_number(facts.get(kind))]
    words = {"bias": "bias", "low": "limits of agreement", "high": "to"}
    said = ", ".join(f"{words[kind]} {signed(value)}" for kind, value in levels).replace(", to", " to")
    figure = frame(
        means.tolist(),
        [0.0, *apart, *(v for _, v in levels)],
        title=name,
        across=f"mean of truth and answer, {unit}",
        up=f"answer − truth, {unit}",
        note=f"{said} {unit}; {len(truth)} participants",
        alt=f"Bland-Altman plot of {name}: {said} {unit}, {len(truth)} participants",
    )
    figure["lines"].append(level(figure, 0.0, "zero"))
    figure["lines"] += [level(figure, value, "thick" if kind == "bias" else "thin dashed") for kind, value in levels]
    figure["dots"] = [
        {"x": figure["x"](m), "y": figure["y"](d), "r": 3.2, "text": f"mean {m:.1f}, difference {signed(d)} {unit}"}
        for m, d in zip(means, apart, strict=True)
    ]
    return figure


def scatter(name: str, truth: Any, answer: Any, note: str = "") -> dict[str, Any] | None:
    """Answer over truth of a continuous target, with the line where both are the same."""
    xs, ys = known_pairs(truth, answer)
    if not len(xs):
        return None
    figure = frame(
        xs.tolist(),
        ys.tolist(),
        title=name,
        across="truth",
        up="answer",
        note=note or f"{len(xs)} participants",
        alt=f"Answer against truth of {name}, {len(xs)} participants",
        same=True,
    )
    figure["lines"] = [identity(figure)]
    figure["dots"] = [
        {"x": figure["x"](x), "y": figure["y"](y), "r": 3.2, "text": f"truth {x:.1f}, answer {y:.1f}"}
        for x, y in zip(xs, ys, strict=True)
    ]
    return figure


def reliability(name: str, bins: Sequence[Mapping[str, Any]], note: str = "") -> dict[str, Any] | None:
    """What happened over what was said, one dot per bin, as large as the bin is full, with its count."""
    bins = [b for b in bins if is_number(b.get("said")) and is_number(b.get("happened"))]
    if not bins:
        return None
    figure = frame(
        [0.0, 1.0],
        [0.0, 1.0],
        title=name,
        across="probability that was stated",
        up="part that was so",
        note=note,
        alt=f"Reliability of {name}: "
        + "; ".join(f"said {b['said']:.2f}, was {b['happened']:.2f}, {b.get('count', 0)} sessions" for b in bins),
    )
    most = max(b.get("count") or 1 for b in bins)
    places = [(figure["x"](b["said"]), figure["y"](b["happened"])) for b in bins]
    figure["lines"] = [identity(figure), {"points": joined(places), "kind": "thin", "name": ""}]
    for b, (x, y) in zip(bins, places, strict=True):
        radius, count = 2.5 + 5.5 * ((b.get("count") or 0) / most) ** 0.5, b.get("count")
        text = f"said {b['said']:.2f}, was {b['happened']:.2f}, {count} sessions"
        figure["dots"].append({"x": x, "y": y, "r": radius, "text": text})
        above = y - radius - 4
        figure["texts"].append({"x": x, "y": above if above > TOP + 8 else y + radius + 12, "text": f"{count}"})
    return figure


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of a fold's log: ``(points, 2)`` of step and value, cells that are empty or no number left out."""
    columns: dict[str, list[tuple[float, float]]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                step = as_number(row.get("step"))
                for name, cell in row.items():
                    value = as_number(cell)
                    if step is not None and value is not None and name != "step":
                        columns.setdefault(name, []).append((step, value))
    except (OSError, csv.Error):
        return {}
    return {name: np.array(points) for name, points in columns.items()}


def curves(arm: str, logs: Mapping[str, Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """A figure per task of one arm: loss of every fold, thin, and their mean, thick; on the validation side, dashed.

    Args:
        logs: by the fold's name, as `read_log` gives them.
    """
    names = dict.fromkeys(column for log in logs.values() for column in log)
    tasks = [name.removeprefix("loss_") for name in names if name.startswith("loss_")]
    columns = {task: (f"loss_{task}", f"validation_{task}") for task in tasks} or {"all": ("loss", "validation_joint")}
    figures = []
    for task, pair in columns.items():
        training, checked = ({fold: log[column] for fold, log in logs.items() if column in log} for column in pair)
        if training or checked:
            figures.append(over_steps(f"{arm}: {task}", "loss", training, checked))
    return figures


def cosines(arm: str, logs: Mapping[str, Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """A figure per further task: cosine between its gradient and the first task's at the bottleneck, from -1 to 1."""
    names = [n for n in dict.fromkeys(c for log in logs.values() for c in log) if n.startswith("cosine_")]
    figures = []
    for name in names:
        lines = {fold: log[name] for fold, log in logs.items() if name in log}
        figures.append(over_steps(f"{arm}: {name.removeprefix('cosine_')}", "cosine", lines, {}, reach=(-1.0, 1.0)))
    return figures


def over_steps(
    title: str,
    up: str,
    training: Mapping[str, np.ndarray],
    checked: Mapping[str, np.ndarray],
    reach: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Lines over steps; the mean reaches as far as every fold does, so that nobody's leaving bends it."""
    every = [*training.values(), *checked.values()]
    steps, values = (np.concatenate([line[:, i] for line in every]) for i in (0, 1))
    folds = len(set(training) | set(checked))
    ends = [line[-1, 1] for line in training.values()]
    said = f"{folds} fold{'s' if folds != 1 else ''}"
    if reach:
        said += f", mean {values.mean():.2f} over all steps".replace("-", "−")
    elif ends:
        said += f", mean {np.mean(ends):.3g} at the end".replace("-", "−")
    figure = frame(
        [0.0, float(steps.max())],
        reach or [min(0.0, float(values.min())), float(values.max())],
        title=title,
        across="step",
        up=up,
        note=said,
        alt=f"{up} of {title} over {int(steps.max())} steps, {said}",
    )
    if reach:
        figure["lines"].append(level(figure, 0.0, "zero"))
    for lines, dashed in ((training, ""), (checked, " dashed")):
        figure["lines"] += [
            {"points": placed(figure, thinned(line)), "kind": "thin fold" + dashed, "name": fold}
            for fold, line in lines.items()
        ]
        if len(lines) > 1:
            figure["lines"].append({"points": placed(figure, mean_line(lines.values())), "kind": "thick" + dashed})
    return figure


def thinned(line: np.ndarray, most: int = POINTS) -> np.ndarray:
    """At most so many points, each the mean of its neighbours."""
    if len(line) <= most:
        return line
    return np.stack([part.mean(0) for part in np.array_split(line, most)])


def mean_line(lines: Any, most: int = POINTS) -> np.ndarray:
    """Mean over lines where all of them are, each thinned first."""
    lines = [thinned(line[np.argsort(line[:, 0])], most) for line in lines]
    first, last = max(line[0, 0] for line in lines), min(line[-1, 0] for line in lines)
    if last < first:
        return np.empty((0, 2))
    grid = np.linspace(first, last, min(most, max(len(line) for line in lines)))
    return np.stack([grid, np.mean([np.interp(grid, line[:, 0], line[:, 1]) for line in lines], 0)], 1)


def placed(figure: Mapping[str, Any], line: np.ndarray) -> str:
    return joined([(figure["x"](step), figure["y"](value)) for step, value in line])


def joined(places: Sequence[tuple[float, float]]) -> str:
    """Points of an SVG polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def level(figure: Mapping[str, Any], value: float, kind: str) -> dict[str, str]:
    """A line across at one value."""
    y = figure["y"](value)
    return {"points": joined([(figure["left"], y), (figure["right"], y)]), "kind": kind}


def identity(figure: Mapping[str, Any]) -> dict[str, str]:
    """Where across and up are the same."""
    places = [(figure["x"](v), figure["y"](v)) for v in (figure["low"], figure["high"])]
    return {"points": joined(places), "kind": "zero dashed"}


def known_pairs(one: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two lists of equal length without the places where either is not known."""
    pairs = [(a, b) for a, b in zip(one or [], other or [], strict=False) if is_number(a) and is_number(b)]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def as_number(cell: Any) -> float | None:
    """The number in a cell of a table; None where there is none."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
