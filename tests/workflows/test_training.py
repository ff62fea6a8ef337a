"""The train level from the command line to a bundle that the participant level uses at once."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.cli.main import main
from bids_app.errors import DataError, LeakageError, UsageError
from bids_app.measure.overlap import dice
from bids_app.networks.reading import CELLS_PER_AXIS
from bids_app.settings import from_plain
from bids_app.train.course import set_out
from tests.workflows.small_cohort import small_recipe, write_small_cohort
from workflows.training import init_training_wf, node_name, share_out_training


def command(root: Path, *more: str) -> list[str]:
    manual = f"manual={root}/bids/derivatives/manual"
    return [
        str(root / "bids"),
        str(root / "out"),
        "train",
        "--recipe",
        str(root / "balls.toml"),
        "-d",
        manual,
        "--folds",
        "2",
        "-w",
        str(root / "work"),
        *more,
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    root = write_small_cohort(tmp_path_factory.mktemp("trained"), 10)
    assert main(command(root, "--compare", "tasks", "--controls", "--steps", "4")) == 0
    return root


def results_of(root: Path) -> dict:
    return json.loads((root / "out" / "training" / "balls" / "results.json").read_text())


def test_every_arm_answers_for_the_same_people(trained):
    arms = results_of(trained)["arms"]
    assert set(arms) == {"multi-task", "segmentation-only", "target-only", "frozen-encoder", "permuted"}
    for name, arm in arms.items():
        assert arm["splits"]["folds"]["summary"]["participants"] == 10, name


def test_the_comparison_says_what_was_shown_and_judges_its_control(trained):
    found = results_of(trained)
    assert found["controls"] is not None
    compared = {row["arm"] for row in found["comparison"]["folds"]["rows"]}
    assert {"segmentation-only", "target-only", "frozen-encoder", "lesion-places"} <= compared
    beside = {"volumes", "covariates", "volumes-and-covariates", "lesion-places", "age-sex-site"}
    assert set(found["baselines"]) == beside
    assert "no site was left out" in " ".join(found["sentences"])


def test_the_page_forbids_clinical_use_and_shows_the_arms(trained):
    page = (trained / "out" / "training_balls.html").read_text()
    assert "esearch use only" in page
    assert "frozen-encoder" in page


def test_the_bundle_is_used_at_once_and_names_those_who_trained_it(trained, capfd):
    folder = trained / "out" / "training" / "balls" / "bundle"
    bundle = load_bundle(folder)
    assert len(bundle.networks) == 2
    assert bundle.recipe.targets[0].levels == ("good", "poor")
    out = trained / "applied"
    arguments = [str(trained / "bids"), str(out), "participant", "--bundle", str(folder), "-w", str(trained / "w")]
    assert main([*arguments, "--participant-label", "00"]) == 0
    (scores,) = out.rglob("*_prediction.json")
    said = json.loads(scores.read_text())
    assert "outcome" in json.dumps(said)
    assert said["ResearchUseOnly"] is True
    assert "trained the bundle" in (out / "sub-00.html").read_text()
    assert list(out.rglob("*_dseg.nii.gz"))


def evaluation(trained: Path, data: Path, out: Path) -> list[str]:
    folder = str(trained / "out" / "training" / "balls" / "bundle")
    manual = f"manual={data}/bids/derivatives/manual"
    return ["bundle", "evaluate", folder, str(data / "bids"), str(out), "-d", manual, "-w", str(out / "w")]


def test_heads_of_lesions_read_where_they_lie(trained):
    bundle = trained / "out" / "training" / "balls" / "bundle"
    assert json.loads((bundle / "network.json").read_text())["cells"] == CELLS_PER_AXIS


def test_a_bundle_is_not_evaluated_on_those_who_trained_it(trained, tmp_path, capfd):
    assert main(evaluation(trained, trained, tmp_path / "out")) == LeakageError.exit_code
    assert "trained on" in capfd.readouterr().err


@pytest.fixture(scope="module")
def others(trained, tmp_path_factory) -> tuple[Path, dict, str]:
    """Four people who trained nothing, on whom the bundle was evaluated: their folder, the results, what was said."""
    root = write_small_cohort(tmp_path_factory.mktemp("others"), 4, seed=7)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(evaluation(trained, root, root / "judged")) == 0
    found = json.loads((root / "judged" / "evaluation" / "bundle" / "results.json").read_text())
    return root, found, said.getvalue()


def test_a_bundle_is_evaluated_on_others(others):
    _, found, said = others
    assert "research use only" in said
    assert found["summary"]["participants"] == 4
    assert found["summary"]["targets"]["outcome"]["measures"]["brier"]["value"] is not None
    assert "sub-00" in " ".join(found["notes"]) or "00" in " ".join(found["notes"])


def test_what_is_evaluated_is_the_mask_that_a_person_gets(trained, others, tmp_path):
    root, found, _ = others
    folder = str(trained / "out" / "training" / "balls" / "bundle")
    out = tmp_path / "applied"
    arguments = [str(root / "bids"), str(out), "participant", "--bundle", folder, "-w", str(tmp_path / "w")]
    assert main(arguments) == 0
    dice_of = []
    for mask in sorted(out.rglob("*_dseg.nii.gz")):
        (same,) = (root / "judged").rglob(mask.name)
        answered = nib.load(mask).get_fdata() == 1
        assert np.array_equal(answered, nib.load(same).get_fdata() == 1)
        (truth,) = (root / "bids" / "derivatives").rglob(f"{mask.name.split('_')[0]}_*_mask.nii.gz")
        dice_of.append(dice(answered, nib.load(truth).get_fdata() == 1))
    assert len(dice_of) == 4
    assert found["summary"]["regions"]["ball"]["dice"]["value"] == pytest.approx(np.mean(dice_of))


def test_the_same_command_trains_nothing_again(trained, capfd):
    state = trained / "out" / "training" / "balls" / "arms" / "multi-task" / "fold-1" / "state.pt"
    before = state.stat().st_mtime_ns
    assert main(command(trained, "--compare", "tasks", "--controls", "--steps", "4")) == 0
    assert state.stat().st_mtime_ns == before
    assert "started" not in capfd.readouterr().out


def settings_of(root: Path, **more):
    plain = {
        "bids_dir": str(root / "bids"),
        "output_dir": str(root / "out"),
        "levels": ["train"],
        "recipe": [str(root / "balls.toml")],
        "derivatives": {"manual": str(root / "bids" / "derivatives" / "manual")},
        "work_dir": str(root / "work"),
        "folds": 2,
        "device": "cpu",
        "nprocs": 2,
    }
    return from_plain({**plain, **more})


def planned(root: Path, **more):
    return set_out(settings_of(root, **more), small_recipe(), memory_gb=4, threads=1, say=lambda text: None)


def test_with_two_sites_each_is_left_out_once(tmp_path):
    course = planned(write_small_cohort(tmp_path, 8, sites=True))
    assert {fold.name for fold in course.splits["sites"].folds} == {"site-A", "site-B"}
    digests = {task.split for task in course.tasks_of("folds", "multi-task")}
    assert digests == {course.splits["folds"].digest}


def test_a_split_is_drawn_once_and_other_options_are_refused(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    first = planned(root).splits["folds"].digest
    assert planned(root).splits["folds"].digest == first
    with pytest.raises(DataError, match="delete"):
        planned(root, folds=4)


def test_what_is_fitted_comes_from_the_training_side_alone(tmp_path):
    course = planned(write_small_cohort(tmp_path, 8))
    for task in course.tasks:
        assert task.plan["fitted_on"]["participants"] == len(task.fold["train"]) + len(task.fold["validation"])
    scores = [task.plan["targets"]["score"]["mean"] for task in course.tasks_of("folds", "multi-task")]
    assert scores[0] != scores[1]


def test_a_plan_can_be_edited_and_given_back(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    planned(root)
    path = root / "out" / "training" / "balls" / "plan.json"
    plan = json.loads(path.read_text())
    assert plan["checked"]["seconds_per_step"] > 0
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps({**plan, "filters": 8}))
    assert {task.plan["filters"] for task in planned(root, plan=str(edited)).tasks} == {8}


def test_only_the_frozen_encoder_waits(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    course = planned(root, compare=["tasks"])
    settings = settings_of(root)
    (tmp_path / "run.toml").write_text("")
    shared = share_out_training(settings, course.tasks)
    graph = init_training_wf(settings=settings, tasks=course.tasks, shared=shared, settings_file=tmp_path / "run.toml")
    edges = {(a.name, b.name) for a, b in graph._graph.edges()}
    assert edges == {(f"segmentation_only_fold_{k}", f"frozen_encoder_fold_{k}") for k in (1, 2)}
    assert node_name(course.tasks[0]) == "multi_task_fold_1"


def test_two_participants_with_one_image_are_refused_by_name(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    first, second = (root / "bids" / name / "anat" / f"{name}_T1w.nii.gz" for name in ("sub-00", "sub-01"))
    second.write_bytes(first.read_bytes())
    with pytest.raises(LeakageError, match="sub-00 and sub-01"):
        planned(root)


def test_a_target_with_one_class_is_refused_with_its_name(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    table = root / "bids" / "participants.tsv"
    table.write_text(table.read_text().replace("poor", "good"))
    with pytest.raises(DataError, match="outcome"):
        planned(root)


def test_a_score_that_is_no_number_is_listed_with_its_file(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    table = root / "bids" / "participants.tsv"
    table.write_text(table.read_text().replace("good", "unheard of", 1))
    with pytest.raises(DataError, match="unheard of"):
        planned(root)


def test_people_whose_target_is_not_known_still_teach_the_regions(tmp_path):
    root = write_small_cohort(tmp_path, 8)
    table = root / "bids" / "participants.tsv"
    lines = table.read_text().splitlines()
    lines[1] = "\t".join([*lines[1].split("\t")[:3], "n/a", "n/a"])
    table.write_text("\n".join(lines) + "\n")
    assert len(planned(root).cohort.sessions) == 8


def test_a_comparison_without_two_tasks_is_refused(tmp_path):
    root = write_small_cohort(tmp_path, 8, recipe=small_recipe(targets=[]))
    with pytest.raises(UsageError, match="regions and targets"):
        set_out(
            settings_of(root, compare=["tasks"]),
            small_recipe(targets=[]),
            memory_gb=4,
            threads=1,
            say=lambda text: None,
        )


def test_a_killed_fold_fails_alone_and_the_same_command_goes_on(tmp_path, capfd):
    root = write_small_cohort(tmp_path, 8, recipe=small_recipe(targets=[]))
    folder = root / "out" / "training" / "balls" / "arms" / "segmentation-only" / "fold-2"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"cut short")
    assert main(command(root, "--steps", "3")) != 0
    assert "fold-2" in capfd.readouterr().err
    assert (folder.parent / "fold-1" / "done.json").is_file()
    (folder / "state.pt").unlink()
    assert main(command(root, "--steps", "3")) == 0


def test_tasks_can_be_written_and_read(tmp_path):
    course = planned(write_small_cohort(tmp_path, 8))
    task = course.tasks[0]
    assert type(task).read(task.write()) == task
    assert dataclasses.replace(task, device="cuda:0").digest == task.digest
    assert dataclasses.replace(task, seed=5).digest != task.digest
    less_memory = {**task.plan, "why": ["less is free today"], "memory_gb": 9.0}
    assert dataclasses.replace(task, plan=less_memory).digest == task.digest
    assert dataclasses.replace(task, plan={**task.plan, "batch": 1}).digest != task.digest
