"""Thin nodes over `bids_app.imaging`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from workflows.interfaces.base import Stage, StageOutput


class _ImageOutput(StageOutput):
    out_file = File(exists=True)


class _ImageInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True)


class _ConformInput(_ImageInput):
    thickness = traits.Float(desc="of an image of one slice, mm")


class Conform(Stage):
    """Axes in RAS order, float32, one sound header; voxels are not touched."""

    input_spec, output_spec = _ConformInput, _ImageOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.conform import conform

        out = folder / "conformed.nii"
        path, thickness = Path(self.inputs.in_file), self.inputs.thickness
        if not isinstance(thickness, float):
            conform(path, out)
            return {"out_file": str(out)}
        conform(path, out, thickness=thickness)
        told = f"{path.name} is one slice of {thickness:g} mm: it lies where its header says, was not registered, and "
        told += "its bias field was not corrected"
        return {"out_file": str(out), "facts": {"warnings": [told]}}


class Denoise(Stage):
    """Non-local means."""

    input_spec, output_spec = _ImageInput, _ImageOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.bias import denoise

        out = folder / "denoised.nii"
        denoise(Path(self.inputs.in_file), out)
        said = "Images were denoised by adaptive non-local means as implemented in ANTs [@ants]."
        return {"out_file": str(out), "facts": {"denoised": True, "methods": [sentence("denoise", said)]}}


class _BiasInput(_ImageInput):
    reference = traits.Bool(True, usedefault=True, desc="the session's facts name the reference's correction")
    sequence = traits.Str("T1w", usedefault=True, desc="what the image is")
    sloppy = traits.Bool(False, usedefault=True)


class CorrectBias(Stage):
    """N4."""

    input_spec, output_spec = _BiasInput, _ImageOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.bias import correct_bias

        out = folder / "corrected.nii"
        found = correct_bias(Path(self.inputs.in_file), out, sloppy=self.inputs.sloppy)
        told = found.pop("warnings", [])
        said = said_of_bias(self.inputs.sequence, found)
        facts: dict[str, Any] = {"methods": [sentence("bias", said)], "warnings": told}
        return {"out_file": str(out), "facts": {**facts, **({"bias": found} if self.inputs.reference else {})}}


class _MaskInput(_ImageInput):
    skull_strip = traits.Enum("auto", "skip", "force", usedefault=True)
    template = traits.Str(mandatory=True, desc="the name asked for")
    seed = traits.Int(mandatory=True)
    sloppy = traits.Bool(False, usedefault=True)
    method = traits.Enum("auto", "network", "template", usedefault=True)
    found = File(exists=True, desc="mask of a whole head by the network; not set where it did not run")
    bundle = traits.Str(desc="folder of the network's bundle")
    doubt = traits.Str(desc="why that mask cannot be the whole brain")
    placed = traits.List(traits.List(traits.Float), desc="image world to template world, by the network's structures")


class _MaskOutput(StageOutput):
    mask = File(exists=True)
    stripped = traits.Bool(desc="the image came without its skull")
    to_template = traits.List(
        traits.List(traits.Float), desc="where finding the brain or its structures put it; else empty"
    )
    how = traits.Str(desc="how the brain was found")
    bundle = traits.Str(desc="folder of the bundle that found it; empty where none did")


class BrainMask(Stage):
    """Brain mask of the reference."""

    input_spec, output_spec = _MaskInput, _MaskOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.brain import brain_mask, is_stripped
        from bids_app.imaging.templates import find_template

        path, out = Path(self.inputs.in_file), folder / "brain_mask.nii"
        stripped, why = is_stripped(path, self.inputs.skull_strip)
        known, told = (None, []) if stripped else self._known()
        options = {"template": find_template(self.inputs.template), "seed": self.inputs.seed}
        facts = brain_mask(path, out, stripped=stripped, sloppy=self.inputs.sloppy, known=known, **options)
        if known is None and told and facts["warnings"]:  # the template's brain is in doubt as well
            known, told = self._network(), [f"{told[0]}; neither can be trusted, and that of the network was kept"]
            facts = brain_mask(path, out, stripped=stripped, known=known, **options)
        return {
            "mask": str(out),
            "stripped": stripped,
            "to_template": facts.get("to_template") or list(self.inputs.placed or []),
            "how": facts.get("method", ""),
            "bundle": self.inputs.bundle if known else "",
            "facts": {
                "stripped": stripped,
                "stripped_why": why,
                "brain_ml": facts.get("volume_ml"),
                "brain_method": facts.get("method"),
                "warnings": told + facts.get("warnings", []),
                "methods": [sentence("brain", said_of_brain(stripped, facts.get("method")))],
            },
        }

    def _network(self) -> tuple[np.ndarray, str]:
        """The network's mask, and how it came about."""
        import nibabel as nib

        by = f"by the network of the bundle {Path(self.inputs.bundle).name}"
        return np.asarray(nib.load(self.inputs.found).dataobj) > 0, by

    def _known(self) -> tuple[tuple[np.ndarray, str] | None, list[str]]:
        """The network's mask where it is to be used, and how it came about; what a person should know.

        With ``auto`` that is where nothing speaks against it; else the template's brain is carried over.
        """
        if optional(self.inputs.found) is None or self.inputs.method == "template":
            return None, []
        known, doubt = self._network(), self.inputs.doubt or ""
        if doubt and self.inputs.method == "auto":
            return None, [
                f"the brain mask {known[1]} cannot be right ({doubt}), so that a template's brain was carried over"
            ]
        return known, [f"the brain mask {known[1]} is used as asked, but cannot be right: {doubt}"] if doubt else []


class _RegisterInput(_ImageInput):
    reference = File(exists=True, mandatory=True)
    lesion_mask = File(exists=True, desc="of the reference; left out of what is compared")
    sequence = traits.Str(mandatory=True)
    reference_name = traits.Str("T1w", usedefault=True)
    seed = traits.Int(mandatory=True)


class _MatrixOutput(StageOutput):
    matrix = traits.List(traits.List(traits.Float), desc="moving world to fixed world, RAS, 4 by 4")


class RegisterSequence(Stage):
    """One sequence to the reference, rigidly."""

    input_spec, output_spec = _RegisterInput, _MatrixOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.registration import Fit, Image, register
        from bids_app.imaging.transforms import decompose

        found = register(
            Image(self.inputs.in_file, name=self.inputs.sequence),
            Image(self.inputs.reference, lesion=optional(self.inputs.lesion_mask), name=self.inputs.reference_name),
            Fit("rigid", seed=self.inputs.seed),
            folder / "rigid",
        )
        row = {
            "moving": self.inputs.sequence,
            "fixed": self.inputs.reference_name,
            "kind": "rigid",
            "similarity": found.similarity,
            **decompose(found.matrix),
        }
        said = f"{row['moving']} was registered to {row['fixed']} by a rigid transform with ANTs [@ants; @itk]."
        told = {"methods": [sentence("rigid", said)], "warnings": list(getattr(found, "warnings", []))}
        facts = {"registrations": [row], **told}
        return {"matrix": found.matrix.tolist(), "facts": facts}


class _TemplateInput(_ImageInput):
    mask = File(exists=True, mandatory=True, desc="brain mask of the image")
    lesion_mask = File(exists=True, desc="of the image; left out of what is compared")
    initial = traits.List(traits.List(traits.Float), desc="image world to template world, to begin with")
    template = traits.Str(mandatory=True)
    nonlinear = traits.Bool(False, usedefault=True)
    fast = traits.Bool(False, usedefault=True, desc="placed, and not registered")
    reference_name = traits.Str("T1w", usedefault=True)
    seed = traits.Int(mandatory=True)
    sloppy = traits.Bool(False, usedefault=True)


class _TemplateOutput(_MatrixOutput):
    transforms = traits.List(File(exists=True), desc="image to template, as ANTs applies them")
    inverse = traits.List(File(exists=True))


class RegisterTemplate(Stage):
    """The reference to the template: affine, and SyN after it where it is asked for."""

    input_spec, output_spec = _TemplateInput, _TemplateOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.quick_registrar import QuickRegistrar
        from bids_app.imaging.registration import Fit, Image, register
        from bids_app.imaging.templates import find_template
        from bids_app.imaging.transforms import decompose

        template = find_template(self.inputs.template)
        nonlinear = self.inputs.nonlinear and not self.inputs.sloppy
        lesion = optional(self.inputs.lesion_mask)
        found = register(
            Image(self.inputs.in_file, self.inputs.mask, lesion, self.inputs.reference_name),
            Image(template.image, template.mask, name=template.name),
            Fit(
                "syn" if nonlinear else "affine",
                initial=np.array(self.inputs.initial) if self.inputs.initial else None,
                seed=self.inputs.seed,
                brains=True,
            ),
            folder / "template",
            program=QuickRegistrar() if self.inputs.fast else None,
        )
        row = {
            "moving": self.inputs.reference_name,
            "fixed": template.name,
            "kind": self._kind(found.kind),
            "similarity": found.similarity,
            "dice": found.dice,
            **decompose(found.matrix),
        }
        facts = {
            "template": {"name": template.name, "source": template.source, "asked": self.inputs.template},
            "to_template": found.matrix.tolist(),
            "registrations": [row],
            "warnings": list(found.warnings),
            "cost_function_masked": lesion is not None,
            "methods": said_of_template(row, template, row["kind"], masked=lesion is not None),
        }
        return {
            "matrix": found.matrix.tolist(),
            "transforms": [str(p) for p in found.forward],
            "inverse": [str(p) for p in found.inverse],
            "facts": facts,
        }

    def _kind(self, kind: str) -> str:
        """What was done, for the record: one of `BY_PLACE` where nothing was registered."""
        return BY_PLACE[bool(self.inputs.initial)] if self.inputs.fast else kind


#: Kinds of registration that ``--fast`` leaves: without structures to begin with, and with them.
BY_PLACE = {False: "most alike", True: "by structures"}


def sentence(step: str, text: str) -> dict[str, str]:
    """What a step did, for the methods text; ``[@key]`` cites `bids_app.report.references`."""
    return {"step": step, "text": text}


def said_of_bias(sequence: str, found: dict[str, Any]) -> str:
    """How the bias field was corrected, or that it was left as it is."""
    if found.get("skipped"):
        return (
            f"{sequence} was standardised or inverted before, so that its intensity non-uniformity was not corrected."
        )
    how = str(found["method"]).replace("N4", "N4 [@n4]", 1)
    return f"{sequence} was corrected for intensity non-uniformity with {how}."


def said_of_brain(stripped: bool, method: str | None) -> str:
    """How the brain was found."""
    if stripped:
        return "The image came without its skull" + (f" (brain mask: {method})." if method else ".")
    if method and method.startswith("by "):
        return f"The brain was extracted {method}, run on the whole head before any registration."
    return f"The brain was extracted ({method})."


def said_of_template(row: dict[str, Any], template: Any, kind: str, *, masked: bool) -> list[dict[str, str]]:
    """How the reference was registered to the template, and where that came from."""
    told = f"{row['moving']} was registered to the template {template.name} [@icbm-2009; @icbm-2011], "
    if kind in BY_PLACE.values():
        how = {True: "where its labelled structures, or the search for its brain, had put it"}
        how[False] = "at the most similar of many positions (normalised mutual information; shift, turn, growth)"
        placed = told.replace("was registered to", "was laid on", 1)
        return [sentence("template", f"{placed}{template.credit}, {how[kind == BY_PLACE[True]]} (option --fast).")]
    told += f"{template.credit}, by an affine transform with ANTs [@ants; @itk]"
    if kind.lower() == "syn":
        told += ", followed by symmetric diffeomorphic registration, SyN [@syn]"
    said = [sentence("template", f"{told}.")]
    if masked:
        words = "Registrations left out the lesion in the mask that was supplied (cost-function masking)."
        said.append(sentence("lesion", words))
    return said


def optional(path: Any) -> Path | None:
    """The path, or None where the input is not set."""
    return Path(path) if isinstance(path, str) and path else None
