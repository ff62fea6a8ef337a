"""The recipe of a resting-state series: demo cohort, training, bundle, a session with it, the group's tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.bundle.bundle import load_bundle
from bids_app.bundle.monai import export_monai
from bids_app.errors import UsageError
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from bids_app.judge.course import judge
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.recipes.series import STEP_S
from bids_app.recipes.write import recipe_to_toml
from bids_app.settings import from_plain
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.datasets.demo_dataset import write_demo
from bids_app.train.course import set_out
from bids_app.train.fold import Trial, run_fold
from tests.data import real
from tests.workflows.test_functional import write_fmriprep
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session

SPACING, PEOPLE, WINDOW = 6.0, 4, 12


@dataclass(frozen=True)
class Ran:
    out: Path
    root: Path
    bids: Path
    bundle: Path
    results: dict
    common: dict


def coarse() -> Recipe:
    plain = load_recipe("restingstate4d").model_dump()
    plain["grid"] = {"kind": "image", "spacing_mm": 5.0}
    plain["network"] |= {"filters": 4, "blocks": (1, 1), "frames": WINDOW}
    plain["learning"] |= {"steps": 2, "batch": 2}
    plain["preprocessing"]["bias"] = False
    return Recipe.model_validate(plain)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    """Everything in this process, without the ten steps that try a plan."""
    root = tmp_path_factory.mktemp("series")
    bids = write_demo(DemoPlan("restingstate", n=PEOPLE, seed=2, spacing=SPACING), root / "bids")
    (root / "recipe.toml").write_text(recipe_to_toml(coarse()))
    common = {
        "bids_dir": str(bids), "output_dir": str(root / "out"), "work_dir": str(root / "work"), "device": "cpu",
        "recipe": [str(root / "recipe.toml")], "sloppy": True,
        "derivatives": {"manual": str(bids / "derivatives" / "manual")},
    }  # fmt: skip
    training = from_plain({**common, "levels": ["train"], "folds": 2})
    prepare_dataset(training)
    for number in range(1, PEOPLE + 1):
        assert run_session(training, f"{number:02d}", None, threads=1) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_app.train.course.try_plan", lambda task, say: Trial(task).plan)
        course = set_out(training, coarse(), memory_gb=4, threads=1, say=lambda text: None)
    for task in course.tasks:
        run_fold(task)
    judge(training, course, [])
    applied = from_plain({**common, "bundle": str(course.folder / "bundle"), "output_dir": str(root / "applied")})
    prepare_dataset(applied)
    assert run_session(applied, "01", None, threads=1) == 0
    write_group(root / "applied", GroupPlan())
    results = json.loads((course.folder / "results.json").read_text())
    return Ran(root / "applied", root, bids, course.folder / "bundle", results, common)


@pytest.mark.slow
def test_it_goes_from_its_demo_cohort_to_the_groups_tables(ran):
    summary = ran.results["arms"]["multi-task"]["splits"]["folds"]["summary"]
    assert set(summary["targets"]) == {"diagnosis"}
    assert "altered activity" in summary["regions"]
    (scores,) = ran.out.rglob("*_prediction.json")
    said = json.loads(scores.read_text())["Targets"]["diagnosis"]
    assert said["abstained"] is False
    assert sum(said["levels"].values()) == pytest.approx(1)
    part = read_session(ran.out, "sub-01").recipes["restingstate4d"]
    assert part.state == "done"
    assert [region.name for region in part.prediction.regions] == ["altered activity"]
    assert "diagnosis" in (ran.out / "group_predictions.tsv").read_text()


@pytest.mark.slow
def test_the_series_is_written_in_the_world_of_the_reference(ran):
    files = read_session(ran.out, "sub-01").images["T1w"].files.sequences["uncorrected"]
    path = ran.out / files["bold"]
    assert path.name == "sub-01_task-rest_space-T1w_desc-uncorrected_bold.nii.gz"
    image, about = nib.load(path), json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    raw = nib.load(next((ran.bids / "sub-01").rglob("*_bold.nii.gz")))
    assert image.shape[:3] == raw.shape[:3]
    assert image.header.get_zooms()[3] == about["RepetitionTime"] == STEP_S
    values = image.get_fdata()
    inside = values.any(-1)
    assert values[inside].std() == pytest.approx(1, abs=0.05)
    assert 0.1 < inside.mean() < 0.6


@pytest.mark.slow
def test_the_bundle_is_of_windows_and_no_monai_bundle(ran):
    bundle = load_bundle(ran.bundle)
    assert bundle.network.shape.frames == bundle.recipe.network.frames == WINDOW
    with pytest.raises(UsageError, match="windows of a series"):
        export_monai(bundle, ran.root / "monai")


def in_whole_heads(bundle: Path, folder: Path) -> Path:
    """The same weights on the grid of the recipe that ships: a box around the brain, behind mask and template."""
    shutil.copytree(bundle, folder)
    plain = load_recipe(folder / "recipe.toml").model_dump()
    plain["grid"] = {"kind": "whole", "spacing_mm": 5.0}
    (folder / "recipe.toml").write_text(recipe_to_toml(Recipe.model_validate(plain)))
    return folder


def applied_to_real(ran, folder: Path, **more) -> tuple[int, Path]:
    """The bundle on the real series of 20 volumes; exit code and output folder."""
    bundle = in_whole_heads(ran.bundle, folder / "bundle")
    settings = from_plain(
        {
            "bids_dir": str(real("restingstate")), "output_dir": str(folder / "out"), "work_dir": str(folder / "work"),
            "device": "cpu", "sloppy": True, "recipe": [str(bundle / "recipe.toml")], "bundle": str(bundle), **more,
        }
    )  # fmt: skip
    prepare_dataset(settings)
    return run_session(settings, "001", None, threads=1), folder / "out"


def check_real(out: Path) -> SessionRecord:
    """A mask on the T1w's grid and an answer that is there or abstained from, with its reason."""
    record = read_session(out, "sub-001")
    part = record.recipes["restingstate4d"]
    assert part.state == "done"
    mask = nib.load(out / (part.files.lesion_mask or part.files.dseg))
    assert mask.shape == nib.load(out / record.images["T1w"].files.reference["uncorrected"]).shape
    answer = part.scores.targets["diagnosis"]
    assert answer["abstained"] is False or answer["reason"]
    assert any("20 volumes in 0.8 minutes are too few" in text for text in record.all_warnings())
    return record


@pytest.mark.slow
def test_a_real_series_of_twenty_volumes_goes_from_raw_to_mask_and_answer(ran, tmp_path):
    code, out = applied_to_real(ran, tmp_path)
    assert code == 0
    series = nib.load(out / check_real(out).images["T1w"].files.sequences["uncorrected"]["bold"])
    assert series.shape[3] == 24  # from the first of 20 volumes to the last 47.9 s, a frame every 2 s


@pytest.mark.slow
def test_a_real_series_from_fmriprep_goes_to_mask_and_answer(ran, tmp_path):
    derivative = write_fmriprep(tmp_path)
    code, out = applied_to_real(ran, tmp_path, derivatives={"fmriprep": str(derivative)})
    assert code == 0
    assert check_real(out).images["T1w"].preprocessing.functional["prepared_by"] == "fMRIPrep"


@pytest.mark.slow
def test_a_series_that_is_too_short_fails_its_session_with_the_reason(ran):
    path = next((ran.bids / "sub-02").rglob("*_bold.nii.gz"))
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., : WINDOW - 1], image.affine, image.header), path)
    applied = from_plain({**ran.common, "bundle": str(ran.bundle), "output_dir": str(ran.out)})
    assert run_session(applied, "02", None, threads=1) != 0
    assert "the series is too short" in json.dumps(read_session(ran.out, "sub-02").model_dump(mode="json"))
    assert read_session(ran.out, "sub-01").recipes["restingstate4d"].state == "done"
