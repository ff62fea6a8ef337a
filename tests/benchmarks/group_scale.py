"""Seconds, memory and page size of the group level for 1 000, 3 000 and 10 000 sessions of 40 regions.

``python -m tests.benchmarks.group_scale [SESSIONS ...]`` makes output folders as the participant level leaves them,
runs the group level with ComBat, a normative model, contrasts and the page on each, and prints a table. With
``--chromium`` it also opens the page in a headless Chromium and prints the seconds until it is drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REGIONS = 40
COLUMNS = "index\tname\tsoft_mm3\tsoft_low_mm3\tsoft_high_mm3\thard_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\n"


def make(root: Path, sessions: int) -> None:
    """Sessions with volumes that depend on age, sex, site and group."""
    rng = np.random.default_rng(0)
    (root / "logs").mkdir(parents=True)
    lines = ["participant_id\tgroup\tage\tsex\tsite"]
    base = rng.uniform(500, 20000, REGIONS)
    for i in range(sessions):
        key, age, sex = f"sub-{i:05d}", rng.uniform(20, 80), i % 2
        site, group = i // 2 % 5, i // 10 % 2
        volumes = base * (
            1 - 0.002 * (age - 50) + 0.05 * sex + 0.03 * site - 0.02 * group + 0.08 * rng.normal(size=REGIONS)
        )
        rows = [
            f"{r + 1}\tregion {r}\t{v:.1f}\t{0.95 * v:.1f}\t{1.05 * v:.1f}\t{v:.0f}\t0\t0\t0\n"
            for r, v in enumerate(volumes)
        ]
        (root / f"{key}_desc-anatomy_volumes.tsv").write_text(COLUMNS + "".join(rows))
        part = {
            "recipe": "anatomy", "state": "done", "version": "1",
            "prediction": {"recipe": "anatomy", "regions": [{"name": f"region {r}"} for r in range(REGIONS)]},
            "files": {"volumes": f"{key}_desc-anatomy_volumes.tsv"},
        }  # fmt: skip
        record = {"format": 2, "key": key, "participant": key[4:], "state": "done", "recipes": {"anatomy": part}}
        folder = root / "logs" / key
        folder.mkdir()
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "status.json").write_text(json.dumps({"state": "done"}))
        (root / f"{key}.html").write_text("")
        lines.append(f"{key}\t{'cp'[group]}\t{age:.1f}\t{'FM'[sex]}\ts{site}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


def run(root: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in GB of one run, in a process of its own."""
    command = [
        sys.executable, "-m", "bids_app", str(root), str(root), "group", "--group-column", "group", "--control-group",
        "c", "--covariates", "age", "sex", "--site-column", "site", "--harmonize", "combat", "--normative-fit",
    ]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2


def draw(page: Path) -> float:
    """Seconds until a headless Chromium has drawn the page, its own start among them."""
    start = time.perf_counter()
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", nargs="*", type=int, default=[1000, 3000, 10000])
    parser.add_argument("--chromium", action="store_true")
    given = parser.parse_args()
    print("sessions  seconds  peak GB  page MB" + ("  seconds to draw" if given.chromium else ""))
    for sessions in given.sessions:
        root = Path(tempfile.mkdtemp()) / "out"
        try:
            make(root, sessions)
            seconds, memory = run(root)
            size = os.path.getsize(root / "group.html") / 1e6
            drawn = f"  {draw(root / 'group.html'):15.1f}" if given.chromium else ""
            print(f"{sessions:8d}  {seconds:7.1f}  {memory:7.2f}  {size:7.1f}{drawn}", flush=True)
        finally:
            shutil.rmtree(root.parent)


if __name__ == "__main__":
    main()
