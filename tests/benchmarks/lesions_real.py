"""What the bundles for lesions do on real scans that trained nothing: ``python -m tests.benchmarks.lesions_real``.

``ms``: Dice and lesion-wise F1 on participants with manual masks, for every subset of sequences with the T1w. Each is
answered by a twin of the bundle that this person did not train: ``--twins FOLDER`` holds bundles made by the bundle's
own command and ``--leave-out``, or single members of it; the first that does is taken.
``tbi``: false volume on 16 brains without a known injury (`depression`; T1w alone). ``stroke``: volume on one case,
whose mask nobody drew. Figures go into ``--work`` as JSON, and with ``--note`` into the bundles' metrics and cards.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_app.bundle.bundle import SHIPPED, Bundle, load_bundle
from bids_app.bundle.write import note_measured
from bids_app.imaging.brain import content_mask
from bids_app.imaging.stacking import Grid, to_grid
from bids_app.lessons.export import CARD
from bids_app.lessons.real import folders_of, images_of
from bids_app.measure.lesions import detect
from bids_app.measure.overlap import dice
from bids_app.predict.predict import locate_and_predict
from bids_app.predict.regions import label_map
from tests.data import data_root, real

NO_LESION_ML = 0.5


def labels_of(bundle: Bundle, images: dict[str, Path], work: Path) -> tuple[np.ndarray, float]:
    """Labels on the reference's grid, of images that lie on one another and show no skull; and ml per voxel."""
    reference = nib.load(images[bundle.recipe.reference])
    grid = Grid(reference.shape, reference.affine)
    mask = work / "mask.nii.gz"
    inside = content_mask(reference.get_fdata(dtype=np.float32), grid)
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), reference.affine), mask)
    found = locate_and_predict(bundle, images, {name: np.eye(4) for name in images}, np.eye(4), mask=mask)
    native = to_grid(found.probability, found.grid, grid)
    return label_map(bundle, native), grid.voxel_volume / 1000


def subsets(bundle: Bundle) -> list[tuple[str, ...]]:
    """Every set of sequences that the recipe can do with, the whole first."""
    required = tuple(s.name for s in bundle.recipe.sequences if s.required)
    optional = [s.name for s in bundle.recipe.sequences if not s.required]
    return [(*required, *some) for n in range(len(optional), -1, -1) for some in combinations(optional, n)]


def twin_of(bundle: Bundle, participant: str, twins: Path | None) -> Bundle:
    """The bundle itself where the participant did not train it, else a twin that left this one out."""
    if participant not in bundle.manifest.get("real_images", ()):
        return bundle
    for path in sorted(twins.iterdir()) if twins is not None else ():
        twin = load_bundle(path)
        if twin.recipe.name == bundle.recipe.name and participant not in twin.manifest["real_images"]:
            return twin
    raise SystemExit(
        f"{participant} trained {bundle.name}: --twins must hold a bundle made with --leave-out {participant}"
    )


def measure_ms(whole: Bundle, root: Path, work: Path, twins: Path | None = None) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for participant in sorted(folders_of(whole.recipe, root)):
        bundle = twin_of(whole, participant, twins)
        found, path = images_of(whole.recipe, root, participant)
        reference = nib.load(path)
        truth = np.asarray(reference.dataobj) > 0
        spacing = tuple(float(side) for side in reference.header.get_zooms()[:3])
        for names in subsets(bundle):
            labels, ml = labels_of(bundle, {name: found[name] for name in names}, work)
            counts = detect(labels > 0, truth, spacing).counts
            figures.setdefault(participant, {})["+".join(names)] = {
                "dice": dice(labels > 0, truth),
                "f1": counts.f1,
                "lesions": counts.lesions,
                "found": counts.found,
                "ml": float((labels > 0).sum() * ml),
                "true_ml": float(truth.sum() * ml),
                "other_trained": bundle is not whole,
            }
    return figures


def measure_lesion_free(bundle: Bundle, root: Path, work: Path, _: Path | None = None) -> dict[str, Any]:
    volumes = {}
    for path in sorted(root.glob("depression/sub-*/anat/*_T1w.nii.gz")):
        labels, ml = labels_of(bundle, {"T1w": path}, work)
        volumes[path.name.split("_")[0]] = float((labels > 0).sum() * ml)
    return {
        "false_ml": volumes,
        "largest_ml": max(volumes.values()),
        "at_most_half_ml": float(np.mean([v <= NO_LESION_ML for v in volumes.values()])),
    }


def measure_stroke(bundle: Bundle, root: Path, work: Path, _: Path | None = None) -> dict[str, Any]:
    folder = root / "stroke/sub-dwi01/dwi"
    images = {name: folder / f"sub-dwi01_{name}.nii.gz" for name in ("trace", "ADC")}
    labels, ml = labels_of(bundle, images, work)
    trace, adc = (nib.load(images[name]).get_fdata() for name in ("trace", "ADC"))
    core = labels > 0
    return {
        "ml": float(core.sum() * ml),
        "adc_inside": float(np.median(adc[core])) if core.any() else None,
        "adc_brain": float(np.median(adc[trace > 0])),
        "trace_ratio": float(np.median(trace[core]) / np.median(trace[trace > 0])) if core.any() else None,
    }


MEASURES = {"ms": measure_ms, "tbi": measure_lesion_free, "stroke": measure_stroke}


def lines_of(name: str, figures: dict[str, Any]) -> list[str]:
    """Sentences for the model card."""
    if name == "ms":
        return [
            f"{participant} ({row['true_ml']:.1f} ml of lesions), {names}: {row['ml']:.1f} ml, Dice {row['dice']:.2f}, "
            f"lesion-wise F1 {row['f1']:.2f}{' (by a training without this person)' * row['other_trained']}"
            for participant, rows in figures.items()
            for names, row in rows.items()
        ]
    if name == "tbi":
        return [
            f"16 brains without a known injury (OpenNeuro ds002748), T1w alone: false volume at most {NO_LESION_ML} ml "
            f"in {100 * figures['at_most_half_ml']:.0f} %, largest {figures['largest_ml']:.1f} ml"
        ]
    inside = f"ADC there {figures['adc_inside']:.2f}" if figures["adc_inside"] else "nothing was found"
    return [
        f"One acute case, without a mask to compare with: {figures['ml']:.1f} ml; {inside}, in the brain "
        f"{figures['adc_brain']:.2f} (1e-3 mm²/s)"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(MEASURES))
    parser.add_argument("--bundles", type=Path, default=SHIPPED, help="folder that holds the bundles")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--twins", type=Path, help="bundles that left one participant out")
    parser.add_argument("--note", action="store_true", help="write the figures into the bundles")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        bundle = load_bundle(options.bundles / name)
        figures = MEASURES[name](bundle, data_root(), options.work, options.twins)
        lines = lines_of(name, figures)
        print(f"{name}:", *lines, sep="\n  ")
        (options.work / f"{name}.json").write_text(json.dumps(figures, indent=2))
        if options.note:
            note_measured(options.bundles / name, "real", {**figures, "lines": lines}, CARD)


@pytest.mark.benchmark
def test_lesions_of_real_participants_are_measured(tmp_path):
    figures = measure_stroke(load_bundle("stroke"), real("stroke").parent, tmp_path)
    assert figures["ml"] > 0
    assert figures["adc_inside"] < figures["adc_brain"]


if __name__ == "__main__":
    main()
