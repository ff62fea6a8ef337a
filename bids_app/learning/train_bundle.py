"""Train a shipped recipe from public data and export it as a bundle: ``tandem train-bundle habenula``."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import InputMissing, UsageError
from bids_app.learning.state import State, track
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.synthesis.habenula_sources import HELD_OUT

if TYPE_CHECKING:
    import torch

    from bids_app.synthesis.habenula import Sources

log = logging.getLogger(__name__)

#: Sources that give few scans: thick slices, and templates that look like one another.
SPARSE = {
    "ms_two_visits/sub-01_ses-1": 0.3,
    "ms_two_visits/sub-01_ses-2": 0.3,
    "nilearn": 0.5,
    "ms/sub-26_ce-gadolinium": 0.5,
}


@dataclass(frozen=True)
class Plan:
    """How a training goes; a sentence per number.

    Attributes:
        batch: scans per step.
        rate: highest learning rate; warmed up, then falling with a cosine.
        decay: of AdamW's weights.
        average: part of the running mean of weights that is kept each step.
        reuse: how often a drawn scan is used (drawing costs as much as learning from it).
        pool: drawn scans that are kept at a time.
        real: share of scans that are changed real brains.
        cross_entropy: weight of the cross-entropy in the first and in the second half. Dice finds the region fast but
            makes it too large where the border is uncertain; cross-entropy makes probabilities add up to volumes.
        save_every: steps between checkpoints.
    """

    batch: int = 2
    rate: float = 2e-3
    decay: float = 1e-4
    average: float = 0.995
    reuse: int = 2
    pool: int = 48
    warm_up: int = 60
    real: float = 0.5
    cross_entropy: tuple[float, float] = (10.0, 100.0)
    save_every: int = 100


def new_state(recipe: Recipe, plan: Plan, seed: int) -> State:
    """A network of the recipe's shape with random weights."""
    import torch

    from bids_app.networks.multitask import MultiTaskNet, NetworkShape

    torch.manual_seed(seed)
    spec = recipe.network
    network = MultiTaskNet(
        NetworkShape(
            len(recipe.sequences), len(recipe.regions) + 1, spec.filters, spec.blocks, spec.deep_supervision, spec.fold
        )
    )
    network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
    return State(network, copy.deepcopy(network).requires_grad_(False), optimiser)


def train_bundle(
    name: str, data_root: Path, out_dir: Path, *, minutes: float | None = None, steps: int | None = None,
    seed: int = 1, threads: int = 2, resume: bool = True, plan: Plan | None = None,
) -> Path:  # fmt: skip
    """Train the recipe ``name`` and export the bundle to ``out_dir/bundle``.

    Args:
        name: ``"habenula"``, the one recipe that has a generator.
        data_root: holds ``labelmaps``, ``habenula_atlas`` and the real brains of `habenula_sources.REAL`.
        out_dir: sources, checkpoint and log are kept here; a second call goes on from them where ``resume``.
        minutes: time for learning (without the sources); or
        steps: their number; whichever ends first. One is needed.

    Returns:
        The bundle's folder.

    Raises:
        UsageError: another recipe, or neither ``minutes`` nor ``steps``.
        InputMissing: nothing to draw scans from.
    """
    import torch

    from bids_app.learning.export import export_bundle
    from bids_app.synthesis.habenula import load_sources
    from bids_app.synthesis.habenula_sources import prepare_sources

    if name != "habenula":
        raise UsageError(
            f"there is no generator of training scans for the recipe {name!r}; only habenula can be trained so"
        )
    if minutes is None and steps is None:
        raise UsageError("say how long to train: minutes or steps")
    if not Path(data_root).is_dir():
        raise InputMissing(f"{data_root} is no folder; give the folder that holds labelmaps and habenula_atlas")
    torch.set_num_threads(max(1, threads - 1))  # one is for drawing scans
    out_dir.mkdir(parents=True, exist_ok=True)
    recipe, plan = load_recipe(name), plan or Plan()
    sources = load_sources(prepare_sources(Path(data_root), out_dir / "sources"), Path(data_root))
    state = new_state(recipe, plan, seed)
    checkpoint = out_dir / "checkpoint.pt"
    if resume and checkpoint.is_file():
        state.load(checkpoint)
        log.info("going on from step %d", state.step)
    fit(
        state,
        sources,
        plan,
        seed=seed,
        minutes=minutes,
        steps=steps,
        checkpoint=checkpoint,
        log_path=out_dir / "log.csv",
        workers=int(threads > 1),
    )
    return export_bundle(state, recipe, sources, out_dir / "bundle", seed=seed, data_root=Path(data_root))


def fit(
    state: State, sources: Sources, plan: Plan, *, seed: int, minutes: float | None = None, steps: int | None = None,
    checkpoint: Path | None = None, log_path: Path | None = None, workers: int = 0,
) -> State:  # fmt: skip
    """Learn until the time or the steps are used up; both count what earlier calls did."""
    import torch

    from bids_app.networks.losses import ScaledDiceCELoss

    loss_of, scans = ScaledDiceCELoss(), draw(state, sources, plan, seed, workers)
    state.network.train()
    started = time.monotonic() - state.seconds
    while (progress := _progress(state, time.monotonic() - started, minutes, steps)) < 1:
        loss_of.weigh(plan.cross_entropy[progress >= 0.5])
        warm = min(1.0, (state.step + 1) / plan.warm_up)
        for group in state.optimiser.param_groups:
            group["lr"] = plan.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        images, targets = next(scans)
        logits = state.network(images.contiguous(memory_format=torch.channels_last_3d)).logits
        loss = loss_of(logits, targets)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 3.0)
        state.optimiser.step()
        track(state.mean, state.network, min(plan.average, (state.step + 1) / (state.step + 10)))
        state.step += 1
        state.seconds = time.monotonic() - started
        _note(state, float(loss.detach()), soft_dice(logits[0].detach(), targets), log_path)
        if checkpoint is not None and state.step % plan.save_every == 0:
            state.save(checkpoint)
    if checkpoint is not None:
        state.save(checkpoint)
    return state


def draw(
    state: State, sources: Sources, plan: Plan, seed: int, workers: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end, from a pool that gains one scan for every ``reuse`` that are used."""
    import torch
    from torch.utils.data import DataLoader

    chooser = np.random.default_rng([seed, state.drawn])
    scans = DrawnScans(sources, plan.real, seed)
    loader = DataLoader(
        scans,
        batch_size=None,
        sampler=range(state.drawn, state.drawn + 10**7),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    fresh = iter(loader)
    pool: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=plan.pool)
    owed = float(min(8, plan.pool))
    while True:
        owed += plan.batch / plan.reuse
        while owed >= 1:
            pool.append(next(fresh))
            state.drawn += 1
            owed -= 1
        picked = [pool[i] for i in chooser.choice(len(pool), plan.batch, replace=len(pool) < plan.batch)]
        picked = [_mirror(*scan) if chooser.random() < 0.5 else scan for scan in picked]
        yield torch.stack([image for image, _ in picked]), torch.stack([target for _, target in picked])


class DrawnScans:
    """Scan after scan of the sources that train; the ``n``-th depends on the seed and ``n`` alone.

    Args:
        real: share of scans that are changed real brains, where both kinds are there.
    """

    def __init__(self, sources: Sources, real: float, seed: int) -> None:
        self.sources, self.real, self.seed = sources, real, seed
        kinds = {
            kind: [i for i in sources.only(kind) if sources.names[i] not in HELD_OUT] for kind in ("labels", "t1w")
        }
        self.members = {kind: members for kind, members in kinds.items() if members}

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        from bids_app.synthesis.habenula import Variation, draw_scan

        chooser = np.random.default_rng([self.seed, number])
        kind = "t1w" if chooser.random() < self.real else "labels"
        members = self.members.get(kind) or next(iter(self.members.values()))
        weights = np.array([SPARSE.get(self.sources.names[i], 1.0) for i in members])
        source = int(chooser.choice(members, p=weights / weights.sum()))
        return draw_scan(self.sources, source, self.seed * 1_000_003 + number, Variation())


def _mirror(image: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left becomes right, in the image and in the names."""
    return image.flip(1), target.flip(1)[[0, 2, 1]]


def soft_dice(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over regions of 2 Σpt / (Σp² + Σt²), background left out."""
    p, t = logits.softmax(1)[:, 1:], target[:, 1:]
    axes = (0, 2, 3, 4)
    return float((2 * (p * t).sum(axes) / (p.square() + t.square()).sum(axes).clamp_min(1e-6)).mean())


def _progress(state: State, seconds: float, minutes: float | None, steps: int | None) -> float:
    done = [seconds / (60 * minutes)] if minutes is not None else []
    if steps is not None:
        done.append(state.step / max(steps, 1))
    return max(done)


def _note(state: State, loss: float, dice: float, path: Path | None) -> None:
    row = {"step": state.step, "seconds": round(state.seconds, 1), "drawn": state.drawn, "loss": loss, "dice": dice}
    state.history.append(row)
    if path is not None and state.step % 10 == 0:
        last = state.history[-10:]
        row |= {key: round(float(np.mean([r[key] for r in last])), 4) for key in ("loss", "dice")}
        fresh = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
