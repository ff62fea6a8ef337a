"""A thin node over `bids_app.predict.anatomy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import optional
from workflows.interfaces.prediction import said_of_network, said_of_regions, score_row


class _AnatomyInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="conformed, not corrected")
    bundle = traits.Str(mandatory=True, desc="name of a shipped bundle, or a folder")
    weights = traits.Str(mandatory=True, desc="hash of the weights: other weights, other result")
    wanted = traits.Bool(mandatory=True, desc="a recipe asks for the labels; else only whole heads are looked at")
    told = traits.Bool(True, usedefault=True, desc="the labels are an answer of the session, and not for places alone")
    sequence = traits.Str(mandatory=True, desc="what the image is")
    within = File(exists=True, desc="labels by the bundle anatomy, beyond which nothing is labelled")
    distrust = traits.Str("", usedefault=True, desc="why these labels cannot be believed; empty where they can")
    skull_strip = traits.Enum("auto", "skip", "force", usedefault=True)
    device = traits.Str("auto", usedefault=True)
    tta = traits.Bool(False, usedefault=True)
    low_mem = traits.Bool(False, usedefault=True)
    reproducible = traits.Bool(False, usedefault=True, desc="deterministic kernels only; an error where there is none")
    threads = traits.Int(1, usedefault=True, nohash=True)


class _AnatomyOutput(StageOutput):
    mask = File(exists=True, desc="of the brain; not set where the network did not run")
    doubt = traits.Str(desc="why that cannot be the whole brain; empty where it can")
    to_template = traits.List(
        traits.List(traits.Float), desc="from the middles of structures; empty where they disagree"
    )
    dseg = File(exists=True)
    volumes = File(exists=True, desc="JSON: one row per region, the brain, and all within the skull")
    scores = File(exists=True, desc="JSON: every target's answer; not of a recipe without targets")


class Anatomy(Stage):
    """Every structure of a head by one run of the network, on the image as it came; and the brain."""

    input_spec, output_spec = _AnatomyInput, _AnatomyOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.bundle.bundle import load_bundle
        from bids_app.imaging.brain import is_stripped
        from bids_app.predict.anatomy import find_anatomy
        from bids_app.predict.predict import resolve_device

        path = Path(self.inputs.in_file)
        stripped = is_stripped(path, self.inputs.skull_strip)[0]
        if stripped and not self.inputs.wanted:
            return {}
        if self.inputs.reproducible:
            import torch

            torch.use_deterministic_algorithms(True)
        bundle = load_bundle(self.inputs.bundle)
        device = resolve_device(self.inputs.device)
        options = {"tta": self.inputs.tta, "low_mem": self.inputs.low_mem, "threads": self.inputs.threads}
        within = None if self.inputs.distrust else optional(self.inputs.within)
        found = find_anatomy(bundle, path, device=device, within=within, **options)
        outputs = {name: folder / f"{name}.nii" for name in ("mask", "dseg")}
        for name, values in (("mask", found.brain.astype(np.uint8)), ("dseg", found.labels)):
            nib.save(nib.Nifti1Image(values, found.grid.affine), outputs[name])
        (folder / "volumes.json").write_text(json.dumps(found.rows))
        row = {
            "recipe": bundle.recipe.name,
            "title": bundle.recipe.title,
            "bundle": bundle.name,
            "weights_sha256": bundle.sha256,
            "device": device,
            "tta": self.inputs.tta,
            "threshold": None,
            "members": len(bundle.networks),
            "sequence": self.inputs.sequence,
            "grid": {"shape": list(found.seen.shape), "spacing": round(float(found.seen.spacing.mean()), 4)},
            "regions": found.rows,
            "warnings": found.warnings,
        }
        said = said_of_network(bundle, tta=self.inputs.tta, sequences=1) + said_of_regions(row)
        remarks = [found.remark] if found.remark and not stripped else []  # a stripped image is its own mask
        facts = {"predictions": [row], "part_methods": {row["recipe"]: said}, "warnings": found.warnings + remarks}
        told = self.inputs.wanted and self.inputs.told
        if found.view is not None and told:
            scores = score_row(bundle, found.view, [True], {}, device)
            (folder / "scores.json").write_text(json.dumps(scores))
            outputs["scores"] = folder / "scores.json"
            facts["scores"] = [scores]
        placed = None if found.trouble else found.to_template
        return {
            **{name: str(path) for name, path in outputs.items()},
            "volumes": str(folder / "volumes.json"),
            "doubt": found.trouble,
            "to_template": [] if placed is None else placed.tolist(),
            "facts": facts if told else {"warnings": remarks},
        }
