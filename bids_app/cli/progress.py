"""What a person sees while sessions run: bars on a terminal, plain stable lines anywhere else."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from bids_app.bids.status import read_status
from bids_app.settings import Settings

STYLES = {"done": "green", "failed": "red", "running": "yellow", "not run": "dim"}


class Progress:
    """Follows a run; its lines ``tandem: SUCCESS key`` and ``tandem: FAILED key (reason)`` are stable."""

    def __init__(self, settings: Settings, units: list) -> None:
        self.settings = settings
        self.console = Console(soft_wrap=True, highlight=False)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.bar = self.bars.add_task("sessions", total=len(units))
        self.begun: dict[Any, float] = {}

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()

    def told(self, unit: Any, event: str) -> None:
        """Called by the cohort for the start and the end of a session; the end may be told more than once."""
        if event == "start":
            self.begun[unit] = time.time()
            self.bars.update(self.bar, description=unit.key)
            self.line(f"tandem: started {unit.key}", "dim")
        elif unit in self.begun:
            del self.begun[unit]
            self.ended(unit, read_status(self.settings.output_dir, unit.key))

    def ended(self, unit: Any, status: Any, *, again: bool = True) -> None:
        """Print the one line that scripts look for."""
        self.bars.advance(self.bar)
        if status and status.state == "done":
            note = f" {status.seconds:.0f} s" if again else " finished before, unchanged"
            self.line(f"tandem: SUCCESS {unit.key}", "green", note)
        else:
            self.line(
                f"tandem: FAILED {unit.key} ({one_line(status.reason if status else 'no status was left')})", "red"
            )

    def line(self, text: str, style: str, note: str = "") -> None:
        self.console.print(f"[{style}]{escape(text)}[/]" + (f"[dim]{escape(note)}[/]" if note else ""))

    def table(self, statuses: dict) -> None:
        """The final table; sessions that failed say why."""
        self.console.print(status_table({unit.key: status for unit, status in statuses.items()}))
        failed = sum(1 for s in statuses.values() if not s or s.state != "done")
        self.console.print(f"{len(statuses) - failed} done, {failed} failed; reports: {self.settings.output_dir}")


def status_table(statuses: dict[str, Any]) -> Table:
    """One row per session: state, seconds, memory, why."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (
        ("session", "left"),
        ("state", "left"),
        ("seconds", "right"),
        ("peak MB", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for key, status in statuses.items():
        state = status.state if status else "not run"
        number = [f"{v:.0f}" if v else "" for v in (status.seconds, status.peak_rss_mb)] if status else ["", ""]
        reason = one_line(status.reason) if status and status.reason else ""
        table.add_row(escape(key), f"[{STYLES.get(state, '')}]{state}[/]", *number, escape(reason))
    return table


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())
