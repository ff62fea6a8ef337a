"""What a network of a recipe is taught by where nobody has labelled scans: drawn ones, and real ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, model_validator

from bids_app.recipes.grid import GridSpec, Part

#: A folder below the data folder, never outside it.
FOLDER = r"^[0-9A-Za-z][0-9A-Za-z_.-]*$"


class Found(Protocol):
    """What is asked of a region here."""

    @property
    def kind(self) -> str: ...

    @property
    def side(self) -> str: ...


class RealData(Part):
    """A dataset of real participants: its folder below the data folder, and what a licence must say of it."""

    folder: str = Field(pattern=FOLDER)
    licence: str = Field(min_length=1)


class LessonSpec(Part):
    """How ``tandem train-bundle`` teaches a recipe.

    ``kind``: ``lesions``, a pathology drawn into label maps of whole heads, every sequence by its signal equation;
    ``structures``, one image of any contrast drawn from label maps, and real heads with maps of their regions;
    ``people``, the same with targets of those real people; ``habenula``, drawn and real brains with the habenulae of an
    atlas. ``label_maps``: their folder below the data folder. ``held_out``: names of label maps that calibrate and
    judge; where there are none, those that judge the bundles that ship, or else every fifth. ``pathology``: of lesions,
    what is drawn; its labels are the recipe's regions in their order. ``mimics``: how much is drawn of what is mistaken
    for lesions (bright rims of ventricles, wide perivascular spaces, flow), 1 being as much as is usual.
    ``real_share``: of the training scans, how many show real participants; ``painted_share``: of structures, how many
    are real heads painted in another contrast. ``real``: datasets of those participants.
    """

    kind: Literal["lesions", "structures", "people", "habenula"]
    label_maps: str = Field(default="labelmaps", pattern=FOLDER)
    held_out: tuple[str, ...] = ()
    pathology: str = ""
    mimics: float = Field(default=1.0, ge=0, le=3)
    real_share: float = Field(default=0.0, ge=0, le=1)
    painted_share: float = Field(default=0.0, ge=0, le=1)
    real: tuple[RealData, ...] = ()

    @model_validator(mode="after")
    def _parts_agree(self) -> LessonSpec:
        lesions = self.kind == "lesions"
        if lesions != bool(self.pathology):
            raise ValueError("lesson: a lesson of lesions names its pathology, and no other does")
        if not lesions and self.mimics != 1.0:
            raise ValueError("lesson: mimics are drawn in a lesson of lesions only")
        if self.painted_share and self.kind not in ("structures", "people"):
            raise ValueError("lesson: painted_share is for structures and people only")
        if self.real_share + self.painted_share > 1:
            raise ValueError("lesson: real_share and painted_share together are more than all scans")
        if self.kind == "habenula" and (self.held_out or self.real or self.label_maps != "labelmaps"):
            raise ValueError(
                "lesson: the kind 'habenula' has sources of its own: held_out, label_maps, real are not set"
            )
        if self.real and not self.real_share + self.painted_share:
            raise ValueError("lesson: real participants are named, but real_share is 0")
        if self.kind in ("structures", "people") and len(self.real) > 1:
            raise ValueError("lesson: real heads come from one dataset")
        if len({one.folder for one in self.real}) != len(self.real):
            raise ValueError("lesson: a folder occurs twice in real")
        return self

    @property
    def can_leave_out(self) -> bool:
        """Whether real participants can be left out of the training by name."""
        return self.kind in ("lesions", "people")

    def trouble(
        self, grid: GridSpec | None, sequences: int, regions: Sequence[Found], targets: Sequence[object]
    ) -> str:
        """Why a recipe of these parts cannot be taught so; empty where it can.

        Asked where it is taught, not where it is read: who changes the grid of a recipe that ships, to train it on a
        cohort, need not take its lesson out.
        """
        kind = grid.kind if grid else ""
        if self.kind == "lesions":
            wanted = "regions that are all lesions, and a grid of kind 'whole' or 'region' that is not flat"
            fits = bool(regions) and all(region.kind == "lesion" for region in regions)
            fits = fits and kind in ("whole", "region") and not (grid and grid.flat)
        elif self.kind == "habenula":
            wanted = "one sequence, a grid of kind 'region', and two regions, left and right"
            fits = sequences == 1 and kind == "region" and [region.side for region in regions] == ["left", "right"]
        else:
            wanted = "a grid of kind 'head'" + (" and targets" if self.kind == "people" else "")
            fits = kind == "head" and (self.kind != "people" or bool(targets))
        return "" if fits else f"the kind {self.kind!r} wants {wanted}"
