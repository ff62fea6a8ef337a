"""Thin nodes over `bids_app.predict.predict` and `bids_app.measure`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, DynamicTraitedSpec, File, traits
from nipype.interfaces.io import add_traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import optional, sentence
from workflows.naming import slug


class _PredictInput(DynamicTraitedSpec, BaseInterfaceInputSpec):
    recipe = traits.Str(mandatory=True)
    bundle = traits.Str(mandatory=True, desc="name of a shipped bundle, or a folder")
    weights = traits.Str(mandatory=True, desc="hash of the weights: other weights, other result")
    image = File(exists=True, mandatory=True, desc="the reference")
    mask = File(exists=True, desc="of the brain; not for a recipe that takes images as they are")
    to_template = traits.List(traits.List(traits.Float), desc="as the mask")
    labels = File(exists=True, desc="of a whole head, where a recipe's crops are cut around some of them")
    device = traits.Str("auto", usedefault=True)
    tta = traits.Bool(False, usedefault=True)
    low_mem = traits.Bool(False, usedefault=True)
    reproducible = traits.Bool(False, usedefault=True, desc="deterministic kernels only; an error where there is none")
    threads = traits.Int(1, usedefault=True, nohash=True)
    covariates = traits.Dict(desc="what the network reads beside the image, by name; what is not known is left out")
    warn = traits.List(traits.Str, desc="what a person should know of the covariates")
    level = traits.Float(desc="of the slice that a flat recipe looks at, in place of the recipe's")
    one_slice = traits.Bool(False, usedefault=True, desc="the image is one slice, looked at by a flat recipe")


class _PredictOutput(StageOutput):
    prediction = File(exists=True, desc="npz: probability (region, x, y, z), affine of its grid")
    scores = File(exists=True, desc="JSON: every target's answer")
    device = traits.Str()


class Predict(Stage):
    """Stack the sequences once on the recipe's grid, and predict regions and targets there; on either side of the brain
    where there are ``labels``.

    Further sequences come in as ``image_<slug>`` and ``matrix_<slug>`` (their world to the reference's).
    """

    input_spec, output_spec = _PredictInput, _PredictOutput

    def __init__(self, sequences: list[str] | None = None, **inputs: Any) -> None:
        super().__init__(**inputs)
        self._sequences = sequences or []
        add_traits(self.inputs, [f"{f}_{slug(s)}" for s in self._sequences for f in ("image", "matrix")])

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.bundle.bundle import load_bundle
        from bids_app.predict.predict import locate_and_predict, resolve_device

        if self.inputs.reproducible:
            import torch

            torch.use_deterministic_algorithms(True)
        bundle = self._settled(load_bundle(self.inputs.bundle))
        device = resolve_device(self.inputs.device)
        images, matrices = {bundle.recipe.reference: Path(self.inputs.image)}, {bundle.recipe.reference: np.eye(4)}
        for name in self._sequences:
            path, matrix = getattr(self.inputs, f"image_{slug(name)}"), getattr(self.inputs, f"matrix_{slug(name)}")
            if isinstance(path, str):
                images[name], matrices[name] = Path(path), np.linalg.inv(np.array(matrix))
        options = {"device": device, "low_mem": self.inputs.low_mem, "threads": self.inputs.threads}
        facts: dict[str, Any] = {}
        if labels := optional(self.inputs.labels):
            from bids_app.predict.locate import predict_sides

            found, by_side = predict_sides(bundle, images, matrices, labels, **options)
            facts["located"] = {bundle.recipe.name: by_side}
        else:
            to_template = np.array(self.inputs.to_template) if self.inputs.to_template else None
            found = locate_and_predict(
                bundle, images, matrices, to_template, mask=optional(self.inputs.mask), tta=self.inputs.tta, **options
            )
        about = self._slice(bundle, images, found.grid) if bundle.recipe.flat else None
        out = folder / "prediction.npz"
        probability = found.probability.astype(np.float32)
        np.savez(out, probability=probability, affine=found.grid.affine, slice=json.dumps(about))
        outputs = {"prediction": str(out), "device": device}
        facts["warnings"] = [*found.warnings, *self.inputs.warn]
        if bundle.recipe.targets:
            row = score_row(bundle, found.stack, found.present, dict(self.inputs.covariates), device)
            row |= {"slice": about} if about else {}
            (folder / "scores.json").write_text(json.dumps(row))
            outputs["scores"] = str(folder / "scores.json")
            facts["scores"] = [row]
        facts["methods"] = said_of_network(bundle, tta=self.inputs.tta and not labels, sequences=len(images))
        return {**outputs, "facts": facts}

    def _settled(self, bundle: Any) -> Any:
        """The bundle with its recipe as it is for this session's image."""
        level = self.inputs.level if isinstance(self.inputs.level, float) else None
        recipe = bundle.recipe.at_level(level)
        recipe = recipe.for_one_slice() if self.inputs.one_slice else recipe
        return bundle if recipe is bundle.recipe else replace(bundle, recipe=recipe)

    def _slice(self, bundle: Any, images: dict[str, Path], grid: Any) -> dict[str, Any]:
        """Which slice was looked at, and how it was chosen."""
        from bids_app.scans.lay import place_level
        from bids_app.scans.slices import slice_facts

        recipe, reference = bundle.recipe, images[bundle.recipe.reference]
        to_template = np.array(self.inputs.to_template) if self.inputs.to_template else None
        placed = place_level(recipe, reference, to_template, optional(self.inputs.mask))
        return slice_facts(recipe, placed[0], grid)


def score_row(
    bundle: Any, stack: np.ndarray, present: Any, covariates: dict[str, float], device: str
) -> dict[str, Any]:
    """Every target's answer, and what it was made from."""
    from bids_app.predict.targets import predict_targets

    names = [sequence.name for sequence in bundle.recipe.sequences]
    return {
        "recipe": bundle.recipe.name,
        "title": bundle.recipe.title,
        "bundle": bundle.name,
        "weights_sha256": bundle.sha256,
        "device": device,
        "sequences": {name: bool(there) for name, there in zip(names, present, strict=True)},
        "covariates": {name: covariates.get(name) for name in bundle.recipe.learning.covariates},
        "targets": predict_targets(bundle, stack, present, covariates, device=device),
    }


class _MeasureInput(BaseInterfaceInputSpec):
    recipe = traits.Str(mandatory=True)
    bundle = traits.Str(mandatory=True)
    prediction = File(exists=True, mandatory=True)
    image = File(exists=True, mandatory=True, desc="the reference, whose grid the masks are brought to")
    sides = traits.Bool(False, usedefault=True, desc="every region was looked for once a side")
    device = traits.Str("cpu", usedefault=True)
    tta = traits.Bool(False, usedefault=True)
    to_template = traits.List(traits.List(traits.Float), desc="where lesions are listed")
    structures = File(exists=True, desc="labels of a whole head on the reference's grid")
    doubt = traits.Str(desc="why these labels cannot be right; empty where they can")
    anatomy = traits.Str(desc="folder of the bundle that made them")


class _MeasureOutput(StageOutput):
    dseg = File(exists=True)
    probseg = File(exists=True)
    volumes = File(exists=True, desc="JSON: one row per region")
    lesions = File(exists=True, desc="JSON: one row per lesion; not of a recipe without lesion regions")


class Measure(Stage):
    """Volumes on the grid of the prediction; masks and probabilities on the reference's own grid."""

    input_spec, output_spec = _MeasureInput, _MeasureOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.bundle.bundle import load_bundle
        from bids_app.imaging.stacking import Grid, to_grid
        from bids_app.predict.locate import both_sides, side_totals
        from bids_app.predict.regions import label_map, measure_regions

        bundle = load_bundle(self.inputs.bundle)
        bundle = both_sides(bundle) if self.inputs.sides else bundle
        with np.load(self.inputs.prediction, allow_pickle=False) as stored:
            probability, affine = stored["probability"], stored["affine"]
            about = json.loads(str(stored["slice"])) if "slice" in stored else None
        grid = Grid(probability.shape[1:], affine)
        reference = nib.load(self.inputs.image)
        whole = Grid(reference.shape, reference.affine)
        native = to_grid(probability, grid, whole) if about is None else slice_back(probability, grid, whole, about)
        measured = measure_regions(bundle, probability, grid)
        add_areas(measured.rows, about)
        outputs = {name: folder / f"{name}.nii.gz" for name in ("dseg", "probseg")}
        labels = label_map(bundle, native)
        nib.save(nib.Nifti1Image(labels, reference.affine), outputs["dseg"])
        nib.save(nib.Nifti1Image(np.moveaxis(native, 0, -1), reference.affine), outputs["probseg"])
        rows = [*measured.rows, *(side_totals(bundle.recipe, measured.rows) if self.inputs.sides else [])]
        volumes = folder / "volumes.json"
        volumes.write_text(json.dumps(rows))
        seen, locate = list(grid.shape), bundle.recipe.locate if self.inputs.sides else None
        if locate is not None:  # the grid of the answers holds the crops of both sides
            seen = [round(side / bundle.recipe.needed_grid.spacing_mm) for side in locate.size_mm]
        sides = [round(float(side), 4) for side in grid.spacing]
        spacing = sides if about else round(float(abs(np.linalg.det(affine[:3, :3])) ** (1 / 3)), 4)
        row = {
            "recipe": bundle.recipe.name,
            "title": bundle.recipe.title,
            "bundle": bundle.name,
            "weights_sha256": bundle.sha256,
            "device": self.inputs.device,
            "tta": self.inputs.tta,
            "threshold": bundle.calibration["threshold"],
            "members": len(bundle.networks),
            "grid": {"shape": seen, "spacing": spacing},
            **({"slice": about} if about else {}),
            **({"located": locate.model_dump(mode="json")} if locate else {}),
            "regions": rows,
            "warnings": measured.warnings,
        }
        if any(region.kind == "lesion" for region in bundle.recipe.regions):
            row["lesions"] = self._lesions(bundle, labels, native, reference.affine)
            (folder / "lesions.json").write_text(json.dumps(row["lesions"]))
            outputs["lesions"] = folder / "lesions.json"
        return {
            **{name: str(path) for name, path in outputs.items()},
            "volumes": str(volumes),
            "facts": {"predictions": [row], "warnings": measured.warnings, "methods": said_of_regions(row)},
        }

    def _lesions(self, bundle: Any, labels: np.ndarray, native: np.ndarray, affine: np.ndarray) -> list[dict[str, Any]]:
        """Every lesion by itself, with the structure that it lies in where there are labels of a whole head."""
        import nibabel as nib

        from bids_app.bundle.bundle import load_bundle
        from bids_app.measure.lesion_table import lesion_rows

        kinds = [region.kind == "lesion" for region in bundle.recipe.regions]
        regions = {region.index: region.name for region in bundle.recipe.regions if region.kind == "lesion"}
        known: dict[str, Any] = {}
        path = optional(self.inputs.structures)
        if path is not None and not self.inputs.doubt and nib.load(path).shape == labels.shape:
            named = load_bundle(self.inputs.anatomy).recipe.regions
            known = {"labels": np.asarray(nib.load(path).dataobj), "names": {one.index: one.name for one in named}}
        to_template = np.array(self.inputs.to_template) if self.inputs.to_template else None
        return lesion_rows(labels, native[kinds].max(axis=0), affine, regions=regions, to_template=to_template, **known)


def slice_back(probability: np.ndarray, grid: Any, whole: Any, about: dict[str, Any]) -> np.ndarray:
    """The map of a slice in the reference's own grid; ``about`` is told which of its slices were looked at."""
    from bids_app.imaging.slices import slice_to_grid, slices_seen

    native, looked = slice_to_grid(probability, grid, whole)
    axis, numbers = slices_seen(looked, grid, whole)
    about |= {"axis": "ijk"[axis], "looked_at": numbers, "of": int(whole.shape[axis])}
    return native


def add_areas(rows: list[dict[str, Any]], about: dict[str, Any] | None) -> None:
    """The area of every region of a slice: its volume in the slice by the slice's thickness, mm²."""
    if about is not None:
        for row in rows:
            soft = row.get("soft_mm3")
            row |= {"area_mm2": None if soft is None else round(soft / about["thickness_mm"], 3), "slice": about}


def said_of_network(bundle: Any, *, tta: bool, sequences: int) -> list[dict[str, str]]:
    """What answered, what trained it, and what it was shown."""
    from bids_app.bundle.words import network_words, training_words

    said = [sentence("network", network_words(bundle)), sentence("training", training_words(bundle))]
    if sequences > 1:
        words = "All sequences were brought onto the network's grid by a single interpolation of composed transforms."
        said.append(sentence("stack", words))
    if tta:
        words = "Predictions were averaged over left–right flips, with left and right regions swapped back."
        said.append(sentence("flips", words))
    return [one for one in said if one["text"]]


def said_of_regions(row: dict[str, Any]) -> list[dict[str, str]]:
    """On which grid the network worked, and what the volumes are."""
    grid, threshold, located = row["grid"], row["threshold"], row.get("located")
    steps = grid["spacing"] if isinstance(grid["spacing"], list) else [grid["spacing"]] * 3
    spacing, shape = " × ".join(f"{step:g}" for step in steps), " × ".join(str(n) for n in grid["shape"])
    said = [sentence("located", f"The network worked at {spacing} mm on {shape} voxels.")]
    if located:
        words = f"It looked at a crop on either side, around what the network {located['by']} labels {located['left']} "
        words += f"(left) and {located['right']} (right), and again around what it found there; the "
        words += f"{located['mirrored']} side was shown as its mirror image."
        said.append(sentence("located", words))
    if row.get("sequence"):
        words = f"It read {row['sequence']} as it came, before any correction or registration."
        said.append(sentence("located", words))
    if row.get("slice"):
        said.append(sentence("located", said_of_slice(row["slice"])))
    rule = "counts the voxels whose likeliest region it is"
    rule = rule if threshold is None else f"counts its voxels at or above {threshold:g}"
    words = "The soft volume of a region is the integral of its calibrated probability over that grid; the hard volume "
    return [*said, sentence("volumes", f"{words}{rule}.")]


def said_of_slice(about: dict[str, Any]) -> str:
    """Which slice was looked at."""
    from bids_app.scans.slices import slice_words

    return f"It looked at {slice_words(about)}; nothing is known of the other slices."
