"""Names of files as BIDS writes them: read into entities, and built from entities in the schema's order."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from bids_app.errors import DataError

#: Entities in the order of the BIDS schema 1.11 (``rules/entities.yaml``): key in a file name -> pybids' long name.
#: Transforms (BEP 014, not merged) have ``from``, ``to`` and ``mode``, placed as in fMRIPrep, before ``desc``.
ENTITIES = {
    "sub": "subject",
    "ses": "session",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "staining",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "proc": "proc",
    "hemi": "hemisphere",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "atlas": "atlas",
    "seg": "segmentation",
    "scale": "scale",
    "res": "resolution",
    "den": "density",
    "label": "label",
    "from": "from",
    "to": "to",
    "mode": "mode",
    "desc": "description",
}
#: Entities whose value is a number, so that ``run-1`` and ``run-01`` are the same.
INDICES = {"run", "echo", "flip", "inv", "split", "chunk"}
#: What a derivative file may have beside the schema's names; each is in ``.bidsignore`` (see `bids_app.bids.dataset`).
DERIVATIVE_ENTITIES = {"space", "atlas", "seg", "scale", "res", "den", "label", "desc", "from", "to", "mode"}
#: Measured with bids-validator 3: these pairs are refused, though both words are known.
REFUSED = {
    "mask": {"seg": "a mask of one region is named by label- or desc-", "hemi": "sides are values of a dseg"},
    "dseg": {"hemi": "sides are values of one dseg: 1 left, 2 right"},
    "probseg": {"hemi": "sides are volumes of one probseg, named in its LabelMap"},
}
LABEL = re.compile(r"[0-9a-zA-Z+]+")
IMAGE_EXTENSIONS = (".nii.gz", ".nii")
LONG_TO_SHORT = {long: short for short, long in ENTITIES.items()}


def short_entity(name: str) -> str | None:
    """``ceagent`` and ``ce`` are both ``ce``; None for a word that is no entity."""
    return name if name in ENTITIES else LONG_TO_SHORT.get(name)


def parse_name(path: str | Path) -> tuple[dict[str, str], str, str]:
    """Split a file name into entities (short keys), suffix and extension; anything else in the name is left out.

    >>> parse_name("sub-01_ce-gadolinium_run-1_T1w.nii.gz")
    ({'sub': '01', 'ce': 'gadolinium', 'run': '1'}, 'T1w', '.nii.gz')
    """
    stem, dot, rest = PurePosixPath(path).name.partition(".")
    *parts, suffix = stem.split("_")
    pairs = (part.partition("-") for part in parts)
    return {key: value for key, dash, value in pairs if dash}, suffix, dot + rest


def source_entities(path: str | Path) -> dict[str, str]:
    """The entities of a raw file that its derivatives keep: all but participant, session and unknown words."""
    entities, _, _ = parse_name(path)
    return {k: v for k, v in entities.items() if k in ENTITIES and k not in ("sub", "ses")}


def session_key(participant: str, session: str | None) -> str:
    """``sub-01_ses-01``, or ``sub-01`` for a participant without session folders."""
    return f"sub-{participant}" + (f"_ses-{session}" if session is not None else "")


def check_label(kind: str, label: str) -> str:
    """Labels hold letters, digits and ``+`` only; anything else is no BIDS name and is never written.

    Raises:
        DataError: another character; names it and says what to do.
    """
    if not LABEL.fullmatch(label):
        strange = "".join(sorted(set(re.sub(r"[0-9a-zA-Z+]", "", label)))) or "nothing at all"
        raise DataError(
            f"{kind}-{label} is no BIDS name: a label has only letters and digits, this one has {strange!r}; "
            f"rename the folder and its files in the input dataset"
        )
    return label


def derivative_name(participant: str, session: str | None, *, suffix: str, extension: str, **entities: object) -> str:
    """Name of a derivative file, its entities in the schema's order.

    Entities are given by their short keys (``space="T1w"``); ``from_`` stands for ``from``, which Python keeps for
    itself; an entity that is None is left out.

    Raises:
        ValueError: an unknown entity, one that the suffix does not allow, or a name that a raw file could have.
        DataError: a value with other characters than letters and digits.
    """
    given = {key.rstrip("_"): str(value) for key, value in entities.items() if value is not None}
    unknown = sorted(set(given) - set(ENTITIES) | ({"sub", "ses"} & set(given)))
    if unknown:
        raise ValueError(
            f"unknown entity {', '.join(unknown)} for a *_{suffix}{extension}; known: {' '.join(ENTITIES)}"
        )
    for key, why in REFUSED.get(suffix, {}).items():
        if key in given:
            raise ValueError(f"{key}-{given[key]} is not allowed in a *_{suffix}{extension}: {why}")
    if not DERIVATIVE_ENTITIES & set(given):
        raise ValueError(f"*_{suffix}{extension} needs one of {sorted(DERIVATIVE_ENTITIES)}: it could be a raw file")
    if not LABEL.fullmatch(suffix) or not extension.startswith("."):
        raise ValueError(f"suffix {suffix!r} and extension {extension!r} make no BIDS name")
    given |= {"sub": participant} | ({"ses": session} if session is not None else {})
    parts = [f"{key}-{check_label(key, given[key])}" for key in ENTITIES if key in given]
    return "_".join([*parts, suffix]) + extension


def derivative_path(
    participant: str, session: str | None, *, suffix: str, extension: str, datatype: str = "anat", **entities: object
) -> Path:
    """Path of a derivative file relative to the output folder; see `derivative_name` for the rest."""
    name = derivative_name(participant, session, suffix=suffix, extension=extension, **entities)
    folders = [f"sub-{participant}"] + ([f"ses-{session}"] if session is not None else [])
    return Path(*folders, datatype, name)
