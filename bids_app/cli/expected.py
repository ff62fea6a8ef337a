"""How long a session still takes, from those that are done."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median
from typing import Any

#: So many sessions, the newest, are looked at.
LAST = 20


class Durations:
    """Stages of sessions that are done: their order, and their usual seconds."""

    def __init__(self, done: Iterable[Any] = ()) -> None:
        self._known = list(done)[-LAST:]

    def add(self, status: Any) -> None:
        """Learn from one more session (`bids_app.bids.status.Status`) that is done."""
        self._known = [*self._known, status][-LAST:]

    @property
    def total(self) -> float | None:
        """Usual seconds of a whole session; None before one is done."""
        return median([s.seconds for s in self._known]) if self._known else None

    @property
    def stages(self) -> dict[str, float]:
        """Usual seconds of each stage, in the order of the newest session."""
        if not self._known:
            return {}
        names = self._known[-1].stages
        return {name: median([_seconds(s, name) for s in self._known if name in s.stages]) for name in names}

    def stage_of(self, status: Any) -> str:
        """What a running session does now, in words: ``N4 (2 of 5)``; before one is known, what it did last."""
        ended = list(status.stages) if status else []
        usual = list(self.stages)
        ahead = [name for name in usual if name not in ended]
        if ahead:
            return f"{ahead[0]} ({usual.index(ahead[0]) + 1} of {len(usual)})"
        if usual:
            return "report"
        return f"after {ended[-1]}" if ended else "starting"

    def left(self, status: Any, now: float | None = None) -> float | None:
        """Seconds that a running session still needs; None before one is known.

        What is over counts as it was, what is ahead as it usually is: a slow session is not promised to end soon.
        """
        total = self.total
        if total is None:
            return None
        usual, ended = self.stages, dict(status.stages) if status else {}
        spent = (now or time.time()) - (status.started or 0) if status and status.started else 0.0
        ahead = total - sum(seconds for name, seconds in usual.items() if name in ended)
        current = max(0.0, spent - sum(_seconds(status, name) for name in ended))
        return max(1.0, ahead - current)


def _seconds(status: Any, name: str) -> float:
    return float(status.stages[name].get("seconds") or 0.0)


def in_words(seconds: float | None) -> str:
    """``40 s``, ``3 min``, ``2 h 10 min``; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
