"""A bundle in memory: to predict and measure with before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bundle.bundle import Bundle
from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch


def trial_bundle(
    recipe: Recipe,
    networks: torch.nn.Module | Sequence[torch.nn.Module],
    calibration: dict[str, Any],
    plan: dict[str, Any] | None = None,
) -> Bundle:
    """A bundle of these networks, one a member, which vote; all of them with the same plan."""
    from torch import nn

    members = [networks] if isinstance(networks, nn.Module) else list(networks)
    bundle = Bundle(recipe.name, Path(recipe.name), recipe, "", calibration, {}, {})
    bundle.__dict__["networks"] = [network.eval() for network in members]  # where cached_property keeps it
    bundle.__dict__["plans"] = [plan or {}] * len(members)
    return bundle
