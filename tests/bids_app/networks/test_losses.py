import pytest
import torch

from bids_app.networks.losses import ScaledDiceCELoss


def soft_target() -> torch.Tensor:
    part = torch.rand(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.4
    return torch.cat([1 - part.sum(1, keepdim=True), part], 1)


def test_a_soft_target_is_its_own_best_answer():
    target = soft_target()
    best = ScaledDiceCELoss()([target.log()], target)
    for seed in range(3):
        other = target.log() + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
        assert ScaledDiceCELoss()([other], target) > best


def test_scale_weights_sum_to_one():
    target = soft_target().mean((2, 3, 4), keepdim=True).expand(1, 3, 8, 8, 8)
    one = ScaledDiceCELoss()([target.log()], target)
    two = ScaledDiceCELoss()([target.log(), target[..., :4, :4, :4].log()], target)
    assert float(two) == pytest.approx(float(one), rel=1e-4)
