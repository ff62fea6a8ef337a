"""A diffusion dataset of one small brain whose diffusivity is known, and a bundle of random weights for it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.recipes.recipe import Recipe, load_recipe
from tests.learned.small_bundle import write_small
from tests.workflows.heads import coarse_template

#: 1e-3 mm²/s
TISSUE, FLUID, CORE = 0.8, 2.8, 0.4
NOISE = 0.01  # of the unweighted signal
NAME = "sub-01/dwi/sub-01"


def true_maps(spacing: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """S0, ADC in 1e-3 mm²/s, and affine of the packaged template's brain with an infarct on its right."""
    brain, affine = coarse_template(spacing)
    inside = brain > 5
    dark = inside & (brain < 0.45 * np.percentile(brain[inside], 90))  # fluid is dark in the template
    at = (
        np.stack(np.meshgrid(*[np.arange(n) for n in brain.shape], indexing="ij"), -1) @ affine[:3, :3].T
        + affine[:3, 3]
    )
    core = inside & (np.linalg.norm(at - [35, -10, 15], axis=-1) < 18)
    adc = np.where(inside, np.where(core, CORE, np.where(dark, FLUID, TISSUE)), 0)
    return np.where(inside, np.where(dark, 1400.0, 600.0), 0), adc, affine


def write_diffusion(root: Path, *, raw: bool = True, unit: float = 1e3, bvalues: str = "0 1000 1000 1000") -> Path:
    """A BIDS dataset with either the raw series (b = 0 and b = 1000 along three axes) or its trace image and ADC map.

    Args:
        unit: the map is written in 1e-3 mm²/s times this, as whole numbers where it is large.
    """
    s0, adc, affine = true_maps()
    rng = np.random.default_rng(0)
    folder = (root / NAME).parent
    folder.mkdir(parents=True)
    volumes = [np.where(s0 > 0, s0 * np.exp(-b * adc) + rng.normal(0, NOISE * 600, s0.shape), 0) for b in (0, 1, 1, 1)]
    series = np.maximum(np.stack(volumes, -1), 0).astype(np.float32)
    if raw:
        nib.save(nib.Nifti1Image(series, affine), f"{root / NAME}_dir-AP_dwi.nii.gz")
        (root / f"{NAME}_dir-AP_dwi.bval").write_text(bvalues + "\n")
        (root / f"{NAME}_dir-AP_dwi.bvec").write_text("0 1 0 0\n0 0 1 0\n0 0 0 1\n")
        (root / f"{NAME}_dir-AP_dwi.json").write_text(json.dumps({"EchoTime": 0.08}))
    else:
        nib.save(nib.Nifti1Image(series[..., 1], affine), f"{root / NAME}_trace.nii.gz")
        stored = np.rint(adc * unit).astype(np.int16) if unit >= 1000 else (adc * unit).astype(np.float32)
        nib.save(nib.Nifti1Image(stored, affine), f"{root / NAME}_ADC.nii.gz")
    about = {"Name": "diffusion phantom", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / "README").write_text("A phantom of one brain with diffusion images.\n" * 4)
    return root


def write_stroke_bundle(folder: Path) -> Path:
    """The recipe `stroke`, coarse and small, with random weights."""
    plain = load_recipe("stroke").with_targets(()).model_dump(mode="json")
    plain["grid"]["spacing_mm"] = 4.0
    plain["network"] = {"filters": 4, "blocks": [1, 1], "deep_supervision": 1}
    write_small(folder, recipe=Recipe.model_validate(plain))
    return folder
