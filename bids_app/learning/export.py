"""Write a training as a bundle: weights, calibration, who trained it, what was measured, and a model card."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app import __version__
from bids_app.learning.bundle import WEIGHTS, hash_weights, load_bundle
from bids_app.recipes.recipe import HERE, Recipe

if TYPE_CHECKING:
    from bids_app.learning.state import State
    from bids_app.synthesis.habenula import Sources

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
    state: State, recipe: Recipe, sources: Sources, out_dir: Path, *, seed: int, data_root: Path, note: str = ""
) -> Path:
    """Calibrate the averaged weights on brains that did not train, and write the bundle.

    Args:
        state: its running mean of weights is what is written, in half precision.
        out_dir: replaced as a whole once everything is written.
        seed: of the training.
        data_root: where the files lie that are named by hash in the manifest.
        note: what a reader should know about this very run.

    Returns:
        ``out_dir``, loaded once to see that it can be.
    """
    import torch
    from safetensors.torch import save_file

    from bids_app.learning.calibrate import calibrate, draw_pairs
    from bids_app.synthesis.habenula_sources import HELD_OUT

    partial = out_dir.with_name(out_dir.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: value.detach().half().contiguous() for name, value in state.mean.state_dict().items()}
    save_file(weights, partial / WEIGHTS)
    (partial / WEIGHTS).chmod(0o644)  # safetensors writes for the owner only
    state.mean.load_state_dict({name: value.float() for name, value in weights.items()})
    held_out = [i for i, name in enumerate(sources.names) if name in HELD_OUT] or list(range(len(sources.names)))
    calibration, figures = calibrate(recipe, state.mean, draw_pairs(sources, held_out, PAIRS, PAIRS_SEED))
    shutil.copy(HERE / f"{recipe.name}.toml", partial / "recipe.toml")
    write_json(partial / "network.json", state.mean.shape.to_plain())
    write_json(partial / "calibration.json", calibration)
    trained, minutes = [name for name in sources.names if name not in HELD_OUT], state.seconds / 60
    manifest = {
        "name": recipe.name, "tandem": __version__, "torch": torch.__version__.split("+")[0],
        "weights_sha256": hash_weights(partial), "seed": seed, "steps": state.step, "scans_drawn": state.drawn,
        "minutes": round(minutes, 1),
        "command": f"tandem train-bundle {recipe.name} --data DIR --out DIR --minutes {minutes:.0f} --seed {seed}",
        "label_maps": sum(sources.kinds[sources.names.index(name)] == "labels" for name in trained),
        "real_images": [name for name in trained if sources.kinds[sources.names.index(name)] == "t1w"],
        "note": note,
        **_trained_on(trained, data_root), "held_out": sorted(HELD_OUT & set(sources.names)),
    }  # fmt: skip
    write_json(partial / "manifest.json", manifest)
    write_json(partial / "metrics.json", {"simulator_held_out": figures})
    (partial / "LICENSE").write_text(LICENSE, encoding="utf-8")
    write_card(partial)
    shutil.rmtree(out_dir, ignore_errors=True)
    partial.replace(out_dir)
    load_bundle(out_dir)
    return out_dir


def note_measured(bundle_dir: Path, name: str, figures: dict[str, Any], card: Path = CARD) -> None:
    """Add measured figures to a bundle's metrics and write its card again."""
    metrics = json.loads((bundle_dir / "metrics.json").read_text(encoding="utf-8"))
    write_json(bundle_dir / "metrics.json", {**metrics, name: figures})
    write_card(bundle_dir, card)


def write_card(bundle_dir: Path, card: Path = CARD) -> None:
    """``MODEL_CARD.md`` from the manifest, the calibration and the metrics that lie beside it."""
    from jinja2 import Template

    parts = {
        name: json.loads((bundle_dir / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "metrics", "calibration", "network")
    }
    template = Template(card.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True)
    (bundle_dir / "MODEL_CARD.md").write_text(template.render(**parts) + "\n", encoding="utf-8")


def _trained_on(names: list[str], data_root: Path) -> dict[str, Any]:
    """Every image that trained, as a salted hash of its file: one can ask whether an image was used, not list them."""
    from bids_app.synthesis.habenula_sources import source_path

    salt, hashes = secrets.token_hex(16), []
    for name in names:
        path = source_path(name, data_root)
        content = path.read_bytes() if path is not None and path.is_file() else name.encode()
        hashes.append(hashlib.sha256(salt.encode() + hashlib.sha256(content).digest()).hexdigest())
    return {"salt": salt, "trained_on": sorted(hashes)}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
