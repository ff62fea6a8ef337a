"""Two processes that share each batch learn what one process learns from the whole of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from bids_app.train import loop
from bids_app.train.augment import Augmentation
from bids_app.train.loop import Schedule, Worker
from bids_app.train.ranks import leave
from bids_app.train.tasks import fit_tasks
from tests.learned.small import small_losses, small_patches, small_scans, small_state

STEPS = 4


def train(rank: int, processes: int, folder: str) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes
        )
    scans = small_scans(8)
    scans[0] = dataclasses.replace(scans[0], labels=None)  # processes that know different amounts
    scans[1] = dataclasses.replace(scans[1], targets=np.array([np.nan, 2.0]))
    state = small_state(dropout=0.0)
    rows = []
    fit_tasks(
        state,
        small_patches(scans, batch=4),
        small_losses(),
        Schedule(STEPS, look_every=0),
        augmentation=Augmentation(),
        worker=Worker(rank=rank, processes=processes),
        notify=rows.append,
    )
    weights = torch.cat([p.detach().flatten() for p in state.mean.parameters()])
    np.save(f"{folder}/{processes}-{rank}.npy", weights.numpy())
    leave()


def test_two_processes_learn_what_one_does_from_the_same_batch(tmp_path):
    train(0, 1, str(tmp_path))
    torch.multiprocessing.spawn(train, args=(2, str(tmp_path)), nprocs=2)
    alone, first, second = (np.load(tmp_path / f"{name}.npy") for name in ("1-0", "2-0", "2-1"))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, atol=5e-6)
    start = torch.cat([p.detach().flatten() for p in small_state(dropout=0.0).mean.parameters()]).numpy()
    assert np.abs(alone - start).max() > 2e-4


def train_by_the_clock(rank: int, folder: str) -> None:
    """The second process's clock runs twice as fast: by it there are half as many steps, at other rates."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    loop.how_far = lambda state, schedule, seconds: state.step * (rank + 1) / STEPS
    state = small_state(dropout=0.0)
    schedule = Schedule(None, minutes=1.0, look_every=0)
    fit_tasks(state, small_patches(small_scans(8), batch=4), small_losses(), schedule, worker=Worker("cpu", rank, 2))
    weights = torch.cat([p.detach().flatten() for p in state.network.parameters()])
    np.savez(f"{folder}/{rank}.npz", weights=weights.numpy(), step=state.step)
    leave()


def test_the_first_process_says_when_the_minutes_are_over(tmp_path):
    torch.multiprocessing.spawn(train_by_the_clock, args=(str(tmp_path),), nprocs=2)
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in (0, 1))
    assert int(first["step"]) == int(second["step"]) == STEPS
    np.testing.assert_array_equal(first["weights"], second["weights"])
