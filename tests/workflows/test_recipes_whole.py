"""Every recipe with a target of its own: demo cohort, training, bundle, a session with the bundle, the group's tables.

The recipe is the one that ships but for its grid (the image as it is, coarse), its size and its steps; labels, regions,
targets, covariates and sequences are its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_app.bids.record_file import read_session
from bids_app.bids.tables import read_rows
from bids_app.bundle.bundle import load_bundle
from bids_app.cohort.raw import needs_nothing
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from bids_app.judge.course import judge
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.recipes.write import recipe_to_toml
from bids_app.settings import from_plain
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.datasets.demo_dataset import write_demo
from bids_app.train.course import set_out
from bids_app.train.fold import Trial, run_fold
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session

#: Participants and voxels, mm; a habenula needs finer ones than the others to be labelled at all.
COHORTS = {
    "alzheimer": (6, 5.0),
    "schizophrenia": (4, 5.0),
    "tbi": (4, 5.0),
    "stroke": (4, 5.0),
    "depression": (8, 2.5),
}
#: Run with the slow tests: as schizophrenia with more people and regions; with every session preprocessed; with eight
#: times the voxels.
SLOW = ("alzheimer", "stroke", "depression")


@dataclass(frozen=True)
class Ran:
    """The recipe, its bundle, where that was applied, and what the training found."""

    recipe: Recipe
    bundle: Path
    out: Path
    results: dict


def coarse(name: str, spacing: float) -> Recipe:
    plain = load_recipe(name).model_dump()
    plain["grid"] = {"kind": "image", "spacing_mm": spacing}
    plain["network"] |= {"filters": 4, "blocks": (1, 1), "deep_supervision": 1}
    plain["learning"] |= {"steps": 2, "batch": 2}
    plain["preprocessing"]["bias"] = False
    return Recipe.model_validate(plain)


def run_whole(name: str, root: Path) -> Ran:
    """Everything in this process, without the ten steps that try a plan."""
    n, spacing = COHORTS[name]
    bids = write_demo(DemoPlan(name, n=n, seed=2, spacing=spacing), root / "bids")
    recipe = coarse(name, spacing)
    (root / "recipe.toml").write_text(recipe_to_toml(recipe))
    common = {
        "bids_dir": str(bids),
        "output_dir": str(root / "out"),
        "work_dir": str(root / "work"),
        "recipe": [str(root / "recipe.toml")],
        "derivatives": {"manual": str(bids / "derivatives" / "manual")},
        "device": "cpu",
        "sloppy": True,
    }
    training = from_plain({**common, "levels": ["train"], "folds": 2})
    if not needs_nothing(recipe):
        prepare_dataset(training)
        for number in range(1, n + 1):
            assert run_session(training, f"{number:02d}", None, threads=1) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_app.train.course.try_plan", lambda task, say: Trial(task).plan)
        course = set_out(training, recipe, memory_gb=4, threads=1, say=lambda text: None)
    for task in course.tasks:
        run_fold(task)
    judge(training, course, [])
    bundle, out = course.folder / "bundle", root / "applied"
    applied = from_plain({**common, "bundle": str(bundle), "output_dir": str(out)})
    prepare_dataset(applied)
    assert run_session(applied, "01", None, threads=1) == 0
    write_group(out, GroupPlan())
    return Ran(recipe, bundle, out, json.loads((course.folder / "results.json").read_text()))


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COHORTS]
)
def ran(request, tmp_path_factory) -> Ran:
    return run_whole(request.param, tmp_path_factory.mktemp(request.param))


def test_a_recipe_goes_from_its_demo_cohort_to_the_groups_tables(ran):
    recipe, names = ran.recipe, {target.name for target in ran.recipe.targets}
    summary = ran.results["arms"]["multi-task"]["splits"]["folds"]["summary"]
    assert set(summary["targets"]) == names
    assert {region.name for region in recipe.regions} <= set(summary["regions"])
    bundle = load_bundle(ran.bundle)
    assert {target.name for target in bundle.recipe.targets} == names
    assert all(target.levels for target in bundle.recipe.targets if target.behaviour.has_levels)
    (scores,) = ran.out.rglob("*_prediction.json")
    said = json.loads(scores.read_text())
    assert said["ResearchUseOnly"] is True
    assert set(said["Targets"]) == names
    part = read_session(ran.out, "sub-01").recipes[recipe.name]
    assert part.state == "done"
    assert len(part.prediction.regions) == len(recipe.regions)
    _, rows, _ = read_rows(ran.out / "group_predictions.tsv")
    assert {row["target"] for row in rows} == names
    assert (ran.out / "group.html").is_file()


def test_no_page_or_card_speaks_of_a_diagnosis_of_somebody(ran):
    for page in (ran.out / "sub-01.html", ran.bundle / "MODEL_CARD.md"):
        text = page.read_text()
        assert "esearch use only" in text
        assert not re.search(r"diagnos(is of|ed (with|as))", text, re.I)
