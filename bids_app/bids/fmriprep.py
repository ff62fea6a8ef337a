"""What fMRIPrep made of a resting-state series: the preprocessed series, its brain mask and its table of confounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.naming import IMAGE_EXTENSIONS, parse_name
from bids_app.bids.preflight import check_image
from bids_app.bids.selection import Candidate, Choice
from bids_app.bids.tables import read_numbers
from bids_app.errors import DataError, ImageError
from bids_app.text import TextError, read_json

#: Name of the derivative that `-d fmriprep=PATH` gives.
FMRIPREP = "fmriprep"
#: Spaces that are taken, the first that is there: that of the T1w, or one near to the template of this program.
SPACES = ("T1w", "MNI152NLin2009cAsym", "MNI152NLin2009aSym", "MNI152NLin2009aAsym", "MNI152NLin2009cSym")
#: Columns of rigid motion in fMRIPrep's table, mm and radians.
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
FD, DVARS, UNSTEADY = "framewise_displacement", "dvars", "non_steady_state_outlier"
#: What of a name differs between a series in several spaces, its mask and its table.
_APART = ("space", "res", "den", "desc", "cohort")
_AGAIN = "run fMRIPrep again with --output-spaces T1w, or leave -d fmriprep=PATH out"


@dataclass(frozen=True)
class Confounds:
    """What is used of fMRIPrep's table, a row per volume.

    Attributes:
        motion: ``(t, 6)``, mm and radians.
        displacement: framewise displacement, mm, ``(t,)``; 0 for the first volume.
        dvars: ``(t,)``, per cent; 0 for the first volume.
        unsteady: how many first volumes were taken before the steady state.
    """

    motion: np.ndarray
    displacement: np.ndarray
    dvars: np.ndarray
    unsteady: int


def made_by_fmriprep(path: Path | str | None) -> bool:
    """Whether a series is preprocessed, by its name."""
    return path is not None and parse_name(path)[0].get("desc") == "preproc"


def template_of(path: Path | str) -> str | None:
    """The template in whose space a preprocessed series is; None for that of the participant's own T1w."""
    space = parse_name(path)[0].get("space")
    return None if space == "T1w" else space


def mask_beside(path: Path) -> Path:
    """Where the brain mask of a preprocessed series is expected."""
    return path.with_name(path.name.replace("_desc-preproc_bold", "_desc-brain_mask"))


def confounds_beside(path: Path) -> Path:
    """The table of confounds of a preprocessed series: by its name since fMRIPrep 20.2, or before."""
    kept = "_".join(
        part for part in path.name.partition(".")[0].split("_")[:-1] if part.partition("-")[0] not in _APART
    )
    new, old = (path.with_name(f"{kept}_desc-confounds_{suffix}.tsv") for suffix in ("timeseries", "regressors"))
    return old if old.is_file() and not new.is_file() else new


def choose_prepared(root: Path, participant: str, session: str | None, raw: Choice, suffix: str) -> Choice:
    """The preprocessed series in place of a raw one, with its mask and confounds.

    Args:
        root: fMRIPrep's output folder.
        raw: the choice without it; where it has a series, that of the same run is looked for.
        suffix: of the map that is computed.

    Returns:
        A choice without a path, with the reason, where something is not there.
    """
    home = Path(root).absolute() / f"sub-{participant}" / (f"ses-{session}" if session else "") / "func"
    series = [p for p in sorted(home.glob("*_desc-preproc_bold.nii*")) if p.name.endswith(IMAGE_EXTENSIONS)]
    wanted = parse_name(raw.path)[0] if raw.path is not None and raw.computed else {}
    own = {key: value for key, value in wanted.items() if key not in ("part", "echo")}
    at_rest = [p for p in series if "rest" in parse_name(p)[0].get("task", "").lower()]
    fitting = [p for p in at_rest if own.items() <= parse_name(p)[0].items()]
    spaces = {space: [p for p in fitting if parse_name(p)[0].get("space") == space] for space in SPACES}
    found = next((paths for paths in spaces.values() if paths), [])
    nothing = replace(raw, path=None, computed="", metadata={}, beside=())
    if not found:
        there = sorted({parse_name(p)[0].get("space", "none (that of the series)") for p in fitting})
        lacking = f"only in the space {', '.join(there)}" if there else "not there"
        name = raw.path.name if own and raw.path else "a resting-state series"
        why = f"fMRIPrep's {name} in the space of the T1w or of {SPACES[1]} is {lacking} in {home}: {_AGAIN}"
        return replace(nothing, reason=why)
    path = found[0]
    beside = {"brain mask": mask_beside(path), "table of confounds": confounds_beside(path)}
    for what, file in beside.items():
        if not file.is_file():
            why = f"{path} cannot be used without its {what}, and {file} is not there: copy it there, or {_AGAIN}"
            return replace(nothing, reason=why)
    others = tuple(Candidate(p, "another space or run of fMRIPrep's") for p in fitting if p != path)
    reason = f"computed from {path.name}, preprocessed by fMRIPrep"
    return replace(
        raw, path=path, reason=reason, rejected=raw.rejected + others, computed=suffix, beside=tuple(beside.values())
    )


def sidecar_of(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The JSON beside a preprocessed series; and what went wrong. fMRIPrep writes one for every file."""
    beside = path.with_name(path.name.partition(".")[0] + ".json")
    if not beside.is_file():
        return {}, []
    try:
        fields, told = read_json(beside)
    except (OSError, TextError) as error:
        return {}, [f"{beside} cannot be read as JSON ({error}); its fields are not used"]
    return (fields, told) if isinstance(fields, dict) else ({}, [f"{beside} holds no object of fields and values"])


def read_confounds(path: Path, volumes: int) -> Confounds:
    """Motion, framewise displacement and DVARS of a preprocessed series.

    Args:
        path: fMRIPrep's table.
        volumes: of the series.

    Raises:
        DataError: it cannot be read, lacks a column, has another number of rows, or motion that is not known.

    fMRIPrep computes DVARS after the median of the brain was brought to 1000 (nipype's ``ComputeDVARS``): a tenth of it
    is in per cent.
    """
    names, values = read_numbers(path)
    if lacking := [name for name in (*MOTION, FD, DVARS) if name not in names]:
        raise DataError(f"{path} has no column {', '.join(lacking)}: is it fMRIPrep's table of confounds? {_AGAIN}")
    if len(values) != volumes:
        raise DataError(f"{path} has {len(values)} rows, its series {volumes} volumes: they do not belong together")
    column: Mapping[str, np.ndarray] = dict(zip(names, values.T, strict=True))
    motion = np.stack([column[name] for name in MOTION], axis=1)
    if not np.isfinite(motion).all():
        raise DataError(f"{path} does not say how the head moved in every volume: {_AGAIN}")
    unsteady = sum(name.startswith(UNSTEADY) for name in names)
    return Confounds(motion, np.nan_to_num(column[FD]), np.nan_to_num(column[DVARS]) / 10, unsteady)


def check_beside(path: Path, shape: tuple[int, ...]) -> None:
    """See that mask and confounds of a preprocessed series belong to it.

    Args:
        path: of the series.
        shape: of it, ``(x, y, z, t)``.

    Raises:
        InputMissing, ImageError, DataError: naming the file.
    """
    mask = mask_beside(path)
    facts = check_image(mask, head=False)
    if tuple(facts.shape[:3]) != tuple(shape[:3]):
        sizes = " and ".join(" x ".join(str(n) for n in one[:3]) for one in (facts.shape, shape))
        raise ImageError(f"{mask} does not fit its series {path.name} ({sizes} voxels): {_AGAIN}")
    read_confounds(confounds_beside(path), shape[3])
