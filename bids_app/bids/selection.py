"""What was chosen for a session and why: plain data that survives JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bids_app.bids.naming import parse_name, session_key
from bids_app.errors import InputMissing


class SequenceQuery(Protocol):
    """What a recipe says about one of its sequences."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def entities(self) -> Mapping[str, Any]: ...
    @property
    def required(self) -> bool: ...
    @property
    def alternatives(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Candidate:
    """A file that was looked at and not taken."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Choice:
    """The file taken for one sequence; ``path`` is None where there is none, and ``reason`` then says so.

    ``computed``: suffix of the image that is to be computed from ``path``, a series; empty where ``path`` is the image
    itself. ``beside``: files that are read with a series: b-values and directions of diffusion, brain mask and
    confounds of one that fMRIPrep preprocessed. ``doubts``: what to look at. ``made_of``: seed or network of a map
    of connections, in words.
    """

    sequence: str
    path: Path | None
    reason: str
    rejected: tuple[Candidate, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    computed: str = ""
    beside: tuple[Path, ...] = ()
    doubts: tuple[str, ...] = ()
    made_of: str = ""

    @property
    def suffix(self) -> str | None:
        """Suffix of the image, or of what will be computed; None where there is no file."""
        return None if self.path is None else self.computed or parse_name(self.path)[1]


@dataclass(frozen=True)
class Selection:
    """All that one session goes in with."""

    participant: str
    session: str | None
    reference: str
    choices: dict[str, Choice]
    lesion_mask: Path | None = None
    warnings: tuple[str, ...] = ()
    filtered: bool = False  # True where files were there but the filters left none of them
    instead: dict[str, str] = field(default_factory=dict)  # sequence asked for -> the alternative that stands for it

    @property
    def key(self) -> str:
        """``sub-01_ses-01``, or ``sub-01`` without session folders."""
        return session_key(self.participant, self.session)

    @property
    def datatype(self) -> str:
        """The BIDS folder of the reference, where everything on its grid goes: ``anat`` or ``dwi``."""
        path = self.path_of(self.reference)
        return path.parent.name if path else "anat"

    @property
    def reference_path(self) -> Path:
        """The file of the reference.

        Raises:
            InputMissing: there is none.
        """
        path = self.path_of(self.reference)
        if path is None:
            raise InputMissing(f"{self.key} has no {self.reference}")
        return path

    def name_of(self, sequence: str) -> str:
        """The sequence that is used where a recipe says this one: itself, or an alternative that stands for it."""
        return self.instead.get(sequence, sequence)

    def path_of(self, sequence: str) -> Path | None:
        """The file taken for a sequence; None where there is none, or the sequence was not asked for."""
        choice = self.choices.get(sequence)
        return choice.path if choice else None

    def from_one_series(self, one: str, other: str) -> bool:
        """Whether two sequences are both computed from the same raw series."""
        pair = self.choices.get(one), self.choices.get(other)
        return all(choice and choice.computed for choice in pair) and self.path_of(one) == self.path_of(other)

    def paths(self) -> dict[str, Path]:
        """Sequence -> file, for the sequences that have one."""
        return {name: choice.path for name, choice in self.choices.items() if choice.path is not None}

    def missing(self, sequences: Sequence[SequenceQuery]) -> list[str]:
        """Names of the required sequences, the reference among them, that have no file."""
        needed = {self.reference} | {query.name for query in sequences if query.required}
        return [name for name in self.choices if name in needed and self.choices[name].path is None]

    def to_plain(self) -> dict[str, Any]:
        """For JSON; `from_plain` is the inverse."""
        return {
            "participant": self.participant,
            "session": self.session,
            "reference": self.reference,
            "choices": [_choice_to_plain(choice) for choice in self.choices.values()],
            "lesion_mask": str(self.lesion_mask) if self.lesion_mask else None,
            "warnings": list(self.warnings),
            "filtered": self.filtered,
            "instead": dict(self.instead),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Selection:
        """Rebuild what `to_plain` made."""
        choices = {one["sequence"]: _choice_from_plain(one) for one in plain["choices"]}
        mask = Path(plain["lesion_mask"]) if plain["lesion_mask"] else None
        told = tuple(plain.get("warnings", ()))
        labels = plain["participant"], plain["session"], plain["reference"]
        instead = dict(plain.get("instead") or {})
        return cls(*labels, choices, mask, told, bool(plain.get("filtered")), instead)


def _choice_to_plain(choice: Choice) -> dict[str, Any]:
    return {
        "sequence": choice.sequence,
        "path": str(choice.path) if choice.path else None,
        "reason": choice.reason,
        "rejected": [{"path": str(c.path), "reason": c.reason} for c in choice.rejected],
        "metadata": choice.metadata,
        "computed": choice.computed,
        "beside": [str(path) for path in choice.beside],
        "doubts": list(choice.doubts),
        "made_of": choice.made_of,
    }


def _choice_from_plain(plain: Mapping[str, Any]) -> Choice:
    rejected = tuple(Candidate(Path(c["path"]), c["reason"]) for c in plain["rejected"])
    path = Path(plain["path"]) if plain["path"] else None
    beside = tuple(Path(name) for name in plain.get("beside") or ())
    computed = str(plain.get("computed") or "")
    doubts = tuple(plain.get("doubts") or ())
    metadata = dict(plain["metadata"])
    made_of = str(plain.get("made_of") or "")
    return Choice(plain["sequence"], path, plain["reason"], rejected, metadata, computed, beside, doubts, made_of)
