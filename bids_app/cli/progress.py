"""What a person sees while sessions run: bars on a terminal, plain stable lines anywhere else."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from bids_app.bids.status import Status, read_status
from bids_app.cli.console import make_console, one_line, plain, print_statuses
from bids_app.cli.expected import LAST, Durations, in_words
from bids_app.settings import Settings

#: Seconds between looks at what running sessions say of themselves.
LOOK = 1.0


def newest(output_dir: Path) -> list[Status]:
    """The sessions of an output folder that were done last, oldest first."""
    paths = sorted((output_dir / "logs").glob("sub-*/status.json"), key=lambda path: path.stat().st_mtime)[-LAST:]
    statuses = [read_status(output_dir, path.parent.name) for path in paths]
    return [status for status in statuses if status and status.state == "done" and status.seconds]


class Progress:
    """Follows a run; its lines ``tandem: SUCCESS key`` and ``tandem: FAILED key (reason)`` are stable.

    On a terminal every running session has a bar with its stage and the time it still takes, and all of them have one.
    """

    def __init__(self, settings: Settings, units: list, *, console: Console | None = None) -> None:
        self.settings = settings
        self.console = console or make_console()
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.units = len(units)
        self.all = self.bars.add_task("sessions", total=self.units, note="")
        self.begun: dict[Any, float] = {}
        self.rows: dict[Any, TaskID] = {}
        self.durations = Durations()
        self._ended = threading.Event()
        self._count = 0

    def __enter__(self) -> Progress:
        self.bars.start()
        if self.console.is_terminal:
            for status in newest(self.settings.output_dir):
                self.durations.add(status)
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self.console.is_terminal:
            self._thread.join()
        self.bars.stop()

    def told(self, unit: Any, event: str) -> None:
        """Called by the cohort for the start and the end of a session; the end may be told more than once."""
        if event == "start":
            self.begun[unit] = time.time()
            self.rows[unit] = self.bars.add_task(escape(unit.key), total=None, note="starting")
            self.line(f"tandem: started {unit.key}", "dim")
        elif unit in self.begun:
            del self.begun[unit]
            self.bars.remove_task(self.rows.pop(unit))
            self.ended(unit, read_status(self.settings.output_dir, unit.key))

    def ended(self, unit: Any, status: Any, *, again: bool = True) -> None:
        """Print the one line that scripts look for."""
        self._count += 1
        self.bars.update(self.all, completed=self._count)
        if status and status.state == "done":
            if again and status.seconds:
                self.durations.add(status)
            note = f" {status.seconds:.0f} s" if again else " finished before, unchanged"
            self.line(f"tandem: SUCCESS {unit.key}", "green", note)
        else:
            self.line(f"tandem: FAILED {unit.key} ({status.reason if status else 'no status was left'})", "red")

    def line(self, text: str, style: str, note: str = "") -> None:
        self.console.print(plain(text, style).append(note, "dim"))

    def table(self, statuses: dict) -> None:
        """The final table; sessions that failed say why."""
        print_statuses({unit.key: status for unit, status in statuses.items()}, self.console)
        failed = sum(1 for s in statuses.values() if not s or s.state != "done")
        where = one_line(str(self.settings.output_dir))
        self.console.print(plain(f"{len(statuses) - failed} done, {failed} failed; reports: {where}"))

    def look(self) -> None:
        """Bring every bar up to what the sessions say of themselves."""
        lefts = []
        for unit, row in list(self.rows.items()):
            status = read_status(self.settings.output_dir, unit.key)
            if status is None or (status.started or 0) < self.begun.get(unit, 0) - 1:
                status = None  # an earlier run's
            left = self.durations.left(status)
            lefts.append(left)
            spent = time.time() - self.begun.get(unit, time.time())
            known: dict[str, Any] = {"total": spent + left, "completed": spent} if left is not None else {}
            note = self.durations.stage_of(status) + (f", {in_words(left)} left" if left is not None else "")
            self.bars.update(row, note=escape(note), **known)
        waiting = self.units - self._count - len(lefts)
        total = self.durations.total
        if lefts and total is not None:
            whole = (sum(one or 0 for one in lefts) + waiting * total) / len(lefts)
            self.bars.update(self.all, note=f"{self._count} of {self.units}, {in_words(whole)} left")
        else:
            self.bars.update(self.all, note=f"{self._count} of {self.units}")

    def _follow(self) -> None:
        while not self._ended.wait(LOOK):
            self.look()
