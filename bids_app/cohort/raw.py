"""Sessions whose images are prepared already: a recipe for crops reads them from the dataset as they are."""

from __future__ import annotations

from bids_app.bids.gradients import COMPUTED
from bids_app.bids.select import choose_participants, select_participant
from bids_app.cohort.cohort import CohortSession
from bids_app.errors import InputMissing
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings


def needs_nothing(recipe: Recipe) -> bool:
    """Whether the participant level's preprocessing would leave the recipe's images as they are."""
    diffusion = any(sequence.suffix in COMPUTED for sequence in recipe.sequences)  # computed, or in another unit
    as_is = recipe.grid is not None and recipe.grid.kind == "image" and not recipe.preprocessing.bias
    return as_is and not diffusion


def raw_sessions(settings: Settings, recipe: Recipe) -> tuple[list[CohortSession], list[str]]:
    """Every session that the settings leave, chosen by the participant level's own rule, and why others are left out.

    Raises:
        InputMissing: no session has what the recipe requires.
    """
    sessions, notes = [], []
    for participant in choose_participants(settings):
        for chosen in select_participant(settings, participant, recipe.sequences, recipe.reference):
            key = f"sub-{participant}" + (f"_ses-{chosen.session}" if chosen.session else "")
            found = {s.name: chosen.path_of(chosen.name_of(s.name)) for s in recipe.sequences}
            images = {name: path for name, path in found.items() if path is not None}
            lacking = [s.name for s in recipe.sequences if s.required and s.name not in images]
            if lacking:
                notes.append(f"{key} is left out: {', '.join(lacking)} is not there")
            else:
                sessions.append(CohortSession(key, participant, chosen.session, images, None, None))
    if not sessions:
        raise InputMissing(f"no session of {settings.bids_dir} can be used ({notes[0] if notes else 'there is none'})")
    return sessions, notes
