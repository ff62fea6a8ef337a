"""CPUs and memory are shared out by what this process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.settings import Settings
from workflows.resources import available_cpus, available_memory_gb, share_out


def settings(**more) -> Settings:
    return Settings(Path("in"), Path("out"), **more)


@pytest.mark.parametrize(
    ("nprocs", "threads", "memory", "sessions", "jobs"),
    [
        (8, 2, 64, 10, 4),
        (8, 2, 64, 3, 3),
        (8, 2, 7, 10, 2),
        (2, 8, 64, 10, 1),
        (2, None, 64, 10, 2),
        (2, None, 64, 1, 1),
        (1, 1, 1, 5, 1),
    ],
)
def test_sessions_side_by_side_fit_threads_and_memory(nprocs, threads, memory, sessions, jobs):
    shared = share_out(settings(nprocs=nprocs, omp_nthreads=threads, mem_gb=memory), sessions)
    assert shared.jobs == jobs
    assert shared.jobs * shared.threads <= nprocs


def test_sessions_that_need_more_memory_are_fewer():
    assert share_out(settings(nprocs=8, omp_nthreads=2, mem_gb=7), 10, needed_gb=4.0).jobs == 1


def test_a_slurm_grant_is_believed(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "512")
    assert available_cpus()[0] == 1
    assert available_memory_gb()[0] <= 0.5


def test_there_is_always_something():
    assert available_cpus()[0] >= 1
    assert available_memory_gb()[0] > 0
