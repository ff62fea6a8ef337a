"""Train the brain mask on heads drawn from label maps: ``tandem train-bundle brain``."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.learning.train_bundle import Plan, State, new_state
from bids_app.learning.train_bundle import _average as average
from bids_app.learning.train_bundle import _note as note
from bids_app.recipes.recipe import load_recipe

log = logging.getLogger(__name__)

#: Label maps that never train; the figures in the card come from them.
HELD_OUT = 4
CARD = Path(__file__).with_name("brain_card.md")
PLAN = Plan(batch=1, rate=2e-3, warm_up=40, save_every=50, average=0.99)


def train_brain(
    data_root: Path, out_dir: Path, *, minutes: float | None = None, steps: int | None = None, seed: int = 1,
    threads: int = 1,
) -> State:  # fmt: skip
    """Learn to find the brain; goes on from the checkpoint in ``out_dir``.

    Args:
        data_root: holds ``labelmaps``.
        out_dir: reduced maps, checkpoint and log are kept here.
        minutes: time for learning; or
        steps: their number; whichever ends first.

    Raises:
        InputMissing: no label maps.
    """
    import torch

    from bids_app.networks.losses import ScaledDiceCELoss
    from bids_app.networks.standardise import standardise
    from bids_app.synthesis.heads import draw_head, load_heads, prepare_heads

    torch.set_num_threads(threads)
    heads = load_heads(prepare_heads(Path(data_root) / "labelmaps", out_dir / "heads")[:-HELD_OUT])
    state, checkpoint = new_state(load_recipe("brain"), PLAN, seed), out_dir / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint)
    loss_of = ScaledDiceCELoss(cross_entropy=1.0)
    state.network.train()
    started = time.monotonic() - state.seconds
    while (done := _progress(state, time.monotonic() - started, minutes, steps)) < 1:
        warm = min(1.0, (state.step + 1) / PLAN.warm_up)
        for group in state.optimiser.param_groups:
            group["lr"] = PLAN.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        chosen = int(np.random.default_rng([seed, state.step]).integers(len(heads)))
        image, target = draw_head(heads[chosen], seed * 1_000_003 + state.step)
        logits = state.network(standardise(image)[None])
        loss = loss_of(logits, target[None])
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 3.0)
        state.optimiser.step()
        average(state, min(PLAN.average, (state.step + 1) / (state.step + 10)))
        state.step += 1
        state.seconds = time.monotonic() - started
        found = logits[0][0, 1] > logits[0][0, 0]
        note(state, float(loss.detach()), _dice(found, target[1] > 0.5), out_dir / "log.csv")
        if state.step % PLAN.save_every == 0:
            state.save(checkpoint)
    state.save(checkpoint)
    return state


def evaluate(state: State, out_dir: Path, scans: int = 5) -> dict[str, Any]:
    """Dice on drawn scans of the maps that did not train, with the running mean of weights."""
    import torch

    from bids_app.networks.standardise import standardise
    from bids_app.synthesis.heads import draw_head, load_heads

    heads = load_heads(sorted((out_dir / "heads").glob("*.npz"))[-HELD_OUT:])
    network, found = state.mean.eval(), []
    with torch.no_grad():
        for number in range(scans * len(heads)):
            image, target = draw_head(heads[number % len(heads)], 7_000_000 + number)
            logits = network(standardise(image)[None])[0][0]
            found.append(_dice(logits[1] > logits[0], target[1] > 0.5))
    return {
        "simulator_dice_mean": float(np.mean(found)), "simulator_dice_worst": float(np.min(found)), "scans": len(found),
    }  # fmt: skip


def export_brain(state: State, out_dir: Path, *, seed: int = 1, real: dict[str, Any] | None = None) -> Path:
    """Write the bundle to ``out_dir/bundle``: the running mean of weights in half precision, manifest, figures, card.

    Args:
        real: ``how`` and ``dice`` by image, where it was measured on real images.
    """
    import shutil

    from safetensors.torch import save_file

    from bids_app import __version__
    from bids_app.learning.bundle import WEIGHTS, hash_weights, load_bundle
    from bids_app.learning.export import write_card, write_json
    from bids_app.recipes.recipe import HERE
    from bids_app.synthesis.heads import CLOSING_MM

    folder = out_dir / "bundle"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in state.mean.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    state.mean.load_state_dict({name: value.float() for name, value in weights.items()})
    shutil.copy(HERE / "brain.toml", folder / "recipe.toml")
    names = [path.stem for path in sorted((out_dir / "heads").glob("*.npz"))]
    minutes = state.seconds / 60
    manifest = {
        "name": "brain", "tandem": __version__, "weights_sha256": hash_weights(folder), "seed": seed,
        "steps": state.step, "minutes": round(minutes, 1), "closing_mm": CLOSING_MM,
        "command": f"tandem train-bundle brain --data DIR --out DIR --minutes {minutes:.0f} --seed {seed}",
        "label_maps": len(names) - HELD_OUT, "trained_on": names[:-HELD_OUT], "held_out": names[-HELD_OUT:],
    }  # fmt: skip
    metrics = {"simulator_held_out": evaluate(state, out_dir), **({"real": real} if real else {})}
    for name, content in (
        ("network", state.mean.shape.to_plain()), ("calibration", {"threshold": 0.5, "temperature": 1.0}),
        ("manifest", manifest), ("metrics", metrics),
    ):  # fmt: skip
        write_json(folder / f"{name}.json", content)
    (folder / "LICENSE").write_text("Apache-2.0. Learned from label maps under Apache-2.0; see MODEL_CARD.md.\n")
    write_card(folder, CARD)
    load_bundle(folder)
    return folder


def _dice(one: Any, other: Any) -> float:
    return float(2 * (one & other).sum() / max(int(one.sum() + other.sum()), 1))


def _progress(state: State, seconds: float, minutes: float | None, steps: int | None) -> float:
    done = [seconds / (60 * minutes)] if minutes is not None else []
    if steps is not None:
        done.append(state.step / max(steps, 1))
    return max(done)
