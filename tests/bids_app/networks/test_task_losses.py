"""Losses of several tasks, of which only a part is known."""

from __future__ import annotations

import pytest
import torch

from bids_app.networks.losses import Balance, TaskLosses
from bids_app.networks.multitask import HeadShape, MultiTaskNet, NetworkShape
from bids_app.scans.scan import Batch
from bids_app.targets.kinds import kind_of

NAN = float("nan")
KINDS = {"outcome": kind_of("binary"), "score": kind_of("continuous")}
SHAPE = NetworkShape(
    1, 2, filters=4, blocks=(1, 1), heads=(HeadShape("outcome", "binary", 2), HeadShape("score", "continuous", 1))
)


def batch(labelled=(1, 1), targets=((0, 1.0), (1, 2.0))):
    torch.manual_seed(0)
    n = len(labelled)
    region = (torch.rand(n, 1, 8, 8, 8) > 0.7).float()
    return Batch(
        torch.randn(n, 1, 8, 8, 8),
        torch.ones(n, 1),
        torch.cat([1 - region, region], 1),
        torch.tensor(labelled, dtype=torch.float32),
        torch.tensor(targets),
        torch.zeros(n, 0),
    )


def losses_of(known: Batch, network=None) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    network = network or MultiTaskNet(SHAPE).eval()
    return TaskLosses(KINDS)(network(known.images), known)


def test_what_is_not_labelled_does_not_count():
    some = batch(labelled=(1, 0))
    changed = some._replace(labels=torch.stack([some.labels[0], some.labels[1].flip(0)]))
    torch.testing.assert_close(losses_of(some)["segmentation"], losses_of(changed)["segmentation"])


def test_an_unknown_target_does_not_count():
    known = losses_of(batch(targets=((0, 1.0), (1, NAN))))
    alone = losses_of(Batch(*[part[:1] for part in batch(targets=((0, 1.0), (1, 2.0)))]))
    torch.testing.assert_close(known["score"], alone["score"])


def test_nothing_known_is_no_loss_and_no_error():
    network = MultiTaskNet(SHAPE)
    losses = losses_of(batch(labelled=(0, 0), targets=((NAN, NAN), (NAN, NAN))), network)
    assert all(float(loss) == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


def test_every_task_counts_alike_at_first():
    balance = Balance(["segmentation", "outcome"], {})
    for _ in range(10):
        balance.observe(torch.tensor([2.0, 0.1]), torch.tensor([True, True]))
    total = balance({"segmentation": torch.tensor(2.0), "outcome": torch.tensor(0.1)})
    assert float(total) == pytest.approx(2.0)


def test_an_uncertain_task_learns_to_weigh_less():
    balance = Balance(["segmentation", "outcome"], {}, "uncertainty")
    balance.observe(torch.ones(2), torch.tensor([True, True]))
    optimiser = torch.optim.SGD(balance.parameters(), lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        balance({"segmentation": torch.tensor(0.1), "outcome": torch.tensor(2.0)}).backward()
        optimiser.step()
    assert balance.log_variance[1] > balance.log_variance[0]


def test_dynamic_averaging_favours_the_slower_task():
    balance = Balance(["segmentation", "outcome"], {}, "dwa")
    for step in range(40):
        balance.observe(torch.tensor([0.9**step, 1.0]), torch.tensor([True, True]))
    balance.initial.fill_(1.0)
    quick, slow = (
        float(balance({"segmentation": torch.tensor(a), "outcome": torch.tensor(b)})) for a, b in ((1.0, 0), (0, 1.0))
    )
    assert slow > 1 > quick
