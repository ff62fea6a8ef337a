"""Fills a session's record while its graph runs, and closes every recipe's part as soon as all of it is written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.bids.record import Images, RecipePart, SessionRecord, StageTime, empty_record
from bids_app.bids.record_file import read_record, write_record
from bids_app.bids.status import Status, write_status
from bids_app.errors import DataError, TandemError
from bids_app.settings import Settings
from workflows.choosing import Group, options_of, selection_record
from workflows.connections import FOR_A_SEED
from workflows.failure import find_failure
from workflows.naming import slug
from workflows.outputs import writers_of
from workflows.session import group_name
from workflows.wanted import is_prepared, part_name, way_of

PREFIX = "session_wf."
#: Facts that are answers of a recipe.
ANSWERS = ("predictions", "scores", "located")


def open_record(settings: Settings, participant: str, session: str | None) -> SessionRecord:
    """The session's record with the parts of earlier runs, ready for another run."""
    record = empty_record(participant, session)
    told = []
    try:
        record = read_record(settings.output_dir, record.key) or record
    except DataError as error:
        told = [f"{error}; a new record was begun, so that the page shows this run only"]
    for part in record.recipes.values():
        if part.state == "running":  # its run was cut off, and so it is not finished
            part.fail("its run was interrupted before it was finished", 75)
    record.version, record.created = __version__, now()
    record.state, record.reason, record.crash = "running", "", None
    record.exit_code = record.seconds = record.peak_rss_mb = None
    record.stages, record.warnings = [], told
    return record


def now() -> str:
    """This moment, for a record."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stage_name(node: Any) -> str:
    """``anatomical bias`` for ``session_wf.anatomical_wf.bias``."""
    parts = node.fullname.removeprefix(PREFIX).split(".")
    return " ".join(part.removesuffix("_wf") for part in parts)


class Collector:
    """Follows the nodes of a session's graph.

    Args:
        record, status: filled and written as the run goes on.
        groups: as `workflows.choosing.put_together` gives them.
        old: the images of earlier runs that other recipes were made from, by reference.
    """

    def __init__(
        self,
        settings: Settings,
        record: SessionRecord,
        status: Status,
        groups: list[Group],
        old: dict[str, Images],
    ) -> None:
        self.settings, self.record, self.status, self.old = settings, record, status, old
        self.groups = groups
        self.failures: list[tuple[str, str | None, str, int]] = []  # group, recipe, reason, exit code
        self.facts: dict[str, dict[str, Any]] = {group.reference: self._start(group) for group in groups}
        self.waiting = {
            part_name(settings, recipe): (group, recipe, writers_of(recipe, group.selection, settings))
            for group in groups
            for recipe in group.recipes
        }
        self.ended: dict[str, set[str]] = {group.reference: set() for group in groups}

    def _start(self, group: Group) -> dict[str, Any]:
        return {
            "reference": group.reference,
            "options": options_of(self.settings),
            "selection": selection_record(self.settings, group.selection).model_dump(),
            "preflight": [facts.model_dump() for facts in group.preflight],
            "preprocessing": {"registrations": [], "prepared": is_prepared(group.recipes)},
            "files": {},
            "outputs": {},
            "methods": [],
            "warnings": list(group.selection.warnings),
        }

    def listen(self, node: Any, event: str) -> None:
        """Nipype's status callback, for nodes that ran (see `of_nodes_that_ran`)."""
        group, recipe = self._owner(node)
        if event == "exception":
            with contextlib.suppress(Exception):  # where there is no note, the error that ends the graph says why
                noted = find_failure(Path(node.output_dir()))
                if noted:
                    self.failures.append((group.reference, recipe, *noted))
            return
        outputs = getattr(node.result, "outputs", None)
        facts, stage = getattr(outputs, "facts", None), getattr(outputs, "stage", None)
        if isinstance(stage, dict):
            stage = plain(stage)
            self.status.stages[stage_name(node)] = stage
            self.record.stages.append(StageTime(name=stage_name(node), **stage))
        if isinstance(facts, dict):
            alone = FOR_A_SEED in node.fullname  # no recipe of the run asked for these answers
            facts = {key: value for key, value in facts.items() if not (alone and key in ANSWERS)}
            self._take(group, recipe, plain(facts))
        self.ended[group.reference].add(node.fullname.rpartition(".")[2] if "outputs_wf." in node.fullname else "")
        self._close_finished(group)
        write_status(self.settings.output_dir, self.status)

    def _owner(self, node: Any) -> tuple[Group, str | None]:
        """The group that a node works for, and the part of the recipe if it works for one alone."""
        path = node.fullname.removeprefix(PREFIX).split(".")
        group = self.groups[0]
        if len(self.groups) > 1:
            group = next((one for one in self.groups if group_name(one.reference) == path[0]), group)
            path = path[1:]
        for recipe in group.recipes:
            own = path[0] == f"{slug(recipe.name)}_wf" or path[-1] == f"recipe_{slug(recipe.name)}"
            if own and recipe.predicts:  # else a node of what recipes share has its name
                return group, part_name(self.settings, recipe)
        return group, None

    def _take(self, group: Group, name: str | None, facts: dict[str, Any]) -> None:
        """Put a node's facts where they belong."""
        for row in facts.pop("predictions", []):
            self._part_of(row["recipe"]).prediction = validated("prediction", row)
        for row in facts.pop("scores", []):
            self._part_of(row["recipe"]).scores = validated("scores", row)
        for recipe, sides in facts.pop("located", {}).items():
            self._part_of(recipe).located = sides
        for recipe, said in facts.pop("part_methods", {}).items():  # of a network that ran for the brain mask too
            self._part_of(recipe).methods += validated("methods", said)
        shared = self.facts[group.reference]
        if name is not None:
            part = self.record.recipes[name]
            part.warnings = list(dict.fromkeys([*part.warnings, *facts.pop("warnings", [])]))
            part.methods = validated("methods", [*(m.model_dump() for m in part.methods), *facts.pop("methods", [])])
            part.outputs |= facts.pop("outputs", {})
            part.provenance = facts.pop("provenance", part.provenance)
            if "files" in facts:
                part.files = validated("files", facts.pop("files"))
            return
        shared["warnings"] += facts.pop("warnings", [])
        shared["methods"] += facts.pop("methods", [])
        shared["outputs"] |= facts.pop("outputs", {})
        shared["preprocessing"]["registrations"] += facts.pop("registrations", [])
        if "provenance" in facts:
            shared["provenance"] = facts.pop("provenance")
        deep_update(shared["files"], facts.pop("files", {}))
        deep_update(shared["preprocessing"], {"connections": facts.pop("connections", {})})
        shared["preprocessing"] |= facts

    def _part_of(self, recipe: str) -> RecipePart:
        return next(part for part in self.record.recipes.values() if part.recipe == recipe)

    def _close_finished(self, group: Group) -> None:
        """Mark the recipes of which every file is written as done, on disk too."""
        for name, (mine, recipe, writers) in list(self.waiting.items()):
            if mine is not group or not writers <= self.ended[group.reference]:
                continue
            del self.waiting[name]
            part = self.record.recipes[name]
            part.state, part.reason, part.exit_code, part.finished = "done", "", 0, now()
            part.way = way_of(recipe)
            self.share(group)
            self.status.outputs = self.record.outputs()
            write_record(self.settings.output_dir, self.record)

    def share(self, group: Group) -> None:
        """Put what is known of a group's images into the record."""
        images = Images.model_validate(without_none(self.facts[group.reference]))
        images.warnings = list(dict.fromkeys(images.warnings))
        old = self.old.get(group.reference)
        self.record.images[group.reference] = old.joined(images) if old else images

    def close_failed(self, error: Exception | None, crash: str | None) -> None:
        """Say of every recipe that is not finished why: by its own failure, else by one of what it shares."""
        for group in self.groups:
            self.share(group)
        for name, (group, _, _) in self.waiting.items():
            reason, code = self._reason(group.reference, name, error)
            self.record.recipes[name].fail(reason, code, crash)

    def _reason(self, reference: str, name: str, error: Exception | None) -> tuple[str, int]:
        mine = [f for f in self.failures if f[0] == reference and f[1] == name]
        shared = [f for f in self.failures if f[0] == reference and f[1] is None]
        for _, _, reason, code in (*mine, *shared):
            return reason, code
        if isinstance(error, TandemError):
            return str(error), error.exit_code
        return (f"{type(error).__name__}: {error}" if error else "it was not finished"), TandemError.exit_code


def of_nodes_that_ran(listen: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """A callback of Nipype's whose Linear plugin reports the end of nodes, too, that it passed by."""
    started: set[str] = set()

    def listen_if_it_ran(node: Any, event: str) -> None:
        if event == "start":
            started.add(node.fullname)
        elif node.fullname in started:
            listen(node, event)

    return listen_if_it_ran


def validated(field: str, value: Any) -> Any:
    """One field of a recipe's part, as its type."""
    return getattr(RecipePart.model_validate({"recipe": "", field: without_none(value)}), field)


def without_none(value: Any) -> Any:
    """A dictionary without fields that are None, so that defaults stand there; lists keep theirs."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value


def deep_update(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Join nested dictionaries in place."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            deep_update(old[name], value)
        else:
            old[name] = value


def plain(value: Any) -> Any:
    """Dictionaries, lists and numbers of Nipype's and NumPy's own kinds as Python's."""
    text = json.dumps(_untyped(value), default=lambda one: one.tolist() if hasattr(one, "tolist") else str(one))
    return json.loads(text)


def _untyped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untyped(one) for key, one in value.items()}
    return [_untyped(one) for one in value] if isinstance(value, list | tuple) else value
