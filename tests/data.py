"""Where tests find real data: ``TANDEM_TEST_DATA``, by default ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_root() -> Path:
    return Path(os.environ.get("TANDEM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real(name: str) -> Path:
    """Path of a real dataset; skips the test, saying so, where it is absent."""
    path = data_root() / name
    if not path.exists():
        pytest.skip(f"real data not found at {path}; set TANDEM_TEST_DATA to the folder that holds {name}")
    return path
