"""The rule by which one file is taken for a sequence. Nothing is ever averaged.

1. It lies in the session's own folder, and its name says so too; names of derivatives (``space-``, ``desc-``) are out.
2. It has the entities that the recipe asks for. Unless the recipe or the filter file asks: no ``ce-``, and of
   ``part-`` only ``mag``. A ``UNIT1`` of an MP2RAGE is no T1w, for its background is noise.
3. It passes the filter file, whose word on an entity (or suffix) goes before the recipe's.
4. An inversion image of an MP2RAGE comes after every other image.
5. Of what is left: those that show the whole brain, by their field of view (a neck or a slab through the hippocampus is
   often finer); a recipe may ask for a slab. Where none shows the whole, those that show the most.
6. Of these: the highest resolution (smallest voxel volume, by the header), then the first run, then the first
   file name. An image that differs in ``acq-`` or ``inv-`` and is about as good is said: which was meant is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.bids.filters import describe, matches
from bids_app.bids.naming import parse_name, session_key, short_entity
from bids_app.bids.selection import Candidate, Choice, SequenceQuery

#: Voxel volumes closer than this share are one resolution: headers round.
SAME_VOLUME = 0.01
#: Entities that no raw image has.
NOT_RAW = ("space", "desc", "label", "seg", "res", "den")
DEFAULTS: dict[str, Any] = {"ce": None, "part": [None, "mag"]}
WHY_NOT = {
    "ce": "contrast agent (ce-{found}), which is taken only where a recipe asks for it",
    "part": "part-{found} of a complex image; only the magnitude is taken",
}

#: Share of a brain's box that an image of the whole brain shows, and how much less than the best still counts as equal.
WHOLE, LESS = 0.85, 0.1
#: Voxel volumes up to this factor apart are about as good, where another acquisition may have been meant.
ABOUT = 1.3
#: How people name inversion images that BIDS calls ``inv-1_MP2RAGE``: in ``acq-`` of a T1w.
INVERSION = re.compile(r"inv(ersion)?[0-9]*(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """What a header says of an image: volume of a voxel in mm³, and the share of a brain's box in its field of view."""

    voxel: float
    coverage: float


#: Reads a header; None where it cannot be read.
Look = Callable[[Path], Seen | None]


def choose_image(
    query: SequenceQuery,
    images: Iterable[Path],
    home: Path,
    labels: tuple[str, str | None],
    filters: dict[str, Any],
    look: Look,
) -> tuple[Choice, bool]:
    """Choose one file for a sequence.

    Args:
        query: the sequence, as the recipe has it.
        images: images of the session, wherever they lie below ``home``.
        home: the session's folder (``sub-01/ses-01``).
        labels: of participant and session.
        filters: the filter file's entities for this sequence.
        look: reads what a header says of an image.

    Returns:
        The choice (without metadata), and True where files fit the recipe but the filters left none of them.
    """
    wanted, suffixes = _wanted(query, filters)
    fitting, rejected, filtered = [], [], False
    for path in images:
        entities, suffix, extension = parse_name(path)
        words = {**entities, "suffix": suffix, "extension": extension, "datatype": path.parent.name}
        if not any(matches(suffix, one, "suffix") for one in suffixes):
            if suffix == "UNIT1" and query.suffix == "T1w":
                rejected.append(Candidate(path, "UNIT1 of an MP2RAGE, which is taken only where a recipe asks for it"))
            continue
        why = _misplaced(path, words, home, labels, filters) or _unfit(words, wanted, filters)
        if why is None:
            why = _filtered_out(words, filters)
            filtered = filtered or why is not None
        if why is None:
            fitting.append(path)
        else:
            rejected.append(Candidate(path, why))
    if not fitting:
        return Choice(query.name, None, _nothing(query, labels, rejected, filtered), tuple(rejected)), filtered
    path, reason, others, doubts = _best(fitting, query, look)
    return Choice(query.name, path, reason, tuple(rejected + others), doubts=doubts), False


def _wanted(query: SequenceQuery, filters: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Entities asked for (the filter file's left to itself), and suffixes."""
    wanted = DEFAULTS | {short_entity(name) or name: value for name, value in query.entities.items()}
    wanted = {name: value for name, value in wanted.items() if name not in filters}
    suffixes = filters.get("suffix", query.suffix)
    return wanted, suffixes if isinstance(suffixes, list) else [suffixes]


def _misplaced(
    path: Path, words: dict[str, str], home: Path, labels: tuple[str, str | None], filters: dict[str, Any]
) -> str | None:
    participant, session = labels
    if path.parent.parent != home:
        return f"lies in {path.parent.relative_to(home)}, not in a data folder of {session_key(*labels)}"
    if words.get("sub") != participant or words.get("ses") != session:
        named = "_".join(f"{k}-{words[k]}" for k in ("sub", "ses") if k in words) or "nobody"
        return f"lies in the folder of {session_key(*labels)} but is named {named}"
    derived = [name for name in NOT_RAW if name in words and name not in filters]
    return f"{derived[0]}-{words[derived[0]]} names a derivative, not a raw image" if derived else None


def _unfit(words: dict[str, str], wanted: dict[str, Any], filters: dict[str, Any]) -> str | None:
    for entity, value in wanted.items():
        found = words.get(entity)
        if not matches(found, value, entity):
            if found is not None and value == DEFAULTS.get(entity, ...):
                return WHY_NOT[entity].format(found=found)
            have = describe(found, entity)
            return f"{have}, the recipe asks for {describe(value, entity)}"
    return None


def _filtered_out(words: dict[str, str], filters: dict[str, Any]) -> str | None:
    for entity, value in filters.items():
        if entity != "suffix" and not matches(words.get(entity), value, entity):
            return f"{describe(words.get(entity), entity)}, the filter file asks for {describe(value, entity)}"
    return None


def _nothing(
    query: SequenceQuery, labels: tuple[str, str | None], rejected: Sequence[Candidate], filtered: bool
) -> str:
    text = f"no {query.name} in {session_key(*labels)}"
    if filtered:
        return f"{text}: the filter file leaves none"
    if rejected:
        some = "; ".join(f"{c.path.name}: {c.reason}" for c in rejected[:3])
        return f"{text}: none of {len(rejected)} looked at fits ({some}{'; ...' if len(rejected) > 3 else ''})"
    return text


def _best(fitting: list[Path], query: SequenceQuery, look: Look) -> tuple[Path, str, list[Candidate], tuple[str, ...]]:
    """The file that comes first; the reason; the others with theirs; what should be said about near-equals."""
    if len(fitting) == 1:
        return fitting[0], f"the only {query.name} that fits", [], _doubts(fitting[0], fitting, {}, query.name)
    seen = {path: look(path) for path in fitting}
    plain = [path for path in fitting if not _is_inversion(path)] or fitting
    whole = _most_covering(plain, seen) if not getattr(query, "slab", False) else plain
    smallest = min((it.voxel for path in whole if (it := seen[path]) is not None), default=None)
    finest = [p for p in whole if smallest is None or ((it := seen[p]) and it.voxel <= smallest * (1 + SAME_VOLUME))]
    taken = min(finest, key=_run_then_name)
    others = []
    for path in fitting:
        if path != taken:
            others.append(Candidate(path, _why_second(path, taken, seen, path in plain, path in whole, path in finest)))
    size = "of unknown resolution" if smallest is None else f"at {smallest:.3g} mm³ a voxel"
    left = "" if len(whole) == len(fitting) else f", {len(fitting) - len(whole)} passed over"
    if len(finest) == 1 and len(whole) == 1:
        what = "shows the whole brain" if len(plain) > 1 else "is no inversion image"
        reason = f"the only one of {len(fitting)} {query.name} that {what}"
    elif len(finest) == 1:
        reason = f"highest resolution ({smallest:.3g} mm³ a voxel) of {len(whole)} {query.name}{left}"
    else:
        runs = {_run_then_name(path)[0] for path in finest}
        what = "first run" if len(runs) > 1 else "first by file name"
        reason = f"{what} of {len(finest)} {query.name} {size}{left}"
    return taken, f"{reason}; none averaged", others, _doubts(taken, whole, seen, query.name)


def _most_covering(fitting: list[Path], seen: dict[Path, Seen | None]) -> list[Path]:
    """Those that show the whole brain, else those that show the most of it."""
    best = max((it.coverage for path in fitting if (it := seen[path]) is not None), default=None)
    if best is None:
        return fitting
    enough = WHOLE if best >= WHOLE else best * (1 - LESS)
    return [path for path in fitting if (it := seen[path]) is not None and it.coverage >= enough]


def _doubts(taken: Path, whole: list[Path], seen: dict[Path, Seen | None], name: str) -> tuple[str, ...]:
    """Images about as good as the one that was taken which differ in how they were acquired."""
    mine, near, own = parse_name(taken)[0], [], seen.get(taken)
    told = [f"{name}: {taken.name} is an inversion image of an MP2RAGE by its name, and there is no other"]
    told = told if _is_inversion(taken) else []
    for path in whole if len(whole) > 1 else ():
        theirs = parse_name(path)[0]
        differ = [key for key in ("acq", "inv", "rec", "echo", "flip", "mt") if theirs.get(key) != mine.get(key)]
        other = seen[path]
        as_good = other is None or own is None or other.voxel <= ABOUT * own.voxel
        if path != taken and differ and as_good:
            near.append(f"{path.name} ({', '.join(f'{key}-' for key in differ)} differ)")
    if near:
        told.append(
            f"{name}: {taken.name} was taken, about as good is {', '.join(near)}: see which was meant, and name "
            f"it with --bids-filter-file"
        )
    return tuple(told)


def _is_inversion(path: Path) -> bool:
    """Whether an image is one of the two inversions of an MP2RAGE, by its name."""
    entities, suffix, _ = parse_name(path)
    return suffix != "UNIT1" and ("inv" in entities or INVERSION.search(entities.get("acq", "")) is not None)


def _why_second(path: Path, taken: Path, seen: dict[Path, Seen | None], plain: bool, whole: bool, as_fine: bool) -> str:
    if not plain:
        return f"an inversion image of an MP2RAGE, which comes after {taken.name}"
    own = seen[path]
    if own is None and seen[taken] is not None:
        return "its header cannot be read, so its resolution is unknown (not fetched, or damaged?)"
    if own is not None and not whole:
        return f"shows {100 * own.coverage:.0f} % of a brain's box ({own.voxel:.3g} mm³ a voxel), a slab?"
    if own is not None and not as_fine:
        return f"lower resolution ({own.voxel:.3g} mm³ a voxel)"
    later = _run_then_name(path)[0] != _run_then_name(taken)[0]
    return f"same resolution, {'a later run than' if later else 'by file name after'} {taken.name}"


def _run_then_name(path: Path) -> tuple[int, str]:
    run = parse_name(path)[0].get("run", "0")
    return (int(run) if run.isdecimal() else 0, path.name)
