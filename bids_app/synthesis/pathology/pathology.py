"""What goes wrong in a brain: infarcts, plaques, injuries and tumours, and what is mistaken for them.

A pathology is a stack of compartments, each with a share of every voxel and a tissue of which `physics.signal` gives
the brightness in any sequence, so that signs are right in all of them at once. Everything is drawn from one generator:
the same head and seed give the same pathology. Tissue is replaced, not pushed aside. Research use only: simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.placed import PlacedTissue
from bids_app.synthesis.pathology.compartments import Lesions, Pathology
from bids_app.synthesis.pathology.injury import draw_injury
from bids_app.synthesis.pathology.plaques import draw_healthy, draw_plaques
from bids_app.synthesis.pathology.shapes import Canvas
from bids_app.synthesis.pathology.stroke import Core, draw_stroke
from bids_app.synthesis.pathology.tumours import draw_glioma, draw_schwannoma
from bids_app.synthesis.scanner.physics import FIELDS

_DRAW: dict[str, Callable[..., Lesions]] = {
    "stroke": draw_stroke,
    "ms": draw_plaques,
    "tbi": draw_injury,
    "schwannoma": draw_schwannoma,
    "glioma": draw_glioma,
    "healthy": draw_healthy,
}
KINDS = tuple(_DRAW)
#: Names of what is labelled, in the order of `Compartment.region`, from 1.
REGIONS: dict[str, tuple[str, ...]] = {
    "stroke": ("infarct core",),
    "ms": ("lesion",),
    "tbi": ("lesion",),
    "schwannoma": ("tumour",),
    "glioma": ("core", "oedema", "enhancing"),
    "healthy": (),
}


def draw_pathology(
    kind: str,
    placed: PlacedTissue,
    generator: torch.Generator,
    *,
    field_tesla: float = 3.0,
    shapes: Sequence[torch.Tensor] | None = None,
    core: Core | None = None,
    mimics: float = 1.0,
) -> Pathology:
    """Draw what one participant has.

    Args:
        kind: one of `KINDS`.
        placed: where it can lie; a kind without a valid place there gives an empty pathology.
        generator: where the randomness comes from.
        field_tesla: of the scanner; what is drawn does not depend on it, `Compartment.relaxation` does.
        shapes: masks of real strokes (`shapes.load`), of which a stroke takes one half of the time.
        core: of a stroke, the infarct that it has, in place of one that is drawn.
        mimics: how much is drawn of what is mistaken for lesions; 1: as much as is usual.

    Raises:
        UsageError: no such kind or field, a core of what is no stroke, or tissue whose parts do not fit.
    """
    if kind not in _DRAW:
        raise UsageError(f"there is no pathology {kind!r}; there are {', '.join(KINDS)}")
    if field_tesla not in FIELDS:
        raise UsageError(f"a scanner has {', '.join(f'{f:g}' for f in FIELDS)} T, not {field_tesla!r}")
    if core is not None and kind != "stroke":
        raise UsageError(f"a core is that of a stroke; the pathology {kind!r} has none")
    shape = tuple(placed.ventricle.shape)
    if tuple(placed.tissue.shape) != (3, *shape) or tuple(placed.at.shape) != (*shape, 3) or not placed.spacing > 0:
        raise UsageError(
            f"a head has tissue (3, x, y, z), ventricles (x, y, z), places (x, y, z, 3) and a spacing above 0; here "
            f"are {tuple(placed.tissue.shape)}, {shape}, {tuple(placed.at.shape)} and {placed.spacing:g} mm"
        )
    given = {} if core is None else {"core": core}
    parts, latents = _DRAW[kind](Canvas(placed, generator, mimics), shapes=shapes, **given)
    parts = [part for part in parts if float(part.share.amax()) > 0.01]
    drawn = Pathology(tuple(parts), {}, shape)
    volume = float(drawn.labelled().sum()) * placed.spacing**3 / 1000 if REGIONS[kind] else 0.0
    facts = {"count": 0.0, "side": 0.0, **latents, "lesion_ml": volume}
    return Pathology(drawn.compartments, facts, shape)
