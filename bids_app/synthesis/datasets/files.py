"""Files of simulated BIDS datasets: images, sidecars, tables, descriptions, and the truth as labels and shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app import __version__
from bids_app.bids.dataset import BIDS_VERSION
from bids_app.bids.files import write_text, write_whole
from bids_app.bids.sink import tsv, write_gzip
from bids_app.synthesis.scanner.physics import PulseSequence

#: Where the truth lies, below the dataset.
TRUTH = Path("derivatives") / "manual"
#: Kinds of sequences as BIDS names them (PulseSequenceType).
PULSES = {
    "MPRAGE": "MPRAGE",
    "MP2RAGE": "MP2RAGE",
    "SE": "Spin Echo",
    "TSE": "Turbo Spin Echo",
    "FLAIR": "Inversion Recovery Spin Echo",
    "DWI": "Diffusion EPI",
    "ADC": "Diffusion EPI",
}


def save_image(path: Path, array: np.ndarray, affine: np.ndarray, *, frame_s: float | None = None) -> Path:
    """Write a NIfTI image whose bytes depend on the arguments alone (no time or name inside).

    ``frame_s`` is the time between the frames of a 4-D series, seconds.
    """
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec" if array.ndim == 4 else None)
    if frame_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_s))
    return write_whole(path, lambda stream: write_gzip(image, stream))


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """A JSON file; of an image, its sidecar."""
    path = path.with_name(path.name.replace(".nii.gz", ".json"))
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A tab-separated table from one mapping per row."""
    return write_text(path, tsv(list(rows)))


def write_description(folder: Path, name: str, readme: str, *, truth: bool = False) -> None:
    """``dataset_description.json`` and ``README``; ``truth``: of the derivative two folders below the raw dataset."""
    made = {"Name": "Tandem", "Version": __version__, "Description": "Synthetic images; no person was scanned"}
    about: dict[str, Any] = {"Name": name, "DatasetType": "derivative" if truth else "raw"}
    about |= {"BIDSVersion": BIDS_VERSION, "License": "CC0", "Authors": ["The Tandem developers"]}
    about["GeneratedBy"] = [made]
    if truth:
        about |= {"SourceDatasets": [{"URL": "../../"}], "DatasetLinks": {"raw": "../../"}}
    write_json(folder / "dataset_description.json", about)
    write_text(folder / "README", readme)


def scanner_fields(field_tesla: float, how: PulseSequence | None = None) -> dict[str, Any]:
    """Fields of a sidecar that say which scanner it was and, given ``how``, with which sequence."""
    fields = {"Manufacturer": "Tandem phantom", "MagneticFieldStrength": field_tesla, "MRAcquisitionType": "3D"}
    return fields if how is None else {**fields, "PulseSequenceType": PULSES[how.kind], **how.sidecar()}


def truth_fields(scan: str) -> dict[str, Any]:
    """Sidecar fields of what was drawn for a scan, a path relative to the raw dataset."""
    source = f"bids:raw:{scan}"
    return {"Sources": [source], "SpatialReference": source}


def write_labels(
    start: Path, hard: np.ndarray, soft: np.ndarray, names: Sequence[str], affine: np.ndarray, fields: Mapping[str, Any]
) -> None:
    """Labels and shares as ``<start>_dseg.nii.gz`` and ``<start>_probseg.nii.gz``.

    Args:
        hard: uint8, ``(x, y, z)``.
        soft: share of every voxel that each region fills, float32, ``(x, y, z, regions)``.
        names: of the regions.
        fields: of both sidecars.
    """
    for suffix, image, more in (("dseg", hard, {}), ("probseg", soft, {"LabelMap": list(names)})):
        path = save_image(start.with_name(f"{start.name}_{suffix}.nii.gz"), image, affine)
        write_json(path, {**fields, **more})
