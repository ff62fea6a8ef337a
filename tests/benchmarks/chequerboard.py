"""Do answers show the pattern of the folded blocks? ``python -m tests.benchmarks.chequerboard [--bundle tumour]``

A network with a fold of 2 answers for the eight voxels of a block by eight sets of weights. Printed: how far the mean
probability of the eight places differs where a block is undecided (0.1 to 0.9), on drawn scans of label maps that never
trained, with all sequences and with some missing. 0 is none; a smooth edge gives a few hundredths.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.lessons.lesions import EVALUATION, LesionLesson
from bids_app.predict.predict import predict
from tests.data import data_root, real

FIRST = 905_000_000


def pattern(probability: np.ndarray) -> float:
    """Largest difference between the places' means; NaN where no block is undecided."""
    n = [side // 2 * 2 for side in probability.shape]
    cut = probability[: n[0], : n[1], : n[2]].reshape(n[0] // 2, 2, n[1] // 2, 2, n[2] // 2, 2)
    blocks = cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 8)
    undecided = blocks[(blocks.mean(1) > 0.1) & (blocks.mean(1) < 0.9)]
    return float(np.ptp(undecided.mean(0))) if len(undecided) else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="tumour")
    parser.add_argument("--scans", type=int, default=3)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    lesson = LesionLesson.load(bundle.recipe, data_root(), 100, held_out=True)
    lesson.how = replace(lesson.how, **EVALUATION)
    optional = [sequence.name for sequence in bundle.recipe.sequences if not sequence.required]
    for without in ((), *((name,) for name in optional)):
        scans = [lesson.truth(FIRST + n, without=without) for n in range(options.scans)]
        rows = [[pattern(one) for one in predict(bundle, scan.stack, scan.present)] for scan in scans]
        names = [region.name for region in bundle.recipe.regions]
        told = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, np.mean(rows, 0), strict=True))
        print(f"without {' and '.join(without) or 'nothing'}: {told}", flush=True)


@pytest.mark.benchmark
def test_the_tumour_bundle_shows_no_pattern_without_flair():
    bundle = load_bundle("tumour")
    lesson = LesionLesson.load(bundle.recipe, real("labelmaps").parent, 100, held_out=True)
    scan = lesson.truth(FIRST, without=("FLAIR",))
    assert max(pattern(one) for one in predict(bundle, scan.stack, scan.present)) < 0.15


if __name__ == "__main__":
    main()
