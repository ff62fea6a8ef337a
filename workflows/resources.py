"""How many CPUs and how much memory this process may really use: affinity, cgroup and SLURM, not the whole machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bids_app.settings import Settings

#: What one session needs, GiB: the highest peak measured, with a margin (README, Speed and size).
SESSION_GB = 3.0
#: The same where a network labels whole heads on voxels smaller than `FINE_MM`. Measured: 3.6 GiB at 1 mm, of which 32
#: probabilities of 10 million voxels are 1.3; 1.7 GiB at 2 mm.
HEAD_GB = 4.0
FINE_MM = 1.5
MAX_THREADS = 4
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory")


@dataclass(frozen=True)
class Resources:
    """What a run shares out. ``jobs`` sessions run side by side, each with ``threads`` threads and ``job_gb`` GiB."""

    cpus: int
    memory_gb: float
    threads: int
    jobs: int
    job_gb: float
    why: str


def share_out(settings: Settings, sessions: int, needed_gb: float = SESSION_GB) -> Resources:
    """Sessions side by side are as many as CPUs and memory allow; CPUs left over become threads of each.

    More sessions come before more threads: registration runs on one ITK thread, for ITK with more gives another
    result each time (README, Reproducible), so that threads only help the network.
    """
    cpus, cpu_source = (settings.nprocs, "--nprocs") if settings.nprocs else available_cpus()
    memory, memory_source = (settings.mem_gb, "--mem") if settings.mem_gb else available_memory_gb()
    by_memory = max(1, int(memory // needed_gb))
    jobs = max(1, min(cpus, by_memory, sessions))
    threads = min(settings.omp_nthreads or min(cpus // jobs, MAX_THREADS), cpus)
    jobs = max(1, min(jobs, cpus // threads))
    why = f"{cpus} CPUs ({cpu_source}), {memory:.1f} GB ({memory_source}): {jobs} at a time, {threads} threads each"
    return Resources(cpus, memory, threads, jobs, memory / jobs, why)


def available_cpus() -> tuple[int, str]:
    """CPUs this process may use, and what says so: the smallest of affinity, cgroup quota and SLURM's grant."""
    found = [(len(os.sched_getaffinity(0)), "affinity")]
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit() and int(slurm):
        found.append((int(slurm), "SLURM_CPUS_PER_TASK"))
    quota = _cgroup_cpus()
    if quota:
        found.append((quota, "cgroup"))
    return min(found)


def available_memory_gb() -> tuple[float, str]:
    """GiB this process may use, and what says so."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    found = [(int(meminfo["MemAvailable"].split()[0]) / 1024**2, "free memory")]
    for name in ("SLURM_MEM_PER_NODE",):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]):
            found.append((int(os.environ[name]) / 1024, name))
    limit = _cgroup_memory_gb()
    if limit:
        found.append((limit, "cgroup"))
    return min(found)


def _read(*candidates: str) -> str:
    for folder in CGROUPS:
        for name in candidates:
            try:
                return Path(folder, name).read_text().strip()
            except OSError:
                continue
    return ""


def _cgroup_cpus() -> int | None:
    quota = _read("cpu.max").split()
    if len(quota) != 2:
        quota = [_read("cpu.cfs_quota_us"), _read("cpu.cfs_period_us")]
    if not all(part.isdigit() for part in quota) or int(quota[1]) == 0:
        return None  # "max", -1 or no cgroup: no limit
    return max(1, int(quota[0]) // int(quota[1]))


def _cgroup_memory_gb() -> float | None:
    text = _read("memory.max", "memory.limit_in_bytes")
    if not text.isdigit() or int(text) > 2**60:  # version 1 writes a huge number for "no limit"
        return None
    return int(text) / 1024**3
