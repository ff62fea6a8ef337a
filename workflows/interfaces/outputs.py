"""The nodes that write what recipes share: the preprocessed reference, its mask and transform, the other sequences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from bids_app.recipes.series import SERIES, STEP_S
from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import optional

#: Name of the input that holds an image, and its way of preprocessing (its ``desc-`` label).
WAYS = {"image": "preproc", "plain": "uncorrected"}


class WriteInput(BaseInterfaceInputSpec):
    """What every node that writes needs."""

    settings = traits.Dict(mandatory=True, desc="plain settings of the run")
    selection = traits.Dict(mandatory=True)
    threads = traits.Int(1, usedefault=True)
    stripped = traits.Bool(False, usedefault=True)


class _ReferenceInput(WriteInput):
    image = File(exists=True, desc="the reference, its bias corrected, where a recipe wants it so")
    plain = File(exists=True, desc="the reference without that, where a recipe wants it so")
    mask = File(exists=True, desc="of the brain; not of an image that is taken as it is")
    mask_method = traits.Str(desc="how the brain was found")
    mask_bundle = traits.Str(desc="folder of the bundle that found it; empty where none did")
    transforms = traits.List(File(exists=True), desc="reference to template")
    template = traits.Str(desc="true name of the template")
    template_image = File(exists=True)


class WrittenOutput(StageOutput):
    """Paths relative to the output folder, as `bids_app.bids.record.ImageFiles` has them."""

    files = traits.Dict()


class Write(Stage):
    """A node that writes through the sink. It runs each time: outputs that somebody deleted come back."""

    input_spec, output_spec = WriteInput, WrittenOutput
    _always_run = True

    def begin(self, bundles: tuple[Any, ...] = ()) -> tuple[Any, Any, Any]:
        """The run's settings, the selection, and a sink whose provenance names these bundles."""
        from bids_app.bids.dataset import dataset_links
        from bids_app.bids.provenance import provenance
        from bids_app.bids.selection import Selection
        from bids_app.bids.sink import Sink
        from bids_app.predict.predict import resolve_device
        from bids_app.settings import from_plain

        settings = from_plain(dict(self.inputs.settings))
        selection = Selection.from_plain(self.inputs.selection)
        origin = provenance(
            settings,
            threads=self.inputs.threads,
            weights={bundle.name: bundle.sha256 for bundle in bundles},
            device=resolve_device(settings.device) if bundles else None,
        )
        links = dataset_links(settings.output_dir, settings)
        sink = Sink(settings.output_dir, selection.participant, selection.session, datasets=links, provenance=origin)
        return settings, selection, sink

    def ended(self, sink: Any, files: dict[str, Any], **facts: Any) -> dict[str, Any]:
        """The node's outputs."""
        told = {"outputs": sink.outputs, "files": files, "provenance": sink.provenance, **facts}
        return {"files": files, "facts": told}


class WriteReference(Write):
    """The reference in every way that recipes want it, its brain mask, and the transform to the template."""

    input_spec = _ReferenceInput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.bundle.bundle import load_bundle

        bundles = (load_bundle(self.inputs.mask_bundle),) if self.inputs.mask_bundle else ()
        settings, selection, sink = self.begin(bundles)
        name = selection.reference
        own = own_entities(selection, name)
        files: dict[str, Any] = {"reference": {}}
        images = {way: path for field, way in WAYS.items() if (path := optional(getattr(self.inputs, field)))}
        for way, path in images.items():
            written = sink.image(
                path,
                selection.choices[name].suffix,
                sources=raw_sources(selection, name),
                sidecar={"SkullStripped": bool(self.inputs.stripped), **made_how(selection, name)},
                **{**own, "desc": way},
            )
            files["reference"][way] = relative_name(sink, written)
        if mask := optional(self.inputs.mask):
            reference = sink.output_dir / next(iter(files["reference"].values()))
            written = sink.image(
                mask,
                "mask",
                sources=[reference],
                reference=reference,
                sidecar={"Type": "Brain", **({"Method": self.inputs.mask_method} if self.inputs.mask_method else {})},
                **{**own, "space": name, "desc": "brain"},
            )
            files["brain_mask"] = relative_name(sink, written)
        if self.inputs.transforms:
            files["to_template"] = self._transform(sink, selection, folder, fast=settings.fast)
            if spaces := template_spaces(settings):
                files["template_space"] = self._in_template(sink, selection, images, files, spaces[0])
        return self.ended(sink, files)

    def _transform(self, sink: Any, selection: Any, folder: Path, *, fast: bool) -> str:
        """Reference to template, as one composite transform; ``fast``: as text, for which ANTs need not be loaded."""
        from bids_app.imaging.ants_registrar import AntsRegistrar
        from bids_app.imaging.quick_registrar import QuickRegistrar

        program, kind = (QuickRegistrar(), ".txt") if fast else (AntsRegistrar(), ".h5")
        composite = program.composite([Path(p) for p in self.inputs.transforms], folder / f"to_template{kind}")
        path = sink.file(
            composite,
            "xfm",
            kind,
            from_=selection.reference,
            to=self.inputs.template,
            mode="image",
            datatype=selection.datatype,
        )
        return relative_name(sink, path)

    def _in_template(
        self, sink: Any, selection: Any, images: dict[str, Path], files: dict[str, Any], space: str
    ) -> dict[str, str]:
        """The reference in the template's space, by one interpolation, by way of preprocessing."""
        import nibabel as nib

        from bids_app.imaging.warping import resample

        grid, entities, about = template_grid(self.inputs.template_image, self.inputs.template, space)
        transforms, written = [Path(p) for p in self.inputs.transforms], {}
        for way, path in images.items():
            image = nib.Nifti1Image(resample(path, grid, transforms), grid.affine)
            suffix = selection.choices[selection.reference].suffix
            sidecar = {**about, "SkullStripped": bool(self.inputs.stripped)}
            source = sink.output_dir / files["reference"][way]
            entities = {**entities, "datatype": selection.datatype, "desc": way}
            written[way] = relative_name(sink, sink.image(image, suffix, sources=[source], sidecar=sidecar, **entities))
        return written


class _SequenceInput(WriteInput):
    sequence = traits.Str(mandatory=True)
    image = File(exists=True, desc="corrected, on its own grid")
    plain = File(exists=True, desc="not corrected, on its own grid")
    matrix = traits.List(traits.List(traits.Float), mandatory=True, desc="its world to the reference's world")
    files = traits.Dict(mandatory=True, desc="of the reference")


class WriteSequence(Write):
    """One more sequence on the reference's grid, in every way that recipes want it; a series on its own grid, in the
    reference's world."""

    input_spec = _SequenceInput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.imaging.stacking import Grid, sample

        _, selection, sink = self.begin()
        name, matrix, files = self.inputs.sequence, self.inputs.matrix, {}
        for field, way in WAYS.items():
            path = optional(getattr(self.inputs, field))
            if path is None:
                continue
            reference = sink.output_dir / self.inputs.files["reference"][way]
            target, image = nib.load(reference), nib.load(path)
            series = image.ndim == 4
            if series:  # of many frames: its header says where it lies
                moved = nib.Nifti1Image(image.dataobj, np.array(matrix) @ image.affine, image.header)
            else:
                grid = Grid(target.shape, target.affine)
                moved = nib.Nifti1Image(sample(path, np.linalg.inv(np.array(matrix)), grid), target.affine)
            written = sink.image(
                moved,
                selection.choices[name].suffix,
                reference=reference,
                sources=raw_sources(selection, name),
                sidecar={
                    "SkullStripped": bool(self.inputs.stripped),
                    "Interpolation": "none" if series else "linear, once",
                    **(of_frames(selection.choices[name].metadata) if series else {}),
                    "ToReference": matrix,
                    **made_how(selection, name, reason=False),
                },
                **{**own_entities(selection, name), "space": selection.reference, "desc": way},
            )
            files[way] = {name: relative_name(sink, written)}
        return self.ended(sink, {"sequences": files})


def of_frames(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar must say of a series that is left after the regression."""
    task = {"TaskName": metadata["TaskName"]} if "TaskName" in metadata else {}
    return {"RepetitionTime": STEP_S, **task, "Filter": "0.01 to 0.1 Hz, with columns of motion in one regression"}


def template_spaces(settings: Any) -> list[str]:
    """The output spaces that are a template's."""
    return [space for space in settings.output_spaces if space.split(":")[0] not in ("T1w", "orig")]


def template_grid(image: Path | str, name: str, space: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The grid of an output space such as ``MNI152NLin2009cAsym:res-2``, its entities, and its part of a sidecar."""
    import nibabel as nib

    resolution = space.partition(":res-")[2] or "1"
    grid = _at_resolution(nib.load(image), float(resolution))
    return grid, {"space": name, "res": resolution}, {"Resolution": f"{resolution} mm, isotropic"}


def own_entities(selection: Any, name: str) -> dict[str, str]:
    """Folder of a sequence's derivative, and the entities that it keeps of its raw file; of a series, all that a
    trace image or ADC map may have (not ``part``)."""
    from bids_app.bids.naming import source_entities

    choice = selection.choices[name]
    kept = source_entities(choice.path)
    if choice.computed:
        kept = {key: value for key, value in kept.items() if key not in ("part", "space", "res", "den", "desc")}
    if choice.made_of:  # maps of several seeds or networks come from one series
        kept["label"] = name
    return {**kept, "datatype": choice.path.parent.name}


def raw_sources(selection: Any, name: str) -> list[Path]:
    """The raw file of a sequence; of one that is computed, the series and what is read with it."""
    choice = selection.choices[name]
    return [choice.path, *(choice.beside)]


def made_how(selection: Any, name: str, *, reason: bool = True) -> dict[str, str]:
    """Why a file was taken, and what its numbers are, for its sidecar."""
    from bids_app.bids.fmriprep import made_by_fmriprep

    choice = selection.choices[name]
    fields = {"ChosenBecause": choice.reason} if reason else {}
    if choice.made_of:
        fields |= {"MadeOf": choice.made_of, "Units": "1"}
        fields["ComputedFrom"] = "what one regression left of a resting-state series between 0.01 and 0.1 Hz"
    elif choice.computed and choice.computed not in ("trace", "ADC"):
        made = "resting-state series preprocessed by fMRIPrep" if made_by_fmriprep(choice.path) else None
        what = "spread of the whole" if choice.computed == SERIES else "mean in the"
        fields["ComputedFrom"] = f"{made or 'raw resting-state series'}, relative to the {what} brain"
    elif choice.computed:
        fields["ComputedFrom"] = "b-values of a raw diffusion series, without correction of movement or eddy currents"
    return fields | ({"Units": "1e-3 mm2/s"} if name == "ADC" else {})


def relative_name(sink: Any, path: Path) -> str:
    """Path relative to the output folder, as the record has it."""
    return path.relative_to(sink.output_dir).as_posix()


def _at_resolution(template: Any, spacing: float) -> Any:
    """The template's box with voxels of another size."""
    from bids_app.imaging.stacking import Grid

    own = np.sqrt((np.asarray(template.affine)[:3, :3] ** 2).sum(0))
    factors = spacing / own
    affine = np.array(template.affine, dtype=float)
    affine[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    affine[:3, :3] *= factors
    first, second, third = (int(np.ceil(n / f)) for n, f in zip(template.shape[:3], factors, strict=True))
    return Grid((first, second, third), affine)
