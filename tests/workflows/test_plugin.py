"""A node that cannot be read ends the run with what is behind it; it is not waited for."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from bids_app.errors import IOFailure
from workflows.failure import failure_of
from workflows.plugin import SideBySide

pytestmark = pytest.mark.faults


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/work/node/result.pklz")


class Unreadable:
    """A node on a full disk: it cannot run, and its result cannot be read."""

    interface = SimpleNamespace(terminal_output="")
    fullname = "cohort_wf.session_00000"
    run = full

    @property
    def result(self):
        raise FileNotFoundError("/work/node/result.pklz")


def test_a_result_that_cannot_be_read_is_a_failure_and_not_a_wait():
    plugin = SideBySide({"n_procs": 1, "memory_gb": 1})
    task = plugin._submit_job(Unreadable())
    plugin.pool.shutdown(wait=True)
    found = plugin._get_result(task)
    assert found["taskid"] == task
    told = failure_of(RuntimeError("".join(found["traceback"])))
    assert isinstance(told, IOFailure)
    assert "/work/node/result.pklz" in str(told)


def test_what_is_behind_several_failed_nodes_is_found_in_the_first_of_them():
    several = RuntimeError("2 raised. Re-raising first.")
    several.__cause__ = RuntimeError("Traceback ...\nOSError: [Errno 28] No space left on device: '/work/a'\n")
    assert isinstance(failure_of(several), IOFailure)
