"""Is T2 shine-through called an infarct? ``python -m tests.benchmarks.shine_through``

Drawn scans of label maps that never trained: an old lesion is bright on the trace image by its long T2 alone, and its
ADC is not low. Printed: which part of such voxels, and of the voxels of infarcts, the bundle `stroke` calls a core; and
the same for the rule that a person would use without an ADC map, "bright on the trace image", at the brightness that
finds as large a part of the infarcts. ``--note`` writes the figures into the bundle.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.bundle.write import note_measured
from bids_app.lessons.export import CARD
from bids_app.lessons.lesions import EVALUATION, JUDGED, LesionLesson
from bids_app.predict.predict import predict
from bids_app.predict.regions import label_map, without_specks
from tests.data import data_root, real

FIRST = 950_000_000


def measure(bundle: Bundle, lesson: LesionLesson, count: int) -> dict[str, Any]:
    """Shares of shine-through and infarct voxels that are called core, by the bundle and by brightness alone."""
    core, shine, bright_core, bright_shine = [], [], [], []
    for number in range(FIRST, FIRST + count):
        scan = lesson.truth(number)
        mimic = sum(part.share for part in lesson.painted.compartments if part.name == "shine-through")
        mimic = (
            (mimic.numpy() >= 0.5) & (scan.classes == 0) if len(np.shape(mimic)) else np.zeros_like(scan.classes, bool)
        )
        mask = label_map(bundle, without_specks(bundle, predict(bundle, scan.stack, scan.present), 1.0)) > 0
        trace = scan.stack[0] / np.median(scan.stack[0][scan.stack[0] > 0])
        core += mask[scan.classes > 0].tolist()
        shine += mask[mimic].tolist()
        bright_core += trace[scan.classes > 0].tolist()
        bright_shine += trace[mimic].tolist()
    found = float(np.mean(core))
    level = float(np.quantile(bright_core, 1 - found)) if 0 < found < 1 else float("nan")
    return {
        "scans": count,
        "core_voxels": len(core),
        "shine_through_voxels": len(shine),
        "core_called_core": found,
        "shine_through_called_core": float(np.mean(shine)),
        "shine_through_called_core_by_brightness": float(np.mean(np.array(bright_shine) >= level)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--note", action="store_true")
    options = parser.parse_args()
    bundle = load_bundle("stroke")
    lesson = LesionLesson.load(bundle.recipe, data_root(), 1, held_out=True)
    lesson.how, lesson.patch = replace(lesson.how, **EVALUATION), JUDGED
    figures = measure(bundle, lesson, options.count)
    print(figures)
    if options.note:
        note_measured(bundle.path, "shine_through", figures, CARD)


@pytest.mark.benchmark
def test_shine_through_is_told_from_infarcts():
    bundle = load_bundle("stroke")
    lesson = LesionLesson.load(bundle.recipe, real("labelmaps").parent, 1, held_out=True)
    lesson.patch = JUDGED
    figures = measure(bundle, lesson, 6)
    assert figures["shine_through_called_core"] < figures["core_called_core"]


if __name__ == "__main__":
    main()
