"""Small brains that a whole session can be run on in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.imaging.stacking import Grid, sample
from bids_app.imaging.templates import find_template


def coarse_template(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """The packaged template's brain on voxels of ``spacing`` mm, and their affine."""
    template = find_template()
    own = Grid.of(template.image)
    steps = spacing / own.spacing
    affine = own.affine @ np.diag([*steps, 1.0])
    grid = Grid(tuple(int(n // s) for n, s in zip(own.shape, steps, strict=True)), affine)
    return sample(template.image, np.eye(4), grid), affine


def small_heads(root: Path, labels: list[str], *, spacing: float = 3.0, sequences: tuple[str, ...] = ("T1w",)) -> Path:
    """A BIDS dataset of the packaged template, coarse, with a little noise of its own for each participant."""
    brain, affine = coarse_template(spacing)
    for number, label in enumerate(labels):
        rng = np.random.default_rng(number)
        for sequence in sequences:
            contrast = brain if sequence == "T1w" else np.where(brain > 0, brain.max() * 1.1 - brain, 0)
            noisy = np.where(brain > 5, contrast + rng.normal(0, 2, brain.shape), 0)
            path = root / f"sub-{label}" / "anat" / f"sub-{label}_{sequence}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(noisy.astype(np.float32), affine), path)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "small heads", "BIDSVersion": "1.10.0"}))
    rows = ["participant_id\tage\tgroup", *(f"sub-{label}\t{30 + i}\tcontrol" for i, label in enumerate(labels))]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root
