"""A labelled BIDS dataset of small cubes, and a recipe that learns from it in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.recipes.recipe import Recipe
from bids_app.recipes.write import recipe_to_toml
from tests.learned.small import small_scans

SEQUENCES = ("T1w", "FLAIR")


def small_recipe(**changes) -> Recipe:
    plain = {
        "name": "balls",
        "title": "Balls in cubes",
        "reference": "T1w",
        "sequences": [{"name": name, "suffix": name, "required": name == "T1w"} for name in SEQUENCES],
        "grid": {"kind": "image", "spacing_mm": 1.0},
        "regions": [{"index": 1, "name": "ball", "kind": "lesion"}],
        "targets": [
            {"name": "outcome", "kind": "binary"},
            {"name": "score", "kind": "continuous", "unit": "mm"},
        ],
        "labels": {"suffix": "mask", "entities": {"label": "L"}},
        "learning": {"steps": 6, "batch": 4, "rate": 0.01, "mirror": False, "covariates": ["age"]},
        "network": {"filters": 4, "blocks": [1, 1], "deep_supervision": 1},
        "preprocessing": {"bias": False},
        **changes,
    }
    return Recipe.model_validate(plain)


def write_small_cohort(
    root: Path, n: int = 12, *, sites: bool = False, recipe: Recipe | None = None, seed: int = 0
) -> Path:
    """The dataset in ``root/bids`` with labels in its derivatives, and ``root/balls.toml``; returns ``root``."""
    bids = root / "bids"
    manual = bids / "derivatives" / "manual"
    rows = ["participant_id\tage\tsex\toutcome\tscore" + ("\tsite" if sites else "")]
    for scan in small_scans(n, seed=seed):
        name, affine = f"sub-{scan.participant}", np.eye(4)
        for folder in (bids / name / "anat", manual / name / "anat"):
            folder.mkdir(parents=True)
        for sequence, values in zip(SEQUENCES, scan.stack, strict=True):
            nib.save(nib.Nifti1Image(values, affine), bids / name / "anat" / f"{name}_{sequence}.nii.gz")
        mask = nib.Nifti1Image(scan.labels, affine)
        nib.save(mask, manual / name / "anat" / f"{name}_space-orig_label-L_mask.nii.gz")
        outcome = "poor" if scan.targets[0] else "good"
        row = [name, f"{scan.age:.0f}", scan.sex, outcome, f"{scan.targets[1]:.3f}"] + ([scan.site] if sites else [])
        rows.append("\t".join(row))
    (bids / "participants.tsv").write_text("\n".join(rows) + "\n")
    levels = {"outcome": {"Levels": {"good": "mRS 0-2", "poor": "mRS 3-6"}}}
    (bids / "participants.json").write_text(json.dumps(levels))
    for folder, kind in ((bids, "raw"), (manual, "derivative")):
        about = {"Name": "balls", "BIDSVersion": "1.10.0", "DatasetType": kind}
        if kind == "derivative":
            about["GeneratedBy"] = [{"Name": "phantom"}]
        (folder / "dataset_description.json").write_text(json.dumps(about))
    (root / "balls.toml").write_text(recipe_to_toml(recipe or small_recipe()))
    return root
