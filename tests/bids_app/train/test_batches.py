from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from bids_app.errors import TrainingError
from bids_app.networks.standardise import standardise
from bids_app.train.batches import Patches, permute
from tests.learned.small import small_patches, small_scans


def test_every_scan_is_seen_once_per_epoch():
    patches = Patches(small_scans(), (16,) * 3, 3, 1, regions=1, normalise=standardise)
    assert sorted(i for step in range(4) for i in patches.chosen(step)) == list(range(12))


def test_the_same_step_gives_the_same_batch():
    patches = small_patches(small_scans(), side=12)
    for one, other in zip(patches.batch(5), patches.batch(5), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_no_batch_lacks_a_level_however_rare():
    scans = [dataclasses.replace(s, targets=np.array([float(i == 0), 0.0])) for i, s in enumerate(small_scans())]
    patches = small_patches(scans, batch=3)
    for step in range(20):
        assert set(patches.batch(step).targets[:, 0].tolist()) == {0.0, 1.0}


def test_no_batch_lacks_a_lesion():
    scans = [s if i == 3 else dataclasses.replace(s, labels=0 * s.labels) for i, s in enumerate(small_scans())]
    patches = Patches(scans, (16,) * 3, 4, 1, regions=1, normalise=standardise)
    for step in range(10):
        assert patches.batch(step).labels[:, 1].any()


def test_scans_without_labels_are_marked():
    scans = [dataclasses.replace(s, labels=None) if i < 6 else s for i, s in enumerate(small_scans())]
    batch = small_patches(scans).collate(range(12))
    assert batch.labelled.tolist() == [0.0] * 6 + [1.0] * 6
    assert not batch.labels[:6, 1:].any()


def test_a_scan_smaller_than_the_patch_lies_in_its_middle():
    batch = small_patches(small_scans(2, side=16), side=20).collate([0])
    assert batch.images.shape == (1, 2, 20, 20, 20)
    assert not batch.images[..., :2].any()
    assert batch.images[..., 2:18].any()


def test_slices_have_no_third_axis():
    scans = [dataclasses.replace(s, stack=s.stack[..., 8:9], labels=s.labels[..., 8:9]) for s in small_scans(3)]
    patches = Patches(scans, (16, 16, 1), 2, 0, regions=1, normalise=standardise, flat=True)
    assert patches.batch(0).images.shape == (2, 2, 16, 16)
    assert patches.batch(0).labels.shape == (2, 2, 16, 16)


def test_an_arm_of_one_sequence_sees_only_that():
    scans = small_scans(3)
    patches = Patches(scans, (16,) * 3, 2, 0, regions=1, normalise=standardise, channels=[1])
    assert patches.batch(0).images.shape[1] == 1
    torch.testing.assert_close(patches.stacks[0][0], standardise(torch.from_numpy(scans[0].stack))[1])


def test_no_scans_is_an_error():
    with pytest.raises(TrainingError, match="no scans"):
        small_patches([])


def test_permuted_targets_keep_their_number_and_their_participants():
    targets = np.array([[0.0], [0.0], [1.0], [1.0], [1.0], [np.nan]])
    people = ["a", "a", "b", "c", "d", "e"]
    permuted = [permute(targets, people, seed) for seed in range(20)]
    for dealt in permuted:
        assert dealt[0, 0] == dealt[1, 0]
        assert np.isnan(dealt[5, 0])
    assert len({tuple(dealt[:5, 0]) for dealt in permuted}) > 1
