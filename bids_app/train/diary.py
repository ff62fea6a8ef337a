"""The log of a training: a row per ten steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bids_app.bids.files import write_text
from bids_app.train.state import State


class Diary:
    """Means over ten steps as rows of a CSV file, and of the state's history."""

    EVERY = 10

    def __init__(self, path: Path | None, notify: Callable[[dict[str, float]], None] | None) -> None:
        self.path, self.notify = path, notify
        self.rows: list[dict[str, float]] = []

    def note(self, state: State, row: dict[str, float]) -> None:
        self.rows.append(row)
        if state.step % self.EVERY:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        means = {name: _mean([row[name] for row in self.rows if name in row]) for name in names}
        self.rows = []
        entry: dict[str, float] = {"step": state.step, "seconds": round(state.seconds, 2)}
        entry |= {"drawn": state.drawn} if state.drawn else {}
        entry |= {name: round(value, 5) for name, value in means.items()}
        state.history.append(entry)
        if self.notify:
            self.notify(entry)
        if self.path is not None:
            self._write(self.path, state.history)

    @staticmethod
    def _write(path: Path, history: list[dict[str, float]]) -> None:
        """The whole file again: columns may have come, and a stop in the middle leaves no half row."""
        names = list(dict.fromkeys(name for entry in history for name in entry))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(history)
        write_text(path, text.getvalue())


def _mean(values: list[float]) -> float:
    """Of those that are known; NaN without any."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
