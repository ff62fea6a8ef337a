"""The anatomy bundle on real heads that trained nothing: ``python -m tests.benchmarks.anatomy_real --work DIR``.

Brain mask: Dice with the extent of the distributed brains (`depression`), with the data's own mask (`ms_two_visits`,
in common space), with the template's brain carried over by registration (`heads`; a registration, no truth).
Hippocampus: `tests.benchmarks.hippocampus_whole --anatomy anatomy` prints it; ``--hippocampus FILE`` takes its summary
(JSON). Sides: Dice between the labels of a head and of its mirror image, sides named back. ``--note`` writes figures
into the bundle's metrics and card.
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
from bids_app.imaging.brain import content_mask
from bids_app.imaging.conform import conform
from bids_app.imaging.head import find_brain
from bids_app.imaging.stacking import Grid, sample
from bids_app.imaging.transforms import read_matrix
from bids_app.lessons.export import CARD
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import find_anatomy
from tests.benchmarks.registration_truth import transform
from tests.data import data_root, real

WANTED = {"depression": 0.95, "ms_two_visits": 0.95, "heads": 0.93}


def image_of(path: Path) -> tuple[np.ndarray, Grid]:
    image = nib.load(path)
    return image.get_fdata(dtype=np.float32), Grid(image.shape, image.affine)


def measure_stripped(bundle: Bundle, root: Path) -> dict[str, Any]:
    """Against what the distributed brains show."""
    rows = {}
    for path in sorted(root.glob("depression/sub-*/anat/*_T1w.nii.gz")):
        array, grid = image_of(path)
        started = time.perf_counter()
        found = find_anatomy(bundle, path)
        seconds = time.perf_counter() - started
        rows[path.name.split("_")[0]] = {
            "dice": dice(found.brain, content_mask(array, grid)),
            "dice_with_fluid": dice((found.labels > 0) | found.brain, content_mask(array, grid)),
            "seconds": seconds,
            "hippocampus_mm3": [float((found.labels == n).sum() * grid.voxel_volume) for n in (17, 53)],
        }
    return rows


def measure_heads(bundle: Bundle, root: Path, work: Path, *, sloppy: bool = False) -> dict[str, Any]:
    """Against template registration, which is no truth either."""
    rows = {}
    for raw in sorted(root.glob("heads/sub-*/anat/*.nii.gz")):
        path = work / raw.name.replace(".gz", "")
        conform(raw, path)
        started = time.perf_counter()
        found = find_anatomy(bundle, path)
        middle = time.perf_counter()
        mask, _ = find_brain(path, template=None, seed=1, threads=2, sloppy=sloppy)
        ended = time.perf_counter()
        rows[path.name.split(".")[0]] = {
            "dice": dice(found.brain, mask),
            "seconds": middle - started,
            "registration_seconds": ended - middle,
            "trouble": found.trouble,
        }
    return rows


def measure_two_visits(bundle: Bundle, root: Path) -> dict[str, Any]:
    """FLAIR of both visits, the mask brought from common space by the data's own transform."""
    folder = root / "ms_two_visits"
    (mask,) = folder.rglob("*desc-brain_mask.nii.gz")
    rows = {}
    for path in sorted(folder.glob("sub-01/ses-*/anat/*_FLAIR.nii.gz")):
        _, grid = image_of(path)
        found = find_anatomy(bundle, path)
        session = path.name.split("_")[1]
        to_common = read_matrix(transform(folder, session.removeprefix("ses-"), "FLAIR", "common"))
        there = sample(mask, to_common, grid, order=0) > 0
        rows[session] = {"dice": dice(found.brain, there)}
    return rows


def measure_sides(bundle: Bundle, path: Path, work: Path) -> dict[str, Any]:
    """Labels of a head and of its mirror image: Dice per structure, sides named back."""
    image = nib.load(path)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored = work / "mirrored.nii.gz"
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), flip @ image.affine), mirrored)
    one, other = find_anatomy(bundle, path), find_anatomy(bundle, mirrored)
    scores = {
        region.name: dice(one.labels == region.index, other.labels == (region.partner or region.index))
        for region in bundle.recipe.regions
    }
    return {"mean": float(np.mean(list(scores.values()))), "least": min(scores.values()), "dice": scores}


def lines_of(figures: dict[str, Any]) -> list[str]:
    """Sentences for the model card."""
    found = []
    for name, what in (
        ("depression", "16 stripped T1w brains (OpenNeuro ds002748), against the extent of the distributed brains"),
        ("ms_two_visits", "FLAIR of two visits with thick slices, against the data's own mask"),
        ("heads", "five whole heads (T1w, T2w, FLAIR), against template registration, which is no truth either"),
    ):
        values = [row["dice"] for row in figures[name].values()]
        found.append(
            f"Brain, {what}: Dice {np.mean(values):.3f} on average, least {min(values):.3f} (wanted {WANTED[name]})"
        )
    if hippocampus := figures.get("hippocampus"):
        found.append(
            f"Hippocampus, 16 brains, against the hippocampus bundle placed by an atlas: Dice left "
            f"{hippocampus['dice_left']:.2f}, right {hippocampus['dice_right']:.2f}, least "
            f"{hippocampus['dice_least']:.2f} (wanted 0.75)"
        )
    sides = figures["sides"]
    found.append(f"A head and its mirror image: mean Dice {sides['mean']:.3f}, least {sides['least']:.2f}")
    seconds = [row["seconds"] for name in ("depression", "heads") for row in figures[name].values()]
    found.append(f"One head takes {np.mean(seconds):.1f} s on one CPU core, at most {max(seconds):.1f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="anatomy")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--hippocampus", type=Path)
    parser.add_argument("--note", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bundle, root, out = load_bundle(options.bundle), data_root(), options.work / "anatomy.json"
    steps = {
        "depression": lambda: measure_stripped(bundle, root),
        "ms_two_visits": lambda: measure_two_visits(bundle, root),
        "sides": lambda: measure_sides(bundle, root / "heads/sub-ixi012/anat/sub-ixi012_T1w.nii.gz", options.work),
        "heads": lambda: measure_heads(bundle, root, options.work),
    }
    figures = json.loads(out.read_text()) if out.is_file() else {}
    for name, measure in steps.items():
        if not options.only or name in options.only:
            figures[name] = measure()
            print(name, json.dumps(figures[name], indent=1), flush=True)
            out.write_text(json.dumps(figures, indent=2))
    if options.hippocampus:
        figures["hippocampus"] = json.loads(options.hippocampus.read_text())
        out.write_text(json.dumps(figures, indent=2))
    if options.note:
        lines = lines_of(figures)
        print(*lines, sep="\n")
        note_measured(bundle.path, "real", {**figures, "lines": lines}, CARD)


@pytest.mark.benchmark
def test_a_brain_is_found_in_every_head(tmp_path):
    rows = measure_heads(load_bundle("anatomy"), real("heads").parent, tmp_path, sloppy=True)
    assert all(row["dice"] > 0.5 for row in rows.values())


if __name__ == "__main__":
    main()
