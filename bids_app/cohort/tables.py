"""What tables know of participants and sessions: targets as numbers, covariates, site, sex, age."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bids_app.bids.listing import list_participants, list_sessions
from bids_app.bids.tables import match_labels, read_table, without_partner, without_prefix
from bids_app.errors import InputMissing
from bids_app.recipes.recipe import Recipe, Target
from bids_app.text import TextError, is_missing, parse_number, read_json, stripped

#: Session of a participant without session folders.
Key = tuple[str, str | None]
Label = TypeVar("Label")


@dataclass
class Tables:
    """participants.tsv, every sessions.tsv, and the JSON beside them.

    Attributes:
        participants: row by label, without ``sub-``.
        sessions: row by participant and session.
        columns: of ``participants`` and of ``sessions``.
        levels: values of a column that the recipe names, by table and column.
        documented: values of a column that the JSON names, in its order, by table and column.
        wrong, told: what cannot be right, and what a person should know.
    """

    bids_dir: Path
    participants: dict[str, dict[str, str]] = field(default_factory=dict)
    sessions: dict[Key, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=lambda: {"participants": [], "sessions": []})
    levels: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    documented: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def value(self, table: str, column: str, key: Key) -> str | None:
        """One cell; None where it is not known: a word for that (`bids_app.text.MISSING`) which is no known level."""
        row = self.participants.get(key[0], {}) if table == "participants" else self.sessions.get(key, {})
        value = stripped(row.get(column, ""))
        named = (*self.levels.get((table, column), ()), *self.documented.get((table, column), ()))
        return None if value not in named and is_missing(value) else value

    def read_as_unknown(self, table: str, column: str, keys: Sequence[Key]) -> list[str]:
        """A sentence where cells that are neither empty nor ``n/a`` were taken for not known; empty elsewhere."""
        counts: dict[str, int] = {}
        for key in keys:
            row = self.participants.get(key[0], {}) if table == "participants" else self.sessions.get(key, {})
            cell = stripped(row.get(column, ""))
            if cell.lower() not in ("", "n/a") and self.value(table, column, key) is None:
                counts[cell] = counts.get(cell, 0) + 1
        words = ", ".join(f"{word!r} ({count})" for word, count in counts.items())
        named = "name it as a level in the recipe or the JSON beside the table if it is a value"
        return [f"{words} of the column {column} was read as not known; {named}"] if words else []

    def file(self, table: str) -> str:
        return f"{self.bids_dir / f'{table}.tsv'}" if table == "participants" else "sessions.tsv"


def read_tables(
    bids_dir: Path, keys: Sequence[Key], levels: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> Tables:
    """Read the tables that are there; an absent one has no columns.

    Labels that differ from a folder's by zeros, case or signs alone are taken for it; every row without a folder, and
    every session without a row, is named in ``told``.

    Args:
        bids_dir: the dataset.
        keys: participant and session of every session that will be asked for.
        levels: values that a recipe names, by table and column: no word among them means that it is not known.
    """
    tables = Tables(bids_dir, levels={place: tuple(names) for place, names in (levels or {}).items() if names})
    asked = list(dict.fromkeys(participant for participant, _ in keys))
    _levels(bids_dir / "participants.json", "participants", tables)
    _levels(bids_dir / "sessions.json", "sessions", tables)
    path = bids_dir / "participants.tsv"
    folders = list(dict.fromkeys([*_listed(partial(list_participants, bids_dir)), *asked]))
    rows, tables.columns["participants"] = _rows(path, "participant_id", "sub-", folders, tables)
    tables.participants = rows
    if rows:
        tables.told += _without_row(path.name, [f"sub-{one}" for one in asked if one not in rows])
    for participant in asked:
        path = bids_dir / f"sub-{participant}" / f"sub-{participant}_sessions.tsv"
        own = [session for one, session in keys if one == participant and session is not None]
        sessions = [one for one in _listed(partial(list_sessions, bids_dir, participant)) if one is not None]
        rows, columns = _rows(path, "session_id", "ses-", list(dict.fromkeys([*sessions, *own])), tables)
        tables.sessions |= {(participant, session): row for session, row in rows.items()}
        tables.columns["sessions"] += [c for c in columns if c not in tables.columns["sessions"]]
        _levels(path.with_suffix(".json"), "sessions", tables)
        if rows:
            tables.told += _without_row(path.name, [f"ses-{one}" for one in own if one not in rows])
    return tables


def _without_row(table: str, names: list[str]) -> list[str]:
    return [f"{table}: has no row for {', '.join(names)}"] if names else []


def _listed(look: Callable[[], list[Label]]) -> list[Label]:
    """Folders of the dataset; none where it is not there (any more): finished derivatives are enough to train with."""
    try:
        return look()
    except InputMissing:
        return []


def _rows(
    path: Path, column: str, prefix: str, folders: list[str], tables: Tables
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows by folder, and the table's columns."""
    try:
        table = read_table(path, column)
    except FileNotFoundError:
        return {}, []
    except (OSError, TextError) as error:
        tables.wrong.append(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")
        return {}, []
    tables.told += table.told
    tables.wrong += table.wrong
    if column not in table.columns:
        tables.wrong.append(f"{path}: has no column {column}")
        return {}, []
    rows: dict[str, dict[str, str]] = {}
    for line in table.rows:
        label = without_prefix(line[column], prefix)
        if is_missing(label):
            tables.told.append(f"{path.name}: a row without a {column} is not used")
        elif rows.setdefault(label, line) != line:
            tables.wrong.append(f"{path}: lists {prefix}{label} twice, with different values")
    matches = match_labels(list(rows), folders, prefix, path.name)
    tables.told += matches.told + without_partner(matches.lost, folders, prefix, path.name)
    return {folder: rows[label] for label, folder in matches.folder.items()}, table.columns


def _levels(path: Path, table: str, tables: Tables) -> None:
    """Take over what a JSON says about its columns."""
    try:
        content, told = read_json(path)
    except FileNotFoundError:
        return
    except (OSError, TextError) as error:
        tables.wrong.append(f"{path}: cannot be read ({error})")
        return
    tables.told += told
    for column, about in content.items() if isinstance(content, dict) else ():
        levels = about.get("Levels") if isinstance(about, dict) else None
        if isinstance(levels, dict | list) and levels:
            names = tuple(str(level) for level in levels if str(level).lower() not in ("", "n/a"))
            tables.documented.setdefault((table, column), names)


@dataclass(frozen=True)
class CodedSessions:
    """What tables say of a cohort's sessions.

    Attributes:
        targets, covariates: one row per session, NaN where not known.
        levels: of every target, by its name; empty for one with a value.
        covariate_levels: the words of covariates that are words, in the order of their numbers.
        wrong, told: what cannot be right, and what a person should know.
    """

    targets: np.ndarray
    covariates: np.ndarray
    levels: dict[str, tuple[str, ...]]
    covariate_levels: dict[str, tuple[str, ...]]
    wrong: list[str]
    told: list[str]


def named_levels(recipe: Recipe) -> dict[tuple[str, str], tuple[str, ...]]:
    """The values that a recipe names for its targets, by table and column."""
    return {(target.table, target.column or target.name): target.levels for target in recipe.targets}


def learnable(recipe: Recipe, tables: Tables) -> tuple[Recipe, list[str]]:
    """The recipe without the targets that it can do without and whose column is not there, and what is to be said."""
    gone = [t for t in recipe.targets if not t.required and t.source not in tables.columns[t.table]]
    told = [
        f"target {t.name} is not learned: {tables.file(t.table)} has no column {t.source}, and the recipe "
        f"{recipe.name} can do without"
        for t in gone
    ]
    lost = {target.name for target in gone}
    return recipe.with_targets([t.name for t in recipe.targets if t.name not in lost]), told


def code_all(recipe: Recipe, tables: Tables, keys: Sequence[Key]) -> CodedSessions:
    """Every target and covariate of a recipe, as `code_target` and `code_covariates` give them."""
    wrong, told = list(tables.wrong), list(tables.told)
    levels: dict[str, tuple[str, ...]] = {}
    targets = np.full((len(keys), len(recipe.targets)), np.nan)
    for place, target in enumerate(recipe.targets):
        targets[:, place], levels[target.name], trouble, words = code_target(target, tables, keys)
        wrong, told = wrong + trouble, told + words
    covariates, orders, trouble = code_covariates(recipe, tables, keys)
    for name, order in orders.items():
        told.append(f"covariate {name}: " + ", ".join(f"{word} is {number}" for number, word in enumerate(order)))
    return CodedSessions(targets, covariates, levels, orders, wrong + trouble, told)


def code_target(
    target: Target, tables: Tables, keys: Sequence[Key]
) -> tuple[np.ndarray, tuple[str, ...], list[str], list[str]]:
    """One target of every session as a number.

    Args:
        target: of the recipe; its column is named after it where it names none.
        tables: from `read_tables`.
        keys: participant and session of each session of the cohort.

    Returns:
        Position of the level, or the value, NaN where it is not known, shape ``(sessions,)``; the levels; what is
        wrong; what a person should know.
    """
    column, none = target.column or target.name, np.full(len(keys), np.nan)
    if column not in tables.columns[target.table]:
        there = ", ".join(tables.columns[target.table]) or "none"
        trouble = f"{tables.file(target.table)}: has no column {column} for the target {target.name}; it has {there}"
        return none, target.levels, [trouble], []
    texts = [tables.value(target.table, column, key) for key in keys]
    unknown = tables.read_as_unknown(target.table, column, keys)
    if not target.behaviour.has_levels:
        values, wrong = _numbers(texts, keys, f"{tables.file(target.table)}, column {column}")
        return values, (), wrong + _nothing_to_learn(target, values, ()), unknown
    levels, wrong, told = _levels_of(target, tables, texts)
    told += unknown
    values, places = none, {level: place for place, level in enumerate(levels)}
    for index, (key, text) in enumerate(zip(keys, texts, strict=True)):
        if text is not None:
            same = text if text in places else _same_number(text, levels)
            place = None if same is None else places.get(same)
            values[index] = np.nan if place is None else place
            if place is None:
                wrong.append(f"{tables.file(target.table)}: {_who(key)} has {column} {text!r}, none of {list(levels)}")
    return values, levels, list(dict.fromkeys(wrong)) + _nothing_to_learn(target, values, levels), told


def _levels_of(
    target: Target, tables: Tables, texts: Sequence[str | None]
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The recipe's levels, else the JSON's, else the sorted values; what is wrong and what is to be known of them."""
    column = target.column or target.name
    documented = tables.documented.get((target.table, column), ())
    wrong, told = [], []
    levels = target.levels or documented
    if not levels:
        found = sorted({text for text in texts if text is not None}, key=_in_order)
        levels = tuple(text for place, text in enumerate(found) if not _same_number(text, found[:place]))
        told.append(
            f"target {target.name}: neither the recipe nor {target.table}.json gives the levels of {column}; its "
            f"values in order are taken ({', '.join(levels) or 'none'})"
        )
    strange = [level for level in target.levels if documented and level not in documented]
    if strange:
        wrong.append(f"{target.table}.json: {column} has no level {', '.join(strange)}, which the recipe names")
    most = target.behaviour.level_count
    if most and len(levels) > most:
        wrong.append(
            f"target {target.name} is {target.kind}, but {column} has {len(levels)} levels ({', '.join(levels)}): name "
            f"{most} in the recipe, or choose another kind"
        )
    return levels, wrong, told


def _nothing_to_learn(target: Target, values: np.ndarray, levels: tuple[str, ...]) -> list[str]:
    known = values[np.isfinite(values)]
    if len(np.unique(known)) > 1:
        return []
    if not len(known):
        return [f"target {target.name}: nobody has a known value: nothing to learn"]
    what = f"{levels[int(known[0])]!r}" if levels else f"{known[0]:g}"
    return [f"target {target.name}: one class only, {what} ({len(known)} of {len(known)} known): nothing to learn"]


def code_covariates(
    recipe: Recipe, tables: Tables, keys: Sequence[Key]
) -> tuple[np.ndarray, dict[str, tuple[str, ...]], list[str]]:
    """Covariates of every session, shape ``(sessions, covariates)``; the words of those that are words; what is wrong.

    Numbers as they are; of words there may be two, 0 and 1 in the order of the JSON's levels or the alphabet.
    """
    values = np.full((len(keys), len(recipe.learning.covariates)), np.nan)
    wrong, found = [], {}
    for place, column in enumerate(recipe.learning.covariates):
        if column not in tables.columns["participants"]:
            wrong.append(f"{tables.file('participants')}: has no column {column} for the covariate")
            continue
        texts = [tables.value("participants", column, key) for key in keys]
        words = sorted({text for text in texts if text is not None and _number(text) is None})
        if words and not any(_number(text) is not None for text in texts if text):
            order = tables.documented.get(("participants", column), ()) or tuple(words)
            if len(order) > 2 or not set(words) <= set(order):
                wrong.append(f"{tables.file('participants')}: the covariate {column} has more than two values {words}")
                continue
            found[column] = tuple(order)
            values[:, place] = [np.nan if text is None else order.index(text) for text in texts]
        else:
            values[:, place], trouble = _numbers(texts, keys, f"{tables.file('participants')}, column {column}")
            wrong += trouble
    return values, found, wrong


def _numbers(texts: Sequence[str | None], keys: Sequence[Key], where: str) -> tuple[np.ndarray, list[str]]:
    values, wrong = np.full(len(texts), np.nan), []
    for index, (text, key) in enumerate(zip(texts, keys, strict=True)):
        try:
            values[index] = np.nan if text is None else parse_number(text)
        except TextError as error:
            wrong.append(f"{where}: {_who(key)}: {error}")
    return values, list(dict.fromkeys(wrong))


def _number(text: str) -> float | None:
    try:
        return parse_number(text)
    except TextError:
        return None


def _same_number(text: str, levels: Sequence[str]) -> str | None:
    """The level that is the same number written otherwise (``1.0`` for ``1``)."""
    number = _number(text)
    return None if number is None else next((level for level in levels if _number(level) == number), None)


def _in_order(text: str) -> tuple[float, str]:
    """Numbers by size, before words by alphabet."""
    number = _number(text)
    return (math.inf, text) if number is None or math.isnan(number) else (number, text)


def _who(key: Key) -> str:
    return f"sub-{key[0]}" + (f"_ses-{key[1]}" if key[1] is not None else "")
