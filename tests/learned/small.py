"""Small scans and networks that training tests share."""

from __future__ import annotations

import copy

import numpy as np
import torch

from bids_app.networks.losses import Balance, TaskLosses
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
from bids_app.networks.standardise import standardise
from bids_app.scans.scan import Scan
from bids_app.targets.kinds import kind_of
from bids_app.train.batches import Patches
from bids_app.train.state import State

KINDS = {"outcome": kind_of("binary"), "score": kind_of("continuous")}
HEADS = (HeadShape("outcome", "binary", 2), HeadShape("score", "continuous", 1))


def small_scans(n: int = 12, *, side: int = 16, seed: int = 0, sequences: int = 2) -> list[Scan]:
    """Cubes with a bright ball; the ball's size decides the outcome and is the score."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"))
    scans = []
    for index in range(n):
        radius = rng.uniform(2, 5)
        centre = rng.uniform(6, side - 6, (3, 1, 1, 1))
        ball = np.linalg.norm(at - centre, axis=0) < radius
        stack = 10 + rng.normal(0, 1, (sequences, *ball.shape)) + 5 * ball
        targets = np.array([float(radius > 3.5), radius])
        scans.append(
            Scan(
                f"sub-{index:02d}",
                f"{index:02d}",
                stack.astype(np.float32),
                np.ones(sequences),
                ball.astype(np.uint8),
                1.0,
                targets,
                np.array([rng.normal()]),
                "AB"[index % 2],
                "FM"[index % 2],
                20.0 + index,
            )
        )
    return scans


def small_patches(scans: list[Scan], *, batch: int = 4, seed: int = 3, side: int = 16) -> Patches:
    return Patches(scans, (side,) * 3, batch, seed, regions=1, normalise=standardise, strata=(0,))


def small_state(seed: int = 0, *, dropout: float = 0.3) -> State:
    torch.manual_seed(seed)
    shape = NetworkShape(2, 2, filters=4, blocks=(1, 1), deep_supervision=1, heads=HEADS, covariates=1, dropout=dropout)
    network = MultiTaskNet(shape)
    balance = Balance(["segmentation", *KINDS], {})
    optimiser = torch.optim.AdamW([*network.parameters(), *balance.parameters()], lr=1e-3)
    return State(network, copy.deepcopy(network).requires_grad_(False), optimiser, balance)


def small_losses() -> TaskLosses:
    return TaskLosses(KINDS, {"score": {"mean": 3.5, "sd": 1.0}})
