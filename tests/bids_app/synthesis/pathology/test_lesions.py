from __future__ import annotations

import pytest
import torch

from bids_app.synthesis.pathology.lesions import bent_blobs, filled_voxels, place_weight


def test_lesions_gather_around_the_ventricles():
    white, ventricle = torch.ones(30, 30, 30), torch.zeros(30, 30, 30)
    ventricle[14:16, 10:20, 14:16] = 1
    weight = place_weight(white, ventricle, 3.0)
    assert weight[12, 15, 15] > 3 * weight[4, 15, 15]


def test_blobs_have_the_volume_that_was_asked_for_on_average():
    blobs = bent_blobs(torch.full((80, 3), 24.2), torch.full((80,), 3.0), torch.Generator().manual_seed(0))
    blob, _, share = filled_voxels(blobs, (48, 48, 48), 1.0)
    volumes = torch.zeros(80).index_add_(0, blob, share) / 1000
    assert float(volumes.mean()) == pytest.approx(3.15, rel=0.05)  # the waves of their surface add a twentieth
    assert float(volumes.std()) < 1.0


def test_a_blob_at_the_corner_fills_voxels_of_the_grid_only():
    blobs = bent_blobs(torch.tensor([[0.0, 19.0, 0.0]]), torch.ones(1), torch.Generator().manual_seed(1))
    _, voxel, share = filled_voxels(blobs, (20, 20, 20), 1.0)
    x, y, z = torch.unravel_index(voxel, (20, 20, 20))
    assert float(share.max()) == 1
    assert int(x.max()) < 12
    assert int(y.min()) > 7
    assert int(z.max()) < 12
