"""Thin nodes over `bids_app.imaging.diffusion`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import sentence


class _ComputeInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw series, 4-D")
    gradients = traits.List(File(exists=True), mandatory=True, desc="its b-values and directions")
    dataset = traits.Str(mandatory=True, desc="root of the dataset, up to which b-values are looked for")


class _ComputeOutput(StageOutput):
    trace = File(exists=True)
    adc = File(exists=True, desc="1e-3 mm²/s")


class ComputeDiffusion(Stage):
    """Trace image and ADC map of a raw series."""

    input_spec, output_spec = _ComputeInput, _ComputeOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.bids.gradients import read_bvalues, read_directions
        from bids_app.imaging.diffusion import trace_and_adc
        from bids_app.imaging.voxels import used_axes

        path, root = Path(self.inputs.in_file), Path(self.inputs.dataset)
        image = nib.load(path)
        volumes = used_axes(image.shape, 4)[3]
        bvalues = read_bvalues(path, root, volumes)
        directions, told = read_directions(path, root, volumes)
        series = image.get_fdata(dtype=np.float32, caching="unchanged")
        made = trace_and_adc(series.reshape(*image.shape[:3], volumes), bvalues, directions)
        outputs = {name: folder / f"{name}.nii" for name in ("trace", "adc")}
        for name, values in (("trace", made.trace), ("adc", made.adc)):
            nib.save(nib.Nifti1Image(values, image.affine), outputs[name])
        beside = [Path(name).name for name in self.inputs.gradients]
        facts: dict[str, Any] = {"diffusion": {"series": path.name, "gradients": beside, **made.facts}}
        warnings = [*told, *(f"{path.name}: {text}" for text in made.warnings)]
        facts |= {"warnings": warnings, "methods": [sentence("diffusion", said_of_series(made.facts))]}
        return {**{name: str(one) for name, one in outputs.items()}, "facts": facts}


class _MapInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="ADC map")
    source = traits.Str(mandatory=True, desc="the raw file, for messages")


class _MapOutput(StageOutput):
    out_file = File(exists=True)


class CommonUnit(Stage):
    """An ADC map in 1e-3 mm²/s, whatever it came in."""

    input_spec, output_spec = _MapInput, _MapOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.errors import ImageError
        from bids_app.imaging.diffusion import to_common_unit

        image = nib.load(self.inputs.in_file)
        try:
            values, unit = to_common_unit(np.asarray(image.dataobj))
        except ImageError as error:
            raise ImageError(f"{self.inputs.source}: {error}") from error
        out = folder / "adc.nii"
        nib.save(nib.Nifti1Image(values, image.affine, image.header), out)
        adc = {"came_in": unit.name, "factor": unit.factor, "unit": "1e-3 mm2/s", "tissue_median": unit.median}
        warnings = [f"{Path(self.inputs.source).name}: {text}" for text in unit.warnings]
        came = str(unit.name).replace("mm2", "mm²")
        said = f"The ADC map came in {came} and was used in 1e-3 mm²/s, without correction of its brightness."
        facts = {"adc": adc, "warnings": warnings, "methods": [sentence("unit", said)]}
        return {"out_file": str(out), "facts": facts}


class _PairInput(_MapInput):
    reference = File(exists=True, mandatory=True, desc="trace image")


class _PairOutput(StageOutput):
    matrix = traits.List(traits.List(traits.Float), desc="always that of no movement")


class CheckPair(Stage):
    """An ADC map lies where its trace image lies by world coordinates, or the session ends."""

    input_spec, output_spec = _PairInput, _PairOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.errors import ImageError
        from bids_app.imaging.diffusion import check_pair

        trace, adc = nib.load(self.inputs.reference), nib.load(self.inputs.in_file)
        try:
            facts, warnings = check_pair(np.asarray(trace.dataobj), trace.affine, np.asarray(adc.dataobj), adc.affine)
        except ImageError as error:
            raise ImageError(f"{self.inputs.source}: {error}") from error
        said = "The ADC map was taken to lie where the trace image of the same series lies, by world coordinates."
        told = {"pair": facts, "warnings": warnings, "methods": [sentence("pair", said)]}
        return {"matrix": np.eye(4).tolist(), "facts": told}


def said_of_series(facts: dict[str, Any]) -> str:
    """How trace image and ADC map were computed."""
    shells = [f"{shell['b']:g}" for shell in facts.get("shells") or []]
    named = " and ".join(filter(None, [", ".join(shells[:-1]), *shells[-1:]]))
    return (
        f"Trace image and ADC were computed from the raw diffusion series (b = 0 and {named} s/mm²): the ADC as the "
        f"slope of the logarithm of the signal over b [@stejskal-tanner], the trace image as the "
        f"{facts.get('trace_mean')} mean over directions at b = {facts.get('trace_b', 0):g} s/mm² [@diffusion-tensor]. "
        "Movement and eddy currents were not corrected."
    )
