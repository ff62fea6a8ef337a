"""What every node of a session leaves beside its outputs: time, memory, and what it found."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path
from typing import Any

from nipype.interfaces.base import SimpleInterface, TraitedSpec, traits

from workflows.failure import note_failure


class StageOutput(TraitedSpec):
    """Outputs that all stages have."""

    facts = traits.Dict(desc="what was found, for the session's record")
    stage = traits.Dict(desc="seconds, CPU seconds, and peak resident memory in MB")


class Stage(SimpleInterface):
    """A node whose work is one plain function; subclasses write `_work`."""

    output_spec = StageOutput

    def _work(self, folder: Path) -> dict[str, Any]:
        """Do the work inside ``folder``; return the outputs."""
        raise NotImplementedError

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        started, used = time.time(), time.process_time()
        _reset_peak()
        try:
            outputs = self._work(folder)
        except BaseException as error:
            note_failure(folder, error)
            raise
        outputs.setdefault("facts", {})
        outputs["stage"] = {
            "seconds": round(time.time() - started, 2),
            "cpu_seconds": round(time.process_time() - used, 2),
            "peak_rss_mb": round(peak_rss_mb(), 1),
        }
        self._results = outputs
        return runtime


def _reset_peak() -> None:
    """Start measuring peak memory anew, where the kernel lets us; else a stage shows the peak so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss_mb() -> float:
    """Peak resident memory since the last reset, MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
