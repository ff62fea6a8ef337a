"""The hippocampus bundle in 16 whole brains of `depression`: ``python -m tests.benchmarks.hippocampus_whole``.

Places come from an atlas carried over by an affine transform, so that what the bundle finds does not depend on the
bundle `anatomy`, and can judge it: ``--anatomy`` adds the Dice of its hippocampus with the one found here, per side. No
hippocampus of these brains was drawn by hand: volumes and symmetry say whether an answer is plausible, not right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import find_objects

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.imaging.stacking import Grid, to_grid, transform_points
from bids_app.measure.overlap import dice
from bids_app.predict.locate import both_sides, predict_sides
from bids_app.predict.regions import label_map, measure_regions
from bids_app.synthesis.habenula.sources import ATLAS_T1W, affine_to_atlas
from tests.data import data_root, real

ATLAS = "habenula_atlas/AllenAtlas.nii.gz"
#: Hippocampal head, body and tail in the Allen atlas; FreeSurfer's labels of the left and right hippocampus.
ATLAS_PARTS, LEFT, RIGHT = (105, 106, 107), 17, 53
#: Of the issue: ml a side, left and right within this part of each other, Dice of the bundle `anatomy`.
WANTED = {"ml": (1.5, 4.5), "ratio": 0.2, "dice": 0.75}


@dataclass(frozen=True)
class Row:
    """One brain; pairs are left, right. ``dice``: of the label map that is judged, if any."""

    name: str
    anterior_mm3: tuple[float, float]
    posterior_mm3: tuple[float, float]
    shift_mm: tuple[float, float]
    warnings: tuple[str, ...]
    dice: tuple[float, float] | None = None

    @property
    def ml(self) -> tuple[float, float]:
        """Soft volume of both parts, ml."""
        return tuple((a + p) / 1000 for a, p in zip(self.anterior_mm3, self.posterior_mm3, strict=True))


def atlas_labels(path: Path, root: Path, out: Path) -> Path:
    """The Allen atlas's hippocampus on a stripped brain, 17 left and 53 right, by the affine to CIT168; kept."""
    if out.is_file():
        return out
    image, atlas = nib.load(path), nib.load(root / ATLAS)
    to_native = affine_to_atlas(image.get_fdata(dtype=np.float32), image.affine, root / ATLAS_T1W, stripped=True)
    inside = np.isin(np.asarray(atlas.dataobj), ATLAS_PARTS)
    box = find_objects(inside.astype(np.uint8))[0]  # the rest of the atlas takes most of the time
    corner = np.eye(4)
    corner[:3, 3] = [part.start for part in box]
    inside = inside[box].astype(np.float32)
    source = Grid(inside.shape, to_native @ atlas.affine @ corner)
    brought = to_grid(inside, source, Grid(image.shape, image.affine)) > 0.5
    at = transform_points(np.linalg.inv(to_native) @ image.affine, np.argwhere(brought))
    labels = np.zeros(image.shape, np.uint8)
    labels[brought] = np.where(at[:, 0] < 0, LEFT, RIGHT)
    out.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, image.affine), out)
    return out


def find_hippocampus(path: Path, labels: Path, bundle: Bundle) -> tuple[np.ndarray, list[dict[str, Any]], Any, dict]:
    """What the bundle finds around the labels 17 and 53 of a map.

    Returns:
        17 left and 53 right on the image's grid, both parts together; a row per region; the prediction; its facts.
    """
    found, facts = predict_sides(bundle, {"T1w": path}, {"T1w": np.eye(4)}, labels, threads=1)
    whole = both_sides(bundle)
    image = nib.load(path)
    native = to_grid(found.probability, found.grid, Grid(image.shape, image.affine))
    parts = label_map(whole, native)
    hippocampus = np.select([np.isin(parts, (1, 2)), np.isin(parts, (3, 4))], [LEFT, RIGHT], 0).astype(np.uint8)
    return hippocampus, measure_regions(whole, found.probability, found.grid).rows, found, facts


def measure_brain(path: Path, root: Path, bundle: Bundle, cache: Path, judged: np.ndarray | None = None) -> Row:
    """One brain; ``judged``: labels on the image's grid, among them 17 and 53."""
    name = path.name.split("_")[0]
    hippocampus, rows, found, facts = find_hippocampus(path, atlas_labels(path, root, cache / f"{name}.nii.gz"), bundle)
    soft = [row["soft_mm3"] for row in rows]
    agree = None
    if judged is not None:
        agree = tuple(float(dice(judged == label, hippocampus == label)) for label in (LEFT, RIGHT))
    shift = tuple((facts[side] or {"shift_mm": float("nan")})["shift_mm"] for side in ("left", "right"))
    return Row(name, (soft[0], soft[2]), (soft[1], soft[3]), shift, tuple(found.warnings), agree)


def summary(rows: list[Row]) -> dict[str, Any]:
    """What the issue asks for, as numbers."""
    ml = np.array([row.ml for row in rows])
    ratio = ml[:, 0] / ml[:, 1]
    low, high = WANTED["ml"]
    figures = {
        "brains": len(rows),
        "plausible": int(((ml >= low) & (ml <= high)).all(1).sum()),
        "alike": int((np.abs(ratio - 1) <= WANTED["ratio"]).sum()),
        "left_ml": ml[:, 0].mean(),
        "left_sd_ml": ml[:, 0].std(ddof=1) if len(rows) > 1 else None,
        "right_ml": ml[:, 1].mean(),
        "right_sd_ml": ml[:, 1].std(ddof=1) if len(rows) > 1 else None,
        "ratio_least": ratio.min(),
        "ratio_most": ratio.max(),
        "with_warnings": sum(bool(row.warnings) for row in rows),
    }
    if rows[0].dice is not None:
        pairs = np.array([row.dice for row in rows])
        figures |= {"dice_left": pairs[:, 0].mean(), "dice_right": pairs[:, 1].mean(), "dice_least": pairs.min()}
    return {name: round(float(v), 3) if isinstance(v, float) else v for name, v in figures.items()}


def failures(figures: dict[str, Any]) -> list[str]:
    """Which of the wanted figures are missed."""
    checks = {
        "plausible volumes": figures["plausible"] == figures["brains"],
        "left and right alike": figures["alike"] == figures["brains"],
        "Dice of anatomy": min(figures.get(f"dice_{side}", 1.0) for side in ("left", "right")) >= WANTED["dice"],
    }
    return [name for name, held in checks.items() if not held]


def line(row: Row) -> str:
    sides = "   ".join(
        f"{a:5.0f} + {p:5.0f} mm3, moved {s:3.1f} mm"
        for a, p, s in zip(row.anterior_mm3, row.posterior_mm3, row.shift_mm, strict=True)
    )
    agree = "" if row.dice is None else f"   Dice {row.dice[0]:.3f} {row.dice[1]:.3f}"
    return f"{row.name}   {sides}   left/right {row.ml[0] / row.ml[1]:.2f}{agree}   {'; '.join(row.warnings)}"


def run(
    root: Path, bundle: Bundle, cache: Path, *, anatomy: Bundle | None = None, only: int | None = None
) -> list[Row]:
    """Measure every brain of ``root/depression``, printing each as it is done."""
    from bids_app.predict.anatomy import find_anatomy

    rows = []
    for path in sorted((root / "depression").glob("sub-*/anat/*_T1w.nii.gz"))[:only]:
        judged = find_anatomy(anatomy, path, threads=1).labels if anatomy else None
        rows.append(measure_brain(path, root, bundle, cache, judged))
        print(line(rows[-1]), flush=True)
    return rows


@pytest.mark.benchmark
def test_hippocampus_in_whole_brains(tmp_path):
    real("depression"), real("habenula_atlas")
    figures = summary(run(data_root(), load_bundle("hippocampus"), tmp_path))
    print(json.dumps(figures, indent=2))
    assert not failures(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root(), help="holds depression and habenula_atlas")
    parser.add_argument("--bundle", default="hippocampus", help="name or folder")
    parser.add_argument("--anatomy", help="a bundle that labels whole heads, to be judged: name or folder")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "allen_on_depression")
    parser.add_argument("--only", type=int, help="so many brains")
    parser.add_argument("--note", type=Path, help="a bundle's folder whose card and metrics take the figures")
    options = parser.parse_args()
    anatomy = load_bundle(options.anatomy) if options.anatomy else None
    rows = run(options.data, load_bundle(options.bundle), options.cache, anatomy=anatomy, only=options.only)
    figures = summary(rows)
    print(json.dumps(figures, indent=2))
    print("missed: " + (", ".join(failures(figures)) or "nothing"))
    if options.note:
        from bids_app.bundle.write import TRAINED_CARD, note_measured

        note_measured(options.note, "whole_brains", figures, TRAINED_CARD)


if __name__ == "__main__":
    main()
