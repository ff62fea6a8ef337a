"""What a run must know of seeds and networks before any work: which bundles and files they need, and refusals."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib

from bids_app.bids.digest import sha256_of
from bids_app.bundle.bundle import Bundle, load_bundle, shipped
from bids_app.errors import ImageError, InputMissing, UsageError
from bids_app.recipes.recipe import ANATOMY, Recipe, SequenceSpec, list_recipes, load_recipe
from bids_app.recipes.seeds import CONNECTION_MAPS, Seed
from bids_app.settings import Settings


def connection_maps(recipes: list[Recipe]) -> dict[str, SequenceSpec]:
    """The sequences of some recipes that are maps of connections, by name."""
    return {one.name: one for recipe in recipes for one in recipe.sequences if one.suffix in CONNECTION_MAPS}


def seed_recipes(recipes: list[Recipe]) -> list[str]:
    """Names of the recipes in whose regions there are seeds."""
    seeds = [one.seed for one in connection_maps(recipes).values() if one.seed]
    return sorted({seed.recipe for seed in seeds if seed.recipe})


def bundle_of_seed(settings: Settings, name: str) -> Bundle:
    """The bundle whose regions are seeds: the one given where it is for that recipe, else the one that ships.

    Raises:
        UsageError: there is none.
    """
    given = settings.bundle
    if given is not None and (given / "recipe.toml").is_file() and load_recipe(given / "recipe.toml").name == name:
        return load_bundle(given)
    if name not in shipped():
        ships = ", ".join(shipped())
        raise UsageError(f"a seed in a region of {name} needs its bundle, and none ships; those that ship: {ships}")
    return load_bundle(name)


def check_connections(settings: Settings, recipes: list[Recipe]) -> None:
    """Refuse before any work what a session could not do about seeds and networks.

    Raises:
        UsageError: a region that no bundle finds on the recipe's reference alone.
        InputMissing, ImageError: an image of networks that is not there, or without that volume.
    """
    for recipe in recipes:
        for sequence in connection_maps([recipe]).values():
            if sequence.seed and sequence.seed.recipe:
                _check_region(settings, recipe, sequence.name, sequence.seed)
            if sequence.dual_regression:
                check_networks(Path(sequence.dual_regression.file), sequence.dual_regression.volume, sequence.name)


def _check_region(settings: Settings, recipe: Recipe, name: str, seed: Seed) -> None:
    start = f"{recipe.name}: the seed of {name} is a region of the recipe {seed.recipe}, "
    if seed.recipe not in list_recipes() and settings.bundle is None:
        raise UsageError(f"{start}and there is no such recipe; those that ship: {', '.join(list_recipes())}")
    other = bundle_of_seed(settings, seed.recipe).recipe
    names = [region.name for region in other.regions]
    if unknown := [region for region in seed.regions if region not in names]:
        raise UsageError(f"{start}which has no region {unknown[0]!r}; it has {', '.join(names)}")
    else_wanted = [one.name for one in other.sequences if one.required and one.name != recipe.reference]
    if other.reference != recipe.reference or else_wanted:
        needs = ", ".join(dict.fromkeys([other.reference, *else_wanted]))
        raise UsageError(f"{start}which needs {needs}: only what is found on {recipe.reference} alone can be a seed")
    kinds = ("region", "whole") if other.name != ANATOMY else ("head",)
    if other.needed_grid.kind not in kinds or other.flat:
        raise UsageError(
            f"{start}which looks at crops, slices or whole heads of its own: a seed can be a region of {ANATOMY}, of a "
            "recipe whose grid has the kind region or whole, or points_mm"
        )


def check_networks(path: Path, volume: int, name: str) -> None:
    """See that an image of networks can be used.

    Args:
        path: of the image.
        volume: that is wanted, from 1.
        name: of the sequence, for messages.

    Raises:
        InputMissing: it is not there.
        ImageError: it is no image, or has no such volume.
    """
    if not path.is_file():
        raise InputMissing(f"{name}: {path} is not there; file is the name of an image of networks beside the recipe")
    try:
        shape = nib.load(path).shape
    except Exception as error:  # nibabel raises what it likes
        raise ImageError(f"{name}: {path} cannot be read as an image ({error})") from error
    if len(shape) not in (3, 4):
        raise ImageError(f"{name}: {path} has {len(shape)} dimensions; networks are one image of 3 or 4")
    count = shape[3] if len(shape) == 4 else 1
    if volume > count:
        raise ImageError(f"{name}: {path} has {count} volumes, volume {volume} is wanted; they are counted from 1")


def digests(settings: Settings, recipe: Recipe) -> list[str]:
    """What maps of connections depend on beside the recipe: weights, and images of networks."""
    found = [bundle_of_seed(settings, name).sha256 for name in seed_recipes([recipe])]
    parts = [one.dual_regression for one in connection_maps([recipe]).values()]
    return found + [sha256_of(Path(part.file)) for part in parts if part and Path(part.file).is_file()]
