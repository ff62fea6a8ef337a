"""Structures on T2w and FLAIR against those of the same person's T1w: ``python -m tests.benchmarks.anatomy_contrasts``.

People of `ms` and `wml`, whose sequences lie in one space. The T1w's labels are the bundle's own, so that this says how
much an answer depends on the contrast, not how right it is. Also the volume of the brain mask on each contrast over
that on the T1w.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import find_anatomy
from tests.benchmarks.anatomy_heldout import STRUCTURES, TEN, whole
from tests.data import data_root, real

OTHERS = ("T2w", "FLAIR", "PDw")
WANTED = 0.75


def measure_person(bundle: Bundle, folder: Path) -> dict[str, dict[str, float]]:
    """By contrast: mean Dice of the ten structures that the T1w shows, of white matter and cortex, and the mask's."""
    paths = {name: folder / f"{folder.parent.name}_{name}.nii.gz" for name in ("T1w", *OTHERS)}
    truth, found = find_anatomy(bundle, paths["T1w"], threads=1), {}
    for name in OTHERS:
        if not paths[name].is_file():
            continue
        other = find_anatomy(bundle, paths[name], threads=1)
        scores = {
            key: [dice(whole(other.labels, (n,)), whole(truth.labels, (n,))) for n in numbers]
            for key, numbers in STRUCTURES.items()
            if all(whole(truth.labels, (n,)).any() for n in numbers)
        }
        found[name] = {
            "structures": float(np.mean([np.mean(scores[key]) for key in TEN if key in scores])),
            "white matter": float(np.mean(scores["white matter"])),
            "cortex": float(np.mean(scores["cortex"])),
            "brain": dice(other.brain, truth.brain),
            "brain_volume": float(other.brain.sum() / truth.brain.sum()),
        }
    return found


def people(root: Path) -> list[Path]:
    """Folders with a T1w and another contrast in the same space."""
    return [path for name in ("ms", "wml") for path in sorted((root / name).glob("sub-*/anat"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="anatomy")
    bundle, every = load_bundle(parser.parse_args().bundle), {}
    for folder in people(data_root()):
        for contrast, row in measure_person(bundle, folder).items():
            print(folder.parent.name, contrast, json.dumps({k: round(v, 3) for k, v in row.items()}), flush=True)
            every.setdefault(contrast, []).append(row)
    for contrast, rows in every.items():
        means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
        print(contrast, len(rows), "people, mean", json.dumps(means), f"(structures wanted {WANTED})")


@pytest.mark.benchmark
def test_structures_on_flair_are_those_on_t1w():
    found = measure_person(load_bundle("anatomy"), people(real("ms").parent)[0])
    assert found["FLAIR"]["structures"] > 0.6


if __name__ == "__main__":
    main()
