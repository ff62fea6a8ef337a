"""Reads an output folder: what became of every session, and every volume that was measured. Nothing else is read."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_app.bids.record import Preprocessing, RecipePart, SessionRecord
from bids_app.bids.record_file import read_session, session_keys
from bids_app.errors import InputMissing
from bids_app.group.names import UNITS
from bids_app.group.participants import Participants, fit_to, read_participants
from bids_app.group.ratings import RATINGS, Key, Rating, read_ratings

#: Columns of a session's table of volumes that are read.
MEASURES = ("soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3", "centre_x_mm", "centre_y_mm", "centre_z_mm")
PRIMARY = "soft_mm3"
#: Name under which all lesions of a recipe together stand among the regions.
LESIONS = "lesions"
STAGES = ("found", "preprocessed", "predicted", "in the table")
#: modified z-score above which a value is flagged: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993)
OUTLIER = 3.5
FEWEST_FOR_OUTLIERS = 5
#: Quality of a number whose recipe a person rated bad on that session.
BAD = "rated bad"


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
    """What became of one recipe on one session; ``reached`` counts the stages of `STAGES` it passed.

    A session that ended before any recipe began has one row, with ``n/a`` as its recipe. ``warnings``: all of the
    session, one after the other.
    """

    key: str
    participant_id: str
    session_id: str
    recipe: str
    state: str
    reason: str
    exit_code: int | None
    seconds: float | None
    reached: int
    page: str
    rating: str = "n/a"
    comment: str = "n/a"
    warnings: str = ""


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
    ratings, rated = read_ratings(output_dir)
    keys = session_keys(output_dir)
    if not keys:
        raise InputMissing(
            f"no session has been run in {output_dir} (no logs/*/status.json); run the participant level first"
        )
    copies = [output_dir / "participants.tsv", output_dir / "logs" / "participants.tsv"]
    participants = read_participants(next((c for c in copies if c.is_file()), copies[0]))
    fit_to(participants, [f"sub-{key.partition('_')[0].removeprefix('sub-')}" for key in keys])
    warnings = [*participants.warnings, *rated]
    sessions, values = [], []
    for key in keys:
        record = read_session(output_dir, key)
        measured = _values(output_dir, record, warnings)
        sessions += [rate(row, ratings) for row in _rows(output_dir, record, {value.recipe for value in measured})]
        values += [replace(one, qc=BAD) if _is_bad(one, ratings) else one for one in measured]
    sessions += _not_run(participants, sessions)
    absent = sorted({s.participant_id for s in sessions} - set(participants.rows)) if participants.rows else []
    if absent:
        warnings.append(f"participants.tsv has no row for {', '.join(absent)}.")
    known = {(row.participant_id, row.session_id, row.recipe) for row in sessions}
    warnings += [f"ratings: {' '.join(key)} is not in this folder." for key in ratings if key not in known]
    return Collection(sessions, flag(values), participants, warnings)


def rate(row: Session, ratings: Mapping[Key, Rating]) -> Session:
    """A row with what people thought of it."""
    found = ratings.get((row.participant_id, row.session_id, row.recipe))
    return replace(row, rating=found.rating, comment=found.comment) if found else row


def _is_bad(value: Value, ratings: Mapping[Key, Rating]) -> bool:
    found = ratings.get((value.participant_id, value.session_id, value.recipe))
    return found is not None and found.rating == RATINGS[-1]


def _identity(record: SessionRecord) -> tuple[str, str]:
    session = record.session
    return (
        f"sub-{record.participant.removeprefix('sub-')}",
        f"ses-{session.removeprefix('ses-')}" if session else "n/a",
    )


def _rows(output_dir: Path, record: SessionRecord, measured: set[str]) -> list[Session]:
    """A row for every recipe of a session."""
    page = f"{record.key}.html" if (output_dir / f"{record.key}.html").is_file() else ""
    identity, warnings = (record.key, *_identity(record)), "; ".join(record.all_warnings())
    rows = []
    for name, part in record.recipes.items():
        images = record.images_of(part)
        there = images is not None and bool(images.files.reference)
        answered = part.prediction is not None or part.scores is not None
        reached = 4 if part.recipe in measured and part.state == "done" else 1 + (there or answered) + answered
        code = part.exit_code if part.exit_code is not None else record.exit_code
        rows.append(
            Session(*identity, name, part.state, part.reason, code, record.seconds, reached, page, warnings=warnings)
        )
    if rows:
        return rows
    reached = 2 if any(images.preprocessing != Preprocessing() for images in record.images.values()) else 1
    row = Session(*identity, "n/a", record.state, record.reason, record.exit_code, record.seconds, reached, page)
    return [replace(row, warnings=warnings)]


def _not_run(participants: Participants, sessions: list[Session]) -> list[Session]:
    seen = {s.participant_id for s in sessions}
    reason = "in participants.tsv, but no session was run"
    return [
        Session(p, p, "n/a", "n/a", "not run", reason, None, None, 0, "") for p in participants.rows if p not in seen
    ]


def _values(output_dir: Path, record: SessionRecord, warnings: list[str]) -> list[Value]:
    """The volumes tables that finished recipes name, and the volume of the brain mask."""
    identity = _identity(record)
    found: list[Value] = []
    for part in record.done():
        if part.files.volumes is not None:
            found += _measured(output_dir, record.key, identity, part, part.files.volumes, warnings)
            found += _lesions(record.key, identity, part)
    brain = next((images.preprocessing.brain_ml for images in record.images.values()), None)
    if found and brain is not None:
        found.append(Value(record.key, *identity, "n/a", "brain", "brain_mask_ml", brain, "ml"))
    return found


def _measured(
    output_dir: Path, key: str, identity: tuple[str, str], part: RecipePart, relative: str, warnings: list[str]
) -> list[Value]:
    """Every number of one recipe's table."""
    try:
        with open(output_dir / relative, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        warnings.append(f"{key}: its table {relative} cannot be read ({error}); it is left out.")
        return []
    regions = {region.name: region for region in part.prediction.regions} if part.prediction else {}
    found = []
    for row in rows:
        name = str(row.get("name"))
        known = regions.get(name)
        there = known is None or known.found or known.kind == "lesion"  # a lesion may be absent: 0 mm³
        for column in (c for c in MEASURES if c in row):
            value, qc = (_float(row[column]), "ok") if there else (None, "not found")
            found.append(Value(key, *identity, part.recipe, name, column, value, UNITS[column], qc))
    return found


def _lesions(key: str, identity: tuple[str, str], part: RecipePart) -> list[Value]:
    """How many lesions a recipe found, and their volume together."""
    if part.prediction is None or part.prediction.lesions is None:
        return []
    volumes = [lesion.volume_mm3 for lesion in part.prediction.lesions]
    of = (key, *identity, part.recipe, LESIONS)
    return [
        Value(*of, "lesion_count", float(len(volumes)), "lesions"),
        Value(*of, "lesion_load_mm3", float(sum(volumes)), "mm3"),
    ]


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
        if value.measure == PRIMARY and value.value is not None and value.qc != BAD:
            by_region.setdefault((value.recipe, value.region), []).append(value)
    far = set()
    for chosen in by_region.values():
        scores = modified_z([v.value for v in chosen if v.value is not None])
        far |= {(v.key, v.recipe, v.region) for v, score in zip(chosen, scores, strict=True) if abs(score) > OUTLIER}
    return [replace(v, qc="outlier") if (v.key, v.recipe, v.region) in far and v.qc != BAD else v for v in values]


def modified_z(numbers: list[float]) -> list[float]:
    """Distance from the median in robust standard deviations; zeros for too few numbers or no spread."""
    if len(numbers) < FEWEST_FOR_OUTLIERS:
        return [0.0] * len(numbers)
    median = statistics.median(numbers)
    spread = statistics.median(abs(n - median) for n in numbers)
    return [0.6745 * (n - median) / spread if spread else 0.0 for n in numbers]
