from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.errors import DataError
from bids_app.synthesis.heads.labelmaps import POSITION, load_label_map
from bids_app.synthesis.heads.placed import (
    LANDMARKS,
    MIDDLE_MNI,
    STEM,
    around,
    from_mni,
    place_map,
    places_of_head,
    tissue_of_labels,
)
from tests.bids_app.synthesis.small_heads import save_labels


def head_labels() -> tuple[np.ndarray, np.ndarray]:
    """Small cubes where the structures of a head are, on a grid of 2 mm that runs left, posterior, superior."""
    labels = np.zeros((80, 100, 80), np.int16)
    affine = np.array([[-2.0, 0, 0, 79], [0, -2, 0, 82], [0, 0, 2, -74], [0, 0, 0, 1]])
    known = {left: (-m[0], *m[1:]) for (left, _), m in LANDMARKS.values()}
    known |= {right: m for (_, right), m in LANDMARKS.values()} | dict([STEM])
    for label, place in known.items():
        x, y, z = np.rint(np.linalg.inv(affine) @ [*place, 1])[:3].astype(int)
        labels[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = label
    return labels, affine


def test_places_of_a_head_are_millimetres_from_the_middle_of_the_brain():
    labels, affine = head_labels()
    at = places_of_head(labels, affine)
    right_putamen = at[torch.from_numpy(labels == 51)].mean(0)
    assert torch.allclose(right_putamen, torch.tensor(from_mni((24, 4, 2))), atol=1.5)
    x, y, z = 11, 70, 30
    world = torch.tensor((affine @ [x, y, z, 1])[:3] - np.array(MIDDLE_MNI), dtype=torch.float32)
    assert torch.allclose(at[x, y, z], world, atol=2.0)


def test_a_head_without_one_side_has_no_places():
    labels, affine = head_labels()
    labels[:40] = 0
    with pytest.raises(DataError, match="on both sides"):
        places_of_head(labels, affine)
    with pytest.raises(DataError, match="0 of the"):
        places_of_head(np.zeros((4, 4, 4), int), np.eye(4))


def test_labels_become_tissue():
    labels = torch.tensor([0, 2, 3, 4, 13, 24, 16, 515]).reshape(2, 2, 2)
    made = tissue_of_labels(labels, 1.0, torch.zeros(2, 2, 2, 3))
    assert made.tissue.flatten(1).T.tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
        [0, 0.5, 0.5],
        [1, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
    assert made.ventricle.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    with pytest.raises(DataError, match="do not fit"):
        tissue_of_labels(labels, 1.0, torch.zeros(2, 2, 3))


def test_a_label_map_is_placed_whatever_the_order_of_its_axes(tmp_path):
    labels, _ = head_labels()
    upright = np.ascontiguousarray(labels[::-1, ::-1])
    placed = place_map(load_label_map(save_labels(tmp_path / "map.nii.gz", upright, spacing=2.0, axes="PSR")))
    where = (placed.label_map.labels == POSITION[51]).nonzero().float().mean(0)
    at = placed.places(where.reshape(3, 1, 1, 1))[0, 0, 0]
    assert torch.allclose(at, torch.tensor(from_mni((24, 4, 2))), atol=1.5)


def test_a_patch_can_be_centred_on_a_place_of_the_head(tmp_path):
    labels, _ = head_labels()
    upright = np.ascontiguousarray(labels[::-1, ::-1])
    placed = place_map(load_label_map(save_labels(tmp_path / "map.nii.gz", upright, spacing=2.0)))
    middle = around(placed, from_mni((-24, 4, 2))).brain[0]
    assert placed.label_map.labels[tuple(middle.tolist())] == POSITION[12]
