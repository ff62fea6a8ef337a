"""The methods text of one session: what each step said of itself when it ran, in order, with its references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bids_app.bids.record import RecipePart, Sentence, SessionRecord
from bids_app.report.references import REFERENCES, SHORT

#: Steps in the order of the text, whatever the order in which they ran.
ORDER = (
    *(
        "taken",
        "prepared",
        "diffusion",
        "functional",
        "unit",
        "pair",
        "denoise",
        "bias",
        "brain",
        "rigid",
        "template",
        "lesion",
        "grey matter",
    ),
    *("network", "training", "stack", "located", "flips", "volumes", "scores"),
)
CITED = re.compile(r"\[@[^\]]+\]")


@dataclass(frozen=True)
class Methods:
    """``paragraphs`` in order, and ``references`` in the order of their first citation."""

    paragraphs: list[str]
    references: list[str]


def raw_paragraphs(record: SessionRecord) -> list[str]:
    """Paragraphs with citations as ``[@key; @key]``, as Pandoc reads them."""
    paragraphs = [_data(record)]
    for images in record.images.values():
        told = list(images.methods)
        if images.preprocessing.prepared:
            words = "Images were taken as they came, already cut out or prepared: no brain was extracted, and nothing "
            told.append(Sentence(step="prepared", text=f"{words}was registered."))
        paragraphs.append(in_order(told))
    paragraphs += [_recipe(part) for part in record.done()]
    return [text for text in [*paragraphs, _software(record)] if text]


def build_methods(record: SessionRecord) -> Methods:
    """The text for people: citations as author and year."""
    return text_methods(raw_paragraphs(record))


def text_methods(sentences: Sequence[str]) -> Methods:
    """Sentences with citations, as people read them."""
    cited: list[str] = []
    paragraphs = [CITED.sub(lambda found: _named(found.group(), cited), text) for text in sentences]
    return Methods(paragraphs, [REFERENCES[key] for key in cited])


def record_methods(record: SessionRecord) -> Methods:
    """What the record's steps said; the text that a record of an earlier version holds where they said nothing."""
    said = any(one.methods for one in record.all_parts())
    kept = record.old_methods
    return Methods(kept.paragraphs, kept.references) if kept.paragraphs and not said else build_methods(record)


def methods_markdown(record: SessionRecord) -> str:
    """The same as Markdown, for pasting into a manuscript."""
    methods = record_methods(record)
    lines = ["# Methods", "", *[line for p in methods.paragraphs for line in (p, "")]]
    lines += ["## References", "", *[f"{i}. {text}" for i, text in enumerate(methods.references, 1)]]
    return "\n".join(lines) + "\n"


def cited_in(text: str) -> list[str]:
    """Keys of the references that a text cites, each once."""
    found = [key.strip().removeprefix("@") for group in CITED.findall(text) for key in group[1:-1].split(";")]
    return [key for key in dict.fromkeys(found) if key in REFERENCES]


def in_order(sentences: list[Sentence]) -> str:
    """One paragraph, each sentence once."""
    position = {step: place for place, step in enumerate(ORDER)}
    ordered = sorted(sentences, key=lambda one: position.get(one.step, len(ORDER)))
    return " ".join(dict.fromkeys(one.text for one in ordered))


def _named(citation: str, cited: list[str]) -> str:
    keys = cited_in(citation)
    cited += [key for key in keys if key not in cited]
    return f"({'; '.join(SHORT[key] for key in keys)})" if keys else ""


def _data(record: SessionRecord) -> str:
    name = f"Tandem {record.version}" if record.version else "Tandem"
    text = f"Results come from {name} [@tandem], a BIDS App [@bids; @bids-apps]. "
    groups = [images for images in record.images.values() if images.selection.used()]
    if not groups:
        return text + "No usable image was found for this session."
    used = list(dict.fromkeys(name for images in groups for name in images.selection.used()))
    text += f"Input files were selected with PyBIDS [@pybids]: {joined(used)}, one file each and none averaged. "
    if len(used) > 1:
        references = joined([images.reference for images in groups])
        text += f"{references} served as the reference{'' if len(groups) == 1 else 's'}. "
    return text.strip()


def _recipe(part: RecipePart) -> str:
    told = list(part.methods)
    if part.taken_as:
        told.append(Sentence(step="taken", text=f"{part.taken_as}."))
    return in_order(told)


def _software(record: SessionRecord) -> str:
    sources = [part.provenance for part in record.done()] + [images.provenance for images in record.images.values()]
    sources = [one for one in sources if one]
    if not sources:
        return ""
    origin: dict[str, Any] = sources[0]
    text = "The steps were run as a Nipype graph [@nipype]; images were read and written with NiBabel [@nibabel]."
    known = [f"{name} {v}" for name, v in (origin.get("packages") or {}).items() if isinstance(v, str | int | float)]
    if known:
        text += f" Versions: {', '.join(known)}."
    if origin.get("random_seed") is not None:
        text += f" Random seed {origin['random_seed']}"
        threads = origin.get("threads")
        text += f", {threads} thread{'' if threads == 1 else 's'}." if isinstance(threads, int) else "."
    return text


def joined(words: list[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""
