"""Where a recipe looks: its grid, and how it is found in a whole brain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bids_app.errors import RecipeError

#: Kinds of grid that are laid by the image alone.
AS_IT_LIES = ("image", "head")


class Part(BaseModel):
    """Nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GridSpec(Part):
    """Where the network looks: a cube around a place of the template, the whole brain, or the image as it is.

    ``centre_mm`` is in the template's world (RAS, mm); ``size_mm`` and ``spacing_mm`` are in the participant's own.
    Kind ``image`` is for images that are prepared already, such as crops: nothing is done to them but resampling.
    Kind ``head`` is the whole field of view, along the image's own axes, of the one image as it came from the scanner:
    it needs neither mask nor template, so that it can find the brain for everything else.
    Kind ``sides`` is never written in a file: it is what ``image`` becomes for a whole brain; see `Recipe.settled`.
    ``flat``: one slice, for a network of two dimensions: that at ``level_mm``, or else through ``centre_mm``, in
    millimetres upwards in the template's world, and from the middle of an image that is taken as it is. Training uses
    every slice up to ``range_mm`` above and below it.
    """

    kind: Literal["region", "whole", "image", "head", "sides"]
    flat: bool = False
    spacing_mm: float = Field(gt=0.1, le=5)
    size_mm: float | None = Field(default=None, gt=4, le=260)
    centre_mm: tuple[float, float, float] | None = None
    level_mm: float | None = Field(default=None, ge=-130, le=130)
    range_mm: float = Field(default=0.0, ge=0, le=100)
    template: str = "MNI152NLin2009cAsym"

    @property
    def region_centre_mm(self) -> tuple[float, float, float]:
        """``centre_mm`` of a grid of kind ``region``, which always has one."""
        if self.centre_mm is None:
            raise RecipeError(f"a grid of kind {self.kind!r} has no centre of its own")
        return self.centre_mm

    @property
    def region_size_mm(self) -> float:
        """``size_mm`` of a grid of kind ``region``, which always has one."""
        if self.size_mm is None:
            raise RecipeError(f"a grid of kind {self.kind!r} has no size of its own")
        return self.size_mm

    @model_validator(mode="after")
    def _region_is_whole(self) -> GridSpec:
        if self.kind == "region" and (self.size_mm is None or self.centre_mm is None):
            raise ValueError("a grid of kind 'region' needs size_mm and centre_mm")
        if not self.flat and (self.range_mm or self.level_mm is not None):
            raise ValueError("level_mm and range_mm are for a flat grid, which is one slice")
        return self


class Locate(Part):
    """How a network that learned crops of one side finds them in a whole brain, once on either side.

    An image smaller than ``whole_mm`` along every axis is a crop and taken as it is; any other is a whole brain.
    ``left`` and ``right`` are the labels of the bundle ``by`` around which crops of ``size_mm`` (to the right, to the
    front, upwards) are cut. The side ``mirrored`` is shown to the network as its mirror image: it learned the other.
    """

    by: Literal["anatomy"] = "anatomy"
    left: int = Field(ge=1)
    right: int = Field(ge=1)
    mirrored: Literal["left", "right"]
    size_mm: tuple[float, float, float]
    whole_mm: float = Field(default=80.0, gt=10)

    def is_crop(self, size_mm: Sequence[float]) -> bool:
        """Whether an image of this size is a crop."""
        return max(size_mm) < self.whole_mm
