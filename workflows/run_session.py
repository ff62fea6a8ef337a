"""One session in this process: choose, check, run the graph, say how it ended."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from bids_app.bids.digest import fingerprints
from bids_app.bids.files import full_disk, system_error
from bids_app.bids.record import Images, RecipePart, SessionRecord
from bids_app.bids.record_file import write_record
from bids_app.bids.selection import Selection
from bids_app.bids.status import Status, start_status, write_status
from bids_app.errors import CannotWrite, IOFailure, TandemError, TemporaryFailure
from bids_app.imaging.templates import find_template
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from workflows.choosing import (
    Group,
    Ready,
    check_fits,
    choose,
    make_ready,
    put_together,
    selection_record,
    watched,
)
from workflows.failure import NO_MEMORY, OUTPUT, TEMPORARY, WORK, forget_failures, note_failure, write_page
from workflows.interfaces.base import peak_rss_mb
from workflows.record import Collector, of_nodes_that_ran, open_record
from workflows.scratch import clear_work, close_pickles, prepare_work
from workflows.seal import sealing
from workflows.wanted import Finished, is_prepared, load_recipes, part_name, way_of


def run_session(settings: Settings, participant: str, session: str | None, *, threads: int) -> int:
    """Run what a session lacks of the run's recipes; its status, record and page say how each of them ended.

    Returns:
        The exit code: 0, or that of the error that ended it (1 where recipes ended for different kinds of reason).
    """
    record = open_record(settings, participant, session)
    status = start_status(participant, session)
    work = settings.work / record.key
    asked: dict[str, Recipe] = {}
    try:
        write_status(settings.output_dir, status)
        asked = {part_name(settings, recipe): recipe for recipe in load_recipes(settings)}
        todo = begin(settings, record, asked)
        ready = get_ready(settings, record, status, todo)
        if ready:
            forget_failures(work, settings.output_dir / "logs" / record.key)
            run_graph(settings, ready, record, status, work, threads)
        end(record, asked)
        place(settings, record)
    except Exception as error:
        _fail(settings, record, asked, work, error)
    return _finish(settings, record, status, work)


def begin(settings: Settings, record: SessionRecord, asked: dict[str, Recipe]) -> dict[str, Recipe]:
    """Open a part for every recipe that the session does not have yet; recipes that it has are left as they are.

    Returns:
        The recipes that have to be run, by the name of their part.
    """
    finished = Finished(settings)
    todo = {name: recipe for name, recipe in asked.items() if not finished.has(record, name)}
    for name, recipe in todo.items():
        record.recipes[name] = RecipePart(
            recipe=recipe.name,
            title=recipe.title,
            state="running",
            version=record.version,
            settings_hash=finished.hashes[name],
            way=way_of(recipe),
        )
    write_record(settings.output_dir, record)
    return todo


def get_ready(settings: Settings, record: SessionRecord, status: Status, todo: dict[str, Recipe]) -> list[Group]:
    """Choose and check the files of every recipe; one for which that fails is closed, and leaves the others alone.

    Returns:
        The recipes that can be run, by reference.
    """
    ready: list[Ready] = []
    told: list[str] = []
    for name, recipe in todo.items():
        part = record.recipes[name]
        try:
            selection = choose(settings, record.participant, record.session, recipe)
            part.reference = selection.reference
            if selection.reference not in record.images:
                record.images[selection.reference] = _images_of(settings, selection)
            part.inputs = fingerprints(watched(selection))
            status.inputs |= part.inputs
            one = make_ready(settings, selection, recipe)
            check_fits(settings, record, one, set(todo))
        except TandemError as error:
            part.fail(str(error), error.exit_code)
            continue
        part.taken_as = one.taken_as
        told += [text for choice in selection.choices.values() for text in choice.doubts]
        told += [one.taken_as] if one.taken_as else []
        if settings.tta and recipe.regions and not recipe.learning.mirror:
            part.warnings.append(f"{recipe.title}: --tta is left out: its network was trained without mirror images")
        ready.append(one)
    for text in dict.fromkeys(told):
        print(f"tandem: {record.key}: {text}", flush=True)
    groups, refused = put_together(ready)
    for part in record.recipes.values():
        if part.state == "running" and part.recipe in refused:
            part.fail(str(refused[part.recipe]), refused[part.recipe].exit_code)
    return groups


def _images_of(settings: Settings, selection: Selection) -> Images:
    """What is known of a reference before anything is made of it."""
    return Images(
        reference=selection.reference,
        selection=selection_record(settings, selection),
        warnings=list(selection.warnings),
    )


def run_graph(
    settings: Settings,
    groups: list[Group],
    record: SessionRecord,
    status: Status,
    work: Path,
    threads: int,
) -> None:
    """Build and run the session's graph with the Linear plugin; the record takes over what its nodes find.

    A node that fails ends the recipes that need it; the others go on.
    """
    from bids_app.imaging.transforms import set_threads
    from workflows.session import init_session_wf

    set_threads(1)
    for note in prepare_work(work):
        print(f"tandem: {record.key}: {note}", flush=True)
    _check_space(work)
    whole = any(not is_prepared([recipe]) for group in groups for recipe in group.recipes)
    workflow = init_session_wf(
        settings=settings, groups=groups, template=find_template() if whole else None, threads=threads
    )
    workflow.base_dir = str(work)
    logs = settings.output_dir / "logs" / record.key
    workflow.config["execution"] = {
        "crashdump_dir": str(logs),
        "crashfile_format": "txt",
        "create_report": "false",
        "stop_on_first_crash": "false",
        "remove_unnecessary_outputs": "false",
        "hash_method": "timestamp",
    }
    if settings.write_graph:
        record.warnings += write_graph(workflow, logs)
    collector = Collector(settings, record, status, groups, _relied_on(record))
    listen = of_nodes_that_ran(sealing(collector.listen))
    try:
        workflow.run(plugin="Linear", plugin_args={"status_callback": listen})
    except Exception as error:
        traceback.print_exc()
        collector.close_failed(full_disk(error, disks_of(settings)) or error, traceback.format_exc())
        return
    finally:
        close_pickles(work)
    collector.close_failed(None, None)  # nothing is left open here unless a node was passed by


def _relied_on(record: SessionRecord) -> dict[str, Images]:
    """Images that finished recipes of earlier runs were made from, by reference."""
    return {part.reference: record.images[part.reference] for part in record.done() if part.reference in record.images}


def write_graph(workflow: Any, folder: Path) -> list[str]:
    """Write ``graph.dot`` and, where Graphviz is installed, its picture; returns what a person should know."""
    draw = {"dotfilename": str(folder / "graph.dot"), "graph2use": "colored", "format": "svg", "simple_form": True}
    if shutil.which("dot"):
        workflow.write_graph(**draw)
        return []
    with contextlib.suppress(OSError):  # Nipype writes the text, then fails to run the program that draws it
        workflow.write_graph(**draw)
    return ["graph.dot was written without its picture: Graphviz (the program dot) is not installed"]


def place(settings: Settings, record: SessionRecord) -> None:
    """With ``--normative``: where the session's numbers lie among people of the same age."""
    if settings.normative is not None and record.state == "done":
        from bids_app.group.normative_scores import read_normative
        from bids_app.group.profile import add_profile

        add_profile(settings.output_dir, record, read_normative(settings.normative), site=settings.site_column)


def end(record: SessionRecord, asked: dict[str, Recipe]) -> None:
    """The session is done when every recipe of the run is; else it failed, for the reasons of those that did."""
    failed = {name: record.recipes[name] for name in asked if record.recipes[name].state != "done"}
    if not failed:
        record.state, record.reason, record.exit_code = "done", "", 0
        return
    reasons = list(dict.fromkeys(part.reason for part in failed.values()))
    alone = len(asked) == 1 or (len(reasons) == 1 and len(failed) == len(asked))
    record.state = "failed"
    record.reason = reasons[0] if alone else "; ".join(f"{name}: {part.reason}" for name, part in failed.items())
    codes = {part.exit_code or TandemError.exit_code for part in failed.values()}
    record.exit_code = codes.pop() if len(codes) == 1 else TandemError.exit_code
    record.crash = next((part.crash for part in failed.values() if part.crash), None)


def disks_of(settings: Settings) -> dict[str, Path]:
    """Every folder that a session writes to, by a name for people."""
    return {WORK: settings.work, OUTPUT: settings.output_dir, TEMPORARY: Path(gettempdir())}


def _fail(settings: Settings, record: SessionRecord, asked: dict[str, Recipe], work: Path, error: Exception) -> None:
    """Close what is still open with the error that ended the run."""
    if isinstance(error, OSError):
        error = full_disk(error, disks_of(settings)) or system_error(error) or error
    known = isinstance(error, TandemError)
    if work.is_dir():
        note_failure(work, error)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    code = error.exit_code if isinstance(error, TandemError) else TandemError.exit_code
    reason, code = (NO_MEMORY, TemporaryFailure.exit_code) if isinstance(error, MemoryError) else (reason, code)
    if not known:
        record.crash = traceback.format_exc()
        traceback.print_exc()
    for part in record.recipes.values():
        if part.state == "running":
            part.fail(reason, code, record.crash)
    record.state, record.reason, record.exit_code = "failed", reason, code


def _finish(settings: Settings, record: SessionRecord, status: Status, work: Path) -> int:
    """Record, status, page; the page reads the other two."""
    code = 0 if record.state == "done" else record.exit_code or TandemError.exit_code
    try:
        status.finish(record.state, record.reason, code, peak_rss_mb=_whole_peak_mb(status))
        record.seconds, record.peak_rss_mb = status.seconds, status.peak_rss_mb
        write_record(settings.output_dir, record)
        status.warnings, status.outputs = record.all_warnings(), record.outputs()
        write_status(settings.output_dir, status)
        if trouble := write_page(settings, record.key):
            status.warnings.append(trouble)
            write_status(settings.output_dir, status)
    except (CannotWrite, IOFailure, OSError) as error:
        print(f"tandem: {record.key}: {error}", flush=True)
        return getattr(error, "exit_code", IOFailure.exit_code)
    if code == 0 and settings.clean_workdir == "on-success":
        clear_work(work)
    return code


def _whole_peak_mb(status: Status) -> float:
    """Stages reset the kernel's mark, so the session's peak is the highest of theirs and of what came after."""
    return max([peak_rss_mb(), *(stage.get("peak_rss_mb", 0.0) for stage in status.stages.values())])


def _check_space(work: Path, needed_mb: float = 300) -> None:
    free = shutil.disk_usage(work).free / 1e6
    if free < needed_mb:
        raise IOFailure(f"no space left: {free:.0f} MB free in {work}, a session needs up to {needed_mb:.0f} MB there")
