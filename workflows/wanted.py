"""What the recipes of a run want, and whether a session has it already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.bids.digest import fingerprints
from bids_app.bids.record import CORRECTED, UNCORRECTED, RecipePart, SessionRecord
from bids_app.bids.record_file import read_record
from bids_app.bids.status import Status, is_current, outputs_there, read_status
from bids_app.bundle.bundle import SHIPPED, Bundle, bundle_for, load_bundle, shipped
from bids_app.errors import DataError, UsageError
from bids_app.recipes.recipe import ANATOMY, Recipe, load_recipe
from bids_app.settings import Settings
from workflows.seeds import digests, seed_recipes


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
        UsageError: two recipes of one name, output spaces for images that are taken as they are, or a bundle for
            another recipe.
    """
    recipes = [load_recipe(name) for name in dict.fromkeys(settings.recipe)]
    names = [recipe.name for recipe in recipes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two recipes have the name {twice[0]}, and so would their outputs: rename one of them")
    if settings.levels == ("train",):
        recipes = [recipe.model_copy(update={"regions": (), "targets": (), "locate": None}) for recipe in recipes]
    if settings.slice_at is not None and not any(recipe.flat for recipe in recipes):
        raise UsageError("--slice-at: no recipe of this run looks at one slice")
    if settings.fast and (spaces := template_spaces(settings)):
        raise UsageError(f"--fast makes no deformation, so that nothing can be brought to {spaces[0]}: leave one out")
    recipes = [recipe.at_level(settings.slice_at) for recipe in recipes]
    for recipe in recipes:
        if not recipe.locate:
            check_spaces(settings, recipe)
    own = settings.bundle / "recipe.toml" if settings.bundle else None
    if own and own.is_file():
        name = load_recipe(own).name
        others = [recipe.name for recipe in recipes if recipe.predicts and recipe.name != name]
        if others:
            raise UsageError(f"the bundle {settings.bundle} is for the recipe {name}, not for {', '.join(others)}")
    return [as_answered(settings, recipe) for recipe in recipes]


def as_answered(settings: Settings, recipe: Recipe) -> Recipe:
    """A recipe with those of its targets alone that its bundle answers: a bundle carries the recipe it was trained by,
    and one that ships may know the regions only, where no outcomes were there to learn from."""
    bundle = settings.bundle or (SHIPPED / recipe.name if recipe.name in shipped() else None)
    if not recipe.targets or bundle is None or not (Path(bundle) / "recipe.toml").is_file():
        return recipe
    return recipe.with_targets([target.name for target in load_recipe(Path(bundle) / "recipe.toml").targets])


def part_name(settings: Settings, recipe: Recipe) -> str:
    """Name of a recipe's part of a record; images that are made for training only are a part of their own, so that
    they never take the place of an answer."""
    return f"{recipe.name} images" if settings.levels == ("train",) else recipe.name


def way_of(recipe: Recipe) -> str:
    """The way of preprocessing that a recipe wants: the ``desc-`` label of its images."""
    return CORRECTED if recipe.preprocessing.bias else UNCORRECTED


def settle(settings: Settings, recipe: Recipe, reference: Path, size_mm: tuple[float, ...]) -> tuple[Recipe, str]:
    """The recipe as it is for one session: one that is located takes a crop as it is, and looks for its regions on
    either side of a whole brain.

    Returns:
        The recipe; and where it is located, what the image was taken for and why.

    Raises:
        UsageError: output spaces that a crop cannot be brought to.
    """
    settled, told = recipe.settled(size_mm), ""
    if recipe.locate and recipe.predicts:
        size = " x ".join(f"{side:.0f}" for side in size_mm)
        kind = "crop" if recipe.locate.is_crop(size_mm) else "whole head or brain"
        rule = f"crops are smaller than {recipe.locate.whole_mm:g} mm along every axis"
        told = f"{recipe.name}: {reference.name}, {size} mm, is taken for a {kind} ({rule})"
    check_spaces(settings, settled)
    return settled, told


def check_spaces(settings: Settings, recipe: Recipe) -> None:
    """Refuse output spaces for images that are taken as they are.

    Raises:
        UsageError: naming the first of them.
    """
    outside = template_spaces(settings)
    if outside and is_prepared([recipe]):
        raise UsageError(f"{recipe.name} takes images as they are: they cannot be brought to {outside[0]}")


def template_spaces(settings: Settings) -> list[str]:
    """The output spaces that are a template's."""
    return [space for space in settings.output_spaces if space.split(":")[0] not in ("T1w", "orig")]


def is_prepared(recipes: Iterable[Recipe]) -> bool:
    """Whether all recipes take images as they are (crops, say): no brain mask, no registration, no template."""
    return all(recipe.grid is not None and recipe.grid.kind == "image" for recipe in recipes)


def anatomy_of(settings: Settings, recipes: list[Recipe]) -> Bundle | None:
    """The bundle whose network looks for the brain in whole heads, or labels every head where the recipe is among
    those of the run; None where neither is wanted.

    Raises:
        UsageError: the network is asked for, and its bundle is not there.
    """
    from bids_app.predict.anatomy import anatomy_bundle

    wanted = any(recipe.name == ANATOMY and recipe.predicts for recipe in recipes)
    mapped, seeded = maps_grey_matter(settings, recipes), ANATOMY in seed_recipes(recipes)
    if wanted:
        return load_bundle(settings.bundle or ANATOMY)
    located = next((recipe for recipe in recipes if recipe.locate and recipe.predicts), None)
    if located is not None:
        bundle = anatomy_bundle(settings.bundle)
        if bundle is None and located.needed_grid.kind == "sides":
            raise UsageError(
                f"{located.name} needs the bundle {ANATOMY} to find its place in a whole brain, and that is not in "
                f"this installation; give it crops, smaller than {located.needed_locate.whole_mm:g} mm along every axis"
            )
        return bundle
    if (mapped or seeded) and anatomy_bundle(settings.bundle) is None:
        what = "--grey-matter-map" if mapped else "a seed in one of its regions"
        raise UsageError(f"{what} needs the bundle {ANATOMY}, and that is not in this installation")
    optional = settings.brain_mask == "template" or settings.skull_strip == "skip"
    if is_prepared(recipes) or (optional and not (mapped or seeded)):
        return None
    bundle = anatomy_bundle(settings.bundle)
    if bundle is None and settings.brain_mask == "network":
        raise UsageError("--brain-mask network: the bundle anatomy is not in this installation; leave the option out")
    return bundle


def maps_grey_matter(settings: Settings, recipes: list[Recipe], reference: str | None = None) -> bool:
    """Whether grey matter is carried to the template: where that is asked for, of a T1w that is no crop.

    Args:
        reference: the sequence that stands for the recipes' own, where that is known.
    """
    names = [recipe.reference for recipe in recipes] if reference is None else [reference]
    return settings.grey_matter_map and "T1w" in names and not is_prepared(recipes)


def wants_bias_correction(recipes: list[Recipe]) -> bool:
    """Whether N4 runs: for recipes that want it, and for the registrations of all that are registered."""
    return any(recipe.preprocessing.bias for recipe in recipes) or not is_prepared(recipes)


def queries_of(recipe: Recipe, extra: tuple[str, ...] = ()) -> list[Wanted]:
    """What to look for: the recipe's sequences, and those asked for beside them."""
    queries = {
        spec.name: Wanted(spec.name, spec.suffix, dict(spec.entities), spec.required, spec.alternatives, spec.slab)
        for spec in recipe.sequences
    }
    for name in extra:
        queries.setdefault(name, parse_sequence(name))
    return list(queries.values())


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


def expected_hash(settings: Settings, recipe: Recipe) -> str:
    """Changes when a recipe must run again on a session although its images are the same: options, the recipe,
    weights, version. Other recipes of the run do not matter."""
    parts = [settings.replace(recipe=(), bundle=None).result_hash(), __version__, recipe.model_dump_json()]
    if recipe.predicts:
        parts.append(bundle_for(recipe, settings.bundle).sha256)
    if anatomy := anatomy_of(settings, [recipe]):
        parts.append(anatomy.sha256)
    parts += digests(settings, recipe)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Finished:
    """Knows which recipes a session has already, so that they are not run again; hashes of a run are made once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        recipes = load_recipes(settings)
        self.hashes = {part_name(settings, recipe): expected_hash(settings, recipe) for recipe in recipes}

    def status(self, key: str) -> Status | None:
        """The status of a session that has all recipes of the run, with the same inputs, options and outputs; else
        None. It is ``done``, whatever became of other recipes in other runs."""
        try:
            record = read_record(self.settings.output_dir, key)
        except DataError:
            return None
        status = read_status(self.settings.output_dir, key)
        if record is None or status is None or not all(self.has(record, name) for name in self.hashes):
            return None
        return replace(status, state="done", reason="", exit_code=0)

    def has(self, record: SessionRecord, name: str) -> bool:
        """Whether one recipe need not be run again."""
        part = record.recipes.get(name)
        return part is not None and self.is_current(record, part, self.hashes[name])

    def is_current(self, record: SessionRecord, part: RecipePart, settings_hash: str) -> bool:
        inputs = fingerprints([Path(name) for name in part.inputs])
        images = record.images_of(part)
        shared = images.outputs if images else {}
        own = part.prediction is not None or part.scores is not None
        if not (part.outputs if own else shared):
            return False
        there = outputs_there(shared, self.settings.output_dir)
        return there and is_current(part, settings_hash, inputs, self.settings.output_dir)
