"""Reads an output folder: what became of every session, and every number that was measured. Nothing else is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.bids.record import Preprocessing, SessionRecord
from bids_app.bids.record_file import read_session, session_keys
from bids_app.errors import InputMissing
from bids_app.group.atrophy_maps import DensityMap, density_maps
from bids_app.group.maps import LesionMask, lesion_masks, lesion_rows
from bids_app.group.participants import Participants
from bids_app.group.predictions import Given, given_scores
from bids_app.group.ratings import RATINGS, Key, Rating, read_ratings
from bids_app.group.sessions import read_people
from bids_app.group.volumes import Volumes
from bids_app.report.index import index_row

STAGES = ("found", "preprocessed", "predicted", "in the table")


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
    """All sessions and numbers of an output folder, its participants and what was odd.

    ``long``: a row per number (`bids_app.group.volumes.LONG`). ``made_by``: what differs between sessions of versions
    of the program and of weights of a recipe. ``scores``: answers of the targets. ``lesions``: a row per lesion
    (`bids_app.group.maps.LESIONS`); ``masks``: of all lesions. ``listing``: what ``index.html`` says of each session.
    ``looked``: participant, session and recipe wherever lesions were looked for. ``density``: maps of
    grey matter.
    """

    sessions: list[Session]
    long: pd.DataFrame
    participants: Participants
    warnings: list[str] = field(default_factory=list)
    made_by: dict[str, list[str]] = field(default_factory=dict)
    scores: list[Given] = field(default_factory=list)
    lesions: list[tuple[Any, ...]] = field(default_factory=list)
    masks: list[LesionMask] = field(default_factory=list)
    listing: list[dict[str, Any]] = field(default_factory=list)
    looked: list[tuple[str, str, str]] = field(default_factory=list)
    density: list[DensityMap] = field(default_factory=list)


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
    sessions, volumes, made = [], Volumes(), _Makers()
    warnings: list[str] = []
    scores: list[Given] = []
    lesions: list[tuple[Any, ...]] = []
    looked: list[tuple[str, str, str]] = []
    masks: list[LesionMask] = []
    listing: list[dict[str, Any]] = []
    density: list[DensityMap] = []
    identities: list[tuple[str, str]] = []
    for key in keys:
        record = read_session(output_dir, key)
        identity = identity_of(record)
        identities.append(identity)
        bad = {recipe for recipe in record.recipes if _is_bad((*identity, recipe), ratings)}
        measured = volumes.add(output_dir, record, identity, bad, warnings)
        sessions += [rate(row, ratings) for row in _rows(output_dir, record, measured)]
        made.add(record)
        listing.append(index_row(output_dir, key, record))
        scores += given_scores(record, identity, bad)
        lesions += lesion_rows(record, identity)
        looked += [
            (*identity, part.recipe)
            for part in record.done()
            if part.prediction is not None and part.prediction.lesions is not None
        ]
        masks += lesion_masks(output_dir, record, bad)
        density += density_maps(output_dir, record, bad)
    participants = read_people(output_dir, identities)
    warnings = [*participants.warnings, *rated, *warnings]
    sessions += _not_run(participants, sessions)
    absent = sorted({s.participant_id for s in sessions} - set(participants.rows)) if participants.rows else []
    if absent:
        warnings.append(f"participants.tsv has no row for {', '.join(absent)}.")
    known = {(row.participant_id, row.session_id, row.recipe) for row in sessions}
    warnings += [f"ratings: {' '.join(key)} is not in this folder." for key in ratings if key not in known]
    found = (scores, lesions, masks, listing, looked, density)
    return Collection(sessions, volumes.frame(), participants, warnings, made.mixed(), *found)


def rate(row: Session, ratings: Mapping[Key, Rating]) -> Session:
    """A row with what people thought of it."""
    found = ratings.get((row.participant_id, row.session_id, row.recipe))
    return replace(row, rating=found.rating, comment=found.comment) if found else row


def _is_bad(key: Key, ratings: Mapping[Key, Rating]) -> bool:
    found = ratings.get(key)
    return found is not None and found.rating == RATINGS[-1]


class _Makers:
    """Versions and weights that the finished sessions of a folder were made with."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, None]] = {}

    def add(self, record: SessionRecord) -> None:
        for part in record.done():
            if record.version:
                self.found.setdefault("version", {})[record.version] = None
            made = part.prediction or part.scores
            if made is not None and made.weights_sha256:
                self.found.setdefault(f"weights of {part.recipe}", {})[made.weights_sha256[:12]] = None

    def mixed(self) -> dict[str, list[str]]:
        """What differs between sessions."""
        return {what: list(values) for what, values in self.found.items() if len(values) > 1}


def identity_of(record: SessionRecord) -> tuple[str, str]:
    """participant_id and session_id, as in the tables."""
    session = record.session
    return (
        f"sub-{record.participant.removeprefix('sub-')}",
        f"ses-{session.removeprefix('ses-')}" if session else "n/a",
    )


def _rows(output_dir: Path, record: SessionRecord, measured: set[str]) -> list[Session]:
    """A row for every recipe of a session."""
    page = f"{record.key}.html" if (output_dir / f"{record.key}.html").is_file() else ""
    identity, warnings = (record.key, *identity_of(record)), "; ".join(record.all_warnings())
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
