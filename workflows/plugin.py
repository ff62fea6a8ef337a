"""The Nipype plugin that carries sessions and folds on one machine."""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from workflows.stop import STOP


class SideBySide(MultiProcPlugin):
    """MultiProc with threads in place of worker processes.

    Every node of these graphs only starts a process of its own and waits for it, so a thread does: no worker has to be
    started (2 s and 150 MB each), none is left behind when the run is killed, and all are ended from one place. It
    counts CPUs and memory as MultiProc does, and looks at `STOP` in every round.

    Args:
        plugin_args: ``n_procs``, ``memory_gb`` and ``status_callback``, as for MultiProc.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        DistributedPluginBase.__init__(self, plugin_args=plugin_args)
        self._taskresult: dict[int, dict[str, Any]] = {}
        self._task_obj: dict[int, Any] = {}
        self._taskid = 0
        self._cwd = os.getcwd()
        self.processors = int(plugin_args["n_procs"])
        self.memory_gb = float(plugin_args["memory_gb"])
        self.raise_insufficient = False
        self.n_gpus_visible = self.n_gpu_procs = 0  # a fold's process takes its GPU itself
        self.pool = ThreadPoolExecutor(max_workers=self.processors)
        self._stats = None

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the graph.

        Raises:
            Stopped: a signal asked for it; every process has ended by then.
        """
        try:
            with STOP.told_by_hand():
                super().run(graph, config, updatehash=updatehash)
        finally:
            self.pool.shutdown(wait=True, cancel_futures=True)
            os.chdir(self._cwd)  # Nipype moves into the folder of every node that it runs

    def _async_callback(self, task: Any) -> None:
        if task.exception() is None:
            super()._async_callback(task)

    def _get_result(self, taskid: int) -> Any:
        STOP.check()
        error = self._task_obj[taskid].exception() if self._task_obj[taskid].done() else None
        if error is not None:  # Nipype cannot read what a node left (a disk is full), and would wait for it for ever
            return {"result": None, "traceback": traceback.format_exception(error), "taskid": taskid}
        return super()._get_result(taskid)

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        STOP.check()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
