"""The rule by which one file is taken for a sequence. Nothing is ever averaged.

1. It lies in the session's own folder, and its name says so too; names of derivatives (``space-``, ``desc-``) are out.
2. It has the entities that the recipe asks for. Unless the recipe or the filter file asks: no ``ce-``, and of
   ``part-`` only ``mag``. A ``UNIT1`` of an MP2RAGE is no T1w, for its background is noise.
3. It passes the filter file, whose word on an entity (or suffix) goes before the recipe's.
4. Of what is left: the highest resolution (smallest voxel volume, by the header), then the first run, then the first
   file name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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

VolumeOf = Callable[[Path], float | None]


def choose_image(
    query: SequenceQuery,
    images: Iterable[Path],
    home: Path,
    labels: tuple[str, str | None],
    filters: dict[str, Any],
    volume_of: VolumeOf,
) -> tuple[Choice, bool]:
    """Choose one file for a sequence.

    Args:
        query: the sequence, as the recipe has it.
        images: images of the session, wherever they lie below ``home``.
        home: the session's folder (``sub-01/ses-01``).
        labels: of participant and session.
        filters: the filter file's entities for this sequence.
        volume_of: reads a voxel's volume in mm³ from a header; None where it cannot be read.

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
    path, reason, others = _best(fitting, query.name, volume_of)
    return Choice(query.name, path, reason, tuple(rejected + others)), False


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


def _best(fitting: list[Path], name: str, volume_of: VolumeOf) -> tuple[Path, str, list[Candidate]]:
    """The file that comes first by resolution, run and name; the reason; the others with theirs."""
    if len(fitting) == 1:
        return fitting[0], f"the only {name} that fits", []
    volumes = {path: volume_of(path) for path in fitting}
    known = [v for v in volumes.values() if v is not None]
    smallest = min(known, default=None)
    finest = [p for p in fitting if smallest is None or (volumes[p] or 1e9) <= smallest * (1 + SAME_VOLUME)]
    taken = min(finest, key=_run_then_name)
    others = []
    for path in fitting:
        if path != taken:
            others.append(Candidate(path, _why_second(path, taken, volumes, path in finest)))
    size = "of unknown resolution" if smallest is None else f"at {smallest:.3g} mm³ a voxel"
    if len(finest) == 1:
        return taken, f"highest resolution ({smallest:.3g} mm³ a voxel) of {len(fitting)} {name}; none averaged", others
    runs = {_run_then_name(path)[0] for path in finest}
    what = "first run" if len(runs) > 1 else "first by file name"
    return taken, f"{what} of {len(finest)} {name} {size}; none averaged", others


def _why_second(path: Path, taken: Path, volumes: dict[Path, float | None], as_fine: bool) -> str:
    if volumes[path] is None and volumes[taken] is not None:
        return "its header cannot be read, so its resolution is unknown (not fetched, or damaged?)"
    if not as_fine:
        return f"lower resolution ({volumes[path]:.3g} mm³ a voxel)"
    later = _run_then_name(path)[0] != _run_then_name(taken)[0]
    return f"same resolution, {'a later run than' if later else 'by file name after'} {taken.name}"


def _run_then_name(path: Path) -> tuple[int, str]:
    run = parse_name(path)[0].get("run", "0")
    return (int(run) if run.isdecimal() else 0, path.name)
