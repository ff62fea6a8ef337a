"""The cohort: preprocessed sessions of an output folder, with the labels and targets that are known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.digest import content_hash
from bids_app.bids.naming import parse_name
from bids_app.bids.preflight import check_image
from bids_app.bids.record import CORRECTED, UNCORRECTED, SessionRecord
from bids_app.bids.record_file import read_session, session_keys
from bids_app.cohort.labels import check_labels, declared, find_labels
from bids_app.cohort.split import Member
from bids_app.cohort.tables import Key, Tables, code_all, learnable, named_levels, read_tables
from bids_app.errors import DataError, InputMissing, LeakageError, TandemError, UsageError
from bids_app.imaging.stacking import Grid
from bids_app.recipes.grid import AS_IT_LIES
from bids_app.recipes.recipe import Recipe
from bids_app.recipes.series import SERIES
from bids_app.text import TextError, parse_number, some

#: Column that says who has a lesion, beside the labels that show it.
LESION_COLUMN = "lesion"


@dataclass(frozen=True, eq=False)
class CohortSession:
    """One preprocessed session and what is known of it.

    Attributes:
        key: ``sub-01_ses-01``.
        participant, session: labels; ``session`` None without session folders.
        images: file of each of the recipe's sequences that is there, all in the reference's world.
        mask: brain mask on the reference's grid; None for images that are prepared already.
        to_template: reference world to template world, ``(4, 4)``; None as ``mask``.
        labels: dseg or mask; None where nobody labelled this session.
        regions: indices that are labelled; None without labels.
        targets: one number per target: the position of its level, or the value; NaN where it is not known.
        covariates: one number per covariate, NaN where it is not known.
        site, sex, age, group: from participants.tsv; None or NaN where not known.
        hashes: of each image's content, see `content_hash`.
        courses: table of parcels' courses of its resting-state series, and ``motion``, mean framewise displacement, mm.
    """

    key: str
    participant: str
    session: str | None
    images: dict[str, Path]
    mask: Path | None
    to_template: np.ndarray | None
    labels: Path | None = None
    regions: frozenset[int] | None = None
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0))
    covariates: np.ndarray = field(default_factory=lambda: np.zeros(0))
    site: str | None = None
    sex: str | None = None
    age: float = float("nan")
    group: str | None = None
    hashes: tuple[str, ...] = ()
    courses: Path | None = None
    motion: float = float("nan")

    @property
    def lesion(self) -> bool | None:
        """Whether anything is labelled; None without labels."""
        return None if self.regions is None else bool(self.regions)


@dataclass(frozen=True)
class Cohort:
    """Sessions to learn from.

    Attributes:
        recipe: what is to be learned.
        sessions: in the order of their keys.
        levels: of every target, by its name; empty for one with a value.
        covariate_levels: the words of covariates that are words, in the order of their numbers.
        notes: sentences for the report: who was left out and why, how values were read.
    """

    recipe: Recipe
    sessions: tuple[CohortSession, ...]
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    covariate_levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def complete_recipe(self) -> Recipe:
        """The recipe with the levels that the tables gave its targets."""
        targets = [t.model_copy(update={"levels": tuple(self.levels.get(t.name, ()))}) for t in self.recipe.targets]
        return self.recipe.model_copy(update={"targets": tuple(targets)})

    def members(self) -> list[Member]:
        """Each participant as a split needs to know them.

        Strata: per target its class or quantile (of the first session that knows it), lesion presence where a region
        is a lesion, and whether there are labels where only some have them.
        """
        people: dict[str, list[CohortSession]] = {}
        for session in self.sessions:
            people.setdefault(session.participant, []).append(session)
        strata: list[list[str]] = [[] for _ in people]
        for place, target in enumerate(self.recipe.targets):
            values = [_first(session.targets[place] for session in own) for own in people.values()]
            for one, mark in zip(strata, target.behaviour.strata(values), strict=True):
                one.append(f"{target.name} {mark}")
        if any(region.kind == "lesion" for region in self.recipe.regions):
            for one, own in zip(strata, people.values(), strict=True):
                seen = {session.lesion for session in own}
                one.append("lesion" if True in seen else "no lesion" if False in seen else "not labelled")
        elif self.recipe.regions and len({s.labels is None for s in self.sessions}) > 1:
            for one, own in zip(strata, people.values(), strict=True):
                one.append("labelled" if any(session.labels for session in own) else "not labelled")
        return [
            Member(participant, own[0].group, own[0].site, tuple(marks), tuple(h for s in own for h in s.hashes))
            for (participant, own), marks in zip(people.items(), strata, strict=True)
        ]


def load_cohort(
    recipe: Recipe,
    bids_dir: Path,
    derivatives: Mapping[str, Path],
    output_dir: Path,
    *,
    participants: Iterable[str] | None = None,
    site_column: str | None = None,
    group_column: str | None = None,
    sessions: Sequence[CohortSession] | None = None,
    images: bool = True,
) -> Cohort:
    """Gather every finished session of an output folder that has labels or a target.

    Args:
        recipe: what is to be learned.
        bids_dir: the raw dataset: tables, and images for their content hash.
        derivatives: name and folder of every ``-d``; the recipe says which holds the labels.
        output_dir: where the participant level wrote; only its derivatives and records are read.
        participants: labels to keep, with or without ``sub-``; None for everybody.
        site_column: of participants.tsv, instead of the recipe's; it must be there if named here.
        group_column: who must stay together (family, twin pair).
        sessions: images that are prepared already (see `bids_app.cohort.raw`), instead of those in ``output_dir``.
        images: read and hash them all; False to look at tables and labels alone.

    Raises:
        DataError: every wrong or inconsistent label and target, one a line; or nobody left.
        LeakageError: participants with the same image.
        UsageError, InputMissing: the labels' folder was not given or is not there; a participant who is not there.
    """
    root = _labels_folder(recipe, derivatives)
    sessions, notes = (
        (list(sessions), []) if sessions is not None else finished_sessions(recipe, Path(output_dir), participants)
    )
    keys: list[Key] = [(session.participant, session.session) for session in sessions]
    tables = read_tables(Path(bids_dir), keys, named_levels(recipe))
    recipe, left_out = learnable(recipe, tables)
    known = code_all(recipe, tables, keys)
    wrong, notes = list(known.wrong), notes + left_out + known.told
    site = site_column or recipe.learning.site
    wrong += _missing_columns(tables, (site_column, group_column))
    complete = []
    for session, key, targets, covariates in zip(sessions, keys, known.targets, known.covariates, strict=True):
        who = _person(recipe, tables, key, site, group_column)
        session = replace(session, targets=targets, covariates=covariates, **who)
        session, trouble, told = _labelled(session, recipe, root, tables)
        wrong, notes = wrong + trouble, notes + told
        complete.append(session)
    useful = [s for s in complete if s.labels is not None or np.isfinite(s.targets).any()]
    if idle := [s.key for s in complete if s.labels is None and not np.isfinite(s.targets).any()]:
        notes.append(f"{len(idle)} sessions have neither labels nor a target and are left out: {some(idle)}")
    hashed, damaged = _hashed(useful, Path(bids_dir), Path(output_dir)) if images else (useful, [])
    if wrong := list(dict.fromkeys(wrong + damaged)):
        lines = "\n".join(f"  {line}" for line in wrong)
        raise DataError(f"the cohort cannot be trained with; mend these, or leave the participants out:\n{lines}")
    if not useful:
        raise DataError(f"no session has a label or a target of the recipe {recipe.name}; is -d the right folder?")
    _check_twins(hashed)
    notes = list(dict.fromkeys(notes + _gaps(recipe, hashed, known.levels)))
    return Cohort(recipe, tuple(hashed), known.levels, known.covariate_levels, notes)


def describe(cohort: Cohort) -> dict[str, Any]:
    """Counts for a report: participants, sessions, labelled, classes, sites, ages."""
    sessions = cohort.sessions
    people = {session.participant: session for session in sessions}
    targets: dict[str, Any] = {}
    for place, target in enumerate(cohort.recipe.targets):
        values = np.array([session.targets[place] for session in sessions])
        known = values[np.isfinite(values)]
        facts = target.behaviour.describe(known, cohort.levels[target.name])
        targets[target.name] = {"kind": target.kind, "known": len(known), **facts}
    ages = np.array([s.age for s in people.values() if np.isfinite(s.age)])
    return {
        "participants": len(people),
        "sessions": len(sessions),
        "labelled": sum(session.labels is not None for session in sessions),
        "with_lesion": sum(bool(session.lesion) for session in sessions),
        "sequences": {s.name: sum(s.name in one.images for one in sessions) for s in cohort.recipe.sequences},
        "targets": targets,
        "sites": _count(session.site for session in people.values()),
        "sexes": _count(session.sex for session in people.values()),
        "age_range": [float(ages.min()), float(ages.max())] if len(ages) else None,
        "groups": len({session.group for session in people.values() if session.group}),
        "notes": list(cohort.notes),
    }


def _missing_columns(tables: Tables, asked: Sequence[str | None]) -> list[str]:
    """A sentence for each column that was asked for and is not in the table of participants."""
    there, file = tables.columns["participants"], tables.file("participants")
    return [
        f"{file}: has no column {column}, which was asked for" for column in asked if column and column not in there
    ]


def _labels_folder(recipe: Recipe, derivatives: Mapping[str, Path]) -> Path | None:
    name = recipe.labels.derivative
    if not recipe.regions or (name not in derivatives and recipe.targets):
        return None
    if name not in derivatives:
        raise UsageError(f"the recipe {recipe.name} learns from labels: give their folder with -d {name}=PATH")
    if not Path(derivatives[name]).is_dir():
        raise InputMissing(f"the folder of -d {name}={derivatives[name]} does not exist")
    return Path(derivatives[name])


def finished_sessions(
    recipe: Recipe, output_dir: Path, participants: Iterable[str] | None
) -> tuple[list[CohortSession], list[str]]:
    """Sessions that the participant level finished with what the recipe needs, and why others are left out."""
    wanted = None if participants is None else {label.removeprefix("sub-") for label in participants}
    sessions, notes, seen = [], [], set()
    for key in session_keys(output_dir):
        record = read_session(output_dir, key)
        if wanted is not None and record.participant not in wanted:
            continue
        seen.add(record.participant)
        session, why = usable(recipe, output_dir, record)
        if session is None:
            notes.append(f"{key} is left out: {why}")
        else:
            sessions.append(session)
    if missing := sorted((wanted or set()) - seen):
        raise InputMissing(f"no session of {some([f'sub-{m}' for m in missing])} was preprocessed in {output_dir}")
    if not sessions:
        why = notes[0] if notes else "no session was run there"
        raise InputMissing(f"no preprocessed session in {output_dir} can be used ({why}); run the participant level")
    return sessions, notes


def usable(recipe: Recipe, output_dir: Path, record: SessionRecord) -> tuple[CohortSession | None, str]:
    """One record as a session; or why it cannot be used."""
    wanted = (recipe.reference, *recipe.sequence(recipe.reference).alternatives)
    images = next((record.images[name] for name in wanted if name in record.images), None)
    way = CORRECTED if recipe.preprocessing.bias else UNCORRECTED
    if images is None or not images.files.reference:
        if record.state != "done":
            return None, f"it is {record.state}" + (f" ({record.reason})" if record.reason else "")
        others = " and ".join(record.images) or "nothing"
        return None, f"it was preprocessed with {others} as its reference, not {recipe.reference}"
    if way not in images.files.reference:
        return None, "it was preprocessed in another way; run the participant level again with this recipe"
    names = {**images.of_way(way), recipe.reference: images.files.reference[way]}
    found = {s.name: output_dir / names[s.name] for s in recipe.sequences if names.get(s.name)}
    lacking = [s.name for s in recipe.sequences if s.required and s.name not in found]
    if lacking:
        return None, f"{', '.join(lacking)} is not there"
    mask = output_dir / images.files.brain_mask if images.files.brain_mask else None
    matrix = images.preprocessing.to_template
    kind = recipe.needed_grid.kind
    if kind not in AS_IT_LIES and (matrix is None or (kind == "whole" and mask is None)):
        return None, "it has no brain mask or no way to the template; run the participant level again with this recipe"
    gone = [path.name for path in (*found.values(), mask) if path is not None and not path.is_file()]
    if gone:
        return None, f"{', '.join(gone)} is no longer there; run the participant level again"
    place = None if matrix is None else np.asarray(matrix, dtype=float)
    moved: dict[str, Any] = {"motion": float(images.preprocessing.functional.get("mean_fd_mm", np.nan))}
    if (name := images.files.courses) and (output_dir / name).is_file():
        moved["courses"] = output_dir / name
    return CohortSession(record.key, record.participant, record.session, found, mask, place, **moved), ""


def _person(recipe: Recipe, tables: Tables, key: Key, site: str, group: str | None) -> dict[str, Any]:
    """Site, sex, age and group of a session's participant; an age such as ``89+`` is its number."""
    learning = recipe.learning
    cell = {name: tables.value("participants", column, key) for name, column in (("site", site), ("sex", learning.sex))}
    cell["group"] = tables.value("participants", group, key) if group else None
    text = tables.value("participants", learning.age, key)
    try:
        age = float("nan") if text is None else parse_number(text)
    except TextError:
        age = float("nan")
    return {**cell, "age": age}


def _labelled(
    session: CohortSession, recipe: Recipe, root: Path | None, tables: Tables
) -> tuple[CohortSession, list[str], list[str]]:
    """The session with its labels, what is wrong with them, and what a person should know."""
    if root is None:
        return session, [], []
    path, trouble = find_labels(recipe, root, session.participant, session.session)
    if path is None:
        return session, [trouble] if trouble else [], []
    wrong, told, there = check_labels(path, recipe, Grid.of(session.images[recipe.reference]))
    row = {**tables.participants.get(session.participant, {})}
    row |= tables.sessions.get((session.participant, session.session), {})
    structures = [region.name for region in recipe.regions if region.kind == "structure"]
    says = declared(recipe, row, LESION_COLUMN)
    empty = there is not None and not there
    if empty and structures:
        wrong.append(f"{path}: is empty, but everybody has {', '.join(structures)}")
    elif empty and says:
        wrong.append(f"{path}: is empty, but the column {LESION_COLUMN} says that there is a lesion")
    elif there and says is False and not structures:
        wrong.append(f"{path}: has labelled voxels, but the column {LESION_COLUMN} says that there is no lesion")
    return replace(session, labels=path, regions=there), wrong, told


def _gaps(recipe: Recipe, sessions: Sequence[CohortSession], levels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What is not known of everybody, and levels that nobody has."""
    notes = []
    labelled = sum(session.labels is not None for session in sessions)
    if recipe.regions and labelled < len(sessions):
        notes.append(f"{labelled} of {len(sessions)} sessions are labelled")
    for place, target in enumerate(recipe.targets):
        values = [session.targets[place] for session in sessions]
        known = int(np.isfinite(values).sum())
        if known < len(sessions):
            notes.append(f"target {target.name} is known of {known} of {len(sessions)} sessions")
        absent = [level for number, level in enumerate(levels[target.name]) if number not in values]
        if absent:
            notes.append(f"target {target.name}: nobody has {', '.join(absent)}")
    return notes


def _hashed(
    sessions: Sequence[CohortSession], bids_dir: Path, output_dir: Path
) -> tuple[list[CohortSession], list[str]]:
    """The sessions with the hashes of their images, and which images cannot be read."""
    hashed, damaged = [], []
    for session in sessions:
        try:
            hashed.append(replace(session, hashes=_hashes(session, bids_dir, output_dir)))
        except TandemError as error:
            damaged.append(str(error))
    return hashed, damaged


def _hashes(session: CohortSession, bids_dir: Path, output_dir: Path) -> tuple[str, ...]:
    """Of the raw images, which other preprocessing leaves as they are; of the derivative where a raw one is gone."""
    if session.mask is None and session.to_template is None:  # images as they came: nobody has checked them before
        for path in session.images.values():
            check_image(path, 4 if parse_name(path)[1] == SERIES else 3, head=False)
        return tuple(content_hash(path) for path in session.images.values())
    raw = {
        name: bids_dir / file
        for images in read_session(output_dir, session.key).images.values()
        for name, file in images.raw().items()
    }
    return tuple(
        content_hash(raw[name] if name in raw and raw[name].is_file() else path)
        for name, path in session.images.items()
    )


def _check_twins(sessions: Sequence[CohortSession]) -> None:
    """Refuse two participants with one image.

    Raises:
        LeakageError: naming all of them.
    """
    owners: dict[str, set[str]] = {}
    for session in sessions:
        for one in session.hashes:
            owners.setdefault(one, set()).add(session.participant)
    twins = sorted({tuple(sorted(people)) for people in owners.values() if len(people) > 1})
    if twins:
        named = "; ".join(" and ".join(f"sub-{p}" for p in people) for people in twins)
        raise LeakageError(f"these participants have the same image: {named}; are they one person? Leave one out")


def _first(values: Iterable[float]) -> float:
    return next((float(value) for value in values if np.isfinite(value)), float("nan"))


def _count(values: Iterable[str | None]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value or "unknown"] = counts.get(value or "unknown", 0) + 1
    return dict(sorted(counts.items()))
