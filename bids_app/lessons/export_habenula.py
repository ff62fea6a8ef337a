"""The habenula bundle: calibrated on brains that did not train, and written."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bids.digest import sha256_of
from bids_app.bundle.manifest import salted
from bids_app.bundle.trial import trial_bundle
from bids_app.lessons.keep import voters, write_lesson
from bids_app.recipes.recipe import Recipe

if TYPE_CHECKING:
    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.synthesis.habenula.scans import Sources
    from bids_app.train.state import State

#: Pairs of scans that calibration draws, and the seed of the first.
PAIRS, PAIRS_SEED = 16, 900_000_000
CARD = Path(__file__).with_name("habenula_card.md")
LICENSE = """The weights of this bundle are licensed under CC BY-SA 4.0.

They were learned from, and contain none of:
- CIT168 atlas and T1w template (Pauli, Nili, Tyszka 2018), CC BY 4.0
- ICBM 2009a nonlinear symmetric template, as packaged with nilearn (McConnell BIC; permission to use and modify)
- label maps distributed with SynthSeg (Billot et al. 2023), Apache-2.0
- T1w images of the Ljubljana multiple-sclerosis data sets (Lesjak et al. 2018), CC BY 4.0
- one T1w head distributed with brainchop, MIT
- habenula masks of 1001 participants (Human Connectome Project, Open Access terms): their shapes and sizes were used
  in drawing scans; no mask and no image of it is in this bundle
"""


def export_bundle(
    state: State,
    recipe: Recipe,
    sources: Sources,
    out_dir: Path,
    *,
    seed: int,
    data_root: Path,
    note: str = "",
    beside: Sequence[MultiTaskNet] = (),
) -> Path:
    """Calibrate the averaged weights on brains that did not train, and write the bundle.

    Args:
        state: its running mean of weights is what is written, in half precision.
        out_dir: replaced as a whole once everything is written.
        seed: of the training.
        data_root: where the files lie that are named by hash in the manifest.
        note: what a reader should know about this very run.
        beside: networks of the same shape that vote with the one of this training.

    Returns:
        ``out_dir``, loaded once to see that it can be.
    """
    from bids_app.lessons.calibrate_habenula import calibrate, dice_by_voxel, draw_pairs
    from bids_app.synthesis.habenula.sources import HELD_OUT

    held_out = [i for i, name in enumerate(sources.names) if name in HELD_OUT] or list(range(len(sources.names)))
    members = voters(state, beside)
    calibration, figures = calibrate(recipe, members, draw_pairs(sources, held_out, PAIRS, PAIRS_SEED))
    by_voxel = dice_by_voxel(trial_bundle(recipe, members, calibration), sources, held_out)
    names = [name for name in sources.names if name not in HELD_OUT]
    trained = {
        "label_maps": sum(sources.kinds[sources.names.index(name)] == "labels" for name in names),
        "real_images": [name for name in names if sources.kinds[sources.names.index(name)] == "t1w"],
        **_trained_on(names, data_root),
        "held_out": sorted(HELD_OUT & set(sources.names)),
    }
    return write_lesson(
        out_dir,
        state,
        recipe,
        members,
        seed=seed,
        note=note,
        trained=trained,
        plan=None,
        calibration=calibration,
        metrics={"simulator_held_out": {**figures, "dice_by_voxel_mm": by_voxel}},
        card=CARD,
        licence=LICENSE,
    )


def _trained_on(names: list[str], data_root: Path) -> dict[str, Any]:
    """Every image that trained, as a salted hash of its file: one can ask whether an image was used, not list them."""
    from bids_app.synthesis.habenula.sources import source_path

    salt, hashes = secrets.token_hex(16), []
    for name in names:
        path = source_path(name, data_root)
        content = sha256_of(path) if path is not None and path.is_file() else name
        hashes.append(salted(salt, content))
    return {"salt": salt, "trained_on": sorted(hashes)}
