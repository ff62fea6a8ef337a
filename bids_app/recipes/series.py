"""What a recipe of a series must say: the last sequence is a resting-state run, seen in windows of frames."""

from __future__ import annotations

from typing import Any

#: Suffix of a series.
SERIES = "bold"
#: Suffixes of the maps that are computed from one.
SERIES_MAPS = ("alff", "falff", "reho")
#: Seconds from one frame to the next, whatever the repetition time. What is left of a series is slower than 0.1 Hz, for
#: which 5 s would do.
STEP_S = 2.0


def series_trouble(recipe: Any) -> str | None:
    """What does not go together in a recipe with or without a series; None where all does.

    Args:
        recipe: a `bids_app.recipes.recipe.Recipe`, whose other parts are checked.
    """
    suffixes, frames = [sequence.suffix for sequence in recipe.sequences], recipe.network.frames
    if frames == 1:
        told = f"sequences: a {SERIES} series is seen in windows; say how many frames they have, network.frames"
        return told if SERIES in suffixes else None
    if suffixes[-1] != SERIES or suffixes.count(SERIES) > 1 or recipe.sequences[-1].alternatives:
        return f"network: frames needs one sequence of the suffix {SERIES}, the last one, without alternatives"
    if recipe.reference == recipe.sequences[-1].name:
        return "reference: a series cannot be it; name an image that stands still"
    if recipe.network.dimensions == 2 or recipe.locate is not None:
        return "network: frames goes with dimensions = 3 and without a table [locate]"
    return None
