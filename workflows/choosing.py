"""What goes into a session: each recipe's files, checked, and the recipes that share a reference put together."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app.bids.dataset import lookup_table
from bids_app.bids.files import write_text
from bids_app.bids.fmriprep import check_beside, made_by_fmriprep
from bids_app.bids.functional import header_repetition, read_timing
from bids_app.bids.gradients import COMPUTED, read_bvalues
from bids_app.bids.masks import check_mask
from bids_app.bids.naming import parse_name
from bids_app.bids.preflight import ImageFacts, check_image
from bids_app.bids.record import Chosen, FileFacts, SessionRecord
from bids_app.bids.select import select_session
from bids_app.bids.selection import Selection
from bids_app.bids.thickness import one_slice, slice_thickness
from bids_app.errors import InputMissing, UsageError
from bids_app.recipes.recipe import Recipe
from bids_app.recipes.seeds import made_of
from bids_app.settings import Settings, to_plain
from workflows.wanted import anatomy_of, check_spaces, is_prepared, queries_of
from workflows.wanted import settle as settle_by_size

#: Settings that the preprocessed images of a reference depend on, whatever the recipe.
SHAPING = ("skull_strip", "brain_mask", "denoise", "fast", "sloppy", "random_seed", "output_spaces")


@dataclass
class Ready:
    """A recipe with its files, checked, for one session.

    Attributes:
        recipe: settled for this session's image.
        preflight: what the checks measured of each file.
        taken_as: what the image was taken for, where that depends on the image.
    """

    recipe: Recipe
    selection: Selection
    preflight: list[FileFacts] = field(default_factory=list)
    taken_as: str = ""


@dataclass
class Group:
    """Recipes of one session that share a reference, and all files that they take."""

    selection: Selection
    recipes: list[Recipe]
    preflight: list[FileFacts]

    @property
    def reference(self) -> str:
        return self.selection.reference


def choose(settings: Settings, participant: str, session: str | None, recipe: Recipe) -> Selection:
    """The files that a recipe takes of a session.

    Raises:
        NothingSelected: the filters leave no image of the reference.
        InputMissing: a required sequence is not there.
    """
    queries = queries_of(recipe, settings.sequences)
    selection = select_session(settings, participant, session, queries, recipe.reference)
    missing = selection.missing(queries)
    if missing:
        raise InputMissing("; ".join(selection.choices[name].reason for name in missing))
    made = {one.name: words for one in recipe.sequences if (words := made_of(one))}
    choices = {name: replace(one, made_of=made.get(name, "")) for name, one in selection.choices.items()}
    return replace(selection, choices=choices)


def settle(settings: Settings, recipe: Recipe, selection: Selection) -> tuple[Recipe, str]:
    """`workflows.wanted.settle` by the size of the reference.

    Raises:
        InputMissing, ImageError: the reference cannot be read.
        UsageError: output spaces that such an image cannot be brought to.
    """
    reference = selection.reference_path
    if recipe.flat and one_slice(reference) is not None:
        thickness = slice_thickness(reference, settings.bids_dir)
        told = f"{recipe.name}: {reference.name} is one slice of {thickness:g} mm and is looked at as it lies. "
        told += "It was not registered to the template, no brain mask was made and its bias field was not corrected: "
        settled = recipe.for_one_slice()
        check_spaces(settings, settled)
        return settled, f"{told}these need a whole head"
    if not (recipe.locate and recipe.predicts):
        return recipe, ""
    facts = check_image(reference, head=False)
    size = tuple(n * zoom for n, zoom in zip(facts.shape, facts.zooms, strict=False))
    return settle_by_size(settings, recipe, reference, size)


def make_ready(settings: Settings, selection: Selection, recipe: Recipe) -> Ready:
    """Everything that can be said about a recipe before any work on a session.

    Raises:
        TandemError: why it cannot be run on this session.
    """
    settled, taken_as = settle(settings, recipe, selection)
    if taken_as:
        keep_table(settings, settled, taken_as)
    anatomy_of(settings, [settled])
    return Ready(settled, selection, _checked(settings, selection, settled), taken_as)


def _checked(settings: Settings, selection: Selection, settled: Recipe) -> list[FileFacts]:
    return preflight(settings, selection, head=not is_prepared([settled]), flat=settled.flat)


def keep_table(settings: Settings, settled: Recipe, taken_as: str) -> None:
    """Write the look-up table of regions that depend on whether the image is a crop or a whole brain.

    Raises:
        UsageError: the output folder holds the other kind.
    """
    path, table = settings.output_dir / f"seg-{settled.name}_dseg.tsv", lookup_table(settled.regions)
    if path.is_file() and path.read_text(encoding="utf-8") != table:
        raise UsageError(
            f"{taken_as}, but {path} names other regions: crops and whole brains go into output folders of their own"
        )
    write_text(path, table)


def put_together(ready: list[Ready]) -> tuple[list[Group], dict[str, UsageError]]:
    """Recipes by their reference; and those that take another file for a sequence than a recipe before them, whose
    outputs would have one name."""
    groups: dict[str, Group] = {}
    refused: dict[str, UsageError] = {}
    for one in ready:
        group = groups.get(one.selection.reference)
        if group is None:
            groups[one.selection.reference] = Group(one.selection, [one.recipe], list(one.preflight))
        elif (other := _differing(group.selection, one.selection)) is not None:
            refused[one.recipe.name] = UsageError(
                f"{one.recipe.name} takes another {other} than {group.recipes[0].name}: run it into an output folder "
                f"of its own, or give the sequence another name where it is a map of another seed or network"
            )
        else:
            group.recipes.append(one.recipe)
            group.selection = _joined(group.selection, one.selection)
            known = {facts.file for facts in group.preflight}
            group.preflight += [facts for facts in one.preflight if facts.file not in known]
    return list(groups.values()), refused


def _differing(one: Selection, other: Selection) -> str | None:
    """The first sequence for which two selections take different files."""
    both = [name for name in one.choices if one.path_of(name) and other.path_of(name)]
    return next((name for name in both if _taken(one, name) != _taken(other, name)), None)


def _taken(selection: Selection, name: str) -> tuple[Path | None, str]:
    """The file of a sequence, and its seed or network."""
    choice = selection.choices[name]
    return choice.path, choice.made_of


def _joined(one: Selection, other: Selection) -> Selection:
    choices = dict(one.choices)
    for name, choice in other.choices.items():
        if name not in choices or choices[name].path is None:
            choices[name] = choice
    warnings = tuple(dict.fromkeys((*one.warnings, *other.warnings)))
    return replace(one, choices=choices, warnings=warnings, instead={**one.instead, **other.instead})


def options_of(settings: Settings) -> dict[str, Any]:
    """The settings that the preprocessed images of a session depend on."""
    plain = to_plain(settings)
    return {name: plain[name] for name in SHAPING}


def check_fits(settings: Settings, record: SessionRecord, one: Ready, again: set[str]) -> None:
    """See that a recipe leaves what other recipes were made from as it is.

    Args:
        again: names of the parts that this run makes anew.

    Raises:
        UsageError: the images of its reference would change under recipes that this run does not make anew.
    """
    images = record.images.get(one.selection.reference)
    others = [part.recipe for name, part in record.recipes.items() if name not in again and part.state == "done"]
    others = [name for name in others if images and record.recipes[name].reference == images.reference]
    if images is None or not others:
        return
    named = " and ".join(others)
    way = f"name {named} with --recipe too, so that all is made anew, or choose another output folder"
    before = {"fast": False, **images.options}  # earlier versions had no such option
    changed = [name for name, value in options_of(settings).items() if before.get(name, value) != value]
    if changed:
        option = f"--{changed[0].replace('_', '-')}"
        raise UsageError(
            f"the images of this session were made for {named} with another {option} ({before[changed[0]]}): "
            f"give the same, {way}"
        )
    raw = {name: _relative(path, settings.bids_dir) for name, path in one.selection.paths().items()}
    for name, file in images.raw().items():
        if raw.get(name, file) != file:
            raise UsageError(f"{named} was made from {file}, this run takes {raw[name]} for {name}: {way}")
    made = {name: choice.made_of for name, choice in one.selection.choices.items()}
    for name, words in images.made_of().items():
        if made.get(name, words) != words:
            raise UsageError(f"{name} of {named} is {words}, here {made[name]}: give it another name, or {way}")
    for kept, path in images.files.reference.items():
        if parse_name(path)[0].get("desc", kept) != kept:  # an earlier version had one name for both ways
            raise UsageError(f"an earlier version kept the image of {named} under the name of another: {way}")


def watched(selection: Selection) -> list[Path]:
    """What makes a finished session stale when it changes: its files, and the folders where better ones may appear."""
    files = list(selection.paths().values())
    files += [path for choice in selection.choices.values() for path in choice.beside]
    if selection.lesion_mask:
        files.append(selection.lesion_mask)
    return files + sorted({path.parent for path in files})


def preflight(settings: Settings, selection: Selection, *, head: bool = True, flat: bool = False) -> list[FileFacts]:
    """Check every file that will be opened, before any work; the first that fails ends it.

    ``head``: see `check_image`. ``flat``: an image of one slice will do.

    Only a series that a sequence is computed from may have four dimensions; its b-values, or its times, are checked
    with it.
    """
    rows, seen = [], set()
    for choice in selection.choices.values():
        if choice.path is None or choice.path in seen:
            continue
        seen.add(choice.path)
        diffusion = COMPUTED.get(choice.computed) == "dwi"
        if diffusion:
            read_bvalues(choice.path, settings.bids_dir)  # before megabytes are read
        thickness = slice_thickness(choice.path, settings.bids_dir) if flat and not choice.computed else None
        whole = head and thickness is None
        facts = check_image(choice.path, 4 if choice.computed else 3, head=whole, thickness=thickness)
        if diffusion:
            read_bvalues(choice.path, settings.bids_dir, facts.shape[3])
        elif choice.computed:
            prepared = made_by_fmriprep(choice.path)
            header_tr = header_repetition(nib.load(choice.path))
            read_timing(choice.path, choice.metadata, facts.shape, header_tr, prepared=prepared)
            if prepared:
                check_beside(choice.path, facts.shape)
        rows.append(_facts(settings, facts))
    if selection.lesion_mask:
        rows.append(_facts(settings, check_mask(selection.lesion_mask, selection.reference_path)))
    return rows


def _facts(settings: Settings, facts: ImageFacts) -> FileFacts:
    """What the record keeps of a file that was checked."""
    return FileFacts(
        file=_relative(facts.path, settings.bids_dir),
        shape=[int(n) for n in facts.shape],
        zooms=[round(float(z), 4) for z in facts.zooms],
        orientation=facts.orientation,
        warnings=list(facts.warnings),
    )


def selection_record(settings: Settings, selection: Selection) -> Chosen:
    """What was chosen and why, with paths relative to the dataset."""
    sequences = [
        {
            "sequence": choice.sequence,
            "file": _relative(choice.path, settings.bids_dir) if choice.path else None,
            "reason": choice.reason,
            "rejected": [{"file": _relative(r.path, settings.bids_dir), "reason": r.reason} for r in choice.rejected],
            "computed": bool(choice.computed),
            "made_of": choice.made_of,
        }
        for choice in selection.choices.values()
    ]
    lesion = str(selection.lesion_mask) if selection.lesion_mask else None
    return Chosen.model_validate({"reference": selection.reference, "sequences": sequences, "lesion_mask": lesion})


def _relative(path: Path, root: Path) -> str:
    """Relative to the dataset where it lies inside; as it is elsewhere."""
    try:
        return os.path.relpath(path, root) if Path(path).is_relative_to(root) else str(path)
    except ValueError:
        return str(path)
