"""The graph of a training: one node per arm and fold, each a process of its own, under any Nipype plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.settings import Settings, to_toml
from bids_app.train.task import TASK, FoldTask, is_done
from workflows.cohort import POLL_SECONDS, configure_nipype, run_graph
from workflows.resources import Resources, available_cpus, available_memory_gb
from workflows.scratch import run_folder

Told = Callable[[FoldTask, str], None]


def run_training(settings: Settings, tasks: Sequence[FoldTask], *, told: Told | None = None) -> list[FoldTask]:
    """Train every task that is not done; a task that fails, or is killed, fails alone.

    Args:
        settings: of the run.
        tasks: arms and folds; one whose ``start`` is another's folder waits for it.
        told: called with a task and ``"start"`` or ``"end"`` as the plugin reports it.

    Returns:
        The tasks that failed; each has said why in its ``train.log``.
    """
    todo = [task for task in tasks if not is_done(task)]
    if not todo:
        return []
    configure_nipype(settings)
    with run_folder(settings.work, "training") as scratch:
        settings_file = write_text(scratch / "run.toml", to_toml(settings))
        shared = share_out_training(settings, todo)
        workflow = init_training_wf(settings=settings, tasks=todo, shared=shared, settings_file=settings_file)
        workflow.base_dir = str(scratch)
        run_graph(workflow, settings, shared, _listener({node_name(task): task for task in todo}, told))
    return [task for task in todo if not is_done(task)]


def init_training_wf(*, settings: Settings, tasks: Sequence[FoldTask], shared: Resources, settings_file: Path) -> Any:
    """One node per task; only a frozen encoder waits for another fold.

    Each node wants ``shared.threads`` CPUs and, on CUDA, one GPU: MultiProc runs as many side by side as there are.
    """
    from nipype.pipeline.engine import Node, Workflow

    from workflows.interfaces.training import TrainFold

    workflow = Workflow(name="training_wf")
    workflow.config["execution"] = {
        "poll_sleep_duration": str(POLL_SECONDS),
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "crashdump_dir": str(settings.work),
        "crashfile_format": "txt",
        "create_report": "false",
    }
    nodes = {}
    for task in tasks:
        task.write()
        gpu = task.device.startswith("cuda")
        node = Node(
            TrainFold(
                settings_file=str(settings_file),
                task_file=str(Path(task.out) / TASK),
                threads=shared.threads,
                processes=settings.gpus if gpu else 1,
            ),
            name=node_name(task),
            n_procs=shared.threads,
            mem_gb=min(memory_gb(task), shared.memory_gb),
        )
        sbatch = f"--cpus-per-task={shared.threads} --mem={int(shared.job_gb * 1024)}M"
        node.plugin_args = {"sbatch_args": sbatch + (f" --gres=gpu:{settings.gpus}" if gpu else "")}
        workflow.add_nodes([node])
        nodes[task.out] = node
    for task in tasks:
        if task.start in nodes:
            workflow.connect(nodes[task.start], ("folder", as_list), nodes[task.out], "after")
    return workflow


def as_list(folder: str) -> list[str]:
    """What Nipype runs between a fold and the one that waits for it."""
    return [folder]


def memory_gb(task: FoldTask) -> float:
    """What a fold is expected to need, GiB: its plan's estimate and what Python and torch take."""
    return float(task.plan.get("memory_gb") or 1.0) + 1.0


def share_out_training(settings: Settings, tasks: Sequence[FoldTask]) -> Resources:
    """Folds side by side are as many as CPUs, memory and GPUs allow; CPUs left over become threads of each.

    Two folds of one thread each learn more in a minute than one fold of two threads.
    """
    cpus, cpu_source = (settings.nprocs, "--nprocs") if settings.nprocs else available_cpus()
    memory, memory_source = (settings.mem_gb, "--mem") if settings.mem_gb else available_memory_gb()
    need = max((memory_gb(task) for task in tasks), default=1.0)
    limit = min(cpus, max(1, int(memory // need)), max(len(tasks), 1))
    if tasks and tasks[0].device.startswith("cuda"):
        import torch

        limit = min(limit, max(1, torch.cuda.device_count() // settings.gpus))
    threads = min(settings.omp_nthreads or max(1, cpus // limit), cpus)
    jobs = max(1, min(limit, cpus // threads))
    why = f"{cpus} CPUs ({cpu_source}), {memory:.1f} GB ({memory_source}): {jobs} folds at a time, {threads} threads"
    return Resources(cpus, memory, threads, jobs, memory / jobs, why)


def node_name(task: FoldTask) -> str:
    """Nipype takes only letters, digits and ``_`` in a name."""
    path = Path(task.out)
    return "".join(c if c.isalnum() else "_" for c in f"{path.parent.name}_{path.name}")


def _listener(names: dict[str, FoldTask], told: Told | None) -> Callable[[Any, str], None]:
    def listen(node: Any, event: str) -> None:
        if told and node.name in names:
            told(names[node.name], "start" if event == "start" else "end")

    return listen
