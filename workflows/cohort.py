"""The graph of a whole run: one node per session, each a process of its own, under any Nipype plugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.bids.status import Status, describe_holder, read_status
from bids_app.errors import TemporaryFailure, UsageError
from bids_app.settings import Settings, read_toml, to_toml
from bids_app.text import TextError, read_text
from workflows.failure import failure_of
from workflows.resources import FINE_MM, HEAD_GB, SESSION_GB, Resources, share_out
from workflows.scratch import run_folder
from workflows.stop import STOP
from workflows.wanted import anatomy_of, load_recipes

SIDE_BY_SIDE = "SideBySide"
POLL_SECONDS = 0.1  # Nipype's default of 2 s a round costs more than a small graph itself


@dataclass(frozen=True)
class Unit:
    """The unit of work: one session of one participant (``session`` is None where there are no session folders)."""

    participant: str
    session: str | None

    @property
    def key(self) -> str:
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")


Told = Callable[[Unit, str], None]


def run_cohort(settings: Settings, units: Iterable[Unit], *, told: Told | None = None) -> dict[Unit, Status | None]:
    """Run every unit; a session that fails, or is killed, fails alone.

    Args:
        settings: of the run; written as TOML for the processes to read.
        units: the sessions.
        told: called with a unit and ``"start"`` or ``"end"`` as the plugin reports it.

    Returns:
        The status each session left; None for one that was never started (after ``stop_on_first_crash``).
    """
    units = list(units)
    shared = share_out(settings, len(units), needed_gb(settings))
    configure_nipype(settings)
    with run_folder(settings.work, "cohort") as scratch:
        settings_file = write_text(scratch / "run.toml", to_toml(settings))
        workflow = init_cohort_wf(settings=settings, units=units, shared=shared, settings_file=settings_file)
        workflow.base_dir = str(scratch)
        names = {node_name(i): unit for i, unit in enumerate(units)}
        try:
            run_graph(workflow, settings, shared, _listener(names, told))
        except RuntimeError:
            if not settings.stop_on_first_crash:
                raise
    return {unit: outcome(settings.output_dir, unit.key) for unit in units}


def outcome(output_dir: Path, key: str) -> Status | None:
    """The status a session left; one that another run is working on counts as failed here, and says so."""
    status = read_status(output_dir, key)
    if status is not None and status.state == "running":
        status.finish("failed", describe_holder(status), TemporaryFailure.exit_code)
    return status


def run_graph(workflow: Any, settings: Settings, shared: Resources, listen: Callable[[Any, str], None]) -> None:
    """Run a graph whose nodes are processes under the plugin that was chosen.

    Raises:
        Stopped: a signal asked for it; the processes that this one started have ended by then.
        CannotWrite, IOFailure: work or output folder cannot be written.
        RuntimeError: a node failed.
    """

    def listen_and_look(node: Any, event: str) -> None:
        listen(node, event)
        STOP.check()  # Nipype's Linear plugin would go on with the next node after an exception inside one

    plugin, arguments = choose_plugin(settings, shared)
    arguments["status_callback"] = listen_and_look
    if plugin == SIDE_BY_SIDE:
        from workflows.plugin import SideBySide

        plugin = SideBySide(arguments)
    try:
        workflow.run(plugin=plugin, plugin_args=arguments)
    except Exception as error:
        STOP.check()
        if (cause := failure_of(error)) is not None:
            raise cause from error
        raise


def needed_gb(settings: Settings) -> float:
    """What one session of this run needs, GiB."""
    bundle = anatomy_of(settings, load_recipes(settings))
    return HEAD_GB if bundle and bundle.recipe.needed_grid.spacing_mm < FINE_MM else SESSION_GB


def init_cohort_wf(*, settings: Settings, units: list[Unit], shared: Resources, settings_file: Path) -> Any:
    """One independent node per session; nothing is connected, so nothing waits and nothing else fails."""
    from nipype.pipeline.engine import Node, Workflow

    from workflows.interfaces.process import SessionProcess

    workflow = Workflow(name="cohort_wf")
    workflow.config["execution"] = {
        "poll_sleep_duration": str(POLL_SECONDS),
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "crashdump_dir": str(settings.work),
        "crashfile_format": "txt",
        "create_report": "false",
    }
    for index, unit in enumerate(units):
        node = Node(
            SessionProcess(
                settings_file=str(settings_file),
                participant=unit.participant,
                session=unit.session or "",
                threads=shared.threads,
                memory_gb=shared.job_gb,
                raise_on_failure=settings.stop_on_first_crash,
            ),
            name=node_name(index),
            n_procs=shared.threads,
            mem_gb=min(shared.job_gb, shared.memory_gb),
        )
        node.plugin_args = {"sbatch_args": f"--cpus-per-task={shared.threads} --mem={int(shared.job_gb * 1024)}M"}
        workflow.add_nodes([node])
    return workflow


def configure_nipype(settings: Settings) -> None:
    """Keep Nipype out of the home folder, and quiet; sessions have logs of their own.

    It reads its configuration when it is first imported, so this is called before.
    """
    folder = settings.work / "cache" / "nipype"
    level = "INFO" if settings.verbose else "CRITICAL"  # what fails is said by its status, or by the error itself
    levels = "".join(f"{name}_level = {level}\n" for name in ("workflow", "utils", "interface"))
    write_text(folder / "nipype.cfg", f"[logging]\n{levels}")
    os.environ["NIPYPE_CONFIG_DIR"] = str(folder)
    os.environ["NO_ET"] = "1"


def node_name(index: int) -> str:
    """Nipype takes only letters, digits and ``_`` in a name; participants are called anything."""
    return f"session_{index:05d}"


def choose_plugin(settings: Settings, shared: Resources) -> tuple[str, dict[str, Any]]:
    """The plugin a person named, else the one that starts processes side by side on this machine.

    That one stands in for Nipype's MultiProc and does what it does; see `workflows.plugin.SideBySide`.
    """
    own = {"n_procs": shared.jobs * shared.threads, "memory_gb": shared.memory_gb}
    if not settings.use_plugin:
        return SIDE_BY_SIDE, own
    name, arguments = _plugin_file(settings.use_plugin)
    if name in ("MultiProc", "LegacyMultiProc"):
        return SIDE_BY_SIDE, own | arguments
    if name not in (known := _plugin_names()):
        raise UsageError(f"{settings.use_plugin}: there is no Nipype plugin {name!r}; there are {', '.join(known)}")
    os.environ.setdefault("LOGNAME", _user())  # Nipype names a cluster's jobs by it; cron and containers leave it out
    return name, arguments


def _plugin_names() -> list[str]:
    """Names that `Workflow.run` finds a plugin by."""
    from nipype.pipeline import plugins

    names = (name.removesuffix("Plugin") for name in dir(plugins) if name.endswith("Plugin"))
    return sorted(names)


def _user() -> str:
    """The user's name, or number where the number has no name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    """``plugin`` and ``plugin_args`` of a YAML (as in fMRIPrep) or TOML file."""
    if path.suffix == ".toml":
        content = read_toml(path)
    else:
        import yaml

        try:
            content = yaml.safe_load(read_text(path)[0])
        except (OSError, TextError, RecursionError, yaml.YAMLError) as error:
            raise UsageError(f"cannot read the plugin file {path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise UsageError(
            f"{path} must name a Nipype plugin, for example\nplugin: MultiProc\nplugin_args: {{n_procs: 4}}"
        )
    given = content.get("plugin_args") or {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise UsageError(f"{path}: plugin_args must hold names and values, for example {{n_procs: 4}}")
    return content["plugin"], dict(given)


def _listener(names: dict[str, Unit], told: Told | None) -> Callable[[Any, str], None]:
    def listen(node: Any, event: str) -> None:
        if told and node.name in names:
            told(names[node.name], "start" if event == "start" else "end")

    return listen
