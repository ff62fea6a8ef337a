"""Builds an output folder as the participant level leaves it, from any image or from a small made-up head."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nibabel as nib
import numpy as np

REGIONS = (
    {"index": 1, "name": "Left habenula", "color": "#3a86ff", "offset": (-9.0, -12.0, 3.0)},
    {"index": 2, "name": "Right habenula", "color": "#ff5a5f", "offset": (9.0, -12.0, 3.0)},
)

COLUMNS = (
    *("index", "name", "soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3", "threshold", "space"),
    *("centre_x_mm", "centre_y_mm", "centre_z_mm"),
)
FACTS = {"shape": [288, 288, 181], "zooms": [0.868, 0.868, 1.0], "orientation": "LAS", "warnings": []}


def ball(shape: tuple[int, ...], affine: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Soft ellipsoid: 1 inside, 0 outside, a ramp of about a voxel between."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    radius = np.linalg.norm((world - centre) / radii, axis=-1)
    return np.clip(0.5 + (1 - radius) * radii.mean() / np.abs(affine[0, 0]), 0, 1).astype(np.float32)


def small_head() -> tuple[np.ndarray, np.ndarray]:
    """A 4 mm head: bright ellipsoid, darker middle; shape (40, 48, 40)."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-78, -94, -78]
    shape = (40, 48, 40)
    head = ball(shape, affine, np.zeros(3), np.array([66.0, 80.0, 62.0])) * 100
    head -= ball(shape, affine, np.zeros(3), np.array([16.0, 24.0, 12.0])) * 70
    return head, affine


def write_session(
    root: Path,
    key: str = "sub-01_ses-01",
    *,
    image: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    centres: list | None = None,
    radii: tuple[float, float, float] = (7.0, 7.0, 9.0),
    sequences: tuple[str, ...] = (),
    to_template: np.ndarray | None = None,
    soft: tuple[float, float] = (16.4, 17.9),
    seconds: float = 41.2,
    participants: str | None = None,
) -> dict:
    """Write a finished session's images, table, record and status; returns the record."""
    if image is None:
        image, affine = small_head()
    mask = (image > 20).astype(np.uint8) if mask is None else mask
    folder = root / key.replace("_", "/") / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    relative = folder.relative_to(root).as_posix()
    names = {
        "reference": f"{relative}/{key}_desc-preproc_T1w.nii.gz",
        "brain_mask": f"{relative}/{key}_space-T1w_desc-brain_mask.nii.gz",
        "sequences": {s: f"{relative}/{key}_space-T1w_desc-preproc_{s}.nii.gz" for s in sequences},
        "dseg": {"habenula": f"{relative}/{key}_space-T1w_seg-habenula_dseg.nii.gz"},
        "probseg": {"habenula": f"{relative}/{key}_space-T1w_seg-habenula_probseg.nii.gz"},
        "volumes": {"habenula": f"{relative}/{key}_desc-habenula_volumes.tsv"},
    }
    centres = [np.array(r["offset"]) for r in REGIONS] if centres is None else centres
    probability = np.stack([ball(image.shape, affine, np.asarray(c), np.array(radii)) for c in centres], axis=-1)
    labels = np.where(probability.max(axis=-1) >= 0.5, probability.argmax(axis=-1) + 1, 0).astype(np.uint8)
    nib.Nifti1Image(image.astype(np.float32), affine).to_filename(root / names["reference"])
    nib.Nifti1Image(mask, affine).to_filename(root / names["brain_mask"])
    nib.Nifti1Image(probability, affine).to_filename(root / names["probseg"]["habenula"])
    nib.Nifti1Image(labels, affine).to_filename(root / names["dseg"]["habenula"])
    for shift, path in enumerate(names["sequences"].values()):
        other = np.roll(image.max() * mask - 0.7 * image, shift, axis=0).astype(np.float32)
        nib.Nifti1Image(other, affine).to_filename(root / path)
    record = fake_record(key, names, centres, soft, to_template, sequences)
    write_volumes(root / names["volumes"]["habenula"], record)
    write_logs(root, record, seconds=seconds)
    if participants is not None:
        (root / "participants.tsv").write_text(participants, encoding="utf-8")
    return record


def fake_record(key, names, centres, soft, to_template, sequences) -> dict:
    """A record with every part filled."""
    participant, _, session = key.partition("_")
    raw = f"{participant}/{session}/anat" if session else f"{participant}/anat"
    regions = [
        {
            **{k: r[k] for k in ("index", "name", "color")},
            "soft_mm3": volume,
            "soft_low_mm3": volume - 2.1,
            "soft_high_mm3": volume + 2.6,
            "hard_mm3": volume - 0.8,
            "centre_mm": [float(c) for c in centre],
            "found": True,
        }
        for r, volume, centre in zip(REGIONS, soft, centres, strict=True)
    ]
    chosen = [
        {"sequence": s, "file": f"{raw}/{key}_{s}.nii.gz", "reason": "the only one", "rejected": []}
        for s in ("T1w", *sequences)
    ]
    chosen[0]["reason"] = "highest resolution, then first run"
    chosen[0]["rejected"] = [
        {"file": f"{raw}/{key}_ce-gadolinium_T1w.nii.gz", "reason": "contrast agent; the recipe asks for none"}
    ]
    rigid = [
        {"moving": s, "fixed": "T1w", "kind": "rigid", "similarity": -0.61, "translation_mm": 1.4, "rotation_deg": 0.8}
        for s in sequences
    ]
    template = {
        "moving": "T1w",
        "fixed": "MNI152NLin2009aSym",
        "kind": "affine",
        "similarity": -0.832,
        "translation_mm": 11.2,
        "rotation_deg": 4.6,
        "scales": [1.05, 1.06, 1.21],
    }
    return {
        "participant": participant.removeprefix("sub-"),
        "session": session.removeprefix("ses-") or None,
        "key": key,
        "state": "done",
        "reason": "",
        "version": "0.1.0",
        "created": "2026-03-02T09:14:07+00:00",
        "selection": {"reference": "T1w", "sequences": chosen, "lesion_mask": None},
        "preflight": [{"file": c["file"], **FACTS} for c in chosen],
        "preprocessing": {
            "stripped": True,
            "stripped_why": "already stripped: 61 % of the box is blank, what is not measures 1376 ml",
            "brain_ml": 1376.0,
            "brain_method": "the image's own outline",
            "bias": {"method": "N4, estimated at 4 mm", "field_min": 0.81, "field_max": 1.2},
            "template": {"name": "MNI152NLin2009aSym", "source": "MNI152NLin2009aSym, packaged in nilearn"},
            "to_template": None if to_template is None else to_template.tolist(),
            "registrations": [*rigid, template],
        },
        "predictions": [
            {
                "recipe": "habenula",
                "title": "Habenula",
                "bundle": "habenula-1",
                "weights_sha256": "9f2c" * 16,
                "device": "cpu",
                "tta": False,
                "threshold": 0.5,
                "grid": {"shape": [64, 64, 64], "spacing": 0.5},
                "warnings": [],
                "regions": regions,
            }
        ],
        "provenance": {
            "tandem": "0.1.0",
            "python": "3.11.9",
            "platform": "Linux x86_64",
            "packages": {"antspyx": "0.6.3", "monai": "1.6.1", "nibabel": "5.4.0", "torch": "2.13.0"},
            "random_seed": 20240229,
            "threads": 2,
            "device": "cpu",
        },
        "stages": [
            {"name": "conform", "seconds": 1.2, "peak_rss_mb": 410},
            {"name": "bias", "seconds": 6.8, "peak_rss_mb": 890},
            {"name": "template_registration", "seconds": 14.1, "peak_rss_mb": 1240},
            {"name": "predict", "seconds": 7.7, "peak_rss_mb": 1610},
            {"name": "outputs", "seconds": 4.0, "peak_rss_mb": 920},
        ],
        "warnings": [],
        "crash": None,
        "files": names,
    }


def write_failed(
    root: Path, key: str, *, reason: str = "no T1w", exit_code: int = 66, crash: str | None = None
) -> dict:
    """Write a session that ended before any image was made."""
    participant, _, session = key.partition("_")
    record = {
        "participant": participant.removeprefix("sub-"),
        "session": session.removeprefix("ses-") or None,
        "key": key,
        "state": "failed",
        "reason": reason,
        "version": "0.1.0",
        "created": "2026-03-02T09:15:00+00:00",
        "selection": {
            "reference": "T1w",
            "sequences": [{"sequence": "T1w", "file": None, "reason": "no file with suffix T1w", "rejected": []}],
            "lesion_mask": None,
        },
        "crash": crash,
    }
    write_logs(root, record, seconds=0.6, exit_code=exit_code)
    return record


def write_logs(root: Path, record: dict, *, seconds: float, exit_code: int = 0) -> None:
    """record.json and status.json of one session."""
    folder = root / "logs" / record["key"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    status = {
        "state": record["state"],
        "reason": record["reason"],
        "exit_code": exit_code,
        "seconds": seconds,
        "peak_rss_mb": 1610,
        "stages": {},
    }
    (folder / "status.json").write_text(json.dumps(status), encoding="utf-8")


def write_volumes(path: Path, record: dict) -> None:
    """The volumes table that goes with a record."""
    columns = COLUMNS
    lines = ["\t".join(columns)]
    for region in record["predictions"][0]["regions"]:
        row = {**region, "threshold": 0.5, "space": "T1w", **dict(zip(columns[-3:], region["centre_mm"], strict=True))}
        lines.append("\t".join(str(row[c]) for c in columns))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def change(root: Path, record: dict, **parts) -> dict:
    """Write the record again with some parts replaced."""
    record = {**copy.deepcopy(record), **parts}
    (root / "logs" / record["key"] / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return record
