"""Who is in a dataset: participants and sessions, by reading folder names only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from bids_app.bids.filters import allows_session, read_filters, session_filter_names
from bids_app.bids.naming import IMAGE_EXTENSIONS
from bids_app.bids.tables import nearest, plain_label, without_prefix
from bids_app.errors import InputMissing, NothingSelected, UsageError
from bids_app.settings import Settings
from bids_app.text import TextError, read_text, stripped

#: Where an image may lie without a session folder beside ones that have it.
LOOSE_FOLDERS = ("anat", "dwi")


def list_participants(bids_dir: Path) -> list[str]:
    """Labels of all participants, without ``sub-``, sorted.

    Raises:
        InputMissing: the folder is absent or may not be read.
    """
    return sorted(name.removeprefix("sub-") for name in _folders(Path(bids_dir)) if name.startswith("sub-"))


def choose_participants(settings: Settings) -> list[str]:
    """The participants asked for, in the dataset's order; all of them where nobody is named.

    A label may carry ``sub-``; one that is no participant but a text file stands for the labels in it, one a line (or a
    column ``participant_id`` of a table).

    Raises:
        InputMissing: a participant that was asked for is not there; names the dataset.
        NothingSelected: nobody is left after ``--exclude-participant-label``.
    """
    there = list_participants(settings.bids_dir)
    wanted = _labels(settings.participant_label, there)
    missing = [label for label in wanted if label not in set(there)]
    if missing:
        shown = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "") if there else "no sub-* folder at all"
        close = [f"{one} ({guess[0]}?)" if (guess := nearest(one, there)) else one for one in missing]
        raise InputMissing(f"no participant {', '.join(close)} in {settings.bids_dir}; there is {shown}")
    excluded = set(_labels(settings.exclude_participant_label, there))
    chosen = [label for label in there if (not wanted or label in wanted) and label not in excluded]
    if not chosen:
        what = "every participant is excluded" if there else "there is no sub-* folder"
        raise NothingSelected(f"nobody to process in {settings.bids_dir}: {what}")
    return chosen


def list_sessions(bids_dir: Path, participant: str) -> list[str | None]:
    """Labels of a participant's sessions, without ``ses-``; ``[None]`` where there are no session folders.

    None also stands, after the others, for images that lie beside session folders.

    Raises:
        InputMissing: the participant's folder is absent or may not be read.
    """
    folder = Path(bids_dir) / f"sub-{participant}"
    sessions: list[str | None] = [*sorted(n.removeprefix("ses-") for n in _folders(folder) if n.startswith("ses-"))]
    if not sessions or loose_images(bids_dir, participant):
        sessions.append(None)
    return sessions


def loose_images(bids_dir: Path, participant: str) -> list[Path]:
    """Images in ``sub-XX/anat`` (or ``dwi``) itself, outside any session folder, sorted."""
    folder = Path(bids_dir) / f"sub-{participant}"
    found = (p for name in LOOSE_FOLDERS for p in (folder / name).glob("*.nii*"))
    return sorted(p for p in found if p.name.endswith(IMAGE_EXTENSIONS) and not p.name.startswith("."))


def choose_sessions(settings: Settings, participant: str, reference: str = "T1w") -> list[str | None]:
    """The sessions of a participant that ``--session-label`` and the reference's filter leave; may be empty."""
    sessions = list_sessions(settings.bids_dir, participant)
    wanted = session_filter_names(settings.session_label)
    if settings.bids_filter_file is not None:
        filters = read_filters(settings.bids_filter_file, {reference: reference}, strict=False)
        sessions = [s for s in sessions if allows_session(filters, reference, s)]
    return [s for s in sessions if not wanted or s in wanted]


def choose_units(settings: Settings, reference: str = "T1w") -> list[tuple[str, str | None]]:
    """Every ``(participant, session)`` of a run, without opening a file of the dataset.

    Raises:
        InputMissing: a participant that was asked for is not there.
        NothingSelected: the filters leave nothing.
    """
    units = [(p, s) for p in choose_participants(settings) for s in choose_sessions(settings, p, reference)]
    if not units:
        wanted = ", ".join(sorted(session_filter_names(settings.session_label)))
        what = f"no participant has session {wanted}" if wanted else f"{settings.bids_filter_file} leaves no session"
        raise NothingSelected(f"nothing to process in {settings.bids_dir}: {what}")
    return units


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise InputMissing(f"cannot read the folder {folder}: {error.strerror}") from error


def _labels(given: Iterable[str], there: Iterable[str]) -> list[str]:
    known, labels = set(there), []
    for item in given:
        label = without_prefix(str(item), "sub-")
        is_file = label not in known and Path(item).is_file()
        labels += _labels_in(Path(item)) if is_file else [label]
    return labels


def _labels_in(path: Path) -> list[str]:
    try:
        lines = read_text(path)[0].split("\n")
    except (OSError, TextError) as error:
        raise UsageError(f"cannot read the list of participants {path}: {error}") from error
    firsts = [stripped(stripped(re.split(r"[\t,;]", line)[0]).strip("\"'")) for line in lines]
    heading = [plain_label(word) == "participantid" for word in firsts]
    words = [w for w, first in zip(firsts, heading, strict=True) if w and not w.startswith("#") and not first]
    labels = [without_prefix(word, "sub-") for one in words for word in one.split()]
    if not labels:
        raise UsageError(f"{path} names no participant; one label a line is needed")
    return labels
