"""One session as one operating-system process, so that its death is its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from bids_app.bids.files import told_plainly
from bids_app.bids.lock import Busy, only_one
from bids_app.bids.naming import session_key
from bids_app.bids.status import log_of, read_status, start_status, write_status
from bids_app.errors import CannotWrite, IOFailure, Stopped
from bids_app.settings import Settings, from_plain, read_toml
from workflows.failure import record_death
from workflows.stop import PARENT, STOP

#: Libraries that make threads of their own read these once, when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
SAMPLE_SECONDS = 0.5


class _Input(BaseInterfaceInputSpec):
    settings_file = File(exists=True, mandatory=True, desc="the run's settings, TOML")
    participant = traits.Str(mandatory=True)
    session = traits.Str(desc="empty where the participant has no session folders")
    threads = traits.Int(1, usedefault=True)
    memory_gb = traits.Float(4.0, usedefault=True, desc="what this session may use, named when it is killed")
    raise_on_failure = traits.Bool(False, usedefault=True)


class _Output(TraitedSpec):
    exit_code = traits.Int(desc="of the process; negative is a signal")
    peak_rss_mb = traits.Float(desc="peak resident memory of the process, MB")
    seconds = traits.Float()


class SessionProcess(SimpleInterface):
    """Run one session in a process and see it end, whatever ends it."""

    input_spec = _Input
    output_spec = _Output

    def _run_interface(self, runtime):
        settings = from_plain(read_toml(Path(self.inputs.settings_file)))
        session = self.inputs.session or None
        key = session_key(self.inputs.participant, session)
        log = log_of(settings.output_dir, key)
        with told_plainly(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        threads = 1 if settings.reproducible else self.inputs.threads
        command = [sys.executable, "-m", "bids_app", "session", self.inputs.settings_file, self.inputs.participant]
        started = time.time()
        code, peak_mb = run_process(
            [*command, session or "", str(threads)],
            environment(settings, threads),
            log,
            samples=log.with_name("resources.tsv") if settings.resource_monitor else None,
        )
        seconds = time.time() - started
        if code != 0:
            # another run that has the session now reports on it itself; a disk that is full ends the run a little later
            with contextlib.suppress(Busy, CannotWrite, IOFailure, OSError), only_one(log):
                self._note_end(settings, code, peak_mb=peak_mb, started=started)
        STOP.check()
        self._results = {"exit_code": code, "peak_rss_mb": peak_mb, "seconds": seconds}
        if code != 0 and self.inputs.raise_on_failure:
            raise RuntimeError(f"{key} failed and --stop-on-first-crash was given")
        return runtime

    def _note_end(self, settings: Settings, code: int, *, peak_mb: float, started: float) -> None:
        """Status, record and page of a session that could not say itself how it ended."""
        participant, session = self.inputs.participant, self.inputs.session or None
        status = read_status(settings.output_dir, session_key(participant, session))
        if status is not None and status.finished is not None and status.finished >= started:
            return
        if (number := STOP.comes()) is not None:  # no time for a page: the same command goes on
            status = status or start_status(participant, session, started=started)
            stopped = Stopped(number)
            write_status(settings.output_dir, status.finish("failed", str(stopped), stopped.exit_code))
            return
        limit = self.inputs.memory_gb
        record_death(settings, participant, session, code, peak_mb=peak_mb, limit_gb=limit, started=started)


def environment(settings: Settings, threads: int) -> dict[str, str]:
    """What a session sees: its threads, caches inside the work folder, and nothing that reaches for the network."""
    cache = settings.work / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        ITK_THREADS: "1",  # with more, the same registration gives another result each time
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "XDG_CACHE_HOME": str(cache),
        "NIPYPE_CONFIG_DIR": str(cache / "nipype_session"),
        "TORCH_HOME": str(cache / "torch"),
        "NO_ET": "1",
        "TEMPLATEFLOW_AUTOUPDATE": "off",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p),
    }


def run_process(
    command: list[str], env: dict[str, str], log: Path, *, samples: Path | None = None
) -> tuple[int, float]:
    """Exit code (negative: signal) and peak memory in MB of a process whose output goes to ``log``."""
    with told_plainly(log):
        out = log.open("ab")
    env = env | {PARENT: str(os.getpid())}
    with out:
        process = STOP.start(command, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if samples:
            threading.Thread(target=_sample, args=(process.pid, samples), daemon=True).start()
        code, usage = STOP.wait(process)
    return code, usage.ru_maxrss / 1024


def _sample(pid: int, path: Path) -> None:
    """Seconds, resident MB and CPU seconds of a process until it ends."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    started = time.time()
    with path.open("w", encoding="utf-8") as table:
        table.write("seconds\trss_mb\tcpu_seconds\n")
        while True:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                return
            cpu = (int(fields[11]) + int(fields[12])) / tick
            table.write(f"{time.time() - started:.1f}\t{int(fields[21]) * page / 1e6:.1f}\t{cpu:.2f}\n")
            table.flush()
            time.sleep(SAMPLE_SECONDS)
