"""Chart geometry: where axes, boxes and dots go. The template turns it into SVG, so that each dot can be a link."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 8.0, 8.0, 36.0
RADIUS = 3.6


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers that cover ``low`` to ``high``."""
    if high <= low:
        high = low + 1.0
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


def short(value: float) -> str:
    """A tick's number in few characters, with a true minus."""
    text = f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"
    return text.replace("-", "−")


def summary(numbers: Sequence[float]) -> dict[str, float | int | None]:
    """Count, median and quartiles (linear interpolation, inclusive)."""
    if not numbers:
        return {"n": 0, "median": None, "q1": None, "q3": None}
    if len(numbers) == 1:
        return {"n": 1, "median": numbers[0], "q1": None, "q3": None}
    q1, median, q3 = statistics.quantiles(numbers, n=4, method="inclusive")
    return {"n": len(numbers), "median": median, "q1": q1, "q3": q3}


def geometry() -> dict[str, float]:
    """What the template needs of the frame that all charts share."""
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "radius": RADIUS,
    }


def distribution(
    values: Sequence[Mapping[str, Any]], groups: Sequence[str], top: float, drawn: Collection[str] | None = None
) -> dict[str, Any]:
    """Dots beside each other where they would overlap, over the quartiles and the median of each group.

    Args:
        values: ``value``, ``group``, ``key``, ``participant_id``, ``page``, ``qc`` of each session.
        groups: all groups of the page, in order, so that every chart has the same columns.
        top: the axis reaches from 0, or the lowest value, to here.
        drawn: keys of the sessions that are drawn as dots; None for all.
    """
    numbers = [v["value"] for v in values]
    marks = ticks(min([0.0, *numbers]), top)
    scale = axis(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    width = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    columns, dots = [], []
    for position, group in enumerate(groups):
        middle = LEFT + width * (position + 0.5)
        members = sorted((v for v in values if v["group"] == group), key=lambda v: (v["value"], v["key"]))
        facts = summary([v["value"] for v in members])
        half = min(34.0, width * 0.36)
        box = None
        if (q1 := facts["q1"]) is not None and (q3 := facts["q3"]) is not None:
            box = {"x": middle - half, "y": scale(q3), "width": 2 * half, "height": scale(q1) - scale(q3)}
        line = (
            None if facts["median"] is None else {"x1": middle - half, "x2": middle + half, "y": scale(facts["median"])}
        )
        people = len({v.get("participant_id", v["key"]) for v in members})
        columns.append({"group": group, "middle": middle, "box": box, "line": line, "people": people, **facts})
        members = members if drawn is None else [v for v in members if v["key"] in drawn]
        heights = [scale(v["value"]) for v in members]
        for v, y, shift in zip(members, heights, swarm(heights, half), strict=True):
            dots.append({**v, "x": middle + shift, "y": y, "tone": position % 6})
    return {"ticks": [(t, scale(t)) for t in marks], "columns": columns, "dots": dots}


def pair(
    left: Mapping[str, Mapping[str, Any]], right: Mapping[str, Mapping[str, Any]], groups: Sequence[str]
) -> dict[str, Any]:
    """Left against right, one dot per session, with the line where both are the same."""
    keys = sorted(set(left) & set(right))
    numbers = [side[k]["value"] for side in (left, right) for k in keys]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    room = 0.08 * (high - low) or 1.0
    marks = ticks(max(0.0, low - room), high + room)
    across, up = axis(marks[0], marks[-1], LEFT, WIDTH - RIGHT), axis(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    dots = [
        {
            **left[k],
            "x": across(left[k]["value"]),
            "y": up(right[k]["value"]),
            "right": right[k]["value"],
            "tone": groups.index(left[k]["group"]) % 6,
            "qc": left[k]["qc"] if left[k]["qc"] != "ok" else right[k]["qc"],
        }
        for k in keys
    ]
    return {"x_ticks": [(t, across(t)) for t in marks], "y_ticks": [(t, up(t)) for t in marks], "dots": dots}


def swarm(heights: Iterable[float], half: float) -> list[float]:
    """Sideways shifts that keep dots of similar height apart, the same at every run; within ``half`` of the middle."""
    placed: list[tuple[float, float]] = []
    step = RADIUS * 1.1
    for y in heights:
        near = [x for x, other in placed[-60:] if abs(other - y) < 2 * RADIUS]
        shift = 0.0
        for turn in range(1, 2 * int(half / step) + 2):
            if all(abs(shift - x) >= 2 * RADIUS for x in near):
                break
            shift = (turn + 1) // 2 * step * (1 if turn % 2 else -1)
        placed.append((max(-half, min(half, shift)), y))
    return [x for x, _ in placed]


def axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value lies on a line from ``start`` to ``end``."""
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)
