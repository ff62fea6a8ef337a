"""Write a training as a bundle: weights, calibration, who trained it, what was measured, and a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bids.files import whole_folder, write_bytes, write_text
from bids_app.bundle.bundle import NETWORKS, PLAN, WEIGHTS, hash_weights, join_members, load_bundle
from bids_app.errors import BundleError
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.recipes.seeds import with_files
from bids_app.recipes.write import recipe_to_toml

if TYPE_CHECKING:
    import torch

    from bids_app.networks.multitask import NetworkShape

#: Of bundles that were trained on a cohort.
TRAINED_CARD = Path(__file__).with_name("model_card.md")
TRAINED_LICENSE = """Nobody has granted a licence for these weights yet: they belong to whoever ran the training.

Before the bundle is handed on, write here under which terms, after looking at those of the data that trained it: the
consent of its participants and its data use agreement may allow less than the licence of the program.
"""


def write_bundle(
    out_dir: Path,
    *,
    recipe: Recipe,
    shape: NetworkShape,
    states: Sequence[Mapping[str, torch.Tensor]],
    plan: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    calibration: Mapping[str, Any],
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
    licence: str,
) -> Path:
    """Write a bundle beside its place, load it once to see that it can be, and only then put it there.

    Args:
        out_dir: its folder; a bundle that is there is replaced as a whole, and kept where anything goes wrong.
        recipe: with the levels of its targets filled in.
        shape: of every member.
        states: each member's weights, written in half precision.
        plan: of all members, or one per member; None where scans are normalised by themselves alone.
        calibration: see `bids_app.judge.out_of_fold`.
        manifest: see `bids_app.bundle.manifest.training_manifest`; the hash of the weights is added.
        metrics: what was measured, with where.
        card: Jinja template of the model card; it may use every part by name.
        licence: text of ``LICENSE``.

    Raises:
        BundleError: no member, a target without levels, weights that are not finite or do not fit the shape.
        IOFailure, CannotWrite: the disk is full, or the folder may not be written.
    """
    weights = _half(states)
    bare = [target.name for target in recipe.targets if target.behaviour.has_levels and not target.levels]
    if bare:
        raise BundleError(f"the levels of {', '.join(bare)} are not known; fill them into the recipe before it is kept")
    parts: dict[str, Any] = {
        "network.json": {**shape.to_plain(), **({"members": len(states)} if len(states) > 1 else {})},
        "calibration.json": calibration,
        "metrics.json": metrics,
    }
    if plan is not None:
        parts[PLAN] = plan if isinstance(plan, Mapping) else {"members": list(plan)}
    with whole_folder(out_dir, replace=True) as partial:
        write_bytes(partial / WEIGHTS, weights)
        write_text(partial / "recipe.toml", recipe_to_toml(with_files_in(recipe, partial)))
        for name, content in parts.items():
            write_json(partial / name, content)
        about = {"name": recipe.name, **manifest, "weights_sha256": hash_weights(partial)}
        write_json(partial / "manifest.json", about)
        write_text(partial / "LICENSE", licence)
        render_card(partial, card)
        _ = load_bundle(partial).networks, load_bundle(partial).plans
    return out_dir


def with_files_in(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its images of networks copied into a bundle's folder, so that it can be used elsewhere.

    Raises:
        BundleError: such an image is no longer there.
    """
    kept: dict[str, str] = {}

    def copied(sequence: str, file: str) -> str:
        if file not in kept:
            number = f"-{len(kept) + 1}" if kept else ""
            kept[file] = f"{NETWORKS}{number}{''.join(Path(file).suffixes[-2:])}"
            try:
                write_bytes(folder / kept[file], Path(file).read_bytes())
            except FileNotFoundError:
                raise BundleError(f"{file}, the networks of {sequence}, is no longer there") from None
        return kept[file]

    found: Recipe = with_files(recipe, copied)
    return found


def _half(states: Sequence[Mapping[str, torch.Tensor]]) -> bytes:
    """All members' weights as the bytes of a safetensors file."""
    from safetensors.torch import save

    if not states:
        raise BundleError("a bundle needs the weights of at least one member")
    weights = {name: value.detach().cpu().half().contiguous() for name, value in join_members(states).items()}
    spoilt = [name for name, value in weights.items() if not value.isfinite().all()]
    if spoilt:
        raise BundleError(f"weights are not finite in half precision ({spoilt[0]}): the training diverged")
    return save(weights)


def note_measured(bundle_dir: Path, name: str, figures: dict[str, Any], card: Path) -> None:
    """Add measured figures to a bundle's metrics and write its card again."""
    metrics = json.loads((bundle_dir / "metrics.json").read_text(encoding="utf-8"))
    write_json(bundle_dir / "metrics.json", {**metrics, name: figures})
    write_card(bundle_dir, card)


def write_card(bundle_dir: Path, card: Path) -> None:
    """`render_card` from a file."""
    render_card(bundle_dir, card.read_text(encoding="utf-8"))


def render_card(bundle_dir: Path, card: str) -> None:
    """``MODEL_CARD.md`` from a Jinja template and the parts that lie beside it."""
    from jinja2 import Template

    parts = {
        name: json.loads((bundle_dir / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "metrics", "calibration", "network", "plan")
        if (bundle_dir / f"{name}.json").is_file()
    }
    recipe = load_recipe(bundle_dir / "recipe.toml")
    template = Template(card, trim_blocks=True, lstrip_blocks=True)
    write_text(bundle_dir / "MODEL_CARD.md", template.render(recipe=recipe, **parts) + "\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """An object as JSON that any program reads: what is not a finite number becomes null."""
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
