"""The anatomy bundle on people who trained nothing: ``python -m tests.benchmarks.anatomy_heldout --work DIR``.

Every third of `ixi` (`bids_app.lessons.real_heads.head_names`). Truth is an automatic map of 145 regions, merged to the
recipe's. Of each head: Dice per structure (mean of both sides), all within the skull (labels above 0), the brain mask
that the app would use, ml of labels more than 4 mm outside the skull, volumes, CPU seconds, and how well a head and its
mirror image agree. ``--note`` writes the figures into the bundle's metrics and card.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.bundle.write import note_measured
from bids_app.imaging.stacking import Grid, sample
from bids_app.lessons.export import CARD
from bids_app.lessons.real_heads import files_of, head_names, merge, merging_table
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import AnatomyPrediction, find_anatomy
from tests.data import data_root, real

#: FreeSurfer's numbers of what the figures name, left and right.
STRUCTURES = {
    "hippocampus": (17, 53), "amygdala": (18, 54), "thalamus": (10, 49), "caudate": (11, 50), "putamen": (12, 51),
    "pallidum": (13, 52), "lateral ventricle": (4, 43), "insula": (1035, 2035), "cerebellum": (8, 47),
    "brainstem": (16,), "white matter": (2, 41), "cortex": (3, 42),
}  # fmt: skip
#: Those whose mean is wanted, and what is wanted of each figure.
TEN = tuple(STRUCTURES)[:10]
WANTED = {
    "ten structures": 0.87,
    "white matter": 0.90,
    "cortex": 0.85,
    "intracranial": 0.98,
    "intracranial least": 0.97,
}
VOLUMES = ("hippocampus", "caudate", "putamen")
#: Labels further than this outside the skull are a leak, mm.
LEAK_MM = 4.0


def truth_of(root: Path, name: str) -> tuple[Path, np.ndarray, Grid]:
    """A held-out person's T1w, and FreeSurfer's numbers on its grid."""
    image_path, map_path = files_of(root, name)
    grid = Grid.of(image_path)
    regions = np.rint(sample(map_path, np.eye(4), grid, order=0)).astype(np.int64)
    return image_path, merge(regions, merging_table(root)), grid


def whole(labels: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """One structure; the cerebellum with its white matter."""
    return np.isin(labels, (*numbers, 7, 46) if 8 in numbers else numbers)


def leak_ml(labels: np.ndarray, skull: np.ndarray, grid: Grid) -> float:
    """What has a label more than `LEAK_MM` outside what the map holds, ml."""
    from scipy.ndimage import distance_transform_edt

    outside = distance_transform_edt(~skull, sampling=grid.spacing) > LEAK_MM
    return float(((labels > 0) & outside).sum() * grid.voxel_volume / 1000)


def measure_head(bundle: Bundle, root: Path, name: str) -> dict[str, Any]:
    """One person; Dice, ml and seconds."""
    path, truth, grid = truth_of(root, name)
    started = time.process_time()
    found = find_anatomy(bundle, path, threads=1)
    seconds = time.process_time() - started
    to_ml = grid.voxel_volume / 1000
    return {
        "dice": {
            key: float(np.mean([dice(whole(found.labels, (n,)), whole(truth, (n,))) for n in numbers]))
            for key, numbers in STRUCTURES.items()
        },
        "ml": {key: _ml(found, truth, numbers, to_ml) for key, numbers in STRUCTURES.items()},
        "intracranial": dice(found.labels > 0, truth > 0),
        "intracranial_ml": [*_total(found), float((truth > 0).sum() * to_ml)],
        "mask": dice(found.brain, truth > 0),
        "leak_ml": leak_ml(found.labels, truth > 0, grid),
        "seconds": seconds,
        "trouble": found.trouble,
    }


def _ml(found: AnatomyPrediction, truth: np.ndarray, numbers: tuple[int, ...], to_ml: float) -> list[float]:
    """Soft volume that was found, and that of the map."""
    soft = {row["index"]: row["soft_mm3"] for row in found.rows}
    numbers = (*numbers, 7, 46) if 8 in numbers else numbers
    return [sum(soft[n] for n in numbers) / 1000, float(np.isin(truth, numbers).sum() * to_ml)]


def _total(found: AnatomyPrediction) -> list[float]:
    """Soft and hard volume within the skull, ml."""
    row = next(row for row in found.rows if row["name"] == "total intracranial volume")
    return [row["soft_mm3"] / 1000, row["hard_mm3"] / 1000]


def measure_mirrored(bundle: Bundle, root: Path, name: str, work: Path) -> dict[str, float]:
    """Labels of a head and of its mirror image, sides named back: mean and least Dice."""
    path, _ = files_of(root, name)
    image = nib.load(path)
    mirrored = work / "mirrored.nii.gz"
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), flip @ image.affine), mirrored)
    one, other = (find_anatomy(bundle, p, threads=1).labels for p in (path, mirrored))
    scores = [dice(one == r.index, other == (r.partner or r.index)) for r in bundle.recipe.regions]
    return {"mean": float(np.mean(scores)), "least": float(min(scores))}


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Means, worst cases and correlations over people."""
    every = list(rows.values())
    means = {key: float(np.mean([row["dice"][key] for row in every])) for key in STRUCTURES}
    skull = np.array([row["intracranial_ml"] for row in every])
    found = {
        **{key: round(value, 4) for key, value in means.items()},
        "ten structures": float(np.mean([means[key] for key in TEN])),
        "intracranial": float(np.mean([row["intracranial"] for row in every])),
        "intracranial least": min(row["intracranial"] for row in every),
        "soft intracranial volume error %": float(100 * np.mean(np.abs(skull[:, 0] / skull[:, 2] - 1))),
        "hard intracranial volume error %": float(100 * np.mean(np.abs(skull[:, 1] / skull[:, 2] - 1))),
        "brain mask with the intracranial space": float(np.mean([row["mask"] for row in every])),
        "brain mask least": min(row["mask"] for row in every),
        "leak ml, most": max(row["leak_ml"] for row in every),
        "CPU s a head": float(np.mean([row["seconds"] for row in every])),
    }
    for key in VOLUMES:
        pairs = np.array([row["ml"][key] for row in every])
        found[f"volume r {key}"] = float(np.corrcoef(pairs.T)[0, 1])
        found[f"volume ratio {key}"] = float(np.mean(pairs[:, 0] / pairs[:, 1]))
    return {key: round(value, 4) for key, value in found.items()}


def lines_of(figures: dict[str, Any]) -> list[str]:
    """Sentences for the model card."""
    s, n = figures["summary"], len(figures["people"])
    parts = ", ".join(f"{key} {s[key]:.2f}" for key in STRUCTURES)
    return [
        f"{n} whole T1w heads (IXI, healthy people of 20 to 75 years) who trained nothing, against maps: Dice of "
        f"the ten structures {s['ten structures']:.3f} (wanted {WANTED['ten structures']}): {parts}",
        f"All within the skull, the same heads: Dice {s['intracranial']:.3f}, least {s['intracranial least']:.3f}; "
        f"volume off by {s['soft intracranial volume error %']:.1f} % (soft) and "
        f"{s['hard intracranial volume error %']:.1f} % (hard) on average, both too large; at most "
        f"{s['leak ml, most']:.1f} ml more than {LEAK_MM:g} mm outside",
        f"The brain mask that follows from it, the same heads: Dice with all within the skull "
        f"{s['brain mask with the intracranial space']:.3f}, least {s['brain mask least']:.3f}",
        "Volumes, correlation with the maps: " + ", ".join(f"{key} {s[f'volume r {key}']:.2f}" for key in VOLUMES),
        f"One head takes {s['CPU s a head']:.1f} CPU s",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="anatomy")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n", type=int, help="so many heads, spread over all ages; by default all that judge")
    parser.add_argument("--note", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bundle, root = load_bundle(options.bundle), data_root()
    names = head_names(root, held_out=True)
    names = names[:: max(1, len(names) // options.n)] if options.n else names
    rows = {}
    for name in names:
        rows[name] = row = measure_head(bundle, root, name)
        ten = np.mean([row["dice"][key] for key in TEN])
        print(
            f"{name} ten {ten:.3f} skull {row['intracranial']:.3f} mask {row['mask']:.3f} {row['trouble']}", flush=True
        )
    figures = {
        "people": rows,
        "summary": summary(rows),
        "mirror": measure_mirrored(bundle, root, names[0], options.work),
    }
    (options.work / "heldout.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps({**figures["summary"], "mirror": figures["mirror"]}, indent=1))
    if options.note:
        note_measured(bundle.path, "held_out", {**figures["summary"], "lines": lines_of(figures)}, CARD)


@pytest.mark.benchmark
def test_structures_of_a_person_who_trained_nothing_are_found():
    root = real("ixi").parent
    row = measure_head(load_bundle("anatomy"), root, head_names(root, held_out=True)[0])
    assert row["intracranial"] > 0.9
    assert np.mean([row["dice"][key] for key in TEN]) > 0.6


if __name__ == "__main__":
    main()
