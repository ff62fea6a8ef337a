"""A small cohort with answers of known quality, for the tests of evaluation and comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_app.recipes.recipe import Recipe, parse_recipe
from bids_app.scans.scan import Scan

SHAPE = (16, 16, 16)


def recipe(*, targets=("outcome", "age"), lesion=False, covariates=("weight",)) -> Recipe:
    every = {
        "outcome": {"name": "outcome", "kind": "binary", "levels": ["good", "poor"]},
        "grade": {"name": "grade", "kind": "ordinal", "levels": ["low", "mid", "high"]},
        "type": {"name": "type", "kind": "categorical", "levels": ["a", "b", "c"]},
        "age": {"name": "age", "kind": "continuous", "unit": "years"},
    }
    regions = [{"index": 1, "name": "front"}, {"index": 2, "name": "back"}]
    if lesion:
        regions = [{"index": 1, "name": "lesion", "kind": "lesion"}]
    return parse_recipe(
        {
            "name": "small",
            "title": "small",
            "reference": "T1w",
            "sequences": [{"name": "T1w", "suffix": "T1w"}],
            "grid": {"kind": "image", "spacing_mm": 2.0},
            "regions": regions,
            "targets": [every[name] for name in targets],
            "learning": {"covariates": list(covariates)},
        },
        source="a test",
    )


def labels(*starts: int, edge: int = 4) -> np.ndarray:
    """Cubes 1, 2, ... that start at so many voxels along x."""
    found = np.zeros(SHAPE, np.uint8)
    for position, start in enumerate(starts, 1):
        found[start : start + edge, 4 : 4 + edge, 4 : 4 + edge] = position
    return found


def scan(person: int | str, truth: np.ndarray | None, targets, *, session: str = "", **more) -> Scan:
    name = f"{person:03d}" if isinstance(person, int) else person
    key = f"sub-{name}" + (f"_ses-{session}" if session else "")
    covariates = np.array(more.pop("covariates", [np.nan]), float)
    stack = np.zeros((1, *SHAPE), np.float32)
    return Scan(key, name, stack, np.ones(1, bool), truth, 2.0, np.array(targets, float), covariates, **more)


def write_answer(folder: Path, key: str, mask: np.ndarray | None, regions: int = 2, **targets) -> None:
    """Certain voxels where ``mask`` says; logits of targets by name."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {f"target_{name}": np.atleast_1d(np.asarray(value, np.float32)) for name, value in targets.items()}
    if mask is not None:
        parts["probability"] = np.stack([0.9 * (mask == k) for k in range(1, regions + 1)]).astype(np.float16)
    np.savez(folder / f"{key}.npz", **parts)
