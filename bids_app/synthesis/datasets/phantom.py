"""Phantom BIDS datasets: synthetic participants with known truth, for the demo, the tests and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from bids_app import __version__
from bids_app.bids.files import whole_folder, write_text
from bids_app.errors import UsageError
from bids_app.synthesis.datasets.files import (
    TRUTH,
    save_image,
    scanner_fields,
    truth_fields,
    write_description,
    write_json,
    write_labels,
    write_table,
)
from bids_app.synthesis.heads.head import PhantomHead, draw_head, draw_pose, draw_volumes
from bids_app.synthesis.scanner import physics, signal

REGIONS = (("left", 1, "Habenula left", "Hb-L", "#E69F00"), ("right", 2, "Habenula right", "Hb-R", "#56B4E9"))
# Orientations and obliqueness as met in practice; a session draws one.
AXES = ("RAS", "LIA", "PSR", "LAS", "RPI")
# Simulated effects on the volume of a habenula, mm³ (stated in the dataset's README, so that they can be looked for).
DIAGNOSIS_SHIFT_MM3 = {"control": 0.5, "depression": -0.5}
AGE_SLOPE_MM3 = -0.03
MIDDLE_AGE = 45.0

README = """Phantom dataset
===============

Synthetic brain MRI made by Tandem {version}. No person was scanned: not for clinical or scientific conclusions.

Anatomy: the ICBM152 template that nilearn carries, deformed anew for every participant, with habenulae of known volume.
Each habenula loses {slope:g} mm3 a year of age, and {gap:g} mm3 in the group `depression` against `control`.
The effects are simulated. Sessions of one participant share the anatomy and differ in head position, contrast and
noise.

`derivatives/manual` holds the truth: masks of the habenulae (1 left, 2 right), the share of each voxel that they fill,
and tables with their exact volumes.

Made with: participants {n}, seed {seed}, sequences {sequences}, voxels {spacing} mm.
"""


@dataclass(frozen=True)
class _Person:
    label: str
    age: int
    sex: str
    diagnosis: str
    head: PhantomHead
    whole_head: bool
    sessions: tuple[str | None, ...]


@dataclass(frozen=True)
class _Plan:
    seed: int
    sequences: tuple[str, ...]
    spacing: tuple[float, float, float]
    axes: str | None
    noise: float


def write_phantom_dataset(
    directory: str | Path,
    *,
    n: int = 4,
    seed: int = 0,
    sequences: Sequence[str] = ("T1w",),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    two_sessions: int = 1,
    whole_head: float = 0.5,
    axes: str | None = None,
    noise: float = 0.025,
) -> dict:
    """Write a BIDS dataset of phantom participants, with truth in ``derivatives/manual``.

    The same arguments give the same bytes. The dataset appears whole or not at all.

    Args:
        directory: a folder that does not exist yet, or is empty.
        n: participants.
        seed: of everything drawn.
        sequences: of ``T1w``, ``T2w``, ``FLAIR``.
        spacing: voxel size, mm, right-left, anterior-posterior, inferior-superior.
        two_sessions: how many participants (the first ones) come twice; with none, there are no session folders.
        whole_head: share of the participants whose scans show skull and scalp; the others are skull-stripped.
        axes: orientation of all arrays, for example ``"LIA"``; one is drawn for each session when not given.
        noise: standard deviation as a share of the signal of white matter.

    Returns:
        What was made: ``directory``, ``participants`` (one dict each), ``scans`` (paths relative to ``directory``),
        ``truth`` (one dict for each session and side, with ``volume_mm3``).

    Raises:
        UsageError: ``n`` below 1, an unknown sequence, or another argument out of range.
        CannotWrite: the folder is not empty or cannot be made.
    """
    size = cast(tuple[float, float, float], tuple(float(s) for s in spacing))  # `_check` counts them
    plan = _Plan(seed, tuple(sequences), size, axes, noise)
    _check(n, plan, two_sessions, whole_head)
    directory, scans, truth = Path(directory), [], []
    people = [_draw_person(i, n, seed, two_sessions, whole_head) for i in range(n)]
    with whole_folder(directory) as staging:
        _write_top(staging, people, plan)
        for index, person in enumerate(people):
            for number, session in enumerate(person.sessions):
                made = _write_session(staging, index, person, number, session, plan)
                scans += made[0]
                truth += made[1]
    return {"directory": directory, "participants": [_row(p) for p in people], "scans": scans, "truth": truth}


def _check(n: int, plan: _Plan, two_sessions: int, whole_head: float) -> None:
    if n < 1:
        raise UsageError(f"a phantom dataset needs at least 1 participant, not {n}")
    unknown = [s for s in plan.sequences if s not in signal.SEQUENCES]
    if unknown or not plan.sequences:
        raise UsageError(
            f"unknown sequence {', '.join(unknown) or '(none)'}; phantoms have {', '.join(signal.SEQUENCES)}"
        )
    if len(set(plan.sequences)) != len(plan.sequences):
        raise UsageError(f"a sequence is named twice in {', '.join(plan.sequences)}")
    if len(plan.spacing) != 3 or not all(0.3 <= s <= 10 for s in plan.spacing):
        raise UsageError(f"voxel size {plan.spacing} must be three numbers from 0.3 to 10 mm")
    if not 0 <= two_sessions <= n:
        raise UsageError(f"participants with two sessions must be 0 to {n}, not {two_sessions}")
    if not 0 <= whole_head <= 1:
        raise UsageError(f"the share of whole heads must lie in [0, 1], not {whole_head}")
    if plan.seed < 0:
        raise UsageError(f"the seed must not be negative, not {plan.seed}")


def _draw_person(index: int, n: int, seed: int, two_sessions: int, whole_head: float) -> _Person:
    rng = np.random.default_rng([seed, index, 0])
    age = int(rng.integers(20, 71))
    diagnosis = ("depression", "control")[index % 2]
    shift = DIAGNOSIS_SHIFT_MM3[diagnosis] + AGE_SLOPE_MM3 * (age - MIDDLE_AGE)
    sex = "FM"[int(rng.integers(2))]
    widening = float(np.clip(0.3 + 0.015 * (age - MIDDLE_AGE) + rng.normal(0, 0.25), -0.4, 1.1))
    head = draw_head(rng, volumes=draw_volumes(rng, shift=shift), widening=widening)
    whole = int((index + 1) * whole_head + 1e-9) > int(index * whole_head + 1e-9)
    labels: tuple[str | None, ...] = (None,) if two_sessions == 0 else ("01", "02")[: 1 + (index < two_sessions)]
    return _Person(f"{index + 1:0{max(2, len(str(n)))}d}", age, sex, diagnosis, head, whole, labels)


def _row(person: _Person) -> dict:
    return {
        "participant_id": f"sub-{person.label}",
        "age": person.age,
        "sex": person.sex,
        "diagnosis": person.diagnosis,
    }


def _write_session(root: Path, index: int, person: _Person, number: int, session: str | None, plan: _Plan):
    """Write the scans of one session and its truth; the first sequence is the one that labels are drawn on."""
    rng = np.random.default_rng([plan.seed, index, 1 + number])
    pose = draw_pose(rng)
    axes = plan.axes or AXES[int(rng.integers(len(AXES)))]
    parts = [f"sub-{person.label}"] + ([f"ses-{session}"] if session else [])
    folder, stem = Path(*parts) / "anat", "_".join(parts)
    scans, truth = [], []
    for position, sequence in enumerate(plan.sequences):
        # Between two sequences of a session a head moves a little.
        moved = pose if position == 0 else draw_pose(rng, turn_deg=0.5, shift_mm=0.5) @ pose
        oblique = tuple(rng.normal(0, 3, 3))
        grid = signal.acquisition_grid(
            person.head, moved, spacing=plan.spacing, axes=axes, oblique_deg=oblique, whole_head=person.whole_head
        )
        gain, bias = float(np.exp(rng.normal(np.log(700), 0.3))), float(rng.uniform(0.05, 0.15))
        scan = signal.PhantomScan(sequence, grid, moved, person.whole_head, plan.noise, bias, gain)
        path = folder / f"{stem}_{sequence}.nii.gz"
        image = np.round(signal.render(person.head, scan, rng)).astype(np.int16)
        fields = scanner_fields(signal.FIELD_TESLA, physics.pulse_sequence(sequence, signal.FIELD_TESLA))
        write_json(save_image(root / path, image, grid.affine), {**fields, "SkullStripped": not person.whole_head})
        scans.append(path.as_posix())
        if position == 0:
            truth = _write_truth(root / TRUTH / folder, stem, person, scan, truth_fields(path.as_posix()))
    return scans, [{"participant": person.label, "session": session, **row} for row in truth]


def _write_truth(folder: Path, stem: str, person: _Person, scan: signal.PhantomScan, fields: dict) -> list[dict]:
    shares = signal.fractions(person.head, scan)
    soft = np.zeros((*scan.grid.shape, 2), dtype=np.float32, order="F")
    hard = np.zeros(scan.grid.shape, dtype=np.uint8)
    rows, voxel = [], float(np.prod(scan.grid.spacing))
    for side, index, title, *_ in REGIONS:
        box, share = shares[side]
        place: tuple[slice | int, ...] = (*box, index - 1)
        soft[place] = share
        hard[box][share >= 0.5] = index
        solid = person.head.habenulae[side].moved(scan.pose)
        sums = float(soft[..., index - 1].sum(dtype=float)) * voxel, int((share >= 0.5).sum()) * voxel
        row = {"index": index, "name": title, "volume_mm3": round(solid.volume, 4), "soft_mm3": round(sums[0], 4)}
        row |= {"hard_mm3": round(sums[1], 4), "space": "orig"}
        rows.append(row | {f"centre_{a}_mm": round(float(c), 4) for a, c in zip("xyz", solid.centre, strict=True)})
    start, names = folder / f"{stem}_space-orig_seg-habenula", [short for *_, short, _ in REGIONS]
    write_labels(start, hard, soft, names, scan.grid.affine, {**fields, "Manual": True})
    table = write_table(folder / f"{stem}_desc-habenula_volumes.tsv", rows)
    write_json(table.with_suffix(".json"), VOLUME_COLUMNS)
    return rows


VOLUME_COLUMNS = {
    "index": {"Description": "Value of the region in the dseg image"},
    "name": {"Description": "Region"},
    "volume_mm3": {"Description": "Volume of the solid that was drawn", "Units": "mm^3"},
    "soft_mm3": {"Description": "Sum of the share of each voxel that the region fills", "Units": "mm^3"},
    "hard_mm3": {"Description": "Volume of the voxels that are at least half filled", "Units": "mm^3"},
    "space": {"Description": "Space of the centre: the scanner coordinates of the labelled image"},
    **{f"centre_{a}_mm": {"Description": f"Centre of the region, {a} (RAS)", "Units": "mm"} for a in "xyz"},
}


def _write_top(root: Path, people: list[_Person], plan: _Plan) -> None:
    readme = README.format(
        version=__version__,
        slope=-AGE_SLOPE_MM3,
        gap=DIAGNOSIS_SHIFT_MM3["control"] - DIAGNOSIS_SHIFT_MM3["depression"],
        n=len(people),
        seed=plan.seed,
        sequences=", ".join(plan.sequences),
        spacing=" x ".join(f"{s:g}" for s in plan.spacing),
    )
    write_description(root, "Tandem phantom", readme)
    write_table(root / "participants.tsv", [_row(p) for p in people])
    write_json(root / "participants.json", PARTICIPANT_COLUMNS)
    truth = "Known truth of the phantom dataset two folders up: habenulae, 1 left and 2 right.\n"
    write_description(root / TRUTH, "Truth of the Tandem phantom", truth, truth=True)
    write_text(root / TRUTH / ".bidsignore", "*_volumes.tsv\n*_volumes.json\n")
    rows = [{"index": i, "name": title, "abbreviation": short, "color": c} for _, i, title, short, c in REGIONS]
    write_table(root / TRUTH / "seg-habenula_dseg.tsv", rows)
    told = [{"desc_id": "desc-habenula", "description": "Volume and centre of each habenula as drawn"}]
    write_table(root / TRUTH / "descriptions.tsv", told)


PARTICIPANT_COLUMNS = {
    "age": {"Description": "Simulated age", "Units": "years"},
    "sex": {"Description": "Simulated sex; has no effect on the images", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {
        "Description": "Simulated group; habenulae are drawn smaller in depression, see README",
        "Levels": {"control": "no disorder", "depression": "depressive disorder"},
    },
}
