"""What every test run is set up with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

#: Processes that run tests side by side (`pytest -n`) take one thread each: two that share a core wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    """A test that tells torch how many threads to take leaves those of the next test as they were."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None and sys.modules["torch"].get_num_threads() != before:
        sys.modules["torch"].set_num_threads(before)
