"""Seconds and memory of one session beside the plain chain a user would write instead, in one run on one machine.

    python -m tests.benchmarks.session_speed [--participant 01] [--threads 2]

The plain chain: N4 with antspyx's defaults, ``antsRegistrationSyNQuick[s]`` to the template at 1 mm, then the same
network at the place the registration gives. Both are whole processes, imports included, with the same threads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bids_app.bids.status import read_status
from tests.data import data_root

PLAIN = """
import sys, time, json
import numpy as np
t = [time.time()]
import ants
from bids_app.imaging.templates import find_template
from bids_app.imaging.transforms import read_matrix
from bids_app.bundle.bundle import load_bundle
from bids_app.predict.predict import locate_and_predict
from pathlib import Path
image, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
t.append(time.time())
corrected = ants.n4_bias_field_correction(ants.image_read(image))
ants.image_write(corrected, str(folder / "n4.nii"))
t.append(time.time())
template = find_template()
fixed = ants.image_read(str(template.image))
found = ants.registration(fixed, corrected, "antsRegistrationSyNQuick[s]", outprefix=str(folder / "reg_"))
t.append(time.time())
affine = [p for p in found["fwdtransforms"] if p.endswith(".mat")][0]
ants.image_write(ants.get_mask(corrected), str(folder / "mask.nii"))
bundle = load_bundle("habenula")
locate_and_predict(bundle, {"T1w": folder / "n4.nii"}, {"T1w": np.eye(4)}, read_matrix(affine),
                   mask=folder / "mask.nii", device="cpu", tta=False, low_mem=False, threads=threads)
t.append(time.time())
print(json.dumps(dict(zip(["imports", "N4 defaults", "SyNQuick[s]", "network"], np.diff(t).round(1).tolist()))))
"""


def whole_process(command: list[str], threads: int) -> tuple[float, float, str]:
    """Wall seconds, peak MB and output of a process."""
    env = {**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    started = time.time()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, env=env, stdout=out)
        _, code, usage = os.wait4(process.pid, 0)
        out.seek(0)
        text = out.read().decode()
    if code:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(code)}")
    return time.time() - started, usage.ru_maxrss / 1024, text


def measure(participant: str, threads: int, folder: Path) -> dict[str, float]:
    """Run both, print a table, return the figures that targets are set for."""
    bids, out, work = data_root() / "depression", folder / "out", folder / "work"
    command = [sys.executable, "-m", "bids_app", str(bids), str(out), "participant", "-w", str(work)]
    command += ["--participant-label", participant, "--nprocs", str(threads), "--omp-nthreads", str(threads)]
    seconds, _, _ = whole_process(command, threads)
    status = read_status(out, f"sub-{participant}")
    size = sum(p.stat().st_size for p in work.rglob("*") if p.is_file()) / 1e6
    again, _, _ = whole_process(command, threads)
    image = bids / f"sub-{participant}" / "anat" / f"sub-{participant}_T1w.nii.gz"
    plain, plain_mb, stages = whole_process(
        [sys.executable, "-c", PLAIN, str(image), str(folder), str(threads)], threads
    )
    print(f"\nsub-{participant} of depression, {threads} threads\n\n| stage | seconds | peak MB |\n|---|---|---|")
    for name, stage in status.stages.items():
        print(f"| {name} | {stage['seconds']:.1f} | {stage['peak_rss_mb']:.0f} |")
    print(f"| whole session, start to end | {seconds:.1f} | {status.peak_rss_mb:.0f} |")
    print(f"| the same again (finished) | {again:.1f} | |")
    print(f"| plain chain {stages.strip()} | {plain:.1f} | {plain_mb:.0f} |")
    print(f"\nratio session / plain chain: {seconds / plain:.2f}; work folder {size:.0f} MB")
    return {"ratio": seconds / plain, "peak_mb": status.peak_rss_mb, "work_mb": size, "again": again}


@pytest.mark.benchmark
def test_session_beside_the_plain_chain(tmp_path):
    """Targets: a third of the plain chain, 4 GB, 300 MB of work files, a finished session in 5 s."""
    figures = measure("01", 2, tmp_path)
    assert figures["ratio"] <= 1 / 3
    assert figures["peak_mb"] <= 4096
    assert figures["work_mb"] <= 300
    assert figures["again"] <= 5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participant", default="01")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(options.participant, options.threads, Path(scratch))
