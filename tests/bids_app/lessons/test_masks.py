"""Real masks in the template's space are kept sparsely and read back where they lie."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.errors import DataError, InputMissing, UsageError
from bids_app.lessons.masks import load_masks, on_grid
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.heads.placed import from_mni

#: Masks of 2 mm in MNI space, the first axis from right to left, and the place of every voxel.
AFFINE = np.array([[-2.0, 0, 0, 78], [0, 2, 0, -112], [0, 0, 2, -70], [0, 0, 0, 1]])
PLACES = np.moveaxis(np.indices((79, 95, 78), np.float32), 0, -1) @ AFFINE[:3, :3].T.astype(np.float32) + AFFINE[:3, 3]


def ball(middle, radius):
    """Everything within so many mm of a place."""
    return (np.linalg.norm(PLACES - middle, axis=-1) <= radius).astype(np.uint8)


def write_people(folder, people, masks=None):
    """People with NIHSS, and a ball each: middle (MNI mm) and radius (mm)."""
    (folder / "lesions").mkdir(parents=True)
    rows = ["participant_id\tnihss"]
    for number, (nihss, middle, radius) in enumerate(people, 1):
        name = f"sub-{number:02d}"
        rows.append(f"{name}\t{nihss}")
        image = nib.Nifti1Image(ball(middle, radius), AFFINE)
        nib.save(image, folder / "lesions" / f"{name}_space-MNI152_label-L_mask.nii.gz")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    people = [(n, (-30 if n % 2 else 30, -10, 20), 5 + n) for n in range(1, 11)]
    write_people(folder / "stroke_outcome", [("n/a" if n == 2 else n, *rest) for n, *rest in people])
    return folder


def test_a_mask_is_kept_where_it_lies_with_its_volume(root):
    kept = load_masks(load_recipe("strokeseverity"), root, "stroke_outcome", held_out=False)
    assert kept.names == [f"sub-{n:02d}" for n in (1, 2, 3, 4, 6, 7, 8, 9)]  # every fifth judges
    assert np.isnan(kept.targets[1, 0])
    assert kept.targets[[0, 2, 3, 4], 0].tolist() == [1, 3, 4, 6]
    assert kept.scalings["nihss"]["mean"] == pytest.approx(np.mean([1, 3, 4, 6, 7, 8, 9]))
    for person, name in enumerate(kept.names):
        radius = 5 + int(name[-2:])
        marked = ball((-30 if radius % 2 == 0 else 30, -10, 20), radius).sum()
        assert kept.ml(person) == pytest.approx(marked * 0.008, rel=0.01)
    core = kept.core(0)
    here, there = (torch.tensor([[[from_mni(place)]]]) for place in ((-30, -10, 20), (30, -10, 20)))
    assert float(core(here)) == pytest.approx(1, abs=0.01)
    assert float(core(there)) == 0
    edge = torch.tensor([[[from_mni((-36, -10, 20))]]])
    assert 0.2 < float(core(edge)) < 0.8


def test_those_who_judge_are_others(root):
    recipe = load_recipe("strokeseverity")
    assert load_masks(recipe, root, "stroke_outcome", held_out=True).names == ["sub-05", "sub-10"]
    fewer = load_masks(recipe, root, "stroke_outcome", held_out=False, leave_out=["sub-03"])
    assert fewer.names == [f"sub-{n:02d}" for n in (1, 2, 4, 6, 7, 8, 9)]
    with pytest.raises(UsageError, match="sub-44 cannot be left out"):
        load_masks(recipe, root, "stroke_outcome", held_out=False, leave_out=["sub-44"])


def test_what_is_no_mask_in_the_templates_space_is_named(tmp_path):
    recipe = load_recipe("strokeseverity")
    with pytest.raises(InputMissing, match="does not exist"):
        load_masks(recipe, tmp_path, "stroke_outcome", held_out=False)
    folder = tmp_path / "stroke_outcome"
    folder.mkdir()
    with pytest.raises(InputMissing, match="holds no sub-LABEL"):
        load_masks(recipe, tmp_path, "stroke_outcome", held_out=False)
    mask = folder / "sub-01_mask.nii.gz"
    empty = np.zeros((9, 9, 9), np.uint8)
    for values, offset, said in ((empty, 0, "marks nothing"), (empty + 1, 500, "is it in MNI space")):
        affine = np.eye(4)
        affine[:3, 3] = offset
        nib.save(nib.Nifti1Image(values, affine), mask)
        with pytest.raises(DataError, match=said):
            on_grid(mask)
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 2), np.uint8), np.eye(4)), mask)
    with pytest.raises(DataError, match="4 axes"):
        on_grid(mask)
    mask.write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        on_grid(mask)
    (folder / "sub-01_label-L_mask.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="two masks"):
        load_masks(recipe, tmp_path, "stroke_outcome", held_out=False)
