"""Seconds and memory of every preprocessing stage, beside the plain chain, on one skull-stripped T1w of 0.87 mm.

The plain chain is N4 at antspyx's defaults and ``antsRegistrationSyNQuick[s]`` to the template at 1 mm. Every stage
runs in a process of its own, with two threads. CPU seconds are printed too: they tell more on a busy machine. Run
from the project's root (``--ours`` leaves the plain chain out, which takes minutes):

    python -m tests.benchmarks.preprocessing_speed [--ours]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.data import data_root

THREADS = 2
OURS = ("conform", "bias", "brain", "affine", "stack")
PLAIN = ("plain_n4", "plain_synquick")


def conform(work: Path) -> None:
    from bids_app.imaging.conform import conform

    conform(data_root() / "depression/sub-01/anat/sub-01_T1w.nii.gz", work / "t1w.nii")


def bias(work: Path) -> None:
    from bids_app.imaging.bias import correct_bias

    correct_bias(work / "t1w.nii", work / "n4.nii")


def brain(work: Path) -> None:
    from bids_app.imaging.brain import brain_mask

    brain_mask(work / "n4.nii", work / "mask.nii", threads=THREADS)


def affine(work: Path) -> None:
    from bids_app.imaging.registration import Fit, Image, register
    from bids_app.imaging.templates import find_template

    template = find_template()
    mask = work / "mask.nii"
    found = register(
        Image(work / "n4.nii", mask), Image(template.image), Fit("affine", brains=True), work / "to_template"
    )
    (work / "matrix.json").write_text(json.dumps(found.matrix.tolist()))


def stack(work: Path) -> None:
    import numpy as np

    from bids_app.imaging.stacking import region_grid, stack

    to_native = np.linalg.inv(np.array(json.loads((work / "matrix.json").read_text())))
    stack([work / "n4.nii"], [None], region_grid(to_native, (0, -26, 2), 32, 0.5))


def plain_n4(work: Path) -> None:
    import ants

    ants.image_write(ants.n4_bias_field_correction(ants.image_read(str(work / "t1w.nii"))), str(work / "plain.nii"))


def plain_synquick(work: Path) -> None:
    import ants

    from bids_app.imaging.templates import find_template

    fixed = ants.image_read(str(find_template().image))
    ants.registration(fixed, ants.image_read(str(work / "plain.nii")), "antsRegistrationSyNQuick[s]")


def measured(stage: str, work: Path) -> dict[str, float]:
    """Run one stage in its own process; import of libraries included."""
    environment = {**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(THREADS), "TMPDIR": str(work)}
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = str(THREADS)
    if stage in OURS:
        environment["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # as a session sets it, to repeat exactly
    command = [sys.executable, "-m", "tests.benchmarks.preprocessing_speed", "--stage", stage, str(work)]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def run_stage(stage: str, work: Path) -> None:
    start = time.perf_counter()
    globals()[stage](work)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"wall": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024}
    print(json.dumps(facts))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--stage"]:
        run_stage(arguments[1], Path(arguments[2]))
        return 0
    stages = OURS if "--ours" in arguments else OURS + PLAIN
    print(f"{'stage':<16}{'seconds':>9}{'CPU s':>9}{'peak MB':>9}", flush=True)
    totals = {"ours": 0.0, "plain": 0.0}
    with tempfile.TemporaryDirectory() as work:
        for stage in stages:
            facts = measured(stage, Path(work))
            totals["plain" if stage in PLAIN else "ours"] += facts["wall"]
            print(f"{stage:<16}{facts['wall']:>9.1f}{facts['cpu']:>9.1f}{facts['mb']:>9.0f}", flush=True)
    print(f"ours {totals['ours']:.1f} s", end="")
    if totals["plain"]:
        print(f", plain chain {totals['plain']:.1f} s: {totals['ours'] / totals['plain']:.2f} of it", end="")
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
