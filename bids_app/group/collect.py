"""Reads an output folder: what became of every session, and every volume that was measured. Nothing else is read."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_app.bids.record import read_session, session_keys
from bids_app.errors import InputMissing
from bids_app.group.participants import Participants, fit_to, read_participants

#: column of a volumes table -> measure, unit
MEASURES = {
    "soft_mm3": ("soft_volume", "mm3"),
    "soft_low_mm3": ("soft_volume_low", "mm3"),
    "soft_high_mm3": ("soft_volume_high", "mm3"),
    "hard_mm3": ("hard_volume", "mm3"),
    "centre_x_mm": ("centre_x", "mm"),
    "centre_y_mm": ("centre_y", "mm"),
    "centre_z_mm": ("centre_z", "mm"),
}
PRIMARY = "soft_volume"
STAGES = ("found", "preprocessed", "predicted", "in the table")
#: modified z-score above which a value is flagged: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993)
OUTLIER = 3.5
FEWEST_FOR_OUTLIERS = 5


@dataclass(frozen=True)
class Value:
    """One measured number of one session."""

    key: str
    participant_id: str
    session_id: str
    recipe: str
    region: str
    measure: str
    value: float | None
    unit: str
    qc: str = "ok"


@dataclass(frozen=True)
class Session:
    """What became of one session; ``reached`` counts the stages of `STAGES` it passed."""

    key: str
    participant_id: str
    session_id: str
    state: str
    reason: str
    exit_code: int | None
    seconds: float | None
    reached: int
    page: str


@dataclass
class Collection:
    """All sessions and values of an output folder, its participants and what was odd."""

    sessions: list[Session]
    values: list[Value]
    participants: Participants
    warnings: list[str] = field(default_factory=list)


def collect(output_dir: Path) -> Collection:
    """Read every session of an output folder.

    Args:
        output_dir: the derivatives folder; ``participants.tsv`` is the copy that the participant level
            leaves there or in ``logs``.

    Raises:
        InputMissing: no session has been run in it.
    """
    output_dir = Path(output_dir)
    keys = session_keys(output_dir)
    if not keys:
        raise InputMissing(
            f"no session has been run in {output_dir} (no logs/*/status.json); run the participant level first"
        )
    copies = [output_dir / "participants.tsv", output_dir / "logs" / "participants.tsv"]
    participants = read_participants(next((c for c in copies if c.is_file()), copies[0]))
    fit_to(participants, [f"sub-{key.partition('_')[0].removeprefix('sub-')}" for key in keys])
    warnings = list(participants.warnings)
    sessions, values = [], []
    for key in keys:
        record = read_session(output_dir, key)
        measured = _values(output_dir, record, warnings) if record["state"] == "done" else []
        sessions.append(_session(output_dir, record, bool(measured)))
        values += measured
    sessions += _not_run(participants, sessions)
    absent = sorted({s.participant_id for s in sessions} - set(participants.rows)) if participants.rows else []
    if absent:
        warnings.append(f"participants.tsv has no row for {', '.join(absent)}.")
    return Collection(sessions, flag(values), participants, warnings)


def _identity(record: Mapping[str, Any]) -> tuple[str, str]:
    session = record.get("session")
    return (
        f"sub-{str(record['participant']).removeprefix('sub-')}",
        f"ses-{str(session).removeprefix('ses-')}" if session else "n/a",
    )


def _session(output_dir: Path, record: Mapping[str, Any], measured: bool) -> Session:
    participant_id, session_id = _identity(record)
    reached = 1
    if (record.get("files") or {}).get("brain_mask") or record.get("preprocessing"):
        reached = 2 + bool(record.get("predictions")) if record.get("predictions") else 2
    code, seconds = record.get("exit_code"), record.get("seconds")
    return Session(
        key=record["key"],
        participant_id=participant_id,
        session_id=session_id,
        state=record["state"],
        reason=str(record.get("reason") or ""),
        exit_code=code if isinstance(code, int) else None,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        reached=4 if measured else reached,
        page=f"{record['key']}.html" if (output_dir / f"{record['key']}.html").is_file() else "",
    )


def _not_run(participants: Participants, sessions: list[Session]) -> list[Session]:
    seen = {s.participant_id for s in sessions}
    reason = "in participants.tsv, but no session was run"
    return [Session(p, p, "n/a", "not run", reason, None, None, 0, "") for p in participants.rows if p not in seen]


def _values(output_dir: Path, record: Mapping[str, Any], warnings: list[str]) -> list[Value]:
    """The volumes tables that the record names, and the volume of the brain mask."""
    identity = _identity(record)
    found = []
    for recipe, relative in ((record.get("files") or {}).get("volumes") or {}).items():
        try:
            with open(output_dir / str(relative), encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream, delimiter="\t"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            warnings.append(f"{record['key']}: its table {relative} cannot be read ({error}); it is left out.")
            continue
        regions = _regions(record, str(recipe))
        for row in rows:
            name = str(row.get("name"))
            known = regions.get(name, {})
            there = known.get("found", True) or known.get("kind") == "lesion"  # a lesion may be absent: 0 mm³
            for column in (c for c in MEASURES if c in row):
                measure, unit = MEASURES[column]
                value, qc = (_float(row[column]), "ok") if there else (None, "not found")
                found.append(Value(record["key"], *identity, str(recipe), name, measure, value, unit, qc))
    brain = (record.get("preprocessing") or {}).get("brain_ml")
    if found and isinstance(brain, int | float):
        found.append(Value(record["key"], *identity, "n/a", "brain", "mask_volume", float(brain), "ml"))
    return found


def _regions(record: Mapping[str, Any], recipe: str) -> dict[str, Mapping[str, Any]]:
    """The record's regions of a recipe by name."""
    predictions = [p for p in record.get("predictions") or [] if p.get("recipe") == recipe]
    return {str(r.get("name")): r for p in predictions for r in p.get("regions") or []}


def _float(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if value == value and abs(value) != float("inf") else None


def flag(values: list[Value]) -> list[Value]:
    """Mark each region of a session whose primary value lies far from the others'.

    The modified z-score 0.6745 (x - median) / MAD is compared with `OUTLIER`, over all sessions of a region, from
    `FEWEST_FOR_OUTLIERS` sessions on.
    """
    by_region: dict[tuple[str, str], list[Value]] = {}
    for value in values:
        if value.measure == PRIMARY and value.value is not None:
            by_region.setdefault((value.recipe, value.region), []).append(value)
    far = set()
    for chosen in by_region.values():
        scores = modified_z([v.value for v in chosen])
        far |= {(v.key, v.recipe, v.region) for v, score in zip(chosen, scores, strict=True) if abs(score) > OUTLIER}
    return [replace(v, qc="outlier") if (v.key, v.recipe, v.region) in far else v for v in values]


def modified_z(numbers: list[float]) -> list[float]:
    """Distance from the median in robust standard deviations; zeros for too few numbers or no spread."""
    if len(numbers) < FEWEST_FOR_OUTLIERS:
        return [0.0] * len(numbers)
    median = statistics.median(numbers)
    spread = statistics.median(abs(n - median) for n in numbers)
    return [0.6745 * (n - median) / spread if spread else 0.0 for n in numbers]
