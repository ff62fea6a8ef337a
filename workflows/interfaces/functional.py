"""Thin nodes over `bids_app.imaging.functional`, `bids_app.imaging.motion` and `bids_app.imaging.parcels`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, isdefined, traits

from bids_app.recipes.seeds import CONNECTION_MAPS
from bids_app.recipes.series import SERIES, SERIES_MAPS, STEP_S
from workflows.interfaces.base import Stage, StageOutput
from workflows.interfaces.imaging import sentence
from workflows.interfaces.outputs import Write, WriteInput, own_entities, relative_name

if TYPE_CHECKING:
    from bids_app.bids.functional import Timing

#: All that is computed from a series: maps, what is left of the series itself, and maps of its connections.
FROM_SERIES = (*SERIES_MAPS, SERIES, *CONNECTION_MAPS)
#: Mean framewise displacement, mm, above which the page warns; Power 2014 (NeuroImage 84:320-341) has 0.2 to 0.5.
MUCH_MOTION_MM = 0.5


class _ComputeInput(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="raw series, or fMRIPrep's, 4-D")
    metadata = traits.Dict(mandatory=True, desc="of its sidecars")
    series = traits.Bool(False, usedefault=True, desc="what is left of the series is wanted, too")
    maps = traits.Bool(True, usedefault=True, desc="ALFF, fALFF or ReHo is wanted: said in the methods text")


class _ComputeOutput(StageOutput):
    mean = File(exists=True, desc="mean volume of the still head")
    alff = File(exists=True)
    falff = File(exists=True)
    reho = File(exists=True)
    courses = File(exists=True, desc="what is left of the series in the band, voxels of the mask by volumes")
    mask = File(exists=True, desc="of the brain, on the series' grid")
    carpet = File(exists=True, desc="picture of the series before the regression, png")
    bold = File(exists=True, desc="what is left of the series in the band, 4-D, where it is wanted")
    freedom = traits.Int(desc="degrees of freedom of what is left")


@dataclass(frozen=True)
class Series:
    """A series of a still head, and what was found on the way.

    Attributes:
        frames: ``(x, y, z, t)``, from the steady state on.
        mask: of the brain, ``(x, y, z)``.
        motion: ``(t, 6)``, mm and radians.
        displacement, dvars: of each volume, mm and per cent, ``(t,)``.
        dropped: first volumes before the steady state.
        lost: volumes whose motion could not be followed.
    """

    frames: np.ndarray
    mask: np.ndarray
    motion: np.ndarray
    displacement: np.ndarray
    dvars: np.ndarray
    dropped: int
    lost: int = 0


class ComputeFunctional(Stage):
    """Maps of a resting-state series: a raw one, or one that fMRIPrep preprocessed, which is taken as it is."""

    input_spec, output_spec = _ComputeInput, _ComputeOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        import nibabel as nib
        from PIL import Image

        from bids_app.bids.fmriprep import made_by_fmriprep
        from bids_app.bids.functional import header_repetition, read_timing
        from bids_app.bids.naming import parse_name
        from bids_app.imaging import functional
        from bids_app.imaging.carpet import carpet

        path = Path(self.inputs.in_file)
        image, prepared = nib.load(path), made_by_fmriprep(path)
        header_tr = header_repetition(image)
        timing = read_timing(path, self.inputs.metadata, image.shape, header_tr, prepared=prepared)
        series = prepared_series(path, image) if prepared else raw_series(image, timing)
        mask, volumes = series.mask, series.frames.shape[-1]
        nuisance = functional.motion_columns(series.motion, volumes)
        maps = functional.maps_of(series.frames, mask, timing.tr, nuisance)
        outputs = {
            "mean": np.where(mask, series.frames.mean(-1), 0),
            "alff": maps.alff,
            "falff": maps.falff,
            "reho": maps.reho,
            "mask": mask,
        }
        for name, values in outputs.items():
            nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), folder / f"{name}.nii")
        np.save(folder / "courses.npy", maps.courses)
        more = {"courses": str(folder / "courses.npy"), "carpet": str(folder / "carpet.png")}
        if self.inputs.series:
            more[SERIES] = str(write_series(folder / f"{SERIES}.nii", maps.courses, mask, image.affine, timing.tr))
        Image.fromarray(carpet(series.frames, mask, image.affine)).save(folder / "carpet.png", optimize=True)
        moved, change = series.displacement, series.dvars
        facts: dict[str, Any] = {
            "series": path.name, "tr_s": timing.tr, "volumes": volumes, "dropped": series.dropped,
            "slice_timing": timing.slices is not None, "nuisance": nuisance.shape[1],
            "mean_fd_mm": float(moved[1:].mean()), "largest_fd_mm": float(moved.max()),
            "mean_dvars": float(change[1:].mean()), "tsnr": float(np.median(maps.tsnr[mask])),
            "fd_mm": [round(float(v), 3) for v in moved], "dvars": [round(float(v), 3) for v in change],
        }  # fmt: skip
        facts |= {"prepared_by": "fMRIPrep", "space": parse_name(path)[0].get("space")} if prepared else {}
        told = {
            "functional": facts,
            "warnings": [*timing.warnings, *doubts(path.name, facts, series.lost)],
            "methods": [sentence("functional", said_of_maps(facts, maps=self.inputs.maps))],
        }
        files = {name: str(folder / f"{name}.nii") for name in outputs}
        return {**files, **more, "freedom": maps.freedom, "facts": told}


def write_series(path: Path, courses: np.ndarray, mask: np.ndarray, affine: np.ndarray, tr: float) -> Path:
    """What is left of a series as a network of frames wants it: a frame every `STEP_S`, spread 1 over the brain."""
    import nibabel as nib

    from bids_app.imaging.series import evenly_timed, in_one_spread, placed_frames

    frames = placed_frames(in_one_spread(evenly_timed(courses, tr, STEP_S)), mask)
    image = nib.as_closest_canonical(nib.Nifti1Image(frames, affine))
    image.header.set_zooms((*image.header.get_zooms()[:3], STEP_S))
    nib.save(image, path)
    return path


def raw_series(image: Any, timing: Timing) -> Series:
    """Volumes before the steady state dropped, slices at one time, motion estimated and taken out, brain found."""
    from bids_app.imaging import functional
    from bids_app.imaging.motion import estimate_motion, realigned

    frames = image.get_fdata(dtype=np.float32, caching="unchanged")
    dropped = functional.settling_frames(frames)
    frames = frames[..., dropped:]
    if timing.slices is not None:
        frames = functional.corrected_timing(frames, timing.slices, timing.tr)
    spacing = np.array([float(z) for z in image.header.get_zooms()[:3]])
    rough = brain_of(frames.mean(-1), image.affine)
    motion = estimate_motion(frames, spacing, rough, frames[..., frames.shape[-1] // 2])
    frames = realigned(frames, spacing, motion)
    mask = brain_of(frames.mean(-1), image.affine)
    change, lost = functional.dvars(frames, mask), int((~motion.converged).sum())
    return Series(frames, mask, motion.parameters, motion.displacement, change, dropped, lost)


def prepared_series(path: Path, image: Any) -> Series:
    """fMRIPrep's series with its mask, motion, framewise displacement and DVARS.

    Raises:
        DataError, ImageError: a table or a mask that does not belong to it.
    """
    import nibabel as nib

    from bids_app.bids.fmriprep import check_beside, confounds_beside, mask_beside, read_confounds

    check_beside(path, image.shape)
    table = read_confounds(confounds_beside(path), image.shape[3])
    mask = np.asarray(nib.load(mask_beside(path)).dataobj) > 0
    first = table.unsteady
    frames = image.get_fdata(dtype=np.float32, caching="unchanged")[..., first:]
    mask &= frames.any(-1)  # fMRIPrep's mask may reach beyond the field of view
    moved, change = table.displacement[first:].copy(), table.dvars[first:].copy()
    moved[0] = change[0] = 0
    return Series(frames, mask, table.motion[first:], moved, change, first)


class _BackInput(BaseInterfaceInputSpec):
    to_template = traits.List(traits.List(traits.Float), mandatory=True, desc="reference world to template world")
    in_file = File(exists=True, mandatory=True, desc="the series")


class _BackOutput(StageOutput):
    matrix = traits.List(traits.List(traits.Float), desc="template world to reference world")


class PlaceByTemplate(Stage):
    """Where a series in the template's space lies on the reference: the way back of its affine registration."""

    input_spec, output_spec = _BackInput, _BackOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        matrix = np.linalg.inv(np.array(self.inputs.to_template)).tolist()
        told = f"{Path(self.inputs.in_file).name} is in the template's space and was brought back by the affine part "
        told += "of the reference's registration alone; fMRIPrep's --output-spaces T1w gives maps that lie better"
        return {"matrix": matrix, "facts": {"warnings": [told]}}


class _SeriesInput(WriteInput):
    carpet = File(exists=True, mandatory=True, desc="picture of the series")
    courses = File(exists=True, mandatory=True, desc="voxels of the mask by volumes, npy")
    mask = File(exists=True, mandatory=True)
    matrix = traits.List(traits.List(traits.Float), mandatory=True, desc="the series' world to the reference's world")
    to_template = traits.List(traits.List(traits.Float), desc="reference world to template world, where there is one")


class WriteSeries(Write):
    """The picture of a resting-state series and, where there is a template, its mean courses in cubes of that world."""

    input_spec = _SeriesInput

    def _work(self, folder: Path) -> dict[str, Any]:
        _, selection, sink = self.begin()
        name = next(name for name, choice in selection.choices.items() if choice.computed in FROM_SERIES)
        own = {key: value for key, value in own_entities(selection, name).items() if key != "label"}
        picture = sink.file(
            Path(self.inputs.carpet), "bold", ".png", **{**own, "desc": "carpet", "datatype": "figures"}
        )
        files = {"carpet": relative_name(sink, picture)}
        if isdefined(self.inputs.to_template):
            files["courses"] = relative_name(sink, self._courses(sink, own))
        return self.ended(sink, files)

    def _courses(self, sink: Any, own: dict[str, str]) -> Path:
        """A table with a row per volume and a column per cube."""
        import nibabel as nib

        from bids_app.imaging.parcels import CUBE_MM, cube_courses, cube_names

        image = nib.load(self.inputs.mask)
        place = np.array(self.inputs.to_template) @ np.array(self.inputs.matrix)
        courses = np.load(self.inputs.courses)
        means = cube_courses(courses, np.asarray(image.dataobj) > 0, image.affine, place)
        names = cube_names()
        what = f"mean course in a cube of {CUBE_MM:g} mm of the template's world (its middle: mm to the right, to the "
        what += "front, upwards) after one regression of motion and of what lies outside 0.01 to 0.1 Hz; n/a where the "
        columns = {name: {"Description": what + "series fills less than a quarter of it"} for name in names}
        rows = [dict(zip(names, row, strict=True)) for row in means.tolist()]
        return sink.table(rows, "timeseries", columns=columns, **{**own, "desc": "cubes"})


def brain_of(mean: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Brain of a mean volume, by the histogram (nilearn); everything above zero where that finds nothing."""
    import nibabel as nib
    from nilearn.masking import compute_epi_mask

    try:
        mask = np.asarray(compute_epi_mask(nib.Nifti1Image(mean, affine), ensure_finite=True).dataobj) > 0
    except (ValueError, TypeError):
        mask = np.zeros(mean.shape, bool)
    return mask if mask.sum() >= 100 else mean > 0.2 * np.percentile(mean, 99)


def doubts(name: str, facts: dict[str, Any], lost: int) -> list[str]:
    """What to look at."""
    told = []
    if facts["mean_fd_mm"] > MUCH_MOTION_MM:
        told.append(
            f"{name}: the head moved {facts['mean_fd_mm']:.2f} mm from volume to volume on average (more than "
            f"{MUCH_MOTION_MM:g}): maps show motion as well as activity"
        )
    if facts["nuisance"] < 24:
        told.append(
            f"{name}: {facts['volumes']} volumes allow {facts['nuisance']} columns of motion of 24 in the regression"
        )
    if lost:
        told.append(f"{name}: the motion of {lost} volumes could not be followed to the end")
    return told


def said_of_maps(facts: dict[str, Any], *, maps: bool = True) -> str:
    """How the maps were made, or what is left of the series where no such map is wanted."""
    count = facts["dropped"]
    gone = f"first {count} volumes" if count > 1 else "first volume"
    were = "were" if count > 1 else "was"
    first = f"The {gone} {were} dropped; " if count else ""
    timing = "slice timing was corrected, " if facts["slice_timing"] else ""
    before = f"{first}{timing}rigid motion was estimated by least squares and taken out."
    if facts.get("prepared_by"):
        first = f"; the {gone}, before the steady state, {were} dropped" if count else ""
        before = f"The resting-state series, its brain mask and its motion are those of fMRIPrep [@fmriprep]{first}."
    placed = "The mean volume was registered to the reference."
    if facts.get("space") not in (None, "T1w"):
        placed = f"The maps were brought from {facts['space']} to the reference by its affine registration."
    if not maps:
        gone = f"{facts['nuisance']} columns of motion and all frequencies outside 0.01 to 0.1 Hz"
        return f"{before} From {facts['volumes']} volumes {gone} were taken out in one regression. {placed}"
    return (
        f"{before} Maps of the amplitude of slow "
        "fluctuations (ALFF, fALFF; 0.01 to 0.1 Hz) [@alff; @falff] and of regional homogeneity (ReHo, 27 neighbours) "
        f"[@reho] were made from {facts['volumes']} volumes after {facts['nuisance']} columns of motion; for ReHo "
        "these and all frequencies outside the band were taken out in one regression. Each map was divided by its "
        f"mean in the brain. {placed}"
    )
