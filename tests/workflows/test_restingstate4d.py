"""The recipe of a resting-state series: demo cohort, training, bundle, a session with it, the group's tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

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


@pytest.mark.slow
def test_a_series_that_is_too_short_fails_its_session_with_the_reason(ran):
    path = next((ran.bids / "sub-02").rglob("*_bold.nii.gz"))
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., : WINDOW - 1], image.affine, image.header), path)
    applied = from_plain({**ran.common, "bundle": str(ran.bundle), "output_dir": str(ran.out)})
    assert run_session(applied, "02", None, threads=1) != 0
    assert "the series is too short" in json.dumps(read_session(ran.out, "sub-02").model_dump(mode="json"))
    assert read_session(ran.out, "sub-01").recipes["restingstate4d"].state == "done"
