"""Sequences that are maps of a series' connections: the seed of a seed map, the networks of a dual regression."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bids_app.recipes.grid import Part

#: Suffixes of the map of a seed and of that of a network.
SEED_MAP, NETWORK_MAP = "seedmap", "networkmap"
CONNECTION_MAPS = (SEED_MAP, NETWORK_MAP)
#: Radius around a point where none is given, mm: usual for seeds of the cortex.
AROUND_A_POINT_MM = 6.0


class Seed(Part):
    """Where the mean course is taken that a seed map shows the correlation with.

    ``points_mm``: in the template's world (to the right, to the front, upwards); the mean courses of several are
    averaged. Or ``regions``, by their names, that the bundle of the recipe ``recipe`` finds on the same reference.
    ``radius_mm``: how far around either voxels count; where it is not given, 6 around points and 0 around regions.
    """

    points_mm: tuple[tuple[float, float, float], ...] = ()
    radius_mm: float | None = Field(default=None, ge=0, le=30)
    recipe: str = Field(default="", pattern=r"^[0-9a-zA-Z]*$")
    regions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Seed:
        if bool(self.points_mm) == bool(self.recipe or self.regions):
            raise ValueError("a seed is points_mm, or a recipe and its regions, and not both")
        if bool(self.recipe) != bool(self.regions):
            raise ValueError("a seed in regions needs both: recipe, whose bundle finds them, and regions, their names")
        return self

    @property
    def radius(self) -> float:
        """``radius_mm``, or what stands for it."""
        if self.radius_mm is not None:
            return self.radius_mm
        return AROUND_A_POINT_MM if self.points_mm else 0.0

    def words(self) -> str:
        """What it is, for messages, sidecars and pages."""
        if self.points_mm:
            places = " and ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in self.points_mm)
            return f"{self.radius:g} mm around {places}"
        around = f" and {self.radius:g} mm around" if self.radius else ""
        return f"{' and '.join(self.regions)} of the bundle {self.recipe}{around}"


class DualRegression(Part):
    """Which network a map shows: a volume of an image of networks in the template's world.

    ``file``: relative to the recipe's own folder; one image of four dimensions, or of three for a single network.
    ``volume``: counted from 1.
    """

    file: str = Field(min_length=1)
    volume: int = Field(default=1, ge=1)

    def words(self) -> str:
        """What it is, for messages, sidecars and pages."""
        return f"network {self.volume} of {Path(self.file).name}"


def connection_trouble(recipe: Any) -> str | None:
    """What does not go together in sequences that are maps of a series' connections; None where all does.

    Args:
        recipe: a `bids_app.recipes.recipe.Recipe`, whose other parts are checked.
    """
    for sequence in recipe.sequences:
        where = f"sequences: {sequence.name}"
        for suffix, field, given in (
            (SEED_MAP, "seed", sequence.seed),
            (NETWORK_MAP, "dual_regression", sequence.dual_regression),
        ):
            if (sequence.suffix == suffix) != (given is not None):
                return f"{where}: a sequence of the suffix {suffix} needs {field} = {{ ... }}, and no other may have it"
        if sequence.suffix not in CONNECTION_MAPS:
            continue
        if not re.fullmatch(r"[0-9a-zA-Z]+", sequence.name):
            return f"{where}: the name of such a map stands in its file's name: letters and digits only"
        if sequence.name == recipe.reference or sequence.alternatives:
            return f"{where}: such a map cannot be the reference, and nothing can stand for it"
        if recipe.grid is not None and recipe.grid.kind == "image":
            return f"{where}: its place is known in the template, which a grid of the kind 'image' leaves out"
        if sequence.seed is not None and sequence.seed.recipe == recipe.name:
            return f"{where}: its seed is a region of this recipe itself, which would have to end before it begins"
    return None


def made_of(sequence: Any) -> str:
    """What a map of connections is made of, in words; empty for any other sequence."""
    part = sequence.seed or sequence.dual_regression
    return part.words() if part else ""


def with_files(recipe: Any, named: Callable[[str, str], str]) -> Any:
    """A recipe whose images of networks have other names, asked for by sequence and old name; itself without any."""
    if not any(sequence.dual_regression for sequence in recipe.sequences):
        return recipe
    sequences = []
    for sequence in recipe.sequences:
        if (part := sequence.dual_regression) is not None:
            found = part.model_copy(update={"file": named(sequence.name, part.file)})
            sequence = sequence.model_copy(update={"dual_regression": found})
        sequences.append(sequence)
    return recipe.model_copy(update={"sequences": tuple(sequences)})
