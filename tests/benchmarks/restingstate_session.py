"""Seconds and memory of a resting-state session from raw BIDS to its page: 200 volumes of 64 x 64 x 36 voxels.

    python -m tests.benchmarks.restingstate_session OUT [--volumes 200] [--recipe functional] [--threads 1]

One simulated person (T1w of 1 mm) is drawn into OUT; the run of 150 volumes of 4 mm is brought to 3.5 x 3.5 x 4 mm, its
volumes are repeated in the same order with noise of their own, and each is shifted and turned a little as a head moves.
Slices have times, so that every step of the light path runs. The session is a process of its own; seconds are those of
the processor (user and system, children too), memory is the highest of any process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids.status import read_status
from bids_app.imaging.motion import Motion, realigned
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.datasets.demo_dataset import write_demo
from tests.benchmarks.session_speed import whole_process

SHAPE, SPACING = (64, 64, 36), (3.5, 3.5, 4.0)


def draw(out: Path, volumes: int) -> Path:
    """The person with the longer run; what is there is kept."""
    bids = out / f"bids_{volumes}"
    if (bids / "ready").is_file():
        return bids
    shutil.rmtree(bids, ignore_errors=True)
    write_demo(DemoPlan("restingstate", n=1, seed=1, spacing=1.0), bids)
    path = next(bids.glob("sub-01/func/*_bold.nii.gz"))
    image = nib.load(path)
    frames, affine, tr = on_grid(image, volumes)
    made = nib.Nifti1Image(frames, affine)
    made.header.set_zooms((*SPACING, tr))
    made.header.set_xyzt_units("mm", "sec")
    nib.save(made, path)
    about = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    order = [*range(0, SHAPE[2], 2), *range(1, SHAPE[2], 2)]
    times = np.empty(SHAPE[2])
    times[order] = np.arange(SHAPE[2]) * tr / SHAPE[2]
    about |= {"RepetitionTime": tr, "SliceTiming": times.tolist()}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(about))
    (bids / "ready").touch()
    return bids


def on_grid(image: nib.Nifti1Image, volumes: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Volumes on the finer grid, its affine, and the repetition time."""
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(1)
    own = np.array(image.header.get_zooms()[:3], float)
    matrix = np.array(SPACING) / own
    offset = (np.array(image.shape[:3]) - 1) / 2 - matrix * (np.array(SHAPE) - 1) / 2
    series = image.get_fdata(dtype=np.float32)
    level = float(np.percentile(series, 90))
    path = np.cumsum(rng.normal(0, [0.02] * 3 + [0.0003] * 3, (volumes, 6)), axis=0)
    out = np.empty((*SHAPE, volumes), np.int16)
    for t in range(volumes):
        frame = affine_transform(series[..., t % series.shape[-1]], np.diag(matrix), offset, SHAPE, order=1)
        moved = realigned(frame[..., None], np.array(SPACING), Motion(path[t : t + 1], np.ones(1, bool)))[..., 0]
        out[..., t] = np.rint(np.clip(moved + rng.normal(0, 0.005 * level, SHAPE), 0, 32000))
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE) - 1) / 2
    return out, affine, float(image.header.get_zooms()[3])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--recipe", default="functional")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bids, done = draw(options.out, options.volumes), options.out / "done"
    for folder in (done, options.out / "work"):
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "bids_app", str(bids), str(done), "participant", "--recipe", options.recipe]
    command += ["-w", str(options.out / "work"), "--nprocs", "1", "--device", "cpu"]
    before = os.times()
    wall, peak, _ = whole_process(command, options.threads)
    after = os.times()
    status = read_status(done, "sub-01")
    seconds = sum(after[2:4]) - sum(before[2:4])
    print(f"{options.volumes} volumes of {' x '.join(map(str, SHAPE))}: {status.state} {status.reason}")
    for name, stage in status.stages.items():
        print(f"  {name:28} {stage['seconds']:7.1f} s {stage['peak_rss_mb']:7.0f} MB")
    most = max(peak, status.peak_rss_mb)
    print(f"whole: {seconds:.1f} s of the processor, {wall:.1f} s on the clock, {most:.0f} MB at most")


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"({time.time() - started:.0f} s with drawing)")
