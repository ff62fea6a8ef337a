"""One hippocampus by three definitions: ``python -m tests.benchmarks.hippocampus_agreement``.

People of `ixi` who trained nothing: the label of `anatomy`, both parts of the bundle `hippocampus` placed by that
label, and the automatic map. Prints ml a side, the factor that turns `hippocampus` into `anatomy`, and how far the
two are apart once it is applied.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.imaging.conform import conform
from bids_app.lessons.real_heads import head_names
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import find_anatomy
from tests.benchmarks.anatomy_heldout import truth_of
from tests.benchmarks.hippocampus_whole import LEFT, RIGHT, find_hippocampus
from tests.data import data_root, real

SIDES = (LEFT, RIGHT)


def volumes(root: Path, name: str, work: Path, *, anatomy: str = "anatomy") -> dict[str, list[float]]:
    """Soft volumes, ml, left and right, of the two bundles; hard ones of the map; Dice of the two bundles."""
    image, truth, grid = truth_of(root, name)
    path, labels = work / "head.nii", work / "labels.nii"
    conform(image, path)
    whole = find_anatomy(load_bundle(anatomy), path, threads=1)
    nib.save(nib.Nifti1Image(whole.labels, whole.grid.affine), labels)
    found, rows, _, _ = find_hippocampus(path, labels, load_bundle("hippocampus"))
    soft = [row["soft_mm3"] / 1000 for row in rows]
    by_index = {row["index"]: row["soft_mm3"] / 1000 for row in whole.rows}
    return {
        "anatomy": [by_index[side] for side in SIDES],
        "hippocampus": [soft[0] + soft[1], soft[2] + soft[3]],
        "map": [float((truth == side).sum() * grid.voxel_volume / 1000) for side in SIDES],
        "dice": [dice(found == side, whole.labels == side) for side in SIDES],
    }


def summary(rows: list[dict[str, list[float]]]) -> dict[str, object]:
    """Means, ratios and the conversion, both sides of all people together."""
    ml = {name: np.array([row[name] for row in rows]).ravel() for name in ("anatomy", "hippocampus", "map")}
    slope = float((ml["anatomy"] * ml["hippocampus"]).sum() / (ml["hippocampus"] ** 2).sum())
    apart = np.abs(slope * ml["hippocampus"] / ml["anatomy"] - 1)
    return {
        "people": len(rows),
        "mean_ml": {name: round(float(values.mean()), 3) for name, values in ml.items()},
        "anatomy_over_hippocampus": round(slope, 3),
        "anatomy_over_map": round(float((ml["anatomy"] / ml["map"]).mean()), 3),
        "apart_after_conversion_percent": round(float(100 * apart.mean()), 1),
        "within_10_percent": round(float((apart <= 0.1).mean()), 3),
        "r": {
            f"{a} and {b}": round(float(np.corrcoef(ml[a], ml[b])[0, 1]), 3)
            for a, b in (("anatomy", "hippocampus"), ("anatomy", "map"), ("hippocampus", "map"))
        },
        "dice": round(float(np.mean([row["dice"] for row in rows])), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anatomy", default="anatomy", help="name or folder")
    parser.add_argument("--n", type=int, help="so many people; by default all that judge")
    options = parser.parse_args()
    names = head_names(data_root(), held_out=True)
    names = names[:: max(1, len(names) // options.n)] if options.n else names
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            rows.append(volumes(data_root(), name, Path(work), anatomy=options.anatomy))
            print(name, json.dumps({k: [round(x, 2) for x in v] for k, v in rows[-1].items()}), flush=True)
    print(json.dumps(summary(rows), indent=1))


@pytest.mark.benchmark
def test_both_bundles_rank_people_alike(tmp_path):
    root = real("ixi").parent
    found = summary([volumes(root, name, tmp_path) for name in head_names(root, held_out=True)[::6]])
    assert found["dice"] > 0.6


if __name__ == "__main__":
    main()
