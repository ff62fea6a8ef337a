"""What every lesson's bundle is written with: rounded weights, what trained it, by which command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app import __version__
from bids_app.bundle.write import write_bundle
from bids_app.recipes.recipe import Recipe, list_recipes

if TYPE_CHECKING:
    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State


def voters(state: State, beside: Sequence[MultiTaskNet]) -> list[MultiTaskNet]:
    """The networks of a bundle: those that stay, and the running mean, its weights rounded as they will be written."""
    state.mean.load_state_dict({name: value.half().float() for name, value in state.mean.state_dict().items()})
    return [*beside, state.mean]


def write_lesson(
    out_dir: Path,
    state: State,
    recipe: Recipe,
    members: Sequence[MultiTaskNet],
    *,
    seed: int,
    note: str,
    trained: Mapping[str, Any],
    plan: Mapping[str, Any] | None,
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: Path,
    licence: str,
) -> Path:
    """Write what a lesson taught; see `bids_app.bundle.write.write_bundle`.

    Args:
        out_dir: replaced as a whole once everything is written.
        state: of the training.
        recipe: that was taught.
        members: of `voters`.
        seed: of the training.
        note: what a reader should know of this very run.
        trained: what the manifest says of who and what trained and judged.
        plan, calibration, metrics: as measured.
        card: template of the model card.
        licence: text of ``LICENSE``.
    """
    import torch

    name = recipe.name if recipe.name in list_recipes() else f"{recipe.name}.toml"
    manifest = {
        "name": recipe.name,
        "tandem": __version__,
        "torch": torch.__version__.split("+")[0],
        "seed": seed,
        "steps": state.step,
        "scans_drawn": state.drawn,
        "minutes": round(state.seconds / 60, 1),
        "command": f"tandem train-bundle {name} --data DIR --out DIR --steps {state.step} --seed {seed}",
        "note": note,
        **trained,
    }
    return write_bundle(
        out_dir,
        recipe=recipe,
        shape=state.mean.shape,
        states=[one.state_dict() for one in members],
        plan=plan,
        calibration=calibration,
        manifest=manifest,
        metrics=metrics,
        card=card.read_text(encoding="utf-8"),
        licence=licence,
    )
