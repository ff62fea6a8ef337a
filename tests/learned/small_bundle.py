"""A small recipe with regions of both sides and targets of every kind, and a bundle of it with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.bundle.manifest import training_manifest
from bids_app.bundle.write import TRAINED_CARD, TRAINED_LICENSE, write_bundle
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
from bids_app.recipes.recipe import Recipe, parse_recipe

CALIBRATION = {"threshold": 0.5, "temperature": 1.2, "out_of_fold": True, "fitted_on": 12}
TARGETS = [
    {"name": "group", "kind": "binary", "levels": ["control", "depression"]},
    {"name": "stage", "kind": "ordinal", "levels": ["none", "mild", "severe"]},
    {"name": "age", "kind": "continuous", "unit": "years"},
]
REGIONS = [
    {"index": 1, "name": "left thing", "abbreviation": "L", "side": "left", "partner": 2},
    {"index": 2, "name": "right thing", "abbreviation": "R", "side": "right", "partner": 1},
]


def small_recipe(*, targets: bool = True, regions: bool = True, **more) -> Recipe:
    content = {
        "name": "small",
        "title": "Small things",
        "reference": "T1w",
        "sequences": [
            {"name": "T1w", "suffix": "T1w", "entities": {"ceagent": ""}},
            {"name": "FLAIR", "suffix": "FLAIR", "required": False},
        ],
        "grid": {"kind": "region", "spacing_mm": 1.0, "size_mm": 16, "centre_mm": [0, 0, 0]},
        "regions": REGIONS if regions else [],
        "targets": TARGETS if targets else [],
        "network": {"filters": 4, "blocks": [1, 1], "deep_supervision": 1},
    }
    return parse_recipe({**content, **more}, source="test")


def small_shape(recipe: Recipe) -> NetworkShape:
    heads = tuple(HeadShape(t.name, t.kind, t.behaviour.outputs(len(t.levels))) for t in recipe.targets)
    classes = len(recipe.regions) + 1 if recipe.regions else 0
    covariates = len(recipe.learning.covariates)
    how = {"dimensions": recipe.network.dimensions, "heads": heads, "covariates": covariates}
    how |= {"slices": recipe.network.slices, "finest": recipe.network.finest}
    return NetworkShape(len(recipe.sequences), classes, 4, (1, 1), 1, **how)


def small_states(recipe: Recipe, members: int = 1) -> list[dict[str, torch.Tensor]]:
    states = []
    for seed in range(members):
        torch.manual_seed(seed)
        states.append(MultiTaskNet(small_shape(recipe)).state_dict())
    return states


def small_manifest(**changes) -> dict:
    facts = {
        "participants": ["01", "02", "sub-03"],
        "images": ["ab" * 32],
        "sites": {"A": 2, "B": 1},
        "seed": 1,
        "counts": {"participants": 3, "sessions": 3},
        "command": "tandem BIDS OUT train --recipe small",
        "split": "0123456789abcdef",
        "arms": ["multi-task"],
    }
    return training_manifest(**{**facts, **changes})


def write_small(folder: Path, *, recipe: Recipe | None = None, members: int = 1, **changes) -> Bundle:
    recipe = recipe or small_recipe()
    given = {
        "recipe": recipe,
        "shape": small_shape(recipe),
        "states": small_states(recipe, members),
        "plan": None,
        "calibration": CALIBRATION,
        "manifest": small_manifest(),
        "metrics": {},
        "card": TRAINED_CARD.read_text(encoding="utf-8"),
        "licence": TRAINED_LICENSE,
    }
    return load_bundle(write_bundle(folder, **{**given, **changes}))
