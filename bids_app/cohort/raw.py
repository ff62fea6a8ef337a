"""Sessions whose images are prepared already: a recipe for crops reads them from the dataset as they are."""

from __future__ import annotations

from pathlib import Path

from bids_app.bids.gradients import COMPUTED
from bids_app.bids.select import choose_participants, select_participant
from bids_app.cohort.cohort import CohortSession, finished_sessions
from bids_app.errors import InputMissing, TandemError
from bids_app.imaging.stacking import Grid
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings


def needs_nothing(recipe: Recipe) -> bool:
    """Whether the participant level's preprocessing would leave the recipe's images as they are."""
    diffusion = any(sequence.suffix in COMPUTED for sequence in recipe.sequences)  # computed, or in another unit
    as_is = recipe.grid is not None and recipe.grid.kind == "image" and not recipe.preprocessing.bias
    return as_is and not diffusion


def raw_sessions(
    settings: Settings, recipe: Recipe, *, tolerant: bool = False
) -> tuple[list[CohortSession], list[str]]:
    """Every session that the settings leave, chosen by the participant level's own rule, and why others are left out.

    Args:
        tolerant: a participant whose files cannot be chosen, or whose reference cannot be read, is left out with the
            reason, as the participant level does.

    Raises:
        InputMissing: no session has what the recipe requires.
    """
    sessions, notes = [], []
    for participant in choose_participants(settings):
        try:
            chosen_ones = select_participant(settings, participant, recipe.sequences, recipe.reference)
        except TandemError as error:
            if not tolerant:
                raise
            notes.append(f"sub-{participant} is left out: {error}")
            continue
        for chosen in chosen_ones:
            key = f"sub-{participant}" + (f"_ses-{chosen.session}" if chosen.session else "")
            found = {s.name: chosen.path_of(chosen.name_of(s.name)) for s in recipe.sequences}
            images = {name: path for name, path in found.items() if path is not None}
            lacking = [s.name for s in recipe.sequences if s.required and s.name not in images]
            why = f"{', '.join(lacking)} is not there" if lacking else None
            if tolerant and not why:
                why = _unreadable(images[recipe.reference])
            if why:
                notes.append(f"{key} is left out: {why}")
            else:
                sessions.append(CohortSession(key, participant, chosen.session, images, None, None))
    if not sessions:
        raise InputMissing(f"no session of {settings.bids_dir} can be used ({notes[0] if notes else 'there is none'})")
    return sessions, notes


def expected_sessions(settings: Settings, recipe: Recipe) -> tuple[list[CohortSession], list[str]]:
    """The sessions that a training would find once all are preprocessed, and why others would be left out.

    Of those that are not preprocessed yet, the images are the raw ones.

    Raises:
        InputMissing: there would be none.
    """
    if needs_nothing(recipe):
        return raw_sessions(settings, recipe)
    try:
        finished, notes = finished_sessions(recipe, settings.output_dir, None)
    except InputMissing:
        finished, notes = [], []
    there = {session.key for session in finished}
    try:
        raw, more = raw_sessions(settings, recipe, tolerant=True)
    except InputMissing:
        if not finished:
            raise
        raw, more = [], []
    return sorted([*finished, *(s for s in raw if s.key not in there)], key=lambda s: s.key), [*notes, *more]


def _unreadable(path: Path) -> str | None:
    """Why an image's header cannot be read; None where it can."""
    try:
        Grid.of(path)
    except Exception as error:  # nibabel raises what it likes; the participant level will say exactly why
        return f"{path} cannot be read ({error})"
    return None
