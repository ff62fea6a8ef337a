"""Heads drawn from a label map: the same from a seed, with a brain where the map has one."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import InputMissing
from bids_app.synthesis.heads import SHAPE, draw_head, load_heads, prepare_heads


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A ball of white matter in cortex, in CSF, in skull and skin; as a prepared head."""
    folder = tmp_path_factory.mktemp("maps")
    axes = np.ogrid[-60:60, -70:70, -60:60]
    away = np.sqrt(sum(a.astype(float) ** 2 for a in axes))
    labels = np.select([away < 35, away < 42, away < 46, away < 52], [2, 3, 24, 502]).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, np.diag([-1, 1, 1, 1])), folder / "ball.nii.gz")
    return load_heads(prepare_heads(folder, folder / "cache"))[0]


def test_the_brain_is_the_tissue_and_not_the_fluid_around_it(head):
    volume = float(head[2].sum()) * 27
    assert volume == pytest.approx(4 / 3 * np.pi * 42**3, rel=0.03)


def test_parts_of_a_voxel_sum_to_one(head):
    assert head[1].sum(0).numpy() == pytest.approx(np.ones(head[1].shape[1:]), abs=0.02)


def test_a_seed_gives_the_same_scan_and_another_gives_another(head):
    image, target = draw_head(head, 3)
    again, _ = draw_head(head, 3)
    other, _ = draw_head(head, 4)
    assert image.shape == (1, *SHAPE)
    assert target.shape == (2, *SHAPE)
    assert bool((image == again).all())
    assert not bool((image == other).all())


def test_a_target_is_a_share_of_brain(head):
    for seed in range(5):
        image, target = draw_head(head, seed)
        assert bool(image.isfinite().all())
        assert target.sum(0).numpy() == pytest.approx(np.ones(SHAPE), abs=1e-5)
        assert 0.02 < float(target[1].mean()) < 0.5


def test_a_folder_without_maps_is_named(tmp_path):
    with pytest.raises(InputMissing, match="label maps"):
        prepare_heads(tmp_path, tmp_path / "cache")
