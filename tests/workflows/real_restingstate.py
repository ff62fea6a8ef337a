"""One real resting-state session, run by a recipe, and what its record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_app.bids.record import SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.settings import Settings
from tests.data import real
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session


def run_real(folder: Path, recipe: str, **more: Any) -> SessionRecord:
    """Into ``folder / "out"``, with ``more`` settings; the test is skipped where the data are absent."""
    settings = Settings(
        real("restingstate"), folder / "out", recipe=(recipe,), work_dir=folder / "work", sloppy=True, device="cpu",
        **more,
    )  # fmt: skip
    prepare_dataset(settings)
    assert run_session(settings, "001", None, threads=1) == 0
    record = read_session(folder / "out", "sub-001")
    assert record is not None
    return record
