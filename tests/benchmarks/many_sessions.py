"""What thousands of sessions cost beside their computation: planning, status, and files.

``python -m tests.benchmarks.many_sessions [SESSIONS ...] [--done OUT]`` makes datasets of 1 000 and 10 000
participants with one small T1w and its sidecar each, and output folders as the participant level leaves them, and
prints the seconds of ``--dry-run`` and of ``status``. With ``--done OUT`` it also counts files and bytes per
session of a real output folder and of the folder ``work`` in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids.status import start_status, status_path
from tests.benchmarks.group_scale import make as make_output


def make_dataset(root: Path, people: int) -> Path:
    """A BIDS dataset whose images are one file with many names."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Many", "BIDSVersion": "1.10.0"}))
    image = root.parent / "one.nii.gz"
    values = np.random.default_rng(0).normal(100, 20, (32, 32, 32)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([6.0, 6.0, 6.0, 1.0])), image)
    lines = ["participant_id\tage"]
    for number in range(people):
        name = f"sub-{number:05d}"
        folder = root / name / "anat"
        folder.mkdir(parents=True)
        os.link(image, folder / f"{name}_T1w.nii.gz")
        (folder / f"{name}_T1w.json").write_text('{"EchoTime": 0.004}')
        lines.append(f"{name}\t{20 + number % 60}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root


def write_statuses(out: Path, sessions: int) -> None:
    """Statuses of finished sessions, as large as those of a whole head with two recipes (3 KB)."""
    stages = {f"reference stage {i}": {"seconds": 1.5, "cpu_seconds": 1.4, "peak_rss_mb": 512.5} for i in range(12)}
    for number in range(sessions):
        name = f"sub-{number:05d}"
        image = f"/data/{name}/anat/{name}_T1w.nii.gz"
        outputs = {f"{name}/anat/{name}_desc-{i}_mask.nii.gz": f"{i:064x}" for i in range(14)}
        known = {"stages": stages, "inputs": {image: {"size": 1, "mtime_ns": 1}}, "outputs": outputs, "pid": 1}
        status = start_status(f"{number:05d}", started=1.0, **known).finish("done", peak_rss_mb=900.5)
        status_path(out, name).write_text(json.dumps({"key": name, **asdict(status)}, indent=1))


def timed(*words: str | Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and exit code of one command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = subprocess.run([sys.executable, "-m", "bids_app", *map(str, words)], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, found.returncode


def size_of(folder: Path) -> tuple[int, float]:
    """Files and folders, and megabytes."""
    every = list(folder.rglob("*"))
    return len(every), sum(one.lstat().st_size for one in every) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", nargs="*", type=int, default=[1000, 10000])
    parser.add_argument("--done", type=Path)
    given = parser.parse_args()
    print("sessions  command     wall s  CPU s  exit code")
    for sessions in given.sessions:
        with tempfile.TemporaryDirectory() as folder:
            bids = make_dataset(Path(folder) / "bids", sessions)
            out = Path(folder) / "out"
            make_output(out, sessions)
            write_statuses(out, sessions)
            for title, words in (
                ("dry run", (bids, Path(folder) / "new", "participant", "--dry-run")),
                ("status", ("status", out)),
            ):
                wall, cpu, code = timed(*words)
                print(f"{sessions:8d}  {title:10s}  {wall:6.1f}  {cpu:5.1f}  {code}", flush=True)
    if given.done:
        count = len(list((given.done / "logs").glob("sub-*/record.json")))
        for title, part in (("output", given.done), ("work", given.done / "work")):
            if part.is_dir():
                files, megabytes = size_of(part)
                print(f"{title}: {files / count:.0f} files and folders, {megabytes / count:.1f} MB per session")


if __name__ == "__main__":
    main()
