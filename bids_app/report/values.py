"""Values of a record that may be anything: whether they are numbers, points and matrices, and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np


def as_matrix(value: Any) -> np.ndarray | None:
    """A 4 × 4 invertible matrix, or None."""
    try:
        matrix = np.asarray(value, float)
    except (TypeError, ValueError):
        return None
    usable = matrix.shape == (4, 4) and np.all(np.isfinite(matrix)) and abs(np.linalg.det(matrix)) > 1e-6
    return matrix if usable else None


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) pairs."""
    if isinstance(value, Mapping):
        return [pair for k, v in value.items() for pair in flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(v, Mapping) for v in value):
        return [pair for i, v in enumerate(value) for pair in flatten(v, f"{prefix}.{i}")]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(prefix, ", ".join(str(v) for v in value))]
    return [(prefix, "" if value is None else str(value))]


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def is_point(value: Any) -> TypeGuard[Sequence[float]]:
    return isinstance(value, list | tuple) and len(value) == 3 and all(is_number(v) for v in value)
