"""Cortex that lies where an atlas has the insula is named so, on its own side and nowhere else."""

import numpy as np
import pytest
import torch

from bids_app.synthesis.heads.insula import CORTEX_TO_INSULA, INSULA, load_insula, with_insula
from bids_app.synthesis.heads.labelmaps import POSITION, brain_table, load_label_map, mirror_table, tissue_table
from bids_app.synthesis.heads.placed import MIDDLE_MNI, place_map
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

SPACING = 1.5


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return load_label_map(save_labels(tmp_path_factory.mktemp("maps") / "a.nii.gz", head_labels(), spacing=SPACING))


def mni_of(head, label: int) -> np.ndarray:
    placed = place_map(head)
    where = (head.labels == POSITION[label]).nonzero().float()
    return (where @ placed.steps + placed.origin).numpy() + np.asarray(MIDDLE_MNI)


def atlas_around(centres: list[np.ndarray], radius: float, folder) -> None:
    """An atlas whose insula is a ball around each centre, MNI mm."""
    import nibabel as nib

    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -100
    grid = np.stack(np.meshgrid(*[np.arange(200) - 100.0] * 3, indexing="ij"), -1)
    labels = np.zeros(grid.shape[:3], np.uint8)
    for centre in centres:
        labels[np.linalg.norm(grid - centre, axis=-1) <= radius] = INSULA[0]
    (folder / "habenula_atlas").mkdir()
    nib.save(nib.Nifti1Image(labels, affine), folder / "habenula_atlas/AllenAtlas.nii.gz")


def test_cortex_near_the_atlas_is_insula_of_its_side(head, tmp_path):
    centres = [mni_of(head, label)[0] for label in CORTEX_TO_INSULA]
    atlas_around(centres, 5.0, tmp_path)
    named = with_insula(head, load_insula(tmp_path))
    for (cortex, insula), centre in zip(CORTEX_TO_INSULA.items(), centres, strict=True):
        found, before = named.labels == POSITION[insula], head.labels == POSITION[cortex]
        assert 0 < int(found.sum()) < int(before.sum())
        assert bool(before[found].all())
        assert np.linalg.norm(mni_of(named, insula) - centre, axis=1).max() < 5 + 2 + 2.5
    changed = named.labels != head.labels
    assert set(head.labels[changed].tolist()) == {POSITION[label] for label in CORTEX_TO_INSULA}
    assert not torch.equal(named.labels, head.labels)


def test_the_insula_is_cortex_and_brain_and_has_a_partner():
    left, right = POSITION[1035], POSITION[2035]
    assert int(mirror_table()[left]) == right
    assert bool(brain_table()[left])
    assert int(tissue_table()[left]) == int(tissue_table()[POSITION[3]])


def test_without_an_atlas_there_is_none(tmp_path):
    assert load_insula(tmp_path) is None
