"""Records of the first format, which knew one run and one preprocessed image, as records of today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Fields of ``files`` that named one file for every recipe, by its name.
PER_RECIPE = ("dseg", "probseg", "volumes", "scores")


def converted(old: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A record of the first format as plain data of the second, not checked yet.

    A part is made for every recipe that the record names. It has no hash of its settings, so that the recipe is run
    again when it is asked for again; everything else of it can be read.
    """
    participant, _, session = key.partition("_")
    state = old.get("state") or "unknown"
    new: dict[str, Any] = {
        "format": 2,
        "key": key,
        "participant": old.get("participant") or participant.removeprefix("sub-"),
        "session": old.get("session") or session.removeprefix("ses-") or None,
        "state": state,
        "reason": old.get("reason") or "",
        "old_methods": {name: part(old, "methods").get(name) or [] for name in ("paragraphs", "references")},
    }
    new |= {name: old[name] for name in ("version", "created", "crash") if old.get(name) is not None}
    new |= {name: old[name] for name in ("exit_code", "seconds", "peak_rss_mb") if old.get(name) is not None}
    new |= {name: old.get(name) or [] for name in ("stages", "warnings")}
    images = _images(old)
    reference = images["reference"] if images else None
    new["images"] = {reference: images} if images else {}
    new["recipes"] = _recipes(old, reference, _way(old), state)
    return new


def _way(old: Mapping[str, Any]) -> str:
    return "preproc" if part(old, "preprocessing").get("bias") else "uncorrected"


def _images(old: Mapping[str, Any]) -> dict[str, Any] | None:
    selection, done, files = (part(old, name) for name in ("selection", "preprocessing", "files"))
    reference = selection.get("reference")
    if reference is None and not (done or files.get("reference")):
        return None
    way, kept = _way(old), {}
    if files.get("reference"):
        kept["reference"] = {way: files["reference"]}
    if files.get("sequences"):
        kept["sequences"] = {way: files["sequences"]}
    kept |= {name: files[name] for name in ("brain_mask", "to_template") if files.get(name)}
    if in_template := part(files, "template_space").get("reference"):
        kept["template_space"] = {way: in_template}
    facts = {name: value for name, value in done.items() if value is not None and name not in ("taken_as", "located")}
    return {
        "reference": reference or "reference",
        "selection": {name: value for name, value in selection.items() if value is not None},
        "preflight": old.get("preflight") or [],
        "preprocessing": facts,
        "files": kept,
        "provenance": part(old, "provenance"),
    }


def _recipes(old: Mapping[str, Any], reference: str | None, way: str, state: str) -> dict[str, Any]:
    predictions = {str(row.get("recipe")): row for row in old.get("predictions") or []}
    scores = {str(row.get("recipe")): row for row in old.get("scores") or []}
    files, done = part(old, "files"), part(old, "preprocessing")
    told = {str(text).partition(":")[0]: text for text in done.get("taken_as") or []}
    found: dict[str, Any] = {}
    for name in dict.fromkeys([*predictions, *scores]):
        row = predictions.get(name) or scores[name]
        named = {kind: part(files, kind)[name] for kind in PER_RECIPE if part(files, kind).get(name)}
        if in_template := part(files, "template_space").get(name):
            named["template_space"] = in_template
        found[name] = {
            "recipe": name,
            "title": row.get("title") or "",
            "state": state,
            "reason": old.get("reason") or "",
            "version": old.get("version") or "",
            "finished": old.get("created") or "",
            "reference": reference,
            "way": way,
            "taken_as": told.get(name) or "",
            "files": named,
            "located": part(done, "located").get(name) or {},
            "provenance": part(old, "provenance"),
        }
        found[name] |= {"prediction": _known(predictions[name])} if name in predictions else {}
        found[name] |= {"scores": _known(scores[name])} if name in scores else {}
    return found


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def part(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping inside a mapping; empty where it is not there.

    Raises:
        TypeError: something else is there.
    """
    inside = mapping.get(name) or {}
    if not isinstance(inside, Mapping):
        raise TypeError(f"{name}: must be an object, not {str(inside)[:60]!r}")
    return inside
