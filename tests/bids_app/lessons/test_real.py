"""Real scans that a lesson mixes among the drawn ones: who trains, that this is told, and what becomes of them."""

import json

import numpy as np
import pytest
import torch

from bids_app.bids.digest import sha256_of
from bids_app.bundle.bundle import load_bundle
from bids_app.bundle.manifest import was_trained_on
from bids_app.errors import UsageError
from bids_app.lessons.lesions import LesionLesson
from bids_app.lessons.real import RealPatches, images_of, licence_of, load_real
from bids_app.lessons.train import load_lesson, new_state
from bids_app.recipes.recipe import load_recipe
from tests.bids_app.lessons.test_lesions import SMALL
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

SHAPE = (40, 44, 36)
PATCH = (32, 32, 32)


def write_participant(root, name: str, *, flair: bool = True, dataset: str = "ms") -> None:
    """A brain whose lesion is where the FLAIR is brightest."""
    import nibabel as nib

    rng = np.random.default_rng([len(name), flair])
    inside = np.zeros(SHAPE, bool)
    inside[4:36, 4:40, 4:32] = True
    lesion = np.zeros(SHAPE, bool)
    lesion[10:15, 12:18, 10:16] = True
    folder, derivative = (root / dataset / part / f"{name}/anat" for part in ("", "derivatives/manual"))
    folder.mkdir(parents=True)
    derivative.mkdir(parents=True)
    for sequence, bright in {"T1w": 60, "T2w": 140, "FLAIR": 180}.items():
        if sequence != "FLAIR" or flair:
            image = np.where(inside, 100 + rng.normal(0, 5, SHAPE), 0)
            image[lesion] = bright
            nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), folder / f"{name}_{sequence}.nii.gz")
    mask = nib.Nifti1Image(lesion.astype(np.uint8), np.eye(4))
    nib.save(mask, derivative / f"{name}_space-orig_label-L_mask.nii.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_participant(folder, "sub-01")
    write_participant(folder, "sub-002", flair=False)
    (folder / "labelmaps").mkdir()
    save_labels(folder / "labelmaps/a.nii.gz", head_labels(), spacing=3.5)
    return folder


def test_who_is_there_trains_and_who_is_left_out_does_not(root):
    recipe = load_recipe("ms")
    assert [scan.key for scan in load_real(recipe, root)] == ["sub-002", "sub-01"]
    (one,) = load_real(recipe, root, ["sub-002"])
    assert one.key == "sub-01"
    assert one.present.tolist() == [1, 1, 1]
    assert one.labels.sum() == 5 * 6 * 6
    assert float(one.stack[2][one.labels > 0].mean()) > 150  # by one interpolation, as in prediction
    assert load_real(load_recipe("stroke"), root) == []
    with pytest.raises(UsageError, match="sub-99 cannot be left out"):
        load_real(recipe, root, ["sub-99"])
    with pytest.raises(UsageError, match="nobody can be left out"):
        load_lesson("anatomy", root, root, 1, leave_out=["sub-01"])


def test_people_of_two_datasets_train_together_and_their_licences_are_named(tmp_path):
    recipe = load_recipe("ms")
    write_participant(tmp_path, "sub-01")
    assert "Lesjak" in licence_of(recipe, tmp_path, ["sub-01"])
    write_participant(tmp_path, "sub-wml01", dataset="wml")
    assert [scan.key for scan in load_real(recipe, tmp_path)] == ["sub-01", "sub-wml01"]
    assert [scan.key for scan in load_real(recipe, tmp_path, ["sub-01"])] == ["sub-wml01"]
    only = licence_of(recipe, tmp_path, ["sub-wml01"])
    assert "SBIA" in only
    assert "Lesjak" not in only
    write_participant(tmp_path, "sub-01", dataset="wml")
    with pytest.raises(UsageError, match="both have a sub-01"):
        load_real(recipe, tmp_path)


def test_a_participant_without_a_mask_is_named(root, tmp_path):
    write_participant(tmp_path, "sub-01")
    next(tmp_path.rglob("*_mask.nii.gz")).unlink()
    with pytest.raises(UsageError, match="sub-01 lacks a T1w or has 0 masks"):
        images_of(load_recipe("ms"), tmp_path, "sub-01")


def test_patches_are_changed_the_same_way_each_time_and_lesions_stay_on_theirs(root):
    recipe = load_recipe("ms")
    patches = RealPatches(load_real(recipe, root, ["sub-002"]), recipe, PATCH, [{"kind": "scan"}] * 3, 1)
    brighter = []
    for number in range(12):
        images, classes = patches[number]
        again = patches[number]
        assert torch.equal(images, again[0])
        assert torch.equal(classes, again[1])
        assert images[0].any()  # the T1w is never left out
        if classes.sum() > 20 and images[2].any():
            inside = images[2] != 0
            brighter.append(float(images[2][classes > 0].mean() - images[2][inside & (classes == 0)].mean()))
    assert len(brighter) > 3
    assert min(brighter) > 1
    assert not torch.equal(patches[0][0], patches[1][0])


def test_a_lesson_mixes_them_and_its_bundle_knows_who_trained(root, tmp_path, monkeypatch):
    from bids_app.lessons import lesions as lesson_lesions
    from bids_app.lessons.export import export_drawn

    recipe = load_recipe("ms")
    recipe = recipe.model_copy(update={"network": SMALL})
    monkeypatch.setattr(lesson_lesions, "PATCH", PATCH)
    lesson = LesionLesson.load(recipe, root, 1, leave_out=["sub-002"])
    assert lesson.spec.pathology == "ms"
    assert lesson.real.participants == ["sub-01"]
    lesson.patch = PATCH
    lesson.real = RealPatches(load_real(recipe, root, ["sub-002"]), recipe, PATCH, lesson.normalisation, 1)
    mixed = [torch.equal(lesson[n][0], lesson.real[n][0]) for n in range(20)]
    assert 0 < sum(mixed) < 20
    path = export_drawn(
        new_state(recipe, lesson.plan, 1),
        lesson,
        lesson.truth,
        tmp_path / "bundle",
        seed=1,
        patch=PATCH,
        held_out=["b"],
        normalisation={name: {"kind": "scan"} for name in ("T1w", "T2w", "FLAIR")},
        counts=(1, 1),
        real=lesson._real_images(),
        real_licence="phantoms of a test",
        beside=[new_state(recipe, lesson.plan, 2).mean],
    )
    bundle = load_bundle(path)
    first, second = (network.state_dict() for network in bundle.networks)
    assert not all(torch.equal(first[name], second[name]) for name in first)
    hashes = {name: sha256_of(images_of(recipe, root, name)[0]["T1w"]) for name in ("sub-01", "sub-002")}
    assert was_trained_on(bundle, images=[hashes["sub-01"]]) == [hashes["sub-01"]]
    assert was_trained_on(bundle, images=[hashes["sub-002"]]) == []
    assert json.loads((path / "manifest.json").read_text())["real_images"] == ["sub-01"]
    assert "phantoms of a test" in (path / "LICENSE").read_text()
    card = (path / "MODEL_CARD.md").read_text()
    assert "real scans with lesions marked by people (sub-01;" in card
    assert "No real image" not in card
