"""What the recipes of a run want, and whether a session has it already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.bids.digest import fingerprints
from bids_app.bids.status import Status, is_current, read_status
from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.errors import UsageError
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """One sequence to look for (the query that `bids_app.bids.select` takes)."""

    name: str
    suffix: str
    entities: dict[str, Any]
    required: bool
    alternatives: tuple[str, ...] = ()
    slab: bool = False


def load_recipes(settings: Settings) -> list[Recipe]:
    """The recipes of a run, each once; without regions and targets where sessions are only preprocessed for training.

    Raises:
        UsageError: recipes that cannot share one preprocessing, or that the bundle given is not for.
    """
    recipes = [load_recipe(name) for name in dict.fromkeys(settings.recipe)]
    if settings.levels == ("train",):
        recipes = [recipe.model_copy(update={"regions": (), "targets": (), "locate": None}) for recipe in recipes]
    _check_together(recipes)
    if not any(recipe.locate for recipe in recipes):
        _check_spaces(settings, recipes)
    own = settings.bundle / "recipe.toml" if settings.bundle else None
    if own and own.is_file():
        name = load_recipe(own).name
        others = [recipe.name for recipe in recipes if recipe.predicts and recipe.name != name]
        if others:
            raise UsageError(f"the bundle {settings.bundle} is for the recipe {name}, not for {', '.join(others)}")
    return recipes


def settle(
    settings: Settings, recipes: list[Recipe], reference: Path, size_mm: tuple[float, ...]
) -> tuple[list[Recipe], list[str]]:
    """The recipes as they are for one session: a recipe that is located takes a crop as it is, and looks for its
    regions on either side of a whole brain.

    Returns:
        The recipes, and for each that is located what the image was taken for and why.

    Raises:
        UsageError: a crop beside recipes that want whole heads, or output spaces that a crop cannot be brought to.
    """
    settled, told = [recipe.settled(size_mm) for recipe in recipes], []
    size = " x ".join(f"{side:.0f}" for side in size_mm)
    for recipe in recipes:
        if recipe.locate and recipe.predicts:
            kind = "crop" if recipe.locate.is_crop(size_mm) else "whole head or brain"
            rule = f"crops are smaller than {recipe.locate.whole_mm:g} mm along every axis"
            told.append(f"{recipe.name}: {reference.name}, {size} mm, is taken for a {kind} ({rule})")
    _check_together(settled)
    _check_spaces(settings, settled)
    return settled, told


def _check_spaces(settings: Settings, recipes: list[Recipe]) -> None:
    """Refuse output spaces for images that are taken as they are.

    Raises:
        UsageError: naming the first of them.
    """
    outside = [space for space in settings.output_spaces if space.split(":")[0] not in ("T1w", "orig")]
    if outside and is_prepared(recipes):
        raise UsageError(f"{recipes[0].name} takes images as they are: they cannot be brought to {outside[0]}")


def is_prepared(recipes: list[Recipe]) -> bool:
    """Whether the recipes take images as they are (crops, say): no brain mask, no registration, no template."""
    return all(recipe.grid is not None and recipe.grid.kind == "image" for recipe in recipes)


def anatomy_of(settings: Settings, recipes: list[Recipe]) -> Bundle | None:
    """The bundle whose network looks for the brain in whole heads, or labels every head where the recipe is among
    those of the run; None where neither is wanted.

    Raises:
        UsageError: the network is asked for, and its bundle is not there.
    """
    from bids_app.predict.anatomy import ANATOMY, anatomy_bundle

    wanted = any(recipe.name == ANATOMY and recipe.predicts for recipe in recipes)
    if wanted:
        return load_bundle(settings.bundle or ANATOMY)
    located = next((recipe for recipe in recipes if recipe.locate and recipe.predicts), None)
    if located is not None:
        bundle = anatomy_bundle(settings.bundle)
        if bundle is None and located.grid.kind == "sides":
            raise UsageError(
                f"{located.name} needs the bundle {ANATOMY} to find its place in a whole brain, and that is not in "
                f"this installation; give it crops, smaller than {located.locate.whole_mm:g} mm along every axis"
            )
        return bundle
    if is_prepared(recipes) or settings.brain_mask == "template" or settings.skull_strip == "skip":
        return None
    bundle = anatomy_bundle(settings.bundle)
    if bundle is None and settings.brain_mask == "network":
        raise UsageError("--brain-mask network: the bundle anatomy is not in this installation; leave the option out")
    return bundle


def _open(recipes: list[Recipe]) -> bool:
    """Whether it depends on a session's image how one of these recipes takes it; see `settle`."""
    return any(recipe.locate and recipe.grid.kind == "image" for recipe in recipes)


def wants_bias_correction(recipes: list[Recipe]) -> bool:
    """Whether N4 runs; the same in all recipes of a run."""
    return recipes[0].preprocessing.bias


def _check_together(recipes: list[Recipe]) -> None:
    """Refuse recipes of one run that want different preprocessing.

    Raises:
        UsageError: naming two that differ.
    """
    for recipe in recipes[1:]:
        two = f"{recipes[0].name} and {recipe.name}"
        if is_prepared([recipe]) != is_prepared(recipes[:1]) and not _open([recipe, recipes[0]]):
            raise UsageError(f"{two} cannot run together: one takes images as they are, the other whole heads")
        if recipe.preprocessing.bias != recipes[0].preprocessing.bias:
            raise UsageError(f"{two} cannot run together: only one wants its bias field corrected; run them apart")


def queries_of(recipes: list[Recipe], extra: tuple[str, ...] = ()) -> tuple[list[Wanted], str]:
    """What to look for: every recipe's sequences and those asked for beside them; and the reference among them.

    An alternative may stand for a sequence where every recipe that wants the sequence says so.

    Raises:
        UsageError: recipes of one run that want different references.
    """
    references = {recipe.reference for recipe in recipes}
    if len(references) != 1:
        raise UsageError(f"these recipes want different references ({', '.join(sorted(references))}); run them apart")
    queries: dict[str, Wanted] = {}
    for recipe in recipes:
        for spec in recipe.sequences:
            before = queries.get(spec.name)
            required = spec.required or bool(before and before.required)
            others = [one for one in spec.alternatives if before is None or one in before.alternatives]
            slab = spec.slab and (before is None or before.slab)
            queries[spec.name] = Wanted(spec.name, spec.suffix, dict(spec.entities), required, tuple(others), slab)
    for name in extra:
        queries.setdefault(name, parse_sequence(name))
    return list(queries.values()), references.pop()


def parse_sequence(name: str) -> Wanted:
    """``FLAIR`` or ``ce-gadolinium_T1w`` as a query; what the name does not say must be absent only for ``ce``."""
    *parts, suffix = name.split("_")
    entities: dict[str, Any] = {"ceagent": None}
    for part in parts:
        key, dash, value = part.partition("-")
        if not dash or key not in ("ce", "acq", "rec"):
            raise UsageError(f"unknown sequence {name!r}; write for example FLAIR, T2w or ce-gadolinium_T1w")
        entities[{"ce": "ceagent", "acq": "acquisition", "rec": "reconstruction"}[key]] = value
    if not suffix.isalnum():
        raise UsageError(f"unknown sequence {name!r}; write for example FLAIR, T2w or ce-gadolinium_T1w")
    return Wanted(name, suffix, entities, required=False)


def expected_hash(settings: Settings, recipes: list[Recipe]) -> str:
    """Changes when a session must run again although its images are the same: options, recipes, weights, version."""
    parts = [settings.result_hash(), __version__]
    for recipe in recipes:
        parts.append(recipe.model_dump_json())
        if recipe.predicts:
            parts.append(load_bundle(settings.bundle or recipe.name).sha256)
    if anatomy := anatomy_of(settings, recipes):
        parts.append(anatomy.sha256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Finished:
    """Knows which sessions of a run need not run again; the run's hash is made once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hash = expected_hash(settings, load_recipes(settings))

    def status(self, key: str) -> Status | None:
        """The status of a session that is done, with the same inputs, options and outputs; else None."""
        status = read_status(self.settings.output_dir, key)
        if status is None:
            return None
        inputs = fingerprints([Path(name) for name in status.inputs])
        return status if is_current(status, self.hash, inputs, self.settings.output_dir) else None
