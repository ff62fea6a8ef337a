"""What goes into each session: who is there, which files are taken, and why not the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bids.dataset import check_dataset
from bids_app.bids.filters import Filters, read_filters
from bids_app.bids.fmriprep import FMRIPREP, choose_prepared, made_by_fmriprep, sidecar_of
from bids_app.bids.gradients import COMPUTED, NEVER_TAKEN, find_gradients, usable_series
from bids_app.bids.index import Index, index_participant
from bids_app.bids.listing import (
    choose_participants,
    choose_sessions,
    choose_units,
    list_participants,
    list_sessions,
    loose_images,
)
from bids_app.bids.naming import IMAGE_EXTENSIONS, check_label, parse_name
from bids_app.bids.rule import Seen, choose_image
from bids_app.bids.selection import Candidate, Choice, Selection, SequenceQuery
from bids_app.errors import InputMissing, NothingSelected
from bids_app.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from bids_app.imaging.stacking import Grid

__all__ = [
    "Candidate",
    "Choice",
    "Selection",
    "SequenceQuery",
    "check_dataset",
    "choose_participants",
    "choose_sessions",
    "choose_units",
    "list_participants",
    "list_sessions",
    "require_selected",
    "select_participant",
    "select_session",
]

#: A brain's box from right to left, back to front, feet to head, mm: that of the MNI152NLin2009cAsym brain (144, 178,
#: 150), which is larger than most people's, less a margin.
BRAIN_MM = (130.0, 160.0, 130.0)
#: Where `-d manual=PATH` keeps lesion masks, by the names that people give them.
LESION_NAMES = ("*_label-L*_mask", "*_label-lesion*_mask", "*_desc-*lesion*_mask", "*lesion*_roi")


def select_participant(
    settings: Settings, participant: str, sequences: Sequence[SequenceQuery], reference: str = "T1w"
) -> list[Selection]:
    """Choose the files of every session of one participant that the settings leave.

    Args:
        settings: of the run (filters, sessions, lesion masks).
        participant: label without ``sub-``.
        sequences: what the recipes want; the first of a name counts.
        reference: name of the sequence that gives the session its grid.

    Returns:
        One selection per session, in the order of `list_sessions`. A sequence without a file has ``path`` None; one for
        which an alternative stands is there under the alternative's name, and so is the reference.

    Raises:
        InputMissing: the participant, or a folder given with ``-d``, is not there.
        UsageError: the filter file or the pybids database cannot be used.
    """
    queries: dict[str, SequenceQuery] = {}
    for query in sequences:
        queries.setdefault(query.name, query)
    suffixes = {suffix: suffix for query in queries.values() for suffix in query.alternatives}
    suffixes |= {raw: raw for query in queries.values() if (raw := COMPUTED.get(query.suffix))}
    filters = read_filters(settings.bids_filter_file, suffixes | {q.name: q.suffix for q in queries.values()})
    sessions = choose_sessions(settings, participant, reference)
    if not sessions:
        return []
    index = index_participant(settings, participant)
    return [_select(settings, participant, session, queries, filters, reference, index) for session in sessions]


def select_session(
    settings: Settings,
    participant: str,
    session: str | None,
    sequences: Sequence[SequenceQuery],
    reference: str = "T1w",
) -> Selection:
    """`select_participant` for one session that is going to be run.

    Raises:
        DataError: participant or session is no BIDS label, so that no output could be named after it.
        InputMissing: the participant has no such session.
        NothingSelected: the filters leave the session out, or leave it without a reference.
    """
    check_label("sub", participant)
    if session is not None:
        check_label("ses", session)
    if session not in list_sessions(settings.bids_dir, participant):
        raise InputMissing(f"sub-{participant} has no session {session} in {settings.bids_dir}")
    for selection in select_participant(settings, participant, sequences, reference):
        if selection.session == session:
            require_selected([selection], settings)
            return selection
    raise NothingSelected(f"the filters leave out session {session} of sub-{participant}")


def require_selected(selections: Iterable[Selection], settings: Settings) -> None:
    """See that the filter file left something.

    Raises:
        NothingSelected: no session has its reference, and the filters are why.
    """
    selections = list(selections)
    if any(s.path_of(s.reference) for s in selections) or not any(s.filtered for s in selections):
        return
    reasons = {s.choices[s.reference].reason for s in selections if s.filtered}
    raise NothingSelected(f"{settings.bids_filter_file} selects nothing: {'; '.join(sorted(reasons)[:3])}")


def _select(
    settings: Settings,
    participant: str,
    session: str | None,
    queries: dict[str, SequenceQuery],
    filters: Filters,
    reference: str,
    index: Index,
) -> Selection:
    home = _home(settings.bids_dir, participant, session)
    images = [p for p in index.images if home in p.parents and (session is not None or not _in_session(p, home))]
    choices: dict[str, Choice] = {}
    instead: dict[str, str] = {}
    told, filtered = list(index.warnings), False
    for name, query in queries.items():
        if name in instead.values():
            continue  # it stands for another sequence already
        chosen = choices.get(instead.get(reference, reference))
        near = chosen.path if chosen else None
        choice, by_filter = _first_there(query, images, home, (participant, session), filters, settings.bids_dir, near)
        if COMPUTED.get(query.suffix) == "bold" and FMRIPREP in settings.derivatives and not by_filter:
            root = settings.derivatives[FMRIPREP]
            if choice.path is None or choice.computed:
                choice = choose_prepared(root, participant, session, choice, query.suffix)
        if choice.sequence != name:
            instead[name], name = choice.sequence, choice.sequence
        if choice.path is not None:
            metadata, trouble = (sidecar_of if made_by_fmriprep(choice.path) else index.metadata)(choice.path)
            told += trouble
            choice = replace(choice, sequence=name, metadata=metadata)
            told += choice.doubts
        choices[name] = choice
        filtered = filtered or (by_filter and name == reference)
    told += _loose(settings.bids_dir, participant, session)
    taken = instead.get(reference, reference)
    image = choices[taken].path if taken in choices else None
    mask, words = find_lesion_mask(settings, participant, session, image.parent.name if image else "anat")
    return Selection(participant, session, taken, choices, mask, tuple(told + words), filtered, instead)


def _first_there(
    query: SequenceQuery,
    images: Sequence[Path],
    home: Path,
    labels: tuple[str, str | None],
    filters: Filters,
    root: Path,
    near: Path | None,
) -> tuple[Choice, bool]:
    """The sequence itself or, where it is not there, what it can be computed from, or the first of its alternatives
    that is there; a choice bears the name of what it is. ``near``: the reference, where the brain is.

    Returns:
        The choice, and True where the filters are why there is none.
    """

    def look(one: SequenceQuery, among: Sequence[Path] = images) -> tuple[Choice, bool]:
        return choose_image(
            one, among, home, labels, filters.get(one.name, {}), lambda path: seen_in_header(path, near)
        )

    own, by_filter = look(query, () if query.suffix in NEVER_TAKEN else images)
    if own.path is None and query.suffix in COMPUTED:
        raw = COMPUTED[query.suffix]
        made = _raw_series(raw, look, images, root)
        if made.path is not None:
            reason = f"{own.reason}; computed from {made.path.name}: {made.reason}"
            rejected = own.rejected + made.rejected
            return replace(made, sequence=query.name, reason=reason, rejected=rejected, computed=query.suffix), False
        reason = f"{own.reason}, and no {raw} to compute it from"
        own = replace(own, reason=reason, rejected=own.rejected + made.rejected)
    if own.path is not None or not query.alternatives:
        return own, by_filter
    for suffix in query.alternatives:
        other, also = look(_StandIn(suffix, suffix, query.entities))
        if other.path is not None:
            reason = f"{own.reason}; {suffix} stands for it: {other.reason}"
            return replace(other, reason=reason, rejected=own.rejected + other.rejected), False
        by_filter = by_filter or also
    return replace(own, reason=f"{own.reason}, and none of {', '.join(query.alternatives)} either"), by_filter


def _raw_series(suffix: str, look: Callable[..., tuple[Choice, bool]], images: Sequence[Path], root: Path) -> Choice:
    """The raw series by the rule: of resting-state runs those whose task is ``rest``; of diffusion series those
    without usable b-values set aside, where none has, the rule's choice, so that the preflight can say what is wrong
    with it."""
    query = _StandIn(suffix, suffix, {})
    if suffix == "bold":
        series = [path for path in images if parse_name(path)[1] == suffix]
        at_rest = [path for path in series if "rest" in parse_name(path)[0].get("task", "").lower()]
        other = tuple(Candidate(path, "no resting-state task") for path in series if path not in at_rest)
        choice = look(query, at_rest)[0]
        return replace(choice, rejected=choice.rejected + other)
    good, bad = usable_series([path for path in images if parse_name(path)[1] == suffix], root)
    choice = look(query, good or images)[0]
    if choice.path is None:
        return choice
    found = (find_gradients(choice.path, root, extension) for extension in (".bval", ".bvec"))
    beside = tuple(path for path in found if path is not None)
    return replace(choice, rejected=choice.rejected + tuple(bad if good else ()), beside=beside)


@dataclass(frozen=True)
class _StandIn:
    """An alternative, looked for like a sequence of its own."""

    name: str
    suffix: str
    entities: Mapping[str, Any]
    required: bool = False
    alternatives: tuple[str, ...] = ()


def seen_in_header(path: Path, near: Path | None = None) -> Seen | None:
    """What a header alone says of an image; None where it cannot be read.

    Args:
        path: of the image.
        near: the session's reference, in whose middle the brain is looked for; without it any place will do.
    """
    import nibabel as nib
    import numpy as np

    from bids_app.imaging.stacking import Grid

    try:
        voxel = float(np.prod([float(z) for z in nib.load(path).header.get_zooms()[:3]]))
        coverage = brain_coverage(Grid.of(path), None if near is None else Grid.of(near).centre)
    except Exception:  # nibabel raises many kinds for a damaged header; the preflight says which
        return None
    return Seen(voxel, coverage) if np.isfinite(voxel) and voxel > 0 else None


def brain_coverage(grid: Grid, middle: np.ndarray | None) -> float:
    """Share of a brain's box that lies in a field of view, 0 to 1.

    Args:
        grid: of the image.
        middle: where the middle of the box is taken to be, mm; None: wherever most of it fits.
    """
    import numpy as np

    from bids_app.imaging.stacking import transform_points

    if middle is None:
        field = np.sort(grid.spacing * np.asarray(grid.shape))
        return float(np.prod(np.minimum(field / np.sort(BRAIN_MM), 1)))
    steps = [(np.arange(9) / 8 - 0.5) * side for side in BRAIN_MM]
    places = np.array(np.meshgrid(*steps, indexing="ij")).reshape(3, -1).T + middle
    index = transform_points(np.linalg.inv(grid.affine), places)
    return float(((index > -1) & (index < np.asarray(grid.shape))).all(axis=1).mean())


def find_lesion_mask(
    settings: Settings, participant: str, session: str | None, datatype: str = "anat"
) -> tuple[Path | None, list[str]]:
    """The mask of a lesion for a session, in the folder of ``-d manual=PATH`` or, as ``_roi``, beside the raw images.

    ``datatype``: folder of the reference (``anat``, ``dwi``), whose mask it has to be.

    Returns:
        The mask or None; what should be said about it (several found, say).

    Raises:
        InputMissing: a folder given with ``-d`` does not exist.
    """
    for name, folder in settings.derivatives.items():
        if not Path(folder).is_dir():
            raise InputMissing(f"the folder of -d {name}={folder} does not exist")
    home = _home(settings.bids_dir, participant, session)
    places: list[tuple[Path, tuple[str, ...]]] = [(home, LESION_NAMES[-1:])]
    if "manual" in settings.derivatives:
        places.insert(0, (_home(settings.derivatives["manual"], participant, session), LESION_NAMES))
    for home, patterns in places:
        found = [
            path
            for pattern in patterns
            for path in sorted((home / datatype).glob(f"{pattern}.nii*"))
            if path.name.endswith(IMAGE_EXTENSIONS) and parse_name(path)[0].get("sub") == participant
        ]
        found = list(dict.fromkeys(found))
        if found:
            others = ", ".join(p.name for p in found[1:])
            return found[0], [f"several lesion masks: {found[0].name} is used, not {others}"] if others else []
    return None, []


def _home(root: Path, participant: str, session: str | None) -> Path:
    folder = Path(os.path.abspath(root)) / f"sub-{participant}"
    return folder / f"ses-{session}" if session is not None else folder


def _in_session(path: Path, home: Path) -> bool:
    return path.relative_to(home).parts[0].startswith("ses-")


def _loose(bids_dir: Path, participant: str, session: str | None) -> list[str]:
    if session is not None or not any(list_sessions(bids_dir, participant)):
        return []
    names = ", ".join(path.name for path in loose_images(bids_dir, participant))
    return [
        f"{names} lies outside the session folders of sub-{participant}; it is treated as a session without a label"
    ]
