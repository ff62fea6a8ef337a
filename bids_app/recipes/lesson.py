"""What a network of a recipe is taught by where nobody has labelled scans: drawn ones, and real ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, model_validator

from bids_app.recipes.grid import GridSpec, Part
from bids_app.targets.kind import TargetKind

#: A folder below the data folder, never outside it.
FOLDER = r"^[0-9A-Za-z][0-9A-Za-z_.-]*$"


class Found(Protocol):
    """What is asked of a region here."""

    @property
    def kind(self) -> str: ...

    @property
    def side(self) -> str: ...


class Asked(Protocol):
    """What is asked of a target here."""

    @property
    def name(self) -> str: ...

    @property
    def levels(self) -> tuple[str, ...]: ...

    @property
    def behaviour(self) -> TargetKind: ...


class RealData(Part):
    """A dataset of real participants: its folder below the data folder, and what a licence must say of it."""

    folder: str = Field(pattern=FOLDER)
    licence: str = Field(min_length=1)


class LessonSpec(Part):
    """How ``tandem train-bundle`` teaches a recipe.

    ``kind``: ``lesions``, a pathology drawn into label maps of whole heads, every sequence by its signal equation;
    ``structures``, one image of any contrast drawn from label maps, and real heads with maps of their regions;
    ``people``, the same with targets of those real people; ``outcomes``, lesions as above, those of real people whose
    masks in the template's space and whose targets are known, in heads of others; ``habenula``, drawn and real brains
    with the habenulae of an atlas. ``label_maps``: their folder below the data folder. ``held_out``: names of label
    maps that calibrate and judge; where there are none, those that judge the bundles that ship, or else every fifth.
    ``pathology``: of lesions, what is drawn; its labels are the recipe's regions in their order. ``mimics``: how much
    is drawn of what is mistaken for lesions (bright rims of ventricles, wide perivascular spaces, flow), 1 being as
    much as is usual. ``real_share``: of the training scans, how many show real participants; ``painted_share``: of
    structures, how many are real heads painted in another contrast. ``real``: datasets of those participants.
    ``targets``: of lesions, the recipe's targets whose truth follows from what was drawn, by name: the ``volume`` of
    all regions together in what is looked at, ml, or their ``presence``. Of the other targets nobody knows the truth of
    a drawn scan: they are not learned.
    """

    kind: Literal["lesions", "structures", "people", "outcomes", "habenula"]
    label_maps: str = Field(default="labelmaps", pattern=FOLDER)
    held_out: tuple[str, ...] = ()
    pathology: str = ""
    mimics: float = Field(default=1.0, ge=0, le=3)
    real_share: float = Field(default=0.0, ge=0, le=1)
    painted_share: float = Field(default=0.0, ge=0, le=1)
    real: tuple[RealData, ...] = ()
    targets: dict[str, Literal["volume", "presence"]] = {}  # noqa: RUF012 (pydantic copies it)

    @model_validator(mode="after")
    def _parts_agree(self) -> LessonSpec:
        lesions, outcomes = self.kind == "lesions", self.kind == "outcomes"
        if (lesions or outcomes) != bool(self.pathology):
            raise ValueError("lesson: a lesson of lesions or outcomes names its pathology, and no other does")
        if outcomes and (len(self.real) != 1 or self.real_share):
            raise ValueError("lesson: outcomes come from one dataset in real, and real_share is not set")
        if not (lesions or outcomes) and self.mimics != 1.0:
            raise ValueError("lesson: mimics are drawn in a lesson of lesions only")
        if not lesions and self.targets:
            raise ValueError("lesson: only a lesson of lesions knows targets from what was drawn")
        if self.painted_share and self.kind not in ("structures", "people"):
            raise ValueError("lesson: painted_share is for structures and people only")
        if self.real_share + self.painted_share > 1:
            raise ValueError("lesson: real_share and painted_share together are more than all scans")
        if self.kind == "habenula" and (self.held_out or self.real or self.label_maps != "labelmaps"):
            raise ValueError(
                "lesson: the kind 'habenula' has sources of its own: held_out, label_maps, real are not set"
            )
        if self.real and not (outcomes or self.real_share + self.painted_share):
            raise ValueError("lesson: real participants are named, but real_share is 0")
        if self.kind in ("structures", "people") and len(self.real) > 1:
            raise ValueError("lesson: real heads come from one dataset")
        if len({one.folder for one in self.real}) != len(self.real):
            raise ValueError("lesson: a folder occurs twice in real")
        return self

    @property
    def can_leave_out(self) -> bool:
        """Whether real participants can be left out of the training by name."""
        return self.kind in ("lesions", "people", "outcomes")

    def trouble(self, grid: GridSpec | None, sequences: int, regions: Sequence[Found], targets: Sequence[Asked]) -> str:
        """Why a recipe of these parts cannot be taught so; empty where it can.

        Asked where it is taught, not where it is read: who changes the grid of a recipe that ships, to train it on a
        cohort, need not take its lesson out.
        """
        kind, flat = (grid.kind, grid.flat) if grid else ("", False)
        if self.kind == "lesions":
            wanted = "regions that are all lesions, and a grid of kind 'whole' or 'region'"
            fits = bool(regions) and all(region.kind == "lesion" for region in regions) and kind in ("whole", "region")
        elif self.kind == "outcomes":
            wanted = "one region, a lesion, a grid of kind 'whole' that is not flat, and targets"
            fits = [region.kind for region in regions] == ["lesion"] and kind == "whole" and not flat and bool(targets)
        elif self.kind == "habenula":
            wanted = "one sequence, a grid of kind 'region' that is not flat, and two regions, left and right"
            fits = sequences == 1 and kind == "region" and not flat
            fits = fits and [region.side for region in regions] == ["left", "right"]
        else:
            wanted = "a grid of kind 'head' that is not flat" + (" and targets" if self.kind == "people" else "")
            fits = kind == "head" and not flat and (self.kind != "people" or bool(targets))
        return self._targets_trouble(targets) if fits else f"the kind {self.kind!r} wants {wanted}"

    def _targets_trouble(self, targets: Sequence[Asked]) -> str:
        """Why a target cannot be answered from what was drawn; empty where all can."""
        asked = {target.name: target for target in targets}
        for name, truth in self.targets.items():
            if name not in asked:
                return f"targets names {name!r}, which is none of the recipe's targets: {', '.join(asked) or 'none'}"
            valued = not asked[name].behaviour.has_levels
            if truth == "volume" and not valued:
                return f"the target {name} has levels, and a volume is a value in ml"
            if truth == "presence" and (valued or len(asked[name].levels) != 2):
                return f"the target {name} needs two levels, of which the second says that a lesion is there"
        return ""
