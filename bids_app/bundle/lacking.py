"""What a bundle is worth without the sequences that a session lacks, from the figures that it brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_app.bundle.bundle import Bundle

#: A region whose Dice falls below this part of what it is with every sequence is worth a warning.
FALLS_TO = 0.5


def lacking_sequences(bundle: Bundle, present: Sequence[float] | np.ndarray) -> list[str]:
    """A sentence for the report where a missing sequence costs half of a region's Dice or more.

    Dice is that of the scans that the bundle was judged by (``simulator_held_out`` and ``simulator_subsets`` of its
    metrics). Where just this set of sequences was not judged, the missing one that costs most counts.

    Args:
        bundle: with regions.
        present: one flag per sequence of the recipe.
    """
    recipe, metrics = bundle.recipe, bundle.metrics
    subsets, whole = metrics.get("simulator_subsets", {}), metrics.get("simulator_held_out", {})
    missing = [s.name for s, there in zip(recipe.sequences, present, strict=True) if not there]
    alone = subsets.get(f"{recipe.reference} alone")
    judged = [subsets[key] for name in missing if (key := f"without {name}") in subsets]
    if len(missing) == len(recipe.sequences) - 1 and alone:
        judged = [alone]
    if not missing or not judged:
        return []
    falls = []
    for region in recipe.regions:
        before = (whole.get(region.name) or {}).get("dice")
        after = [one[region.name]["dice"] for one in judged if one.get(region.name, {}).get("dice") is not None]
        if before and after and min(after) < FALLS_TO * before:
            falls.append(f"{region.name} from {before:.2f} to {min(after):.2f}")
    if not falls:
        return []
    return [
        f"{recipe.title}: without {' and '.join(missing)} the bundle's Dice on drawn scans falls ({', '.join(falls)}); "
        "what it does not find may still be there"
    ]
