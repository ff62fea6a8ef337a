"""The sessions of a run: which there are, and running those that are not finished."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from bids_app.bids.files import write_text
from bids_app.bids.status import Status
from bids_app.settings import Settings, to_toml


def choose_units(settings: Settings) -> list:
    """The sessions to run, by reading folder names only.

    Raises:
        InputMissing: a participant that was asked for is not there.
        NothingSelected: labels and filters leave nothing.
    """
    from bids_app.bids.select import choose_units as choose
    from bids_app.recipes.recipe import load_recipe
    from workflows.cohort import Unit

    reference = load_recipe(settings.recipe[0]).reference
    return [Unit(participant, session) for participant, session in choose(settings, reference)]


def run_units(settings: Settings, units: list) -> int:
    """Run what is not finished yet and say how everything ended."""
    from bids_app.cli.progress import Progress
    from workflows.cohort import run_cohort
    from workflows.dataset import finish_dataset, prepare_dataset
    from workflows.failure import write_page
    from workflows.wanted import Finished

    for warning in prepare_dataset(settings):
        print(f"tandem: {warning}", file=sys.stderr)
    keep_settings(settings, "run.toml")
    finished = Finished(settings)
    done = {unit: status for unit in units if (status := finished.status(unit.key)) is not None}
    todo = [unit for unit in units if unit not in done]
    with Progress(settings, units) as progress:
        for unit, status in done.items():
            if not has_page(settings.output_dir, status) and (trouble := write_page(settings, unit.key)):
                print(f"tandem: {unit.key}: {trouble}", file=sys.stderr)
            progress.ended(unit, status, again=False)
        statuses = run_cohort(settings, todo, told=progress.told) if todo else {}
    statuses = {**done, **statuses}
    finish_dataset(settings)
    if settings.clean_workdir == "on-success" and all(s and s.state == "done" for s in statuses.values()):
        shutil.rmtree(settings.work / "cache", ignore_errors=True)
    progress.table(statuses)
    return overall_code(list(statuses.values()))


def keep_settings(settings: Settings, latest: str) -> Path:
    """Write the options of this run as ``logs/runs/DATE_PID.toml``, and as ``logs/<latest>``, the newest run's.

    Raises:
        CannotWrite, IOFailure: the output folder cannot be written.
    """
    logs, text = settings.output_dir / "logs", to_toml(settings)
    own = write_text(logs / "runs" / f"{time.strftime('%Y%m%dT%H%M%S')}_{os.getpid()}.toml", text)
    write_text(logs / latest, text)
    return own


def has_page(output_dir: Path, status: Status) -> bool:
    """Whether a session's page is of its last run: a process may be killed after it said that it is done."""
    try:
        return (output_dir / f"{status.key}.html").stat().st_mtime >= int(status.finished or 0)
    except OSError:
        return False


def overall_code(statuses: list) -> int:
    """0 when all are done; the sessions' own code when they failed for one kind of reason; else 1."""
    codes = {(status.exit_code or 1) if status else 1 for status in statuses if not status or status.state != "done"}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else 1
