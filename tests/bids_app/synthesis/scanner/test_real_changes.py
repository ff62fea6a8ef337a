"""What real heads are changed by: wider ventricles, other contrasts, a smaller field of view."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.lessons.real_heads import VENTRICLES, RealHead, _head, merging_table
from bids_app.synthesis.heads.labelmaps import POSITION
from bids_app.synthesis.scanner.generator import Ranges
from bids_app.synthesis.scanner.real_changes import Changes, curve, draw_real, widening
from tests.bids_app.lessons.test_real_heads import write_heads

STILL = Ranges(
    turn=0, scale=0, shear=0, bend_mm=0, mirror=0, near_brain=1, shift_mm=0, stripped=0, bias=0, gamma=0, ghost=0
)
NO_CHANGES = Changes((0, 0), (0, 0), degraded=0, cut=0, around=0, spots=0, noise=0)
SHAPE = (48, 48, 48)


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> RealHead:
    root = tmp_path_factory.mktemp("data")
    write_heads(root, ["sub-1"])
    image = root / "ixi/sub-1/anat/sub-1_T1w.nii.gz"
    (regions,) = (root / "ixi/derivatives/regions/sub-1/anat").glob("*.nii.gz")
    return _head("sub-1", image, regions, merging_table(root), 2.0)


def drawn(head, changes=NO_CHANGES, how=STILL, *, painted=False, seed=1):
    return draw_real(
        head.label_map, head.image, head.levels, head.fields, seed=seed, shape=SHAPE, spacing=2.0, how=how,
        changes=changes, painted=painted,
    )  # fmt: skip


def share(labels, numbers) -> int:
    return int(torch.isin(labels, torch.tensor([POSITION[n] for n in numbers], dtype=labels.dtype)).sum())


def test_without_changes_a_head_is_as_it_was(head):
    image, labels = drawn(head)
    whole = int((head.label_map.labels > 0).sum())
    assert int((labels > 0).sum()) == pytest.approx(whole, rel=0.01)
    white, fluid = (image[labels == POSITION[n]].median() for n in (2, 24))
    assert white > fluid


def test_a_head_as_it_lies_keeps_its_voxels_but_for_whole_steps_and_a_mirror(head):
    lies, moving = replace(NO_CHANGES, as_it_lies=1.0), replace(STILL, turn=0.3, scale=0.2, bend_mm=3, shift_mm=8)
    own = torch.bincount(head.label_map.labels[head.label_map.labels > 0].long())
    places = set()
    for seed in range(4):
        _, labels = drawn(head, lies, moving, seed=seed)
        assert torch.equal(torch.bincount(labels[labels > 0].long()), own)
        places.add(tuple(torch.nonzero(labels)[0].tolist()))
        assert not torch.equal(
            torch.bincount(drawn(head, NO_CHANGES, moving, seed=seed)[1].flatten().long())[1:], own[1:]
        )
    assert len(places) > 1
    _, mirrored = drawn(head, lies, replace(moving, mirror=1.0))
    paired = torch.bincount(mirrored.flatten().long(), minlength=len(own))
    left, right = POSITION[2], POSITION[41]
    assert (paired[left], paired[right]) == (own[right], own[left])
    painted = drawn(head, lies, moving, painted=True)[1]
    assert torch.equal(painted, drawn(head, NO_CHANGES, moving, painted=True)[1])


def test_ventricles_become_wider_and_the_skull_stays(head):
    _, before = drawn(head)
    _, after = drawn(head, replace(NO_CHANGES, wider_ventricles=(4, 4)))
    assert share(after, VENTRICLES) > 1.5 * share(before, VENTRICLES)
    assert int((after > 0).sum()) == pytest.approx(int((before > 0).sum()), rel=0.03)


def test_the_fluid_around_the_brain_becomes_wider_and_the_skull_stays(head):
    _, before = drawn(head)
    _, after = drawn(head, replace(NO_CHANGES, wider_outside=(3, 3)))
    assert share(after, [24]) > 1.2 * share(before, [24])
    assert int((after > 0).sum()) == pytest.approx(int((before > 0).sum()), rel=0.03)


def test_no_amount_moves_nothing(head):
    at = torch.rand(3, 16, 16, 16) * 40
    assert not widening(at, head.label_map, head.fields, (0.0, 0.0)).any()


def test_another_contrast_has_the_same_labels_and_not_always_the_order_of_t1w(head):
    orders = set()
    for seed in range(8):
        image, labels = drawn(head, painted=True, seed=seed)
        assert torch.equal(labels, drawn(head, seed=seed)[1])
        levels = [float(image[labels == POSITION[n]].median()) for n in (24, 3, 2)]
        orders.add(tuple(np.argsort(levels)))
    assert len(orders) > 2


def test_what_is_cut_off_is_neither_seen_nor_labelled(head):
    whole = int((drawn(head)[1] > 0).sum())
    for seed in range(4):
        image, labels = drawn(head, replace(NO_CHANGES, cut=1.0, cut_mm=(-8, -8)), seed=seed)
        assert 0.5 * whole < int((labels > 0).sum()) < whole
        assert not (labels[image == 0] > 0).float().mean() > 0.01


def test_spots_lie_in_white_matter_alone(head):
    image, labels = drawn(head)
    spotted, same = drawn(head, replace(NO_CHANGES, spots=1.0))
    assert torch.equal(labels, same)
    moved = (image - spotted).abs() > 0.02
    assert moved.any()
    assert torch.isin(labels[moved], torch.tensor([POSITION[2], POSITION[41]], dtype=labels.dtype)).all()


def test_a_curve_passes_its_knots_and_is_level_beyond():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0])
    assert curve(values, [0, 1, 2], [1, 3, 0]).tolist() == pytest.approx([1, 1, 2, 3, 1.5, 0, 0])
