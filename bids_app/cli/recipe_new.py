"""``tandem recipe new``: asks what a recipe is to find and to answer, and writes it as a TOML file."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bids_app.cli.parser import Parser
from bids_app.errors import CannotWrite, TandemError, UsageError

#: Suffixes whose values have a physical scale.
SCALED = ("ADC", "alff", "falff", "reho", "T1map", "T2map")
#: Words of a region's name that say its side.
SIDES = {"left": "right", "right": "left"}


class Question(NamedTuple):
    """One thing to ask; ``flag`` answers it on the command line, ``usual`` is taken where nothing is typed."""

    flag: str
    text: str
    usual: str | None = None


QUESTIONS = (
    Question("name", "Name (letters and digits; it stands in file names)"),
    Question("title", "Title for pages"),
    Question("sequences", "Sequences, the reference first; a ? makes one optional (T1w FLAIR?)", "T1w"),
    Question("grid", "Where to look: whole (the brain), head (the whole field of view) or image (as it is)", "whole"),
    Question("spacing", "Voxels of the network, mm", "1"),
    Question(
        "regions", "Regions to find, with commas (left hippocampus, right hippocampus; lesion:NAME may be absent)", ""
    ),
    Question(
        "targets",
        "Targets per participant, with commas (COLUMN:binary:no/yes, COLUMN:ordinal:a/b/c, COLUMN:continuous:years)",
        "",
    ),
    Question("covariates", "Columns of participants.tsv that targets are adjusted for (age sex)", ""),
)


def recipe(argv: list[str]) -> int:
    """Write a recipe of your own."""
    parser = Parser(
        prog="tandem recipe new",
        allow_abbrev=False,
        description="Ask what a recipe is to find and to answer, and write it; what an option gives is not asked.",
    )
    parser.add_argument("what", choices=["new"])
    for question in QUESTIONS:
        parser.add_argument(f"--{question.flag}", help=question.text)
    parser.add_argument("--out", type=Path, help="file to write (default: NAME.toml)")
    options = parser.parse_args(argv)
    given = {question.flag: getattr(options, question.flag) for question in QUESTIONS}
    told = answers(given, input if sys.stdin and sys.stdin.isatty() else None)
    text = written(told)
    path = options.out or Path(f"{told['name']}.toml")
    if path.exists():
        raise UsageError(f"{path} is there already; give another file with --out")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error
    print(text + f"\ntandem: wrote {path}; every field stands in docs/recipes.md")
    print(f"next      tandem BIDS_DIR OUTPUT_DIR train --recipe {shlex.quote(str(path))} -d manual=LABELS_DIR")
    return 0


def answers(given: dict[str, str | None], ask: Callable[[str], str] | None) -> dict[str, str]:
    """An answer to every question: as given, else as typed, else the usual one.

    Args:
        given: by flag; None for what was not.
        ask: shows a text and returns a line; None where nobody can be asked.

    Raises:
        UsageError: nobody can be asked for what has no usual answer; names the options.
    """
    if ask is None and (lacking := [f"--{q.flag}" for q in QUESTIONS if given[q.flag] is None and q.usual is None]):
        raise UsageError(f"nobody can be asked here: give {' and '.join(lacking)}")
    told: dict[str, str] = {}
    for question in QUESTIONS:
        answer = given[question.flag]
        while answer is None:
            shown = f"{question.text}{f' [{question.usual}]' if question.usual else ''}: "
            try:
                typed = ask(shown).strip() if ask is not None else ""
            except EOFError as error:
                raise UsageError(f"the answers ended before --{question.flag}") from error
            answer = typed or question.usual
        told[question.flag] = answer.strip()
    return told


def written(told: dict[str, str]) -> str:
    """The recipe as TOML.

    Args:
        told: of `answers`.

    Raises:
        UsageError: an answer that makes no recipe; says which, and why.
    """
    from bids_app.recipes.recipe import Recipe
    from bids_app.recipes.write import recipe_to_toml

    sequences = [_sequence(word) for word in re.split(r"[,\s]+", told["sequences"]) if word]
    if not sequences:
        raise UsageError("--sequences: at least one is needed")
    regions = _regions([part.strip() for part in told["regions"].split(",") if part.strip()])
    targets = [_target(part.strip()) for part in told["targets"].split(",") if part.strip()]
    if not regions and not targets:
        raise UsageError("--regions or --targets: a recipe finds regions, answers for targets, or both")
    try:
        spacing = float(told["spacing"])
    except ValueError:
        raise UsageError(f"--spacing: {told['spacing']!r} is no number of millimetres") from None
    plain: dict[str, Any] = {
        "name": told["name"], "title": told["title"], "reference": sequences[0]["name"], "sequences": sequences,
        "grid": {"kind": told["grid"], "spacing_mm": spacing}, "regions": regions, "targets": targets,
        "labels": _labels(regions), "learning": _learning(told, sequences),
        "network": {"filters": 16, "blocks": [1, 2, 2, 2], "deep_supervision": 1, "fold": 2},
    }  # fmt: skip
    try:
        return recipe_to_toml(Recipe.model_validate(plain))
    except ValueError as error:
        raise UsageError(f"these answers make no recipe: {_first(error)}") from error
    except TandemError as error:
        raise UsageError(f"these answers make no recipe: {error}") from error


def _first(error: ValueError) -> str:
    told = getattr(error, "errors", None)
    if told is None:
        return str(error)
    trouble = told(include_url=False)[0]
    where = ".".join(str(part) for part in trouble["loc"])
    return f"{where}: {trouble['msg']}" if where else str(trouble["msg"])


def _sequence(word: str) -> dict[str, Any]:
    """``T1w``, ``FLAIR?``, ``ce-gadolinium_T1w``."""
    name, optional = word.rstrip("?"), word.endswith("?")
    *entities, suffix = name.split("_")
    named = {"ce": "ceagent"}
    pairs = {named.get(key, key): value for key, _, value in (one.partition("-") for one in entities)}
    if suffix in ("T1w", "T2w", "FLAIR"):
        pairs.setdefault("ceagent", "")
    found: dict[str, Any] = {"name": name, "suffix": suffix, "entities": pairs, "required": not optional}
    return {**found, "quantitative": True} if suffix in SCALED else found


def _regions(names: Sequence[str]) -> list[dict[str, Any]]:
    """Numbered as given; ``left`` and ``right`` of one name are partners."""
    plain = [name.removeprefix("lesion:").strip() if name.startswith("lesion:") else name for name in names]
    rows: list[dict[str, Any]] = []
    for index, (given, name) in enumerate(zip(names, plain, strict=True), 1):
        side = next((word for word in SIDES if name.lower().startswith(f"{word} ")), None)
        row: dict[str, Any] = {"index": index, "name": name}
        if given.startswith("lesion:") or name == "lesion":
            row["kind"] = "lesion"
        if side is not None:
            other = f"{SIDES[side]} {name.split(' ', 1)[1]}".lower()
            row["side"] = side
            row["partner"] = next((n for n, one in enumerate(plain, 1) if one.lower() == other), None)
        rows.append(row)
    return rows


def _labels(regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A single lesion is a mask; several regions are a label image."""
    if len(regions) == 1 and regions[0].get("kind") == "lesion":
        return {"suffix": "mask", "entities": {"label": "L"}}
    return {}


def _target(text: str) -> dict[str, Any]:
    """``COLUMN:KIND[:LEVELS or UNIT]``."""
    from bids_app.targets.kinds import kind_names, kind_of

    column, _, rest = text.partition(":")
    kind, _, more = rest.partition(":")
    if not kind:
        raise UsageError(f"--targets: {text!r} says no kind; write {column}:binary:no/yes or {column}:continuous:years")
    found: dict[str, Any] = {"name": re.sub(r"[^0-9a-zA-Z]", "", column), "kind": kind, "column": column}
    if not more:
        return found
    if kind in kind_names() and not kind_of(kind).has_levels:
        return {**found, "unit": more}
    return {**found, "levels": [level.strip() for level in more.split("/")]}


def _learning(told: dict[str, str], sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"covariates": [word for word in re.split(r"[,\s]+", told["covariates"]) if word]}
    if any(not one["required"] for one in sequences):
        found["sequence_dropout"] = 0.25  # so that the network learns to do without them
    return found
