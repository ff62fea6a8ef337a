"""The bias field beside that of ANTs' N4, on the same coarse image: how far apart, and the CPU seconds of each.

    python -m tests.benchmarks.bias_fields [--participants 01 ...]

Brains of `depression`; the distance is the mean of |ratio - 1| over the tissue, %.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.imaging.bias import ITERATIONS, WORKING_MM, coarse_image
from bids_app.imaging.n4 import log_bias_field
from bids_app.imaging.stacking import Grid
from bids_app.imaging.transforms import set_threads, to_ants
from tests.data import real

PARTICIPANTS = ("01", "04", "52", "55")


def by_ants(image: np.ndarray, tissue: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The logarithm of ANTs' field with the same iterations, shape of ``image``."""
    import ants

    set_threads(1)
    plain = Grid(image.shape, np.diag([*spacing, 1.0]))
    field = ants.n4_bias_field_correction(
        to_ants(image, plain),
        mask=to_ants(tissue, plain),
        shrink_factor=1,
        convergence={"iters": list(ITERATIONS), "tol": 1e-6},
        return_bias_field=True,
    )
    return np.log(field.numpy())


def beside(path: Path) -> dict[str, float]:
    """Both on one image: CPU seconds of each; ``mean`` and ``most`` apart, %; ``field``, its spread."""
    image = nib.load(path)
    small, tissue, grid, _ = coarse_image(path, Grid(image.shape, image.affine), None, WORKING_MM)
    start = time.process_time()
    known = by_ants(small, tissue, grid.spacing)
    between = time.process_time()
    ours = log_bias_field(small, tissue, ITERATIONS)
    end = time.process_time()
    apart = (ours - known)[tissue]
    ratio = 100 * np.abs(np.exp(apart - apart.mean()) - 1)
    spread = float(np.subtract(*np.percentile(known[tissue], [95, 5])))
    return {
        "ants": between - start,
        "ours": end - between,
        "mean": float(ratio.mean()),
        "most": float(ratio.max()),
        "field": 100 * spread,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", nargs="+", default=PARTICIPANTS)
    print("brain   ANTs CPU s  ours CPU s  apart, mean %  most %  field, 5th to 95th centile %")
    for name in parser.parse_args().participants:
        found = beside(real("depression") / f"sub-{name}/anat/sub-{name}_T1w.nii.gz")
        print(f"sub-{name}  {found['ants']:10.1f}  {found['ours']:10.2f}  {found['mean']:13.4f}", end="")
        print(f"  {found['most']:6.3f}  {found['field']:29.0f}", flush=True)


@pytest.mark.benchmark
def test_the_field_is_that_of_ants_in_a_tenth_of_the_time():
    found = beside(real("depression") / "sub-01/anat/sub-01_T1w.nii.gz")
    assert found["mean"] < 0.1
    assert found["ours"] < found["ants"] / 10


if __name__ == "__main__":
    main()
