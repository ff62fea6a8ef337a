from __future__ import annotations

import copy
import csv
import errno
import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.errors import IOFailure, TrainingError
from bids_app.networks.multitask import MultiTaskNet, NetworkShape
from bids_app.networks.standardise import standardise
from bids_app.train.augment import Augmentation
from bids_app.train.batches import Patches
from bids_app.train.loop import Schedule, how_far, keep_weights, learn
from bids_app.train.state import State, read_weights
from bids_app.train.tasks import fit_tasks
from tests.learned.small import HEADS, small_losses, small_patches, small_scans, small_state

SCHEDULE = Schedule(steps=8, save_every=4, look_every=2, rate=1e-2)


def weights_of(state) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for net in (state.network, state.mean) for p in net.parameters()])


def run(state, tmp_path=None, **options):
    checkpoint = tmp_path / "state.pt" if tmp_path else None
    return fit_tasks(
        state,
        small_patches(small_scans()),
        small_losses(),
        options.pop("schedule", SCHEDULE),
        augmentation=Augmentation(),
        checkpoint=checkpoint,
        **options,
    )


def test_stopping_and_going_on_gives_the_weights_of_never_stopping(tmp_path):
    whole = run(small_state())
    run(small_state(), tmp_path, stop_at=5)
    again = small_state(seed=9)
    again.load(tmp_path / "state.pt")
    assert again.step == 5
    run(again, tmp_path)
    assert again.step == 8
    assert torch.equal(weights_of(whole), weights_of(again))


def windows_state(seed: int = 0) -> State:
    """A network of windows of 4 frames, with dropout and heads that read its features."""
    state = small_state(seed)
    shape = NetworkShape(
        2, 2, 4, (1, 1), 1, heads=HEADS, covariates=1, reads_features=True, gradient="features", frames=4
    )  # fmt: skip
    torch.manual_seed(seed)
    network = MultiTaskNet(shape)
    optimiser = torch.optim.AdamW([*network.parameters(), *state.balance.parameters()], lr=1e-3)
    return State(network, copy.deepcopy(network).requires_grad_(False), optimiser, state.balance)


def test_a_training_on_windows_of_a_series_that_stops_and_goes_on_gives_the_same_weights(tmp_path):
    noise = torch.Generator().manual_seed(1)
    scans = []
    for scan in small_scans(6):  # a still image and 7 frames, so that the place of a window is drawn
        frames = scan.stack[1:] + torch.randn(7, 16, 16, 16, generator=noise).numpy()
        scans.append(replace(scan, stack=np.concatenate([scan.stack[:1], frames])))
    patches = Patches(scans, (16,) * 3, 2, 3, regions=1, normalise=standardise, strata=(0,), frames=4)

    def learned(state, **options):
        schedule = Schedule(steps=6, save_every=4, rate=1e-2, look_every=0)
        return fit_tasks(state, patches, small_losses(), schedule, augmentation=Augmentation(), **options)

    whole = learned(windows_state())
    learned(windows_state(), checkpoint=tmp_path / "state.pt", stop_at=4)
    again = windows_state(seed=9)
    assert not torch.equal(weights_of(whole), weights_of(again))
    again.load(tmp_path / "state.pt")
    assert again.step == 4
    learned(again)
    assert again.step == 6
    assert torch.equal(weights_of(whole), weights_of(again))


def test_another_seed_is_another_training():
    patches = [small_patches(small_scans(), seed=seed) for seed in (1, 2)]
    one, other = (fit_tasks(small_state(), p, small_losses(), Schedule(steps=2)) for p in patches)
    assert not torch.equal(weights_of(one), weights_of(other))


def test_segmentation_and_targets_are_learned_together():
    told = []
    run(small_state(dropout=0.0), schedule=Schedule(steps=150, rate=1e-2, look_every=0), notify=told.append)
    first, last = told[0], told[-1]
    for task in ("segmentation", "outcome", "score"):
        assert last[f"loss_{task}"] < 0.75 * first[f"loss_{task}"], task


def test_the_log_holds_every_loss_and_what_the_tasks_ask_of_the_bottleneck(tmp_path):
    run(small_state(), schedule=Schedule(steps=20, look_every=10), log_path=tmp_path / "log.csv")
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20"]
    for name in ("loss_segmentation", "loss_outcome", "norm_segmentation", "norm_score", "cosine_outcome"):
        assert math.isfinite(float(rows[-1][name])), name


def test_training_ends_when_the_validation_side_gets_no_better(tmp_path):
    schedule = Schedule(steps=200, rate=0.0, check_every=5, patience=2, look_every=0)
    state = run(small_state(), tmp_path, schedule=schedule, validation=small_patches(small_scans(4, seed=5)))
    assert state.step < 50
    assert {path.name for path in tmp_path.glob("best_*.pt")} >= {"best_joint.pt", "best_outcome.pt"}


def test_a_loss_that_is_no_number_ends_it_and_says_so(tmp_path):
    scans = small_scans()
    scans[0].stack[:] = float("nan")
    patches = small_patches(scans, batch=12)
    with pytest.raises(TrainingError, match="damaged images"):
        fit_tasks(small_state(), patches, small_losses(), Schedule(steps=3), checkpoint=tmp_path / "state.pt")


def test_a_checkpoint_cut_short_says_where_the_one_before_lies(tmp_path):
    run(small_state(), tmp_path)
    whole = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"rename .*state\.pt\.previous"):
        small_state().load(tmp_path / "state.pt")
    (tmp_path / "state.pt.previous").replace(tmp_path / "state.pt")
    state = small_state()
    state.load(tmp_path / "state.pt")
    assert state.step == 8 or state.step == 4


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="delete it"):
        small_state().load(tmp_path / "state.pt")


def test_another_trainings_checkpoint_is_refused(tmp_path):
    state = small_state()
    state.digest = "one"
    state.save(tmp_path / "state.pt")
    other = small_state()
    other.digest = "two"
    with pytest.raises(TrainingError, match="another plan"):
        other.load(tmp_path / "state.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    state = small_state()
    state.save(tmp_path / "state.pt")
    before = (tmp_path / "state.pt").read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    state.step = 7
    with pytest.raises(IOFailure, match="no space is left"):
        state.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_checkpoint_with_one_flipped_byte_is_noticed(tmp_path, place):
    small_state().save(tmp_path / "state.pt")
    content = bytearray((tmp_path / "state.pt").read_bytes())
    with zipfile.ZipFile(tmp_path / "state.pt") as parts:
        largest = sorted(parts.infolist(), key=lambda part: part.file_size)[-1]
    content[largest.header_offset + 100 + int(place * largest.file_size)] ^= 1
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"(checksum|cannot be read|not a checkpoint)"):
        small_state().load(tmp_path / "state.pt")


def test_weights_with_one_flipped_byte_are_noticed(tmp_path):
    keep_weights(small_state().mean, tmp_path / "weights.pt")
    content = bytearray((tmp_path / "weights.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_weights(tmp_path / "weights.pt")


def test_gradients_are_cut_and_the_mean_follows_slowly():
    """A step downhill of plain gradient descent is as long as the gradient."""
    network = torch.nn.Linear(3, 1, bias=False)
    state = State(network, copy.deepcopy(network).requires_grad_(False), torch.optim.SGD(network.parameters(), lr=1.0))
    state.step, before = 10**6, network.weight.detach().clone()
    norm = learn(state, 1e4 * network(torch.ones(1, 3)).sum(), Schedule(None, clip=0.5, average=0.9))
    moved = network.weight.detach() - before
    assert norm == pytest.approx(1e4 * 3**0.5, rel=1e-4)
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)
    assert torch.allclose(state.mean.weight, before + 0.1 * moved, atol=1e-6)


def test_a_gradient_that_is_no_number_changes_no_weight():
    network = torch.nn.Linear(3, 1, bias=False)
    state = State(network, copy.deepcopy(network), torch.optim.SGD(network.parameters(), lr=1.0))
    before = network.weight.detach().clone()
    learn(state, network(torch.full((1, 3), float("inf"))).sum(), Schedule(None))
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize(
    ("steps", "minutes", "done"), [(8, None, 0.25), (None, 1.0, 0.5), (8, 1.0, 0.5), (2, 10.0, 1.0)]
)
def test_steps_or_minutes_end_a_training_whichever_comes_first(steps, minutes, done):
    state = small_state()
    state.step = 2
    assert how_far(state, Schedule(steps, minutes), 30.0) == pytest.approx(done)
