"""Choosing a session's files in a dataset of 1000 participants: at most 0.5 s, pybids' import apart.

``python -m pytest tests/benchmarks/select_1000.py -m benchmark -s``, or ``python tests/benchmarks/select_1000.py``.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bids_app.settings import Settings

PARTICIPANTS, LIMIT_SECONDS = 1000, 0.5
SUFFIXES = ("T1w", "T2w", "FLAIR", "ce-gadolinium_T1w")
SEQUENCES = [
    SimpleNamespace(name=name, suffix=name, entities={"ceagent": None}, required=name == "T1w")
    for name in ("T1w", "T2w", "FLAIR")
]


def make_dataset(root: Path) -> Path:
    """1000 participants of one session with four images each; the images are empty but for their names."""
    for number in range(1, PARTICIPANTS + 1):
        folder = root / f"sub-{number:04d}" / "ses-1" / "anat"
        folder.mkdir(parents=True)
        for suffix in SUFFIXES:
            (folder / f"sub-{number:04d}_ses-1_{suffix}.nii.gz").touch()
            (folder / f"sub-{number:04d}_ses-1_{suffix}.json").write_text('{"EchoTime": 0.01}')
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Many", "BIDSVersion": "1.10.0"}))
    return root


def measure(root: Path) -> dict[str, float]:
    """Seconds: pybids' import, the first choice of a process, the median of ten, and listing every session."""
    started = time.perf_counter()
    import bids.layout  # noqa: F401

    figures = {"import of pybids": time.perf_counter() - started}
    from bids_app.bids.select import choose_units, select_session

    settings = Settings(root, root.parent / "out")
    taken = []
    for number in range(100, 111):
        started = time.perf_counter()
        selection = select_session(settings, f"{number:04d}", "1", SEQUENCES)
        taken.append(time.perf_counter() - started)
        assert selection.path_of("T1w").name == f"sub-{number:04d}_ses-1_T1w.nii.gz"
    figures["first choice of a process"] = taken[0]
    figures["a later choice (median of 10)"] = statistics.median(taken[1:])
    started = time.perf_counter()
    assert len(choose_units(settings)) == PARTICIPANTS
    figures["listing all 1000 sessions"] = time.perf_counter() - started
    return figures


@pytest.mark.benchmark
def test_choosing_a_sessions_files_takes_half_a_second(tmp_path):
    figures = measure(make_dataset(tmp_path / "raw"))
    for name, seconds in figures.items():
        print(f"{name:32s}{seconds:8.3f} s")
    assert figures["a later choice (median of 10)"] <= LIMIT_SECONDS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for name, seconds in measure(make_dataset(Path(scratch) / "raw")).items():
            sys.stdout.write(f"{name:32s}{seconds:8.3f} s\n")
