"""Thin nodes over `bids_app.imaging.grey_matter`: one that makes a session's map, and one that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import optional, sentence
from workflows.interfaces.outputs import Write, WriteInput, raw_sources, relative_name


class _MapInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="labels of the recipe anatomy")
    doubt = traits.Str("", usedefault=True, desc="why these cannot be right; empty where they can")
    to_template = traits.List(traits.List(traits.Float), mandatory=True, desc="image world to template world")
    template = traits.Str("MNI152NLin2009cAsym", usedefault=True)
    lesion_mask = File(exists=True, desc="of the image; left out of what is compared")
    seed = traits.Int(mandatory=True)


class _MapOutput(StageOutput):
    density = File(exists=True, desc="grey matter, ml per ml of the template; not set where labels are in doubt")
    inverse = traits.List(File(exists=True), desc="template to image")


class MapGreyMatter(Stage):
    """Grey matter in the template's space, its amount kept."""

    input_spec, output_spec = _MapInput, _MapOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.imaging.grey_matter import FWHM_MM, grey_matter_map, map_grid
        from bids_app.imaging.registration import Image
        from bids_app.imaging.templates import find_template

        if self.inputs.doubt:
            told = f"no map of grey matter was made, as the labels cannot be right: {self.inputs.doubt}"
            return {"inverse": [], "facts": {"warnings": [told]}}
        template = find_template(self.inputs.template)
        found = grey_matter_map(
            self.inputs.in_file,
            Image(template.image, template.mask, name=template.name),
            np.array(self.inputs.to_template),
            folder / "tissues",
            seed=self.inputs.seed,
            lesion=optional(self.inputs.lesion_mask),
        )
        nib.save(nib.Nifti1Image(found.density, map_grid().affine), folder / "density.nii")
        row = {
            "template": template.name, "fwhm_mm": FWHM_MM, "grey_ml": round(found.grey_ml, 2),
            "inside_ml": round(found.inside_ml, 2), "dice": found.dice, "seconds": round(found.seconds, 1),
        }  # fmt: skip
        said = (
            "A picture of the tissues, made from the labels of the bundle anatomy, was registered to the template "
            f"{template.name} by SyN after the affine transform [@syn; @ants], and grey matter was carried there with "
            f"its volume (affine part included) and smoothed by {FWHM_MM:g} mm [@vbm; @vbm-modulation]."
        )
        facts = {
            "grey_matter": row,
            "warnings": list(found.warnings),
            "methods": [sentence("grey matter", said)],
        }
        return {
            "density": str(folder / "density.nii"),
            "inverse": [str(path) for path in found.inverse],
            "facts": facts,
        }


class _WriteInput(WriteInput):
    density = File(exists=True)
    inverse = traits.List(File(exists=True), desc="template to reference")
    template = traits.Str(desc="true name of the template")
    files = traits.Dict(mandatory=True, desc="of the reference")


class WriteGreyMatter(Write):
    """The map, and the transform from the template to the reference that belongs to it."""

    input_spec = _WriteInput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.imaging.ants_registrar import AntsRegistrar
        from bids_app.imaging.grey_matter import FWHM_MM, SPACING

        _, selection, sink = self.begin()
        density = optional(self.inputs.density)
        if density is None:
            return self.ended(sink, {})
        image, name = nib.load(density), selection.reference
        steps = 2.0**12  # more digits than a map has cost disk and say nothing
        rounded = np.rint(np.asarray(image.dataobj, dtype=np.float32) * steps) / steps
        entities = {"desc": "modulated", "datatype": selection.datatype}
        written = sink.image(
            nib.Nifti1Image(rounded, image.affine),
            "probseg",
            sources=raw_sources(selection, name),
            sidecar={
                "Description": "Grey matter per volume of the template, carried there with its volume: may exceed 1",
                "Modulation": "volume kept, affine part included",
                "SmoothingFWHM": FWHM_MM,
                "Resolution": f"{SPACING:g} mm, isotropic",
            },
            **entities,
            space=self.inputs.template,
            res=f"{SPACING:g}",
            label="GM",
        )
        composite = AntsRegistrar().composite([Path(one) for one in self.inputs.inverse], folder / "back.h5")
        back = sink.file(composite, "xfm", ".h5", from_=self.inputs.template, to=name, mode="image", **entities)
        files = {"grey_matter": relative_name(sink, written), "from_template": relative_name(sink, back)}
        return self.ended(sink, files)
