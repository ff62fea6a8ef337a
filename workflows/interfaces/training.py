"""One arm and one fold as one operating-system process, so that its memory and its death are its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from bids_app.settings import from_plain, read_toml
from workflows.interfaces.process import environment, run_process
from workflows.stop import STOP


class _Input(BaseInterfaceInputSpec):
    settings_file = File(exists=True, mandatory=True, desc="the run's settings, TOML")
    task_file = File(exists=True, mandatory=True, desc="what to train, JSON")
    after = traits.List(traits.Any(), desc="folds that must be trained before: a frozen encoder's")
    threads = traits.Int(1, usedefault=True)
    processes = traits.Int(1, usedefault=True, desc="GPUs that share each batch, under torchrun")


class _Output(TraitedSpec):
    folder = traits.Str(desc="where the fold's answers lie; empty where it failed")
    exit_code = traits.Int(desc="of the process; negative is a signal")


class TrainFold(SimpleInterface):
    """Train one arm on one fold in a process and see it end, whatever ends it; its words go to ``train.log``."""

    input_spec, output_spec = _Input, _Output

    def _run_interface(self, runtime: Any) -> Any:
        settings = from_plain(read_toml(Path(self.inputs.settings_file)))
        folder = Path(self.inputs.task_file).parent
        program = [sys.executable, "-m", "bids_app", "fold", self.inputs.task_file]
        code, _ = run_process(
            [*program, "--processes", str(self.inputs.processes)],
            environment(settings, self.inputs.threads),
            folder / "train.log",
        )
        STOP.check()
        self._results = {"folder": str(folder) if code == 0 else "", "exit_code": code}
        return runtime
