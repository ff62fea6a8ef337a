"""One session in this process: choose, check, run the graph, say how it ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import traceback
from pathlib import Path
from typing import Any

from bids_app.bids.dataset import lookup_table
from bids_app.bids.digest import fingerprints
from bids_app.bids.files import write_text
from bids_app.bids.gradients import read_bvalues
from bids_app.bids.masks import check_mask
from bids_app.bids.preflight import ImageFacts, check_image
from bids_app.bids.select import select_session
from bids_app.bids.selection import Selection
from bids_app.bids.status import Status, start_status, write_status
from bids_app.errors import CannotWrite, InputMissing, IOFailure, TandemError, TemporaryFailure, UsageError
from bids_app.imaging.templates import find_template
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from workflows.failure import NO_MEMORY, find_failure, forget_failures, note_failure, write_page
from workflows.interfaces.base import peak_rss_mb
from workflows.record import empty_record, write_record
from workflows.scratch import clear_work, close_pickles, prepare_work
from workflows.seal import sealing
from workflows.wanted import expected_hash, is_prepared, load_recipes, queries_of
from workflows.wanted import settle as settle_by_size

PREFIX = "session_wf."


def run_session(settings: Settings, participant: str, session: str | None, *, threads: int) -> int:
    """Run one session in this process; its status, record and page say how it ended.

    Returns:
        The exit code: 0, or that of the error that ended it.
    """
    record = empty_record(settings, participant, session)
    status = start_status(participant, session)
    work = settings.work / record["key"]
    try:
        write_status(settings.output_dir, status)
        recipes = load_recipes(settings)
        selection = choose(settings, participant, session, recipes)
        record["selection"] = selection_record(settings, selection)
        record["warnings"] += selection.warnings
        status.inputs = fingerprints(watched(selection))
        status.settings_hash = expected_hash(settings, recipes)
        recipes, taken_as = settle(settings, recipes, selection)
        for text in [*taken_as, *(text for choice in selection.choices.values() for text in choice.doubts)]:
            print(f"tandem: {selection.key}: {text}", flush=True)
        record["preprocessing"].update({"taken_as": taken_as} if taken_as else {})
        keep_tables(settings, recipes, taken_as)
        record["preflight"] = preflight(settings, selection, head=not is_prepared(recipes))
        forget_failures(work, settings.output_dir / "logs" / record["key"])
        run_graph(settings, selection, recipes, record, status, work, threads)
        record["state"] = "done"
    except Exception as error:
        _fail(record, status, work, error)
    return _finish(settings, record, status, work)


def choose(settings: Settings, participant: str, session: str | None, recipes: list[Recipe]) -> Selection:
    """The files of this session.

    Raises:
        NothingSelected: the filters leave no image of the reference.
        InputMissing: a required sequence is not there.
    """
    queries, reference = queries_of(recipes, settings.sequences)
    selection = select_session(settings, participant, session, queries, reference)
    missing = selection.missing(queries)
    if missing:
        raise InputMissing("; ".join(selection.choices[name].reason for name in missing))
    return selection


def settle(settings: Settings, recipes: list[Recipe], selection: Selection) -> tuple[list[Recipe], list[str]]:
    """`workflows.wanted.settle` by the size of the reference.

    Raises:
        InputMissing, ImageError: the reference cannot be read.
        UsageError: the recipes do not go together for such an image.
    """
    if not any(recipe.locate and recipe.predicts for recipe in recipes):
        return recipes, []
    reference = selection.path_of(selection.reference)
    facts = check_image(reference, head=False)
    size = tuple(n * zoom for n, zoom in zip(facts.shape, facts.zooms, strict=False))
    return settle_by_size(settings, recipes, reference, size)


def keep_tables(settings: Settings, settled: list[Recipe], taken_as: list[str]) -> None:
    """Write the look-up tables of regions that depend on whether the image is a crop or a whole brain.

    Raises:
        UsageError: the output folder holds the other kind.
    """
    names = {text.split(":")[0]: text for text in taken_as}
    for recipe in (one for one in settled if one.name in names):
        path, table = settings.output_dir / f"seg-{recipe.name}_dseg.tsv", lookup_table(recipe.regions)
        if path.is_file() and path.read_text(encoding="utf-8") != table:
            raise UsageError(
                f"{names[recipe.name]}, but {path} names other regions: crops and whole brains go into output folders "
                f"of their own"
            )
        write_text(path, table)


def watched(selection: Selection) -> list[Path]:
    """What makes a finished session stale when it changes: its files, and the folders where better ones may appear."""
    files = list(selection.paths().values())
    files += [path for choice in selection.choices.values() for path in choice.gradients]
    if selection.lesion_mask:
        files.append(selection.lesion_mask)
    return files + sorted({path.parent for path in files})


def preflight(settings: Settings, selection: Selection, *, head: bool = True) -> list[dict[str, Any]]:
    """Check every file that will be opened, before any work; the first that fails ends the session.

    ``head``: see `check_image`.

    Only a series that a sequence is computed from may have four dimensions; its b-values are checked with it.
    """
    rows, seen = [], set()
    for choice in selection.choices.values():
        if choice.path is None or choice.path in seen:
            continue
        seen.add(choice.path)
        if choice.computed:
            read_bvalues(choice.path, settings.bids_dir)  # before megabytes are read
        facts = check_image(choice.path, 4 if choice.computed else 3, head=head)
        if choice.computed:
            read_bvalues(choice.path, settings.bids_dir, facts.shape[3])
        rows.append(_facts(settings, facts))
    if selection.lesion_mask:
        rows.append(_facts(settings, check_mask(selection.lesion_mask, selection.path_of(selection.reference))))
    return rows


def _facts(settings: Settings, facts: ImageFacts) -> dict[str, Any]:
    """What the record keeps of a file that was checked."""
    return {
        "file": _relative(facts.path, settings.bids_dir),
        "shape": list(facts.shape),
        "zooms": [round(float(z), 4) for z in facts.zooms],
        "orientation": facts.orientation,
        "warnings": list(facts.warnings),
    }


def selection_record(settings: Settings, selection: Selection) -> dict[str, Any]:
    """What was chosen and why, with paths relative to the dataset."""
    sequences = [
        {
            "sequence": choice.sequence,
            "file": _relative(choice.path, settings.bids_dir) if choice.path else None,
            "reason": choice.reason,
            "rejected": [{"file": _relative(r.path, settings.bids_dir), "reason": r.reason} for r in choice.rejected],
            **({"computed": True} if choice.computed else {}),
        }
        for choice in selection.choices.values()
    ]
    lesion = str(selection.lesion_mask) if selection.lesion_mask else None
    return {"reference": selection.reference, "sequences": sequences, "lesion_mask": lesion}


def run_graph(
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    record: dict[str, Any],
    status: Status,
    work: Path,
    threads: int,
) -> None:
    """Build and run the session's graph with the Linear plugin, and take over what its nodes found."""
    from bids_app.imaging.transforms import set_threads
    from workflows.session import init_session_wf

    set_threads(1)
    for note in prepare_work(work):
        print(f"tandem: {selection.key}: {note}", flush=True)
    _check_space(work)
    record["warnings"] += [
        f"{recipe.title}: --tta is left out: its network was trained without mirror images"
        for recipe in recipes
        if settings.tta and recipe.regions and not recipe.learning.mirror
    ]
    prepared = is_prepared(recipes)
    if prepared:
        record["preprocessing"]["prepared"] = True
    template = None if prepared else find_template()
    workflow = init_session_wf(
        settings=settings, selection=selection, recipes=recipes, template=template, threads=threads
    )
    workflow.base_dir = str(work)
    logs = settings.output_dir / "logs" / selection.key
    workflow.config["execution"] = {
        "crashdump_dir": str(logs),
        "crashfile_format": "txt",
        "create_report": "false",
        "stop_on_first_crash": "true",
        "remove_unnecessary_outputs": "false",
        "hash_method": "timestamp",
    }
    if settings.write_graph:
        record["warnings"] += write_graph(workflow, logs)
    listen = _listener(settings, status)
    try:
        graph = workflow.run(plugin="Linear", plugin_args={"status_callback": sealing(listen)})
    finally:
        close_pickles(work)
    for node in graph.nodes():
        _take_over(node, record, status)


def write_graph(workflow: Any, folder: Path) -> list[str]:
    """Write ``graph.dot`` and, where Graphviz is installed, its picture; returns what a person should know."""
    draw = {"dotfilename": str(folder / "graph.dot"), "graph2use": "colored", "format": "svg", "simple_form": True}
    if shutil.which("dot"):
        workflow.write_graph(**draw)
        return []
    with contextlib.suppress(OSError):  # Nipype writes the text, then fails to run the program that draws it
        workflow.write_graph(**draw)
    return ["graph.dot was written without its picture: Graphviz (the program dot) is not installed"]


def _listener(settings: Settings, status: Status) -> Any:
    """Write how far the session is after every node, for ``tandem status`` and for whoever asks why it died."""

    def listen(node: Any, event: str) -> None:
        if event == "end":
            stage = getattr(getattr(node.result, "outputs", None), "stage", None)
            if isinstance(stage, dict):
                status.stages[stage_name(node)] = plain(stage)
                write_status(settings.output_dir, status)

    return listen


def stage_name(node: Any) -> str:
    """``anatomical bias`` for ``session_wf.anatomical_wf.bias``."""
    parts = node.fullname.removeprefix(PREFIX).split(".")
    return " ".join(part.removesuffix("_wf") for part in parts)


def _take_over(node: Any, record: dict[str, Any], status: Status) -> None:
    """Move one node's facts, timing and written files into the record."""
    outputs = getattr(node.result, "outputs", None)
    facts, stage = getattr(outputs, "facts", None), getattr(outputs, "stage", None)
    if isinstance(stage, dict):
        stage = plain(stage)
        status.stages[stage_name(node)] = stage
        record["stages"].append({"name": stage_name(node), **stage})
    if not isinstance(facts, dict):
        return
    facts = plain(facts)
    record["warnings"] += facts.pop("warnings", [])
    for row in ("registrations", "predictions", "scores"):
        target = record["preprocessing"].setdefault(row, []) if row == "registrations" else record[row]
        target += facts.pop(row, [])
    status.outputs.update(facts.pop("outputs", {}))
    record["files"].update(facts.pop("files", {}))
    if provenance := facts.pop("provenance", None):
        record["provenance"] = provenance
    record["preprocessing"].update(facts)


def plain(value: Any) -> Any:
    """Dictionaries and lists of Nipype's own kinds as Python's."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def _fail(record: dict[str, Any], status: Status, work: Path, error: Exception) -> None:
    """Why it ended: the node's own error where a node failed, for Nipype hands on only its text."""
    noted = find_failure(work) if work.is_dir() and not isinstance(error, TandemError) else None
    if noted is None:
        note_failure(work, error) if work.is_dir() else None
        code = error.exit_code if isinstance(error, TandemError) else TandemError.exit_code
        noted = (str(error) if isinstance(error, TandemError) else f"{type(error).__name__}: {error}", code)
        noted = (NO_MEMORY, TemporaryFailure.exit_code) if isinstance(error, MemoryError) else noted
    record.update(state="failed", reason=noted[0])
    if not isinstance(error, TandemError):
        record["crash"] = traceback.format_exc()
        traceback.print_exc()
    status.exit_code = noted[1]


def _finish(settings: Settings, record: dict[str, Any], status: Status, work: Path) -> int:
    """Methods text, record, status, page; the page reads the other three."""
    from bids_app.report.methods import build_methods

    code = 0 if record["state"] == "done" else status.exit_code or TandemError.exit_code
    try:
        record["methods"] = build_methods(record)
        write_record(settings, record)
        status.warnings = record["warnings"]
        status.finish(record["state"], record["reason"] or "", code, peak_rss_mb=_whole_peak_mb(status))
        write_status(settings.output_dir, status)
        if trouble := write_page(settings, record["key"]):
            status.warnings.append(trouble)
            write_status(settings.output_dir, status)
    except (CannotWrite, IOFailure, OSError) as error:
        print(f"tandem: {record['key']}: {error}", flush=True)
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


def _relative(path: Path, root: Path) -> str:
    """Relative to the dataset where it lies inside; as it is elsewhere."""
    try:
        return os.path.relpath(path, root) if Path(path).is_relative_to(root) else str(path)
    except ValueError:
        return str(path)
