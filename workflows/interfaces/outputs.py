"""The last node of a session: everything that stays, through the sink."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, DynamicTraitedSpec, File, traits
from nipype.interfaces.io import add_traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.naming import slug

MM3 = {"Units": "mm3"}
#: What each column of a volumes table means.
VOLUME_COLUMNS = {
    "index": {"Description": "value of the region in the dseg image; n/a for a sum of regions"},
    "name": {"Description": "region"},
    "soft_mm3": {
        "Description": "calibrated probability in and around the region's main piece, times voxel volume",
        **MM3,
    },
    "soft_low_mm3": {"Description": "lower end of the 95 % repeat interval of soft_mm3", **MM3},
    "soft_high_mm3": {"Description": "upper end of the 95 % repeat interval of soft_mm3", **MM3},
    "hard_mm3": {"Description": "voxels of the prediction's grid at or above threshold, times voxel volume", **MM3},
    "threshold": {
        "Description": "probability from which a voxel counts for hard_mm3 and the dseg image; n/a where it belongs to "
        "its likeliest region"
    },
    "space": {"Description": "world coordinates and brain in which volumes were measured"},
    "centre_x_mm": {"Description": "centre of mass of the probability, to the right", "Units": "mm"},
    "centre_y_mm": {"Description": "centre of mass of the probability, to the front", "Units": "mm"},
    "centre_z_mm": {"Description": "centre of mass of the probability, upwards", "Units": "mm"},
}
ROW = ("index", "name", "soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3")
RESEARCH_ONLY = "research use only"


class _OutputsInput(DynamicTraitedSpec, BaseInterfaceInputSpec):
    settings = traits.Dict(mandatory=True, desc="plain settings of the run")
    selection = traits.Dict(mandatory=True)
    recipes = traits.List(traits.Str, desc="names or files of the recipes that predicted")
    sides = traits.List(traits.Str, desc="names of the recipes whose regions were looked for once a side")
    threads = traits.Int(1, usedefault=True)
    image = File(exists=True, mandatory=True, desc="the reference")
    mask = File(exists=True, desc="of the brain; not of an image that is taken as it is")
    mask_method = traits.Str(desc="how the brain was found")
    mask_bundle = traits.Str(desc="folder of the bundle that found it; empty where none did")
    stripped = traits.Bool(False, usedefault=True)
    transforms = traits.List(File(exists=True), desc="reference to template")
    template = traits.Str(desc="true name of the template")
    template_image = File(exists=True)


class WriteOutputs(Stage):
    """Name, write and remember every derivative of a session.

    Further sequences come as ``image_<slug>`` and ``matrix_<slug>``, predictions as ``dseg_``, ``probseg_``,
    ``volumes_`` and ``scores_<slug>``, those that ``predicted`` names by recipe. It runs each time: outputs
    that somebody deleted come back.
    """

    input_spec, output_spec = _OutputsInput, StageOutput
    _always_run = True

    def __init__(
        self, sequences: list[str] | None = None, predicted: dict[str, list[str]] | None = None, **inputs: Any
    ) -> None:
        super().__init__(**inputs)
        self._sequences, self._predicted = sequences or [], predicted or {}
        fields = [f"{field}_{slug(name)}" for name in self._sequences for field in ("image", "matrix")]
        fields += [f"{field}_{slug(name)}" for name, found in self._predicted.items() for field in found]
        add_traits(self.inputs, fields)

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.bids.dataset import dataset_links
        from bids_app.bids.provenance import provenance
        from bids_app.bids.selection import Selection
        from bids_app.bids.sink import Sink
        from bids_app.bundle.bundle import load_bundle
        from bids_app.bundle.manifest import trained_before
        from bids_app.predict.locate import both_sides
        from bids_app.predict.predict import resolve_device
        from bids_app.settings import from_plain

        settings = from_plain(dict(self.inputs.settings))
        selection = Selection.from_plain(self.inputs.selection)
        bundles = [load_bundle(settings.bundle or name) for name in self.inputs.recipes]
        bundles = [both_sides(b) if b.recipe.name in self.inputs.sides else b for b in bundles]
        masking = [load_bundle(self.inputs.mask_bundle)] if self.inputs.mask_bundle else []
        origin = provenance(
            settings,
            threads=self.inputs.threads,
            weights={b.name: b.sha256 for b in masking + bundles},
            device=resolve_device(settings.device) if masking + bundles else None,
        )
        sink = Sink(
            settings.output_dir,
            selection.participant,
            selection.session,
            datasets=dataset_links(settings.output_dir, settings),
            provenance=origin,
        )
        sink.clear_unfinished()
        files = self._preprocessed(sink, selection)
        if self.inputs.transforms:
            files |= self._transforms(sink, selection, folder)
        warnings = []
        for bundle in bundles:
            found = [selection.path_of(selection.name_of(sequence.name)) for sequence in bundle.recipe.sequences]
            paths = [path for path in found if path is not None]
            trained = trained_before(bundle, selection.participant, paths)
            warnings += trained
            if bundle.recipe.regions:
                self._predictions(sink, selection, bundle, files)
            if bundle.recipe.targets:
                self._scores(sink, bundle, files, trained)
        if self._template_space(settings):
            self._in_template(sink, selection, bundles, files, settings)
        return {"facts": {"outputs": sink.outputs, "files": files, "provenance": origin, "warnings": warnings}}

    def _preprocessed(self, sink: Any, selection: Any) -> dict[str, Any]:
        """The corrected reference, its brain mask if it has one, and every other sequence on the reference's grid."""
        import nibabel as nib

        from bids_app.imaging.stacking import Grid, sample

        name = selection.reference
        own = own_entities(selection, name)
        stripped = {"SkullStripped": bool(self.inputs.stripped)}
        image = sink.image(
            Path(self.inputs.image),
            selection.choices[name].suffix,
            sources=raw_sources(selection, name),
            sidecar={**stripped, **made_how(selection, name)},
            **{**own, "desc": "preproc"},
        )
        files: dict[str, Any] = {"reference": _name(sink, image), "sequences": {}}
        if isinstance(self.inputs.mask, str):
            mask = sink.image(
                Path(self.inputs.mask),
                "mask",
                sources=[image],
                reference=image,
                sidecar={"Type": "Brain", **({"Method": self.inputs.mask_method} if self.inputs.mask_method else {})},
                **{**own, "space": name, "desc": "brain"},
            )
            files["brain_mask"] = _name(sink, mask)
        target = nib.load(self.inputs.image)
        grid = Grid(target.shape, target.affine)
        for sequence in self._sequences:
            path, matrix = (getattr(self.inputs, f"{field}_{slug(sequence)}") for field in ("image", "matrix"))
            moved = sample(Path(path), np.linalg.inv(np.array(matrix)), grid)
            written = sink.image(
                nib.Nifti1Image(moved, target.affine),
                selection.choices[sequence].suffix,
                reference=image,
                sources=raw_sources(selection, sequence),
                sidecar={
                    **stripped,
                    "Interpolation": "linear, once",
                    "ToReference": matrix,
                    **made_how(selection, sequence, reason=False),
                },
                **{**own_entities(selection, sequence), "space": name, "desc": "preproc"},
            )
            files["sequences"][sequence] = _name(sink, written)
        return files

    def _transforms(self, sink: Any, selection: Any, folder: Path) -> dict[str, Any]:
        """Reference to template, as one composite transform."""
        from bids_app.imaging.ants_registrar import AntsRegistrar

        composite = AntsRegistrar().composite([Path(p) for p in self.inputs.transforms], folder / "to_template.h5")
        path = sink.file(
            composite,
            "xfm",
            ".h5",
            from_=selection.reference,
            to=self.inputs.template,
            mode="image",
            datatype=selection.datatype,
        )
        return {"to_template": _name(sink, path)}

    def _predictions(self, sink: Any, selection: Any, bundle: Any, files: dict[str, Any]) -> None:
        """Masks and (if there are any) probabilities on the reference's grid, and the table of volumes."""
        import nibabel as nib

        recipe, reference = bundle.recipe, sink.output_dir / files["reference"]
        names = slug(recipe.name)
        entities = {"space": selection.reference, "seg": recipe.name, "datatype": selection.datatype}
        about = {"Bundle": bundle.name, "WeightsSHA256": bundle.sha256, "Use": RESEARCH_ONLY}
        names_used = [selection.name_of(sequence.name) for sequence in recipe.sequences]
        about["Sequences"] = [name for name in names_used if selection.path_of(name)]
        sources = [reference, *(sink.output_dir / path for path in files["sequences"].values())]
        how: dict[str, Any] = {"Threshold": thresholds(bundle)}
        if recipe.grid.kind == "head":
            sources, how = [selection.path_of(selection.reference)], {"Assignment": "likeliest region, or none"}
        if recipe.grid.kind == "sides":
            how["LocatedBy"] = f"labels {recipe.locate.left} and {recipe.locate.right} of {recipe.locate.by}"
        written: dict[str, Path] = {}
        if "probseg" in self._predicted[recipe.name]:
            written["probseg"] = sink.image(
                nib.load(getattr(self.inputs, f"probseg_{names}")),
                "probseg",
                sources=sources,
                reference=reference,
                sidecar={**about, "LabelMap": [r.abbreviation or r.name for r in recipe.regions]},
                **entities,
            )
            sources = list(written.values())
        written["dseg"] = sink.image(
            nib.load(getattr(self.inputs, f"dseg_{names}")),
            "dseg",
            sources=sources,
            reference=reference,
            sidecar={**about, "Manual": False, **how},
            **entities,
        )
        rows = json.loads(Path(getattr(self.inputs, f"volumes_{names}")).read_text())
        columns = {**VOLUME_COLUMNS, "Use": {"Description": RESEARCH_ONLY}}
        table = table_rows(rows, bundle, selection.reference)
        folder = selection.datatype
        written["volumes"] = sink.table(table, "volumes", columns=columns, desc=recipe.name, datatype=folder)
        for field, path in written.items():
            files.setdefault(field, {})[recipe.name] = _name(sink, path)

    def _scores(self, sink: Any, bundle: Any, files: dict[str, Any], trained: list[str]) -> None:
        """Every target's answer, or why there is none."""
        row = json.loads(Path(getattr(self.inputs, f"scores_{slug(bundle.recipe.name)}")).read_text())
        sources = [sink.output_dir / path for path in (files["reference"], *files["sequences"].values())]
        content = {
            "ResearchUseOnly": True,
            "Use": f"{RESEARCH_ONLY}: scores, not diagnoses",
            "Recipe": bundle.recipe.name,
            "Bundle": bundle.name,
            "WeightsSHA256": bundle.sha256,
            "Device": row["device"],
            "Sequences": row["sequences"],
            "Covariates": row["covariates"],
            "Targets": row["targets"],
            "TrainedThisBundle": trained,
            "Sources": [sink.uri(path) for path in sources],
        }
        folder = Path(files["reference"]).parent.name
        path = sink.json(content, "prediction", desc=bundle.recipe.name, datatype=folder)
        files.setdefault("scores", {})[bundle.recipe.name] = _name(sink, path)

    def _template_space(self, settings: Any) -> list[str]:
        return [space for space in settings.output_spaces if space.split(":")[0] not in ("T1w", "orig")]

    def _in_template(self, sink: Any, selection: Any, bundles: list, files: dict[str, Any], settings: Any) -> None:
        """Reference and segmentations in the template's space, from the native images by one interpolation."""
        import nibabel as nib

        from bids_app.imaging.warping import resample

        space = self._template_space(settings)[0]
        template = nib.load(self.inputs.template_image)
        resolution = space.partition(":res-")[2] or "1"
        grid = _at_resolution(template, float(resolution))
        transforms = [Path(p) for p in self.inputs.transforms]
        entities = {"space": self.inputs.template, "res": resolution, "datatype": selection.datatype}
        about = {"Resolution": f"{resolution} mm, isotropic"}
        image = nib.Nifti1Image(resample(Path(self.inputs.image), grid, transforms), grid.affine)
        source = sink.output_dir / files["reference"]
        written = sink.image(
            image,
            selection.choices[selection.reference].suffix,
            sources=[source],
            sidecar={**about, "SkullStripped": bool(self.inputs.stripped)},
            **entities,
            desc="preproc",
        )
        files["template_space"] = {"reference": _name(sink, written)}
        for bundle in (b for b in bundles if b.recipe.regions):
            native = Path(getattr(self.inputs, f"dseg_{slug(bundle.recipe.name)}"))
            labels = nib.Nifti1Image(resample(native, grid, transforms, interpolation="nearest"), grid.affine)
            source = sink.output_dir / files["dseg"][bundle.recipe.name]
            path = sink.image(labels, "dseg", sources=[source], sidecar=about, **entities, seg=bundle.recipe.name)
            files["template_space"][bundle.recipe.name] = _name(sink, path)


def own_entities(selection: Any, name: str) -> dict[str, str]:
    """Folder of a sequence's derivative, and the entities that it keeps of its raw file; of a series, all that a
    trace image or ADC map may have (not ``part``)."""
    from bids_app.bids.naming import source_entities

    choice = selection.choices[name]
    kept = source_entities(choice.path)
    if choice.computed:
        kept = {key: value for key, value in kept.items() if key != "part"}
    return {**kept, "datatype": choice.path.parent.name}


def raw_sources(selection: Any, name: str) -> list[Path]:
    """The raw file of a sequence; of one that is computed, the series and its b-values."""
    choice = selection.choices[name]
    return [choice.path, *(choice.gradients)]


def made_how(selection: Any, name: str, *, reason: bool = True) -> dict[str, str]:
    """Why a file was taken, and what its numbers are, for its sidecar."""
    choice = selection.choices[name]
    fields = {"ChosenBecause": choice.reason} if reason else {}
    if choice.computed:
        fields["ComputedFrom"] = "b-values of a raw diffusion series, without correction of movement or eddy currents"
    return fields | ({"Units": "1e-3 mm2/s"} if name == "ADC" else {})


def thresholds(bundle: Any) -> Any:
    """One number, or one per region by name."""
    return bundle.calibration.get("thresholds") or bundle.calibration["threshold"]


def table_rows(rows: list[dict[str, Any]], bundle: Any, space: str) -> list[dict[str, Any]]:
    """Measured regions as rows of the volumes table."""
    plain = []
    for row in rows:
        centre = row["centre_mm"] or [None] * 3
        plain.append(
            {
                **{name: row[name] for name in ROW},
                "threshold": row.get("threshold", bundle.calibration["threshold"]),
                "space": space,
                **{f"centre_{axis}_mm": value for axis, value in zip("xyz", centre, strict=True)},
            }
        )
    return plain


def _name(sink: Any, path: Path) -> str:
    return path.relative_to(sink.output_dir).as_posix()


def _at_resolution(template: Any, spacing: float) -> Any:
    """The template's box with voxels of another size."""
    from bids_app.imaging.stacking import Grid

    own = np.sqrt((np.asarray(template.affine)[:3, :3] ** 2).sum(0))
    factors = spacing / own
    affine = np.array(template.affine, dtype=float)
    affine[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    affine[:3, :3] *= factors
    return Grid(tuple(int(np.ceil(n / f)) for n, f in zip(template.shape[:3], factors, strict=True)), affine)
