"""A recipe: which sequences go in, on which grid, which regions come out, how the network is shaped."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bids_app.errors import RecipeError
from bids_app.recipes.grid import GridSpec, Locate, Part
from bids_app.recipes.learning import Learning, NetworkSpec, Preprocessing
from bids_app.recipes.lesson import LessonSpec
from bids_app.recipes.seeds import DualRegression, Seed, connection_trouble, with_files
from bids_app.recipes.series import series_trouble
from bids_app.targets.kind import TargetKind
from bids_app.targets.kinds import kind_names, kind_of
from bids_app.text import TextError, read_toml

HERE = Path(__file__).parent
#: The recipe that finds the brain of a head and every structure in it.
ANATOMY = "anatomy"
BIDS_WORD = r"^[0-9a-zA-Z]+$"


class SequenceSpec(Part):
    """One MRI contrast. ``entities``: BIDS entity to value; ``""`` in the file means that the entity is absent.

    ``quantitative``: a map with a physical scale (ADC), normalised by the training fold's statistics and not by the
    scan's own, which would throw the scale away. ``alternatives``: suffixes that may stand for it where it is not
    there, the first to be there taken; only for a network that was trained on any of them alike. ``slab``: the finest
    image is wanted although it may show a part of the brain only; else whole brains are taken first. ``seed``: of a map
    of the suffix ``seedmap``; ``dual_regression``: of one of the suffix ``networkmap``.
    """

    name: str = Field(min_length=1)
    suffix: str = Field(pattern=BIDS_WORD)
    entities: dict[str, str | None] = {}  # noqa: RUF012 (pydantic copies it)
    required: bool = True
    quantitative: bool = False
    alternatives: tuple[str, ...] = ()
    slab: bool = False
    seed: Seed | None = None
    dual_regression: DualRegression | None = None

    @field_validator("entities")
    @classmethod
    def _absent(cls, entities: dict[str, str | None]) -> dict[str, str | None]:
        return {name: value or None for name, value in entities.items()}  # TOML has no null

    @field_validator("alternatives")
    @classmethod
    def _suffixes(cls, alternatives: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in alternatives if not re.fullmatch(BIDS_WORD, one)]:
            raise ValueError(f"{wrong[0]!r} is no BIDS suffix")
        return alternatives


class Region(Part):
    """One labelled structure or lesion. ``partner`` is the index of the same structure on the other side.

    A ``lesion`` may be absent and may have many pieces.
    """

    index: int = Field(ge=1, le=32767)
    name: str = Field(min_length=1)
    abbreviation: str = Field(default="", pattern=r"^[0-9a-zA-Z]*$")
    color: str = Field(default="#e6550d", pattern=r"^#[0-9a-fA-F]{6}$")
    side: Literal["left", "right", "none"] = "none"
    partner: int | None = None
    kind: Literal["structure", "lesion"] = "structure"


class Target(Part):
    """A participant-level quantity, from a column of participants.tsv or sessions.tsv.

    ``kind``: binary, categorical, ordinal or continuous; see `bids_app.targets.kinds`. ``levels``: its values in order,
    the last of two is the positive one; where none are given, those of the JSON beside the table. ``weight``: of its
    loss, beside the segmentation's 1. ``required``: whether a cohort whose table has no such column is refused; else it
    is trained without the target, and that is said. ``suspicious_above``: the AUC out of fold above which the training
    says that no study supports such a figure, and what may be behind it.
    """

    name: str = Field(pattern=BIDS_WORD)
    kind: str
    column: str = ""
    table: Literal["participants", "sessions"] = "participants"
    levels: tuple[str, ...] = ()
    unit: str = ""
    weight: float = Field(default=1.0, gt=0, le=100)
    required: bool = True
    suspicious_above: float | None = Field(default=None, ge=0.5, lt=1)

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        if kind not in kind_names():
            raise ValueError(f"there is no kind of target {kind!r}; there are {', '.join(kind_names())}")
        return kind

    @model_validator(mode="after")
    def _levels_fit(self) -> Target:
        if trouble := self.behaviour.levels_trouble(self.levels):
            raise ValueError(f"target {self.name}: {trouble}")
        if self.suspicious_above is not None and not self.behaviour.has_levels:
            raise ValueError(f"target {self.name}: suspicious_above is an AUC, which a {self.kind} target has not")
        return self

    @property
    def source(self) -> str:
        """The column that it is read from."""
        return self.column or self.name

    @property
    def behaviour(self) -> TargetKind:
        """What its kind means: how it is learned, answered and judged."""
        return kind_of(self.kind)


class Labels(Part):
    """Which file of a derivative holds a session's labels; ``entities`` as in `SequenceSpec`.

    Of a ``dseg``, whole numbers are the regions' indices; a ``mask`` is the recipe's only region. ``others``: what
    numbers of no region are: ``refuse``, a mistake; or ``background``, structures that the recipe does not look for.
    """

    derivative: str = "manual"
    suffix: Literal["dseg", "mask"] = "dseg"
    entities: dict[str, str | None] = {}  # noqa: RUF012 (pydantic copies it)
    others: Literal["refuse", "background"] = "refuse"


class Recipe(Part):
    """Everything that defines what is learned; a bundle is this and weights."""

    name: str = Field(pattern=BIDS_WORD)
    title: str = Field(min_length=1)
    description: str = ""
    reference: str = "T1w"
    sequences: tuple[SequenceSpec, ...] = Field(min_length=1)
    grid: GridSpec | None = None
    locate: Locate | None = None
    regions: tuple[Region, ...] = ()
    targets: tuple[Target, ...] = ()
    labels: Labels = Labels()
    learning: Learning = Learning()
    network: NetworkSpec = NetworkSpec()
    preprocessing: Preprocessing = Preprocessing()
    lesson: LessonSpec | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        names = [sequence.name for sequence in self.sequences]
        if len(set(names)) != len(names):
            raise ValueError(f"sequences: a name occurs twice in {names}")
        if self.reference not in names:
            raise ValueError(f"reference: {self.reference!r} is none of the sequences {names}")
        if not self.sequence(self.reference).required:
            raise ValueError(f"reference: {self.reference!r} must be a required sequence")
        if (self.regions or self.targets) and self.grid is None:
            raise ValueError("grid: a recipe with regions or targets needs one")
        if len({target.name for target in self.targets}) != len(self.targets):
            raise ValueError("targets: a name occurs twice")
        if self.labels.suffix == "mask" and len(self.regions) > 1:
            raise ValueError("labels: a mask holds one region; use a dseg for several")
        if self.grid is not None and self.grid.kind == "sides":
            raise ValueError("grid: write kind 'image' and a table [locate] in place of kind 'sides'")
        if self.locate is not None and (self.grid is None or self.grid.kind != "image" or self.grid.flat):
            raise ValueError("locate: only a recipe whose grid has the kind 'image', and is not flat, is located")
        if self.locate is not None and (self.targets or any(region.side != "none" for region in self.regions)):
            raise ValueError("locate: a recipe that is located has no targets, and its regions no side")
        if self.grid is not None and self.grid.flat != (self.network.dimensions == 2):
            raise ValueError("grid: a flat grid goes with network.dimensions = 2, and no other does")
        if self.network.slices % 2 == 0 or (self.network.slices > 1 and self.network.dimensions == 3):
            raise ValueError("network: slices must be odd, and more than one goes with dimensions = 2 only")
        if trouble := series_trouble(self) or connection_trouble(self):
            raise ValueError(trouble)
        instead = [suffix for sequence in self.sequences for suffix in sequence.alternatives]
        if len(set(instead)) != len(instead) or set(instead) & {sequence.suffix for sequence in self.sequences}:
            raise ValueError("sequences: an alternative must be no other sequence's suffix or alternative")
        if self.grid is not None and self.grid.kind == "head" and (len(names) > 1 or not self.regions):
            raise ValueError("grid: one of kind 'head' takes one sequence, and has regions")
        partners = {region.index: region.partner for region in self.regions}
        if len(partners) != len(self.regions):
            raise ValueError("regions: an index occurs twice")
        for index, partner in partners.items():
            if partner is not None and partners.get(partner) != index:
                raise ValueError(f"regions: {index} names {partner} as its partner, which does not name it back")
        return self

    @property
    def predicts(self) -> bool:
        """Whether a bundle is needed: there are regions or targets to answer."""
        return bool(self.regions or self.targets)

    @property
    def needed_grid(self) -> GridSpec:
        """``grid`` for whoever cannot do without: a recipe that `predicts` always has one.

        Raises:
            RecipeError: the recipe has none.
        """
        if self.grid is None:
            raise RecipeError(f"the recipe {self.name} has no grid: it has neither regions nor targets")
        return self.grid

    @property
    def needed_locate(self) -> Locate:
        """``locate`` for whoever cannot do without: a recipe whose grid has the kind ``sides`` always has it.

        Raises:
            RecipeError: the recipe has none.
        """
        if self.locate is None:
            raise RecipeError(f"the recipe {self.name} has no table [locate]")
        return self.locate

    def with_targets(self, names: Collection[str]) -> Recipe:
        """The recipe with these of its targets alone; with none of them, without the covariates, which targets read."""
        kept = tuple(target for target in self.targets if target.name in names)
        if len(kept) == len(self.targets):
            return self
        gone = {target.source for target in self.targets} - {target.source for target in kept}
        covariates = tuple(name for name in self.learning.covariates if kept and name not in gone)
        learning = self.learning.model_copy(update={"covariates": covariates})
        return self.model_copy(update={"targets": kept, "learning": learning})

    def hidden_from(self, target: Target) -> tuple[int, ...]:
        """Positions of covariates that a target's head must not read: the target's own column, which is the answer."""
        return tuple(place for place, name in enumerate(self.learning.covariates) if name == target.source)

    def sequence(self, name: str) -> SequenceSpec:
        """The sequence of that name."""
        return next(one for one in self.sequences if one.name == name)

    def settled(self, size_mm: Sequence[float]) -> Recipe:
        """A recipe with a table ``locate`` for an image of this size: for a crop as it is without that table, for a
        whole brain with every region once a side; any other recipe unchanged."""
        if self.locate is None:
            return self
        return self.model_copy(update={"locate": None}) if self.locate.is_crop(size_mm) else self.on_both_sides()

    def on_both_sides(self) -> Recipe:
        """Every region once on the left and then once on the right, with indices from 1 on; grid of kind ``sides``."""
        n, regions = len(self.regions), []
        for first, side, other in ((0, "left", n), (n, "right", 0)):
            for position, region in enumerate(self.regions, 1):
                more = {
                    "index": first + position,
                    "partner": other + position,
                    "side": side,
                    "name": f"{side} {region.name}",
                    "abbreviation": f"{side[0].upper()}{region.abbreviation}",
                    "color": region.color if side == "left" else paler(region.color),
                }
                regions.append(region.model_copy(update=more))
        grid = self.needed_grid.model_copy(update={"kind": "sides"})
        return self.model_copy(update={"grid": grid, "regions": tuple(regions)})

    @property
    def lesions_only(self) -> bool:
        """Whether there are regions, and all of them are lesions: what counts is also where they lie."""
        return bool(self.regions) and all(region.kind == "lesion" for region in self.regions)

    @property
    def series(self) -> str | None:
        """Name of the sequence that is a series; None where there is none."""
        return self.sequences[-1].name if self.network.frames > 1 else None

    @property
    def flat(self) -> bool:
        """Whether it looks at one slice."""
        return self.grid is not None and self.grid.flat

    def at_level(self, level_mm: float | None) -> Recipe:
        """A flat recipe that looks at another level; any other, and without a level, the recipe itself."""
        if level_mm is None or not self.flat:
            return self
        return self.model_copy(update={"grid": self.needed_grid.model_copy(update={"level_mm": level_mm})})

    def for_one_slice(self) -> Recipe:
        """A flat recipe for an image of one slice: what needs a whole head (mask, template, N4) is left out."""
        grid = self.needed_grid.model_copy(update={"kind": "image", "level_mm": None})
        plain = self.preprocessing.model_copy(update={"bias": False})
        return self.model_copy(update={"grid": grid, "preprocessing": plain})

    def partners(self) -> tuple[int, ...]:
        """Class of every class's partner (or its own), background first; as `NetworkShape.partners`."""
        return (0, *(place + 1 for place in self.swap()))

    def swap(self) -> list[int]:
        """Position of each region's partner (or of itself): the order of regions in a mirror image."""
        positions = {region.index: position for position, region in enumerate(self.regions)}
        return [positions[region.partner or region.index] for region in self.regions]


def paler(color: str) -> str:
    """A colour half way to white, for the other side of a structure; both as ``#rrggbb``."""
    parts = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{(part + 255) // 2:02x}" for part in parts)


def list_recipes() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def recipe_path(name: str | Path) -> Path:
    """Where a recipe lies: one that ships, by its name, or a file, whose name ends in ``.toml``.

    Raises:
        RecipeError: a path where a name is needed.
    """
    if str(name).endswith(".toml"):
        return Path(name)
    if Path(name).name != str(name):
        raise RecipeError(f"{str(name)!r} is not the name of a recipe, nor a file, whose name ends in .toml")
    return HERE / f"{name}.toml"


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or from a TOML file.

    Raises:
        RecipeError: no such recipe, or a field that does not follow the schema; names the field and the file.
    """
    path = recipe_path(name)
    try:
        content, _ = read_toml(path)
    except FileNotFoundError:
        raise RecipeError(
            f"there is no recipe {str(name)!r}; recipes that ship: {', '.join(list_recipes())}; a file ends in .toml"
        ) from None
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except TextError as error:
        raise RecipeError(str(error)) from error
    # images of networks are found wherever the program runs
    return with_files(parse_recipe(content, source=str(path)), lambda _, file: str((path.parent / file).absolute()))


def parse_recipe(content: dict[str, Any], *, source: str) -> Recipe:
    """Check what a TOML file holds.

    Raises:
        RecipeError: naming every wrong field, what was given, and the source.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        rows = []
        for trouble in error.errors(include_url=False):
            where = ".".join(str(part) for part in trouble["loc"]) or "recipe"
            given = "" if isinstance(trouble["input"], dict) else f" (given: {trouble['input']!r})"
            rows.append(f"{where}: {trouble['msg'].removeprefix('Value error, ')}{given}")
        raise RecipeError(f"{source}: " + "; ".join(rows)) from error
