"""A bundle: a trained recipe as one folder that says what it is, what trained it, and how good it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bids_app.errors import BundleError
from bids_app.recipes.recipe import Recipe, load_recipe

SHIPPED = Path(__file__).parents[1] / "bundles"
WEIGHTS = "weights.safetensors"
#: What every bundle holds beside its weights.
PARTS = ("recipe.toml", "network.json", "calibration.json", "manifest.json", "metrics.json", "MODEL_CARD.md", "LICENSE")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose weights are those its manifest names.

    Attributes:
        name: of the folder.
        path: the folder.
        recipe: what was trained.
        sha256: of the weights file.
        calibration: at least ``threshold`` (probability) and ``temperature``.
        manifest: who and what trained it.
        metrics: what was measured, with where.
    """

    name: str
    path: Path
    recipe: Recipe
    sha256: str
    calibration: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @cached_property
    def network(self) -> Any:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises:
            BundleError: weights that do not fit the network.
        """
        from safetensors.torch import load_file

        from bids_app.networks.multitask import build_network

        network = build_network(json.loads((self.path / "network.json").read_text(encoding="utf-8")))
        try:
            network.load_state_dict(load_file(self.path / WEIGHTS))
        except (RuntimeError, OSError, ValueError) as error:
            raise BundleError(f"the weights in {self.path} do not fit the network in network.json: {error}") from error
        return network.eval()


def shipped() -> list[str]:
    """Names of the bundles inside this installation."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{WEIGHTS}"))


def load_bundle(name: str | Path) -> Bundle:
    """A bundle by name (those that ship) or folder; its weights are checked against the manifest, not loaded.

    Raises:
        BundleError: no such bundle, a part that is missing or damaged, or weights with another hash.
    """
    path = SHIPPED / name if isinstance(name, str) and (SHIPPED / name).is_dir() else Path(name)
    if not path.is_dir():
        raise BundleError(
            f"there is no bundle {str(name)!r}; those that ship: {', '.join(shipped())}; or give a folder"
        )
    missing = [part for part in (WEIGHTS, *PARTS) if not (path / part).is_file()]
    if missing:
        raise BundleError(f"the bundle {path} lacks {', '.join(missing)}; fetch or train it again")
    manifest = _read(path / "manifest.json")
    sha256 = hash_weights(path)
    if manifest.get("weights_sha256") != sha256:
        raise BundleError(
            f"the weights in {path} are not those of its manifest (sha256 {sha256[:12]} instead of "
            f"{str(manifest.get('weights_sha256'))[:12]}); fetch or train the bundle again"
        )
    calibration = _read(path / "calibration.json")
    if not 0 < float(calibration.get("threshold", 0)) < 1:
        raise BundleError(f"{path / 'calibration.json'} has no threshold between 0 and 1")
    recipe = load_recipe(path / "recipe.toml")
    return Bundle(path.name, path, recipe, sha256, calibration, manifest, _read(path / "metrics.json"))


def hash_weights(path: Path) -> str:
    """SHA-256 of a bundle folder's weights file."""
    return hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} must hold an object")
    return content
