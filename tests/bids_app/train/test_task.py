"""What is trained again, answered again, or left as it is when something that a fold was made of has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bids_app.train import fold
from bids_app.train.arms import FROZEN, MULTI, SEGMENTATION_ONLY, TARGET_ONLY, Arm
from bids_app.train.batches import Patches
from bids_app.train.fold import Trial, run_fold
from bids_app.train.state import read_tensors, read_weights
from bids_app.train.task import DONE, MADE_OF, STATE, WEIGHTS, FoldTask, changes, is_done, is_trained, unanswered
from tests.bids_app.train.test_check import change, relabel
from tests.workflows.small_cohort import write_small_cohort
from tests.workflows.test_training import planned

ARMS = {
    MULTI: Arm(MULTI),
    SEGMENTATION_ONLY: Arm(SEGMENTATION_ONLY, targets=False),
    TARGET_ONLY: Arm(TARGET_ONLY, segmentation=False),
    FROZEN: Arm(FROZEN, segmentation=False, frozen=True),
}


def parts(**changed: str) -> dict[str, str]:
    return {**dict.fromkeys(("images", "labels", "targets", "covariates"), "as before"), **changed}


def task_of(arm: str = MULTI, out: Path | str = "somewhere", *, train=None, test=None, **more) -> FoldTask:
    data = {"training": {"sub-01": train or parts()}, "test": {"sub-02": test or parts()}}
    fold = {"name": "fold-1", "train": ["01"], "validation": [], "test": ["02"]}
    given = {"recipe": {"targets": []}, "levels": {}, "plan": {"targets": {"score": {"mean": 1.0}}}, "fold": fold}
    return FoldTask(**given, split="s", arm=ARMS[arm].to_plain(), scans="scans", out=str(out), data=data, **more)


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("images", {MULTI, SEGMENTATION_ONLY, TARGET_ONLY}),
        ("labels", {MULTI, SEGMENTATION_ONLY}),
        ("targets", {MULTI, TARGET_ONLY}),
        ("covariates", {MULTI, SEGMENTATION_ONLY, TARGET_ONLY}),
    ],
)
def test_an_arm_depends_on_what_it_learns_from(changed, again):
    new = parts(**{changed: "anew"})
    found = {arm for arm in ARMS if task_of(arm).digest != task_of(arm, train=new).digest}
    assert found - {FROZEN} == again


def test_targets_that_a_plan_fitted_do_not_concern_an_arm_without_them():
    plan = {"targets": {"score": {"mean": 2.0}}}
    assert replace(task_of(SEGMENTATION_ONLY), plan=plan).digest == task_of(SEGMENTATION_ONLY).digest
    assert replace(task_of(MULTI), plan=plan).digest != task_of(MULTI).digest


def test_the_test_side_decides_no_weights_but_its_images_decide_answers():
    for changed, same in (("images", False), ("covariates", False), ("labels", True), ("targets", True)):
        other = task_of(test=parts(**{changed: "anew"}))
        assert other.digest == task_of().digest
        assert (other.wanted() == task_of().wanted()) is same


def test_a_frozen_encoder_depends_on_the_arm_it_comes_from_and_not_on_its_folder():
    one, other = (task_of(FROZEN, start=f"{place}/segmentation-only", start_digest="d") for place in "ab")
    assert one.digest == other.digest
    assert replace(one, start_digest="e").digest != one.digest


def test_more_subsets_are_more_answers_of_the_same_weights():
    more = replace(task_of(), subsets=[["T1w"]])
    assert more.digest == task_of().digest
    assert set(more.wanted()) == {"answers", "answers_T1w"}


def test_nobody_tested_means_nothing_to_answer():
    assert replace(task_of(), answer=False).wanted() == {}


def finished(folder: Path, task: FoldTask) -> None:
    """What a finished task leaves, without its weights being any."""
    folder.mkdir(exist_ok=True)
    for name in (STATE, WEIGHTS):
        (folder / name).write_bytes(b"weights")
    task.keep_made_of()
    (folder / DONE).write_text(json.dumps({"digest": task.digest, "answers": task.wanted()}))


def test_a_folder_of_other_data_is_begun_anew_and_one_of_other_options_is_kept(tmp_path):
    old = task_of(out=tmp_path)
    finished(tmp_path, old)
    assert is_done(old)
    replace(old, seed=7).write()
    assert (tmp_path / STATE).is_file()  # whoever changed an option is asked first
    task_of(out=tmp_path, train=parts(labels="anew")).write()
    assert not any((tmp_path / name).exists() for name in (STATE, WEIGHTS, DONE, MADE_OF))


def test_weights_without_their_file_are_not_done(tmp_path):
    task = task_of(out=tmp_path)
    finished(tmp_path, task)
    (tmp_path / WEIGHTS).unlink()
    assert not is_done(task)


def test_what_changed_is_named_with_what_follows(tmp_path):
    finished(tmp_path, task_of(out=tmp_path))
    labels, images = parts(labels="anew"), parts(images="anew")
    assert changes([task_of(out=tmp_path)]) == []
    (line,) = changes([task_of(out=tmp_path, train=labels)])
    assert line == "sub-01: labels changed since the last training: multi-task fold-1 is trained again"
    (line,) = changes([task_of(out=tmp_path, test=images)])
    assert "sub-02: images changed" in line
    assert "answers for it, and is scored, again" in line
    assert changes([task_of(SEGMENTATION_ONLY, out=tmp_path, train=parts(targets="anew"))]) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = write_small_cohort(tmp_path_factory.mktemp("trained"), 8)
    for task in planned(root, steps=2).tasks:
        task.write()
        run_fold(task)
    return root


def weights(tasks) -> list[bytes]:
    return [(Path(task.out) / WEIGHTS).read_bytes() for task in tasks]


def test_weights_come_from_the_training_side_and_the_mean_of_them_is_kept(trained, tmp_path, monkeypatch):
    task = replace(planned(trained, steps=2).tasks[0], out=str(tmp_path / "fold"))
    read, learned = [], []
    load, batch = fold.load_scans, Patches.batch

    def load_scans(folder, people, **how):
        read.append(sorted(people))
        return load(folder, people, **how)

    def seen(patches, step):
        learned.append(len(patches))
        return batch(patches, step)

    monkeypatch.setattr(fold, "load_scans", load_scans)
    monkeypatch.setattr(Patches, "batch", seen)
    task.write()
    run_fold(task)
    training = {*task.fold["train"], *task.fold["validation"]}
    assert read == [sorted(training), sorted(training), sorted(task.fold["test"])]  # the heads are solved on the second
    assert learned == [len(training)] * 2
    kept, parts = read_weights(tmp_path / "fold" / WEIGHTS), read_tensors(tmp_path / "fold" / STATE)
    shared = [name for name in kept if not name.startswith("heads.")]
    assert all(torch.equal(kept[name], parts["mean"][name]) for name in shared)
    assert any(not torch.equal(kept[name], parts["network"][name]) for name in shared)


def test_a_frozen_encoder_keeps_its_weights_and_the_head_learns(trained):
    course = planned(trained, steps=2, compare=["tasks"])
    arms = {name: course.tasks_of("folds", name)[0] for name in (SEGMENTATION_ONLY, FROZEN)}
    for task in arms.values():
        task.write()
        run_fold(task)
    first, frozen = (read_weights(Path(task.out) / WEIGHTS) for task in arms.values())
    encoder = [name for name in frozen if name.startswith("unet.encoder.")]
    assert encoder
    assert all(torch.equal(frozen[name], first[name]) for name in encoder)
    begun = Trial(arms[FROZEN]).state().network.state_dict()
    assert any(not torch.equal(frozen[name], begun[name]) for name in frozen if name.startswith("heads."))


def test_subsets_that_are_asked_for_later_are_answered_without_training(trained):
    before = weights(planned(trained, steps=2).tasks)
    course = planned(trained, steps=2, compare=["sequences"])
    own = course.tasks_of("folds", "multi-task")
    assert all(is_trained(task) and unanswered(task) == ["answers_T1w", "answers_FLAIR"] for task in own)
    for task in own:
        task.write()
        run_fold(task)
    assert all(map(is_done, own))
    assert weights(own) == before
    assert len(list(Path(own[0].out, "answers_FLAIR").glob("*.npz"))) == 4


def test_a_changed_label_trains_only_the_fold_that_learns_from_it(trained):
    tasks = planned(trained, steps=2).tasks
    before, person = weights(tasks), tasks[0].fold["test"][0]
    relabel(trained, f"sub-{person}", 1)
    after = planned(trained, steps=2).tasks
    assert [is_done(task) for task in after] == [True, False]  # the first only tests this person
    assert any("labels changed" in line and f"sub-{person}" in line for line in changes(after))
    for task in after:
        task.write()
        run_fold(task)
    assert all(map(is_done, after))
    assert [new == old for new, old in zip(weights(after), before, strict=True)] == [True, False]


def test_a_changed_target_is_noticed_on_the_training_side(trained):
    tasks = planned(trained, steps=2).tasks
    person = tasks[0].fold["train"][0]
    change(trained, f"sub-{person}", 4, "9.5")
    after = planned(trained, steps=2).tasks
    assert [is_trained(task) for task in after] == [person not in task.fold["train"] for task in after]
