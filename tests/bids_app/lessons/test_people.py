"""Structures and what a table knows of the same people are learned at once, and a bundle answers for both."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.bundle.bundle import load_bundle
from bids_app.errors import DataError, UsageError
from bids_app.lessons import export as export_module
from bids_app.lessons.people import PeopleLesson, load_people, solve
from bids_app.lessons.real_heads import files_of
from bids_app.lessons.train import load_lesson, new_state
from bids_app.networks.heads import LinearHead
from bids_app.predict.anatomy import find_anatomy, view_around
from bids_app.predict.targets import predict_targets
from bids_app.recipes.recipe import load_recipe
from bids_app.train.loop import Schedule, learn
from tests.bids_app.lessons.test_real_heads import write_heads
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

NAMES = [f"sub-{n:02d}" for n in range(1, 15)]
AGES = np.linspace(20, 75, len(NAMES)).round()
SIDES = (48, 48, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Heads whose white matter darkens with age; one age is not known."""
    folder = tmp_path_factory.mktemp("people")
    write_heads(folder, NAMES)
    rows = ["participant_id\tage\tsex"]
    for number, (name, age) in enumerate(zip(NAMES, AGES, strict=True)):
        path, _ = files_of(folder, name)
        image = nib.load(path)
        values = np.asarray(image.dataobj)
        values = np.where(values == 200, 230 - age, values) + np.random.default_rng(number).normal(0, 2, values.shape)
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), path)
        rows.append(f"{name}\t{'n/a' if number == 3 else age}\t{'MF'[number % 2]}")
    (folder / "ixi/participants.tsv").write_text("\n".join(rows) + "\n")
    (folder / "labelmaps").mkdir()
    save_labels(folder / "labelmaps/a.nii.gz", head_labels(), spacing=3.5)
    return folder


@pytest.fixture(scope="module")
def lesson(root):
    whole = load_lesson("healthy", root, root, 1)
    small = replace(whole, patch=SIDES)
    return replace(small, people=load_people(whole.recipe, root, small, NAMES))


def test_everybody_trains_with_what_is_known_of_them_but_who_is_left_out(root, lesson):
    assert lesson.people.names == NAMES
    assert np.isnan(lesson.people.targets[3, 0])
    assert lesson.people.targets[:3, 1].tolist() == [1, 0, 1]  # F comes first
    assert lesson.people.scalings["age"]["mean"] == pytest.approx(np.delete(AGES, 3).mean())
    fewer = load_lesson("healthy", root, root, 1, leave_out=["sub-02"])
    assert "sub-02" not in fewer.people.names
    assert len(fewer.heads) == len(NAMES) - 1
    with pytest.raises(UsageError, match="sub-99 cannot be left out"):
        PeopleLesson.load(load_recipe("healthy"), root, 1, leave_out=["sub-99"])


def test_a_table_without_the_targets_is_named(root, tmp_path):
    (tmp_path / "labelmaps").symlink_to(root / "labelmaps")
    (tmp_path / "ixi").mkdir()
    for part in (root / "ixi").iterdir():
        if part.name != "participants.tsv":
            (tmp_path / "ixi" / part.name).symlink_to(part)
    (tmp_path / "ixi/participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    with pytest.raises(DataError, match=r"participants\.tsv.*sex"):
        load_lesson("healthy", tmp_path, tmp_path, 1)


def test_targets_teach_head_and_encoder_and_set_in_late(lesson):
    state = new_state(lesson.recipe, lesson.plan, 3)
    assert isinstance(state.network.heads["age"], LinearHead)
    torch.nn.init.normal_(state.network.heads["age"].image.weight)
    first = lesson.target_loss(state.network, 5)
    state.network.eval()
    assert float(lesson.target_loss(state.network, 5)) == float(lesson.target_loss(state.network, 5))
    state.network.train()
    before = {name: p.detach().clone() for name, p in state.network.named_parameters()}
    learn(state, first, Schedule(1))
    moved = {name for name, p in state.network.named_parameters() if not torch.equal(p, before[name])}
    assert {"heads.age.image.weight", "heads.sex.image.weight", "unet.encoder.conv_init.weight"} <= moved
    image, labels = lesson[0]
    state.network.eval()
    early, late = (float(lesson.judge(state.network, image[None], labels[None], at, 7)[0]) for at in (0.0, 1.0))
    assert late - early == pytest.approx(float(lesson.target_loss(state.network, 7)), abs=1e-4)


def test_views_are_the_same_person_a_little_changed(lesson):
    one, again, other = (lesson.view([2], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == (1, 1, *SIDES)


def test_the_bundle_finds_structures_and_answers_for_the_person(root, lesson, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "export_drawn", partial(export_module.export_drawn, counts=(1, 1)))
    state = new_state(lesson.recipe, lesson.plan, 3)
    told = solve(state.mean, lesson.recipe, lesson.people)
    assert told["age"]["people"] == len(NAMES) - 1
    bundle = load_bundle(lesson.export(state, tmp_path / "bundle", seed=3))
    assert sorted(bundle.manifest["real_images"]) == NAMES
    assert bundle.metrics["heads"]["age"]["blocks"] == told["age"]["blocks"]
    said = []
    for name in NAMES:
        path, _ = files_of(root, name)
        stack = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj, np.float32)[None]
        answer = predict_targets(bundle, view_around(stack, (24, 28, 24), SIDES))
        said.append(answer["age"]["value"])
        assert sum(answer["sex"]["levels"].values()) == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(said, AGES)[0, 1] > 0.9
    monkeypatch.setattr(
        "bids_app.predict.anatomy.likeliest", lambda recipe, p, weights=None: np.full(p.shape[1:], 2, np.uint8)
    )
    found = find_anatomy(bundle, files_of(root, NAMES[0])[0])
    assert found.view is not None
    assert found.view.shape == (1, *SIDES)


def test_a_view_reaches_beyond_the_image():
    stack = np.arange(27.0).reshape(1, 3, 3, 3)
    view = view_around(stack, (0, 1, 2), (4, 4, 2))
    assert view.shape == (1, 4, 4, 2)
    assert view[0, 2, 2, 1] == stack[0, 0, 1, 2]
    assert not view[0, :2].any()
