"""A bundle: a trained recipe as one folder that says what it is, what trained it, and how good it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bids_app.bids.gradients import COMPUTED
from bids_app.bundle.schema import Calibration, Manifest, MemberPlan, Network, Plans, check_part
from bids_app.errors import BundleError
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.text import TextError, read_json

SHIPPED = Path(__file__).parents[1] / "bundles"
WEIGHTS = "weights.safetensors"
#: Normalisation and plan of each member's training fold; absent where a scan is normalised by itself alone.
PLAN = "plan.json"
#: Begins the name of an image of networks, where the recipe has sequences by dual regression.
NETWORKS = "networks"
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
        calibration: at least ``threshold`` (probability) and ``temperature``; see `bids_app.judge.out_of_fold`.
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
    def networks(self) -> list[Any]:
        """Every member with its weights, in evaluation mode, on the CPU; several where folds vote together.

        Raises:
            BundleError: weights that are damaged, that do not fit the network, or a member that is missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from bids_app.networks.multitask import build_network

        shape, members = read_shape(self.path)
        networks = []
        try:
            weights = load_file(self.path / WEIGHTS)
            for state in split_members(weights, members):
                networks.append(build_network(shape).eval())
                networks[-1].load_state_dict(state)
        except (RuntimeError, OSError, ValueError, SafetensorError) as error:
            raise BundleError(f"the weights in {self.path} do not fit the network in network.json: {error}") from error
        return networks

    @property
    def network(self) -> Any:
        """The first member, which is the only one of a bundle that one training made."""
        return self.networks[0]

    @cached_property
    def plans(self) -> list[dict[str, Any]]:
        """Each member's plan, in order; empty objects where the bundle has none.

        Raises:
            BundleError: another number of plans than members.
        """
        _, members = read_shape(self.path) if (self.path / "network.json").is_file() else ({}, 1)
        if not (self.path / PLAN).is_file():
            return [{}] * members
        plan = _read(self.path / PLAN)
        check_part(plan, Plans if "members" in plan else MemberPlan, str(self.path / PLAN))
        plans = plan.get("members", [plan] * members)
        if len(plans) != members:
            raise BundleError(f"{self.path / PLAN} has {len(plans)} plans for {members} members; train it again")
        return plans


def read_shape(path: Path) -> tuple[dict[str, Any], int]:
    """Content of a bundle folder's ``network.json``: the network's shape, and the number of members.

    Raises:
        BundleError: damaged, or no such number of members.
    """
    shape = _read(path / "network.json")
    check_part(shape, Network, str(path / "network.json"))
    return shape, shape.pop("members", 1)


def join_members(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The weights of all members as one dictionary: ``member0.NAME`` and so on; plain names where there is one."""
    if len(states) == 1:
        return dict(states[0])
    return {f"member{k}.{name}": value for k, state in enumerate(states) for name, value in state.items()}


def split_members(weights: Mapping[str, Any], members: int) -> list[dict[str, Any]]:
    """The inverse of `join_members`.

    Raises:
        ValueError: a member without weights, or weights of a member beyond that number.
    """
    if members == 1:
        return [dict(weights)]
    states: list[dict[str, Any]] = [{} for _ in range(members)]
    for name, value in weights.items():
        member, _, rest = name.partition(".")
        number = member.removeprefix("member")
        if not number.isdigit() or int(number) >= members:
            raise ValueError(f"{name} belongs to none of the {members} members")
        states[int(number)][rest] = value
    lacking = [str(k) for k, state in enumerate(states) if not state]
    if lacking:
        raise ValueError(f"member {', '.join(lacking)} of {members} is missing")
    return states


def shipped() -> list[str]:
    """Names of the bundles inside this installation."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{WEIGHTS}"))


def bundle_for(recipe: Recipe, given: Path | None) -> Bundle:
    """The bundle that was given, or the one that ships for a recipe.

    Raises:
        BundleError: as `load_bundle`; where none ships for the recipe, with what to do.
    """
    if given is None and recipe.name not in shipped():
        raise BundleError(_to_do(recipe))
    return load_bundle(given or recipe.name)


def _to_do(recipe: Recipe) -> str:
    """What can be done with a recipe for which no bundle ships."""
    told = (
        f"no bundle ships for the recipe {recipe.name}: train it on a cohort of yours (tandem BIDS_DIR OUTPUT_DIR "
        f"train --recipe {recipe.name} -d manual=LABELS; of a recipe of your own its TOML file), and give the bundle "
        "that comes out with --bundle FOLDER"
    )
    if any(COMPUTED.get(sequence.suffix) == "bold" for sequence in recipe.sequences):
        told += "; maps of a resting-state series alone need none: --recipe functional"
    return told


def load_bundle(name: str | Path) -> Bundle:
    """A bundle by name (those that ship) or folder; its weights are checked against the manifest, not loaded.

    Raises:
        BundleError: no such bundle, a part that is missing or damaged, or weights with another hash.
    """
    path = SHIPPED / name if str(name) in shipped() else Path(name)
    if not path.is_dir():
        raise BundleError(
            f"there is no bundle {str(name)!r}; those that ship: {', '.join(shipped())}; or give a folder"
        )
    missing = [part for part in (WEIGHTS, *PARTS) if not (path / part).is_file()]
    if missing:
        raise BundleError(f"the bundle {path} lacks {', '.join(missing)}; fetch or train it again")
    _check_links(path)
    manifest = _read(path / "manifest.json")
    sha256 = hash_weights(path)
    if manifest.get("weights_sha256") != sha256:
        raise BundleError(
            f"the weights in {path} are not those of its manifest (sha256 {sha256[:12]} instead of "
            f"{str(manifest.get('weights_sha256'))[:12]}); fetch or train the bundle again"
        )
    check_part(manifest, Manifest, str(path / "manifest.json"))
    calibration = _read(path / "calibration.json")
    check_part(calibration, Calibration, str(path / "calibration.json"))
    recipe = load_recipe(path / "recipe.toml")
    _check_networks(path, recipe)
    _check_fits(read_shape(path)[0], recipe, path)
    return Bundle(path.name, path, recipe, sha256, calibration, manifest, _read(path / "metrics.json"))


def _check_links(path: Path) -> None:
    """A bundle comes from somebody else: a link in it could show any file of this machine to whoever gets the results.

    Raises:
        BundleError: a part that is a link to a file outside the bundle's folder.
    """
    home = path.resolve()
    for part in (WEIGHTS, PLAN, *PARTS, *(one.name for one in path.glob(f"{NETWORKS}*"))):
        if (path / part).is_symlink() and home not in (path / part).resolve().parents:
            raise BundleError(
                f"{path / part} is a link to a file outside the bundle, which is not followed: copy the bundle with "
                f"its content (cp -rL)"
            )


def _check_networks(path: Path, recipe: Recipe) -> None:
    """See that images of networks lie in the bundle itself.

    Raises:
        BundleError: naming the file.
    """
    for file in (Path(one.dual_regression.file) for one in recipe.sequences if one.dual_regression):
        if file.parent.resolve() != path.resolve() or not file.name.startswith(NETWORKS):
            raise BundleError(f"the bundle {path} reads networks from {file}, outside its folder: train it again")
        if not file.is_file():
            raise BundleError(f"the bundle {path} lacks {file.name}; fetch or train it again")


def _check_fits(shape: Mapping[str, Any], recipe: Recipe, path: Path) -> None:
    """Refuse a network for other sequences, slices or regions than the recipe's.

    Raises:
        BundleError: naming both numbers.
    """
    for name, has, wants in (
        ("sequences", shape["sequences"], len(recipe.sequences)),
        ("slices", shape.get("slices", 1), recipe.network.slices),
        ("frames", shape.get("frames", 1), recipe.network.frames),
        ("classes", shape["classes"] or len(recipe.regions) + 1, len(recipe.regions) + 1),
    ):
        if has != wants:
            raise BundleError(f"{path / 'network.json'} has {name} = {has}, the recipe beside it needs {wants}")


def hash_weights(path: Path) -> str:
    """SHA-256 of a bundle folder's weights file."""
    return hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content, _ = read_json(path)
    except (OSError, TextError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} must hold an object")
    return content
