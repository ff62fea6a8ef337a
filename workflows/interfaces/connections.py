"""Thin nodes over `bids_app.imaging.connections`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import optional, sentence


class _MapInput(BaseInterfaceInputSpec):
    sequence = traits.Str(mandatory=True)
    words = traits.Str(mandatory=True, desc="what the map is made of")
    courses = File(exists=True, mandatory=True, desc="what is left of the series in the brain, voxels by volumes, npy")
    mask = File(exists=True, mandatory=True, desc="of the brain, on the series' grid")
    matrix = traits.List(traits.List(traits.Float), mandatory=True, desc="the series' world to the reference's world")
    to_template = traits.List(traits.List(traits.Float), mandatory=True, desc="reference world to template world")


class _MapOutput(StageOutput):
    out_file = File(exists=True, desc="z on the series' grid, 0 outside the brain")


class _MapOfCourses(Stage):
    """What both nodes share: where the series lies, and how a map is written."""

    def _series(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Courses, mask, voxels to the series' world, and these to the reference's world."""
        import nibabel as nib

        image = nib.load(self.inputs.mask)
        mask = np.asarray(image.dataobj) > 0
        return np.load(self.inputs.courses), mask, image.affine, np.array(self.inputs.matrix) @ image.affine

    def _written(self, folder: Path, values: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> str:
        import nibabel as nib

        out = np.zeros(mask.shape, np.float32)
        out[mask] = values
        nib.save(nib.Nifti1Image(out, affine), folder / "map.nii")
        return str(folder / "map.nii")


class _SeedInput(_MapInput):
    points = traits.List(traits.List(traits.Float), desc="in the template's world, mm")
    radius = traits.Float(mandatory=True, desc="mm")
    labels = File(exists=True, desc="labels of a bundle on the reference's grid, where the seed is among them")
    indices = traits.List(traits.Int, desc="of the regions that are the seed")
    doubt = traits.Str(desc="why these labels cannot be right; empty where they can")


class SeedMap(_MapOfCourses):
    """Fisher's z of every voxel's correlation with the mean course of a seed."""

    input_spec, output_spec = _SeedInput, _MapOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        from bids_app.imaging.connections import seed_at_points, seed_map

        courses, mask, affine, to_reference = self._series()
        name, radius = f"the seed of {self.inputs.sequence}, {self.inputs.words},", self.inputs.radius
        if self.inputs.points:
            to_template = np.array(self.inputs.to_template) @ to_reference
            name = f"the seed of {self.inputs.sequence}"
            seed, count = seed_at_points(courses, mask, to_template, np.array(self.inputs.points), radius, name)
        else:
            seed, count = self._in_labels(courses, mask, to_reference, name)
        out = self._written(folder, seed_map(courses.astype(np.float64), seed), mask, affine)
        said = (
            f"The map {self.inputs.sequence} is Fisher's z of the correlation [@seed] of what the regression left of "
        )
        said += f"every voxel with its mean over {count} voxels, {self.inputs.words}"
        said += " (mm in the template's world)." if self.inputs.points else "."
        facts = {self.inputs.sequence: {"seed": self.inputs.words, "voxels": count}}
        told = {"methods": [sentence("functional", said)], "connections": facts}
        return {"out_file": out, "facts": told}

    def _in_labels(
        self, courses: np.ndarray, mask: np.ndarray, to_reference: np.ndarray, name: str
    ) -> tuple[np.ndarray, int]:
        """The seed among the labels of a bundle."""
        import nibabel as nib

        from bids_app.errors import ImageError
        from bids_app.imaging.connections import seed_in_labels

        if self.inputs.doubt:
            raise ImageError(f"{name} cannot be found: the labels of this head cannot be right ({self.inputs.doubt})")
        image = nib.load(optional(self.inputs.labels))
        region = np.isin(np.asarray(image.dataobj), self.inputs.indices)
        return seed_in_labels(courses, mask, to_reference, (region, image.affine), self.inputs.radius, name)


class _NetworkInput(_MapInput):
    networks = File(exists=True, mandatory=True, desc="in the template's world, 4-D, or 3-D for one network")
    digest = traits.Str(mandatory=True, desc="of that file: another content, another map")
    volume = traits.Int(mandatory=True, desc="from 1")
    freedom = traits.Int(mandatory=True, desc="degrees of freedom that the regression leaves in a course")


class NetworkMap(_MapOfCourses):
    """A network as this person has it, by dual regression."""

    input_spec, output_spec = _NetworkInput, _MapOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib

        from bids_app.imaging.connections import dual_regression, grid_places, maps_at

        courses, mask, affine, to_reference = self._series()
        image = nib.load(self.inputs.networks)
        values = image.get_fdata(dtype=np.float32)
        values = values if values.ndim == 4 else values[..., None]
        places = grid_places(mask.shape, np.array(self.inputs.to_template) @ to_reference)[mask.ravel()]
        networks = maps_at(values, image.affine, places)
        name = f"{self.inputs.sequence} ({Path(self.inputs.networks).name})"
        found, _ = dual_regression(courses, networks, self.inputs.volume - 1, self.inputs.freedom, name)
        out = self._written(folder, found, mask, affine)
        said = f"The map {self.inputs.sequence} is {self.inputs.words} by dual regression [@dual-regression]: its "
        said += f"{networks.shape[1]} networks at once onto every volume, their courses onto every voxel (z of the t "
        said += f"statistic, {self.inputs.freedom - networks.shape[1]} degrees of freedom)."
        facts = {self.inputs.sequence: {"network": self.inputs.words, "networks": networks.shape[1]}}
        told = {"methods": [sentence("functional", said)], "connections": facts}
        return {"out_file": out, "facts": told}
