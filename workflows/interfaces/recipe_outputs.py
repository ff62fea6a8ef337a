"""The node that writes what one recipe found: segmentation, table of volumes, scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import DynamicTraitedSpec, File, traits
from nipype.interfaces.io import add_traits

from workflows.interfaces.imaging import optional
from workflows.interfaces.outputs import Write, WriteInput, relative_name, template_grid, template_spaces
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
#: What columns of the table of a recipe of one slice mean, where they mean something else or are more.
SLICE_COLUMNS = {
    "soft_mm3": {
        "Description": "volume in the slice that was looked at, not of the region: calibrated probability times area "
        "of a voxel times thickness of the slice",
        **MM3,
    },
    "hard_mm3": {"Description": "the same of the voxels at or above threshold", **MM3},
    "area_mm2": {"Description": "soft_mm3 divided by the thickness of the slice", "Units": "mm2"},
    "slice_thickness_mm": {"Description": "thickness of the slice that was looked at", "Units": "mm"},
    "slices_looked_at": {
        "Description": "axis of the reference's grid, and numbers along it, from 0, of the slices that hold a voxel "
        "that was looked at; of all others nothing is known"
    },
}
#: What each column of a table of lesions means.
LESION_COLUMNS = {
    "index": {"Description": "number of the lesion, the largest first: a connected piece of the mask (26 neighbours)"},
    "volume_mm3": {"Description": "voxels of the mask on the reference's own grid, times voxel volume", **MM3},
    "centre_x_mm": {"Description": "centre in the reference's world, to the right", "Units": "mm"},
    "centre_y_mm": {"Description": "centre in the reference's world, to the front", "Units": "mm"},
    "centre_z_mm": {"Description": "centre in the reference's world, upwards", "Units": "mm"},
    "template_x_mm": {
        "Description": "centre in the template's world by the affine transform, to the right",
        "Units": "mm",
    },
    "template_y_mm": {"Description": "centre in the template's world, to the front", "Units": "mm"},
    "template_z_mm": {"Description": "centre in the template's world, upwards", "Units": "mm"},
    "region": {
        "Description": "structure that most of its voxels lie in, by the network of the bundle anatomy; n/a where that "
        "did not run or cannot be right"
    },
    "side": {
        "Description": "by the structure, else by the template's middle plane (middle: closer than 3 mm)",
        "Levels": {"left": "left", "right": "right", "middle": "neither side"},
    },
    "probability": {"Description": "highest probability of its voxels"},
    "contains": {"Description": "lesion regions of the recipe that it has, separated by commas"},
}
ROW = ("index", "name", "soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3")
RESEARCH_ONLY = "research use only"


class _RecipeInput(DynamicTraitedSpec, WriteInput):
    recipe = traits.Str(mandatory=True, desc="name or file")
    way = traits.Str(mandatory=True, desc="of preprocessing, that the recipe wants")
    sides = traits.Bool(False, usedefault=True, desc="its regions were looked for once a side")
    files = traits.Dict(mandatory=True, desc="of the reference")
    dseg = File(exists=True)
    probseg = File(exists=True)
    volumes = File(exists=True, desc="JSON: one row per region")
    lesions = File(exists=True, desc="JSON: one row per lesion")
    scores = File(exists=True, desc="JSON: every target's answer")
    transforms = traits.List(File(exists=True), desc="reference to template")
    template = traits.Str(desc="true name of the template, where outputs are wanted in its space")
    template_image = File(exists=True)


class WriteRecipe(Write):
    """Name, write and remember every derivative of one recipe; further sequences' files come as ``files_<slug>``."""

    input_spec = _RecipeInput

    def __init__(self, others: list[str] | None = None, **inputs: Any) -> None:
        super().__init__(**inputs)
        self._others = others or []
        add_traits(self.inputs, [f"files_{slug(name)}" for name in self._others])

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.bundle.bundle import load_bundle
        from bids_app.bundle.manifest import trained_before
        from bids_app.predict.locate import both_sides
        from bids_app.settings import from_plain

        settings = from_plain(dict(self.inputs.settings))
        bundle = load_bundle(settings.bundle or self.inputs.recipe)
        bundle = both_sides(bundle) if self.inputs.sides else bundle
        settings, selection, sink = self.begin((bundle,))
        found = [selection.path_of(selection.name_of(sequence.name)) for sequence in bundle.recipe.sequences]
        trained = trained_before(bundle, selection.participant, [path for path in found if path is not None])
        files: dict[str, Any] = {}
        if bundle.recipe.regions:
            files |= self._regions(sink, selection, bundle)
            if self.inputs.template:
                files["template_space"] = self._in_template(sink, selection, bundle, files, settings)
        if bundle.recipe.targets:
            files["scores"] = self._scores(sink, bundle, trained)
        return self.ended(sink, files, warnings=trained)

    def _images(self, sink: Any) -> list[Path]:
        """The preprocessed images that the recipe read."""
        way, names = self.inputs.way, [self.inputs.files["reference"][self.inputs.way]]
        for other in self._others:
            names += getattr(self.inputs, f"files_{slug(other)}")["sequences"].get(way, {}).values()
        return [sink.output_dir / name for name in names]

    def _regions(self, sink: Any, selection: Any, bundle: Any) -> dict[str, Any]:
        """Masks and (if there are any) probabilities on the reference's grid, and the table of volumes."""
        import nibabel as nib

        recipe, sources = bundle.recipe, self._images(sink)
        reference = sources[0]
        entities = {"space": selection.reference, "seg": recipe.name, "datatype": selection.datatype}
        about = {"Bundle": bundle.name, "WeightsSHA256": bundle.sha256, "Use": RESEARCH_ONLY}
        rows = json.loads(Path(self.inputs.volumes).read_text())
        about |= slice_fields(rows)
        names_used = [selection.name_of(sequence.name) for sequence in recipe.sequences]
        about["Sequences"] = [name for name in names_used if selection.path_of(name)]
        how: dict[str, Any] = {"Threshold": thresholds(bundle)}
        if recipe.grid.kind == "head":
            sources, how = [selection.path_of(selection.reference)], {"Assignment": "likeliest region, or none"}
        if recipe.grid.kind == "sides":
            how["LocatedBy"] = f"labels {recipe.locate.left} and {recipe.locate.right} of {recipe.locate.by}"
        written: dict[str, Path] = {}
        if probseg := optional(self.inputs.probseg):
            written["probseg"] = sink.image(
                nib.load(probseg),
                "probseg",
                sources=sources,
                reference=reference,
                sidecar={**about, "LabelMap": [r.abbreviation or r.name for r in recipe.regions]},
                **entities,
            )
            sources = list(written.values())
        written["dseg"] = sink.image(
            nib.load(self.inputs.dseg),
            "dseg",
            sources=sources,
            reference=reference,
            sidecar={**about, "Manual": False, **how},
            **entities,
        )
        columns = {**VOLUME_COLUMNS, **(SLICE_COLUMNS if recipe.flat else {}), "Use": {"Description": RESEARCH_ONLY}}
        table = table_rows(rows, bundle, selection.reference)
        folder = selection.datatype
        written["volumes"] = sink.table(table, "volumes", columns=columns, desc=recipe.name, datatype=folder)
        if lesions := optional(self.inputs.lesions):
            found = json.loads(lesions.read_text())
            written |= self._lesions(sink, selection, bundle, found, written["dseg"], reference)
        return {field: relative_name(sink, path) for field, path in written.items()}

    def _lesions(
        self, sink: Any, selection: Any, bundle: Any, rows: list[dict[str, Any]], dseg: Path, reference: Path
    ) -> dict[str, Path]:
        """A mask of all lesions together, and a table with a row for each."""
        import nibabel as nib

        recipe, folder = bundle.recipe, selection.datatype
        labels = nib.load(self.inputs.dseg)
        indices = [region.index for region in recipe.regions if region.kind == "lesion"]
        mask = nib.Nifti1Image(np.isin(np.asarray(labels.dataobj), indices).astype(np.uint8), labels.affine)
        about = {"Type": "Lesion", "Manual": False, "Bundle": bundle.name, "WeightsSHA256": bundle.sha256}
        columns = {**LESION_COLUMNS, "Use": {"Description": RESEARCH_ONLY}}
        return {
            "lesion_mask": sink.image(
                mask,
                "mask",
                sources=[dseg],
                reference=reference,
                sidecar={**about, "Use": RESEARCH_ONLY},
                space=selection.reference,
                label="L",
                desc=recipe.name,
                datatype=folder,
            ),
            "lesions": sink.table(
                [lesion_row(row) for row in rows],
                "lesions",
                columns=columns,
                header=list(LESION_COLUMNS),
                desc=recipe.name,
                datatype=folder,
            ),
        }

    def _scores(self, sink: Any, bundle: Any, trained: list[str]) -> str:
        """Every target's answer, or why there is none."""
        row = json.loads(Path(self.inputs.scores).read_text())
        sources = self._images(sink)
        content = {
            "ResearchUseOnly": True,
            "Use": f"{RESEARCH_ONLY}: scores, not diagnoses",
            "Recipe": bundle.recipe.name,
            "Bundle": bundle.name,
            "WeightsSHA256": bundle.sha256,
            "Device": row["device"],
            "Sequences": row["sequences"],
            "Covariates": row["covariates"],
            **slice_fields([row]),
            "Targets": row["targets"],
            "TrainedThisBundle": trained,
            "Sources": [sink.uri(path) for path in sources],
        }
        path = sink.json(content, "prediction", desc=bundle.recipe.name, datatype=sources[0].parent.name)
        return relative_name(sink, path)

    def _in_template(self, sink: Any, selection: Any, bundle: Any, files: dict[str, Any], settings: Any) -> str:
        """The segmentation in the template's space, from the native one by nearest neighbours."""
        import nibabel as nib

        from bids_app.imaging.warping import resample

        space = template_spaces(settings)[0]
        grid, entities, about = template_grid(self.inputs.template_image, self.inputs.template, space)
        transforms = [Path(p) for p in self.inputs.transforms]
        values = resample(Path(self.inputs.dseg), grid, transforms, interpolation="nearest")
        labels = nib.Nifti1Image(values, grid.affine)
        entities |= {"datatype": selection.datatype, "seg": bundle.recipe.name}
        source = sink.output_dir / files["dseg"]
        return relative_name(sink, sink.image(labels, "dseg", sources=[source], sidecar=about, **entities))


def slice_fields(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the sidecar of a recipe of one slice says of it; nothing of other recipes."""
    about = next((row["slice"] for row in rows if row.get("slice")), None)
    if about is None:
        return {}
    return {
        "SliceRule": about["rule"],
        "SliceLevel": about["level_mm"],
        "SliceLevelWorld": about["world"],
        "SliceAwayFromLevel": about["away_mm"],
        "SliceThicknessLookedAt": about["thickness_mm"],
        **({"SliceAxis": about["axis"], "SlicesLookedAt": about["looked_at"]} if "axis" in about else {}),
        "NotLookedAt": "all other slices: 0 there does not say that a region is absent",
    }


def lesion_row(row: dict[str, Any]) -> dict[str, Any]:
    """A lesion as a row of its table."""
    centre, there = row["centre_mm"], row["template_mm"] or [None] * 3
    return {
        "index": row["index"],
        "volume_mm3": row["volume_mm3"],
        **{f"centre_{axis}_mm": value for axis, value in zip("xyz", centre, strict=True)},
        **{f"template_{axis}_mm": value for axis, value in zip("xyz", there, strict=True)},
        "region": row["region"],
        "side": row["side"],
        "probability": row["probability"],
        "contains": ", ".join(row["contains"]),
    }


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
                **_of_slice(row),
            }
        )
    return plain


def _of_slice(row: dict[str, Any]) -> dict[str, Any]:
    """Columns of a recipe of one slice."""
    about = row.get("slice")
    if about is None:
        return {}
    seen = ",".join(str(number) for number in about["looked_at"])
    return {
        "area_mm2": row["area_mm2"],
        "slice_thickness_mm": about["thickness_mm"],
        "slices_looked_at": f"{about['axis']}={seen or 'none'} of {about['of']}",
    }
