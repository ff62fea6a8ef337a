"""What every test run is set up with."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Processes that run tests side by side (`pytest -n`) take one thread each: two that share a core wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

#: Files that take longest, longest first; one that began last would run alone while the other workers wait.
LONGEST = (
    "test_docs.py",
    "workflows/test_training.py",
    "workflows/test_end_to_end.py",
    "workflows/test_several_recipes.py",
    "bids_app/lessons/test_people.py",
    "workflows/test_slices_whole.py",
    "workflows/test_slices.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep xdist from starting the files of most tests first: those that run whole sessions have few."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those that run whole sessions or lessons, then those of most tests."""
    here = Path(__file__).parent
    counts = Counter(item.path for item in items)
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    whole = {here / "workflows", here / "bids_app/lessons"}
    items.sort(
        key=lambda item: (
            rank.get(item.path, len(rank)),
            item.path.parent not in whole,
            -counts[item.path],
            str(item.path),
        )
    )


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    """A test that tells torch how many threads to take leaves those of the next test as they were."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None and sys.modules["torch"].get_num_threads() != before:
        sys.modules["torch"].set_num_threads(before)
