"""The filter file: JSON of ``{sequence: {entity: value}}`` as in fMRIPrep, checked and applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_app.bids.naming import INDICES, short_entity
from bids_app.errors import UsageError
from bids_app.text import TextError, read_json

#: Words of the file name, beside entities, that a filter may name.
WORDS = {"suffix", "extension", "datatype"}
#: Keys of filter files written for other programs: accepted where this run has no such sequence, and not used.
OTHER_QUERIES = frozenset("""
    adc angio asl bold chimap dwi epi expadc fa fieldmap flair flash fmap inplanet1 inplanet2 m0scan m0map magnitude
    magnitude1 magnitude2 megre mese mp2rage mpm mtr mtrmap mts mtsat pd pdmap pdt2 pdw pet phase phase1 phase2
    phasediff r1map r2map r2starmap roi s0map sbref t1map t1rho t1w t2map t2star t2starmap t2starw t2w trace unit1 vfa
""".split())  # fmt: skip  # noqa: SIM905

Filters = dict[str, dict[str, Any]]


def read_filters(path: Path | None, sequences: Mapping[str, str], *, strict: bool = True) -> Filters:
    """Read and check a filter file.

    Args:
        path: of the JSON file; None for no filters.
        sequences: name of each sequence -> its suffix. A key of the file is either of them, in any case.
        strict: refuse a key that is neither a sequence nor a BIDS suffix (another sequence of the recipe, say).

    Returns:
        Sequence name -> short entity (or suffix, extension, datatype) -> a value, a list of values, None (absent) or
        ``"*"`` (present with any value). ``sub`` and ``ses`` may carry their prefix.

    Raises:
        UsageError: unreadable, not JSON, an unknown key or entity, a value of the wrong kind; names file and key.
    """
    if path is None:
        return {}
    content = _load(Path(path))
    filters: Filters = {}
    for key, wanted in content.items():
        names = [n for n, suffix in sequences.items() if key.lower() in (n.lower(), suffix.lower())]
        exact = [n for n in names if n.lower() == key.lower()]
        if strict and not names and key.lower() not in OTHER_QUERIES:
            known = ", ".join(sorted(set(sequences) | set(sequences.values())))
            raise UsageError(f"{path}: {key!r} is no sequence of this run and no BIDS suffix; this run has {known}")
        if not isinstance(wanted, dict):
            raise UsageError(f'{path}: {key!r} must hold entities, for example {{{json.dumps(key)}: {{"run": 1}}}}')
        checked = {_entity(path, key, name): _value(path, key, name, value) for name, value in wanted.items()}
        for name in exact or names:
            filters[name] = filters.get(name, {}) | checked
    return filters


def matches(found: str | None, wanted: Any, entity: str) -> bool:
    """Does an entity's value in a file name (None: absent) satisfy a filter's?

    >>> matches("01", 1, "run"), matches("01", 1, "ses"), matches(None, "*", "ce")
    (True, False, False)
    """
    if isinstance(wanted, list):
        return any(matches(found, one, entity) for one in wanted)
    if wanted is None or found is None:
        return wanted is None and found is None
    if wanted == "*":
        return True
    text = _text(wanted).removeprefix(f"{entity}-")
    if entity in INDICES and text.isdecimal() and found.isdecimal():
        return int(text) == int(found)
    return text.lower() == found.lower() if entity == "extension" else text == found


def allows_session(filters: Filters, reference: str, session: str | None) -> bool:
    """False where the filter of the reference sequence names other sessions."""
    wanted = filters.get(reference, {})
    return "ses" not in wanted or matches(session, wanted["ses"], "ses")


def describe(wanted: Any, entity: str) -> str:
    """``run-1``, ``no run-``, ``any run-``, for reasons a person reads."""
    if isinstance(wanted, list):
        return " or ".join(describe(one, entity) for one in wanted)
    if wanted is None or wanted == "*":
        return f"{'no' if wanted is None else 'any'} {entity}{'' if entity in WORDS else '-'}"
    text = _text(wanted).removeprefix(f"{entity}-")
    return f"{entity} {text}" if entity in WORDS else f"{entity}-{text}"


def session_filter_names(labels: Iterable[str]) -> set[str]:
    """Session labels as typed, without their optional prefix."""
    return {str(label).removeprefix("ses-") for label in labels}


def _load(path: Path) -> dict[str, Any]:
    try:
        content, _ = read_json(path)
    except OSError as error:
        raise UsageError(f"cannot read the filter file {path}: {error.strerror}") from error
    except TextError as error:
        raise UsageError(str(error)) from error
    if not isinstance(content, dict):
        raise UsageError(f'{path} must hold sequences, for example {{"T1w": {{"acquisition": "mprage"}}}}')
    return content


def _entity(path: Path, key: str, name: str) -> str:
    short = name if name in WORDS else short_entity(name)
    if short is None:
        raise UsageError(f"{path}: {name!r} under {key!r} is no BIDS entity (such as session, acquisition, run)")
    return short


def _value(path: Path, key: str, name: str, value: Any) -> Any:
    for one in value if isinstance(value, list) and value else [value]:
        if isinstance(one, bool) or not isinstance(one, str | int | float | None):
            raise UsageError(f"{path}: {name!r} under {key!r} is {value!r}; text, a number, null or a list is needed")
    return value


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
