"""Who trains and who is tested: folds of participants, written once, hashed, and used by every arm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import DataError, LeakageError
from bids_app.text import read_json


@dataclass(frozen=True)
class Member:
    """What a split needs to know of one participant.

    Attributes:
        participant: label without ``sub-``.
        group: who must stay together (family, twin pair); None stands for the participant alone.
        site: scanner or hospital.
        strata: target classes, lesion presence and so on; people alike in these are spread evenly.
        images: content hash of every image of every session.
    """

    participant: str
    group: str | None = None
    site: str | None = None
    strata: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """One training and its test: participants, without ``sub-``. ``validation`` is a part of the training side."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def all_training(self) -> tuple[str, ...]:
        """Everyone whom the training may look at."""
        return self.train + self.validation


@dataclass(frozen=True)
class Split:
    """Folds and how they were drawn.

    Attributes:
        folds: in order.
        how: seed, number of folds, grouping, strata; for the record.
    """

    folds: tuple[Fold, ...]
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of who is where; the same split has the same hash however it was drawn."""
        plain = [[f.name, sorted(f.train), sorted(f.validation), sorted(f.test)] for f in self.folds]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]

    def to_plain(self) -> dict[str, Any]:
        folds = [
            {"name": f.name, "train": list(f.train), "validation": list(f.validation), "test": list(f.test)}
            for f in self.folds
        ]
        return {"digest": self.digest, "how": self.how, "folds": folds}


def read_split(path: Path) -> Split:
    """The split of a file that `Split.to_plain` made.

    Raises:
        DataError: not such a file, or its folds are not those its digest names.
    """
    try:
        plain, _ = read_json(path)
        folds = tuple(
            Fold(f["name"], tuple(f["train"]), tuple(f["validation"]), tuple(f["test"])) for f in plain["folds"]
        )
        split = Split(folds, plain.get("how", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a split: {error}; delete it to draw a new one") from error
    if plain.get("digest") not in (None, split.digest):
        raise DataError(f"{path} was changed after it was drawn (its digest differs); delete it to draw a new one")
    return split


def draw_folds(
    members: Sequence[Member], k: int = 5, *, seed: int = 0, repeats: int = 1, validation: float = 0.15
) -> Split:
    """k folds by participant, groups kept together, strata and sites spread evenly.

    Args:
        members: one per participant.
        k: number of folds.
        seed: of the draw.
        repeats: how often the whole draw is repeated with another order.
        validation: part of each training side that is set apart to choose when to stop and what to weigh; 0 for none.

    Raises:
        DataError: fewer groups than folds.
    """
    groups = _grouped(members)
    if len(groups) < k:
        raise DataError(f"{k} folds need at least {k} participants or families; there are {len(groups)}: use --folds")
    folds = []
    for repeat in range(repeats):
        parts = deal(groups, k, seed=seed + repeat)
        for index, part in enumerate(parts):
            test = _people(part)
            rest = [group for other in parts if other is not part for group in other]
            name = f"fold-{index + 1}" if repeats == 1 else f"repeat-{repeat + 1}_fold-{index + 1}"
            folds.append(_fold(name, rest, test, validation, seed + 1000 * (repeat + 1) + index))
    how = {"kind": "k-fold", "k": k, "repeats": repeats, "seed": seed, "validation": validation}
    return Split(tuple(folds), how)


def leave_one_site_out(members: Sequence[Member], *, seed: int = 0, validation: float = 0.15) -> Split | None:
    """One fold per site, tested on that site; None where there are fewer than two sites.

    Raises:
        DataError: a family has members at two sites, so that no site can be left out cleanly.
    """
    sites = sorted({member.site for member in members if member.site})
    if len(sites) < 2:
        return None
    across = [g for g in _grouped(members).values() if len({m.site for m in g if m.site}) > 1]
    if across:
        names = ", ".join(m.participant for m in across[0])
        raise DataError(f"one family has members at two sites ({names}): no site can be left out cleanly")
    folds = []
    for index, site in enumerate(sites):
        test = tuple(sorted(m.participant for m in members if m.site == site))
        rest = list(_grouped([m for m in members if m.site != site]).values())
        folds.append(_fold(f"site-{_word(site)}", rest, test, validation, seed + index))
    return Split(tuple(folds), {"kind": "leave-one-site-out", "sites": sites, "seed": seed, "validation": validation})


def inner_folds(fold: Fold, members: Sequence[Member], k: int = 3, *, seed: int = 0) -> Split:
    """Folds inside one fold's training side, for choices that must not see its test (nested cross-validation)."""
    allowed = set(fold.all_training)
    inner = draw_folds([m for m in members if m.participant in allowed], k, seed=seed, validation=0)
    folds = tuple(Fold(f"{fold.name}_inner-{i + 1}", f.train, (), f.test) for i, f in enumerate(inner.folds))
    return Split(folds, {**inner.how, "inside": fold.name})


def deal(groups: Mapping[str, Sequence[Member]], k: int, *, seed: int) -> list[list[Sequence[Member]]]:
    """Groups dealt to ``k`` hands so that every stratum, site and the number of people come out even.

    Large groups first, then in random order; each goes to the hand in which its strata and site are rarest, ties by
    the hand's size. Unlike drawing until a test is happy, this takes one pass and never fails.
    """
    rng = np.random.default_rng(seed)
    order = sorted(groups)
    rng.shuffle(order)
    order.sort(key=lambda name: -len(groups[name]))
    hands: list[list[Sequence[Member]]] = [[] for _ in range(k)]
    counts: list[dict[str, int]] = [{} for _ in range(k)]
    sizes = np.zeros(k)
    total: dict[str, int] = {}
    for member in (m for g in groups.values() for m in g):
        for mark in _marks(member):
            total[mark] = total.get(mark, 0) + 1
    for name in order:
        marks = [mark for member in groups[name] for mark in _marks(member)]
        # a rare mark (ten lesions among hundreds) must be spread before a common one
        cost = [sum(count.get(mark, 0) / total[mark] for mark in marks) for count in counts]
        hand = min(range(k), key=lambda i: (round(cost[i], 9), sizes[i], i))
        hands[hand].append(groups[name])
        sizes[hand] += len(groups[name])
        for mark in marks:
            counts[hand][mark] = counts[hand].get(mark, 0) + 1
    return hands


def check_split(split: Split, members: Sequence[Member], *, trained_before: Iterable[str] = ()) -> None:
    """Refuse a split through which a test could have been seen in training.

    Args:
        split: whose folds are checked.
        members: everyone, with groups and image hashes.
        trained_before: participants whom a bundle's manifest names, where its weights are the start.

    Raises:
        LeakageError: naming every participant on both sides, every family on both sides, every image that occurs with
            two participants, and every tested participant who trained before.
    """
    troubles = []
    owners: dict[str, set[str]] = {}
    for member in members:
        for image in member.images:
            owners.setdefault(image, set()).add(member.participant)
    for people in sorted({tuple(sorted(people)) for people in owners.values() if len(people) > 1}):
        troubles.append(f"the same image belongs to {_named(people)}: are they one person?")
    group_of = {m.participant: m.group for m in members if m.group}
    before = set(trained_before)
    for fold in split.folds:
        training, test = set(fold.all_training), set(fold.test)
        both = (training & test) | (set(fold.train) & set(fold.validation))
        if both:
            troubles.append(f"{fold.name}: {_named(both)} on both sides")
        families = {group_of[p] for p in training if p in group_of} & {group_of[p] for p in test if p in group_of}
        if families:
            kin = {p for p, g in group_of.items() if g in families}
            troubles.append(f"{fold.name}: families on both sides: {_named(kin)}")
        if test & before:
            troubles.append(f"{fold.name}: {_named(test & before)} trained the weights that are tested")
    if troubles:
        raise LeakageError("this split lets a test be seen in training: " + "; ".join(dict.fromkeys(troubles)))


def _fold(name: str, rest: Sequence[Sequence[Member]], test: tuple[str, ...], validation: float, seed: int) -> Fold:
    """Set a part of the training side apart, as evenly as the folds themselves."""
    parts = round(1 / validation) if validation else 0
    if parts < 2 or len(rest) < parts:
        return Fold(name, _people(rest), (), test)
    first, *others = deal({str(i): group for i, group in enumerate(rest)}, parts, seed=seed)
    return Fold(name, _people([g for part in others for g in part]), _people(first), test)


def _grouped(members: Sequence[Member]) -> dict[str, list[Member]]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        name = f"group {member.group}" if member.group is not None else f"participant {member.participant}"
        groups.setdefault(name, []).append(member)
    return groups


def _people(groups: Iterable[Sequence[Member]]) -> tuple[str, ...]:
    return tuple(sorted(member.participant for group in groups for member in group))


def _marks(member: Member) -> list[str]:
    """What is spread evenly: each stratum alone and the site alone, then both together."""
    marks = [f"{place} {value}" for place, value in enumerate(member.strata)]
    if member.site:
        marks += [f"site {member.site}"] + [f"site {member.site} {mark}" for mark in list(marks)]
    return marks or ["anyone"]


def _named(people: Iterable[str]) -> str:
    return ", ".join(f"sub-{p}" for p in sorted(people))


def _word(site: str) -> str:
    return "".join(c for c in site if c.isalnum()) or "unnamed"
