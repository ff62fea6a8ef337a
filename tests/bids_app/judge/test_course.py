"""A training with very few people ends with its bundle, and says what they were too few for."""

from __future__ import annotations

import json

from bids_app.bundle.bundle import load_bundle
from bids_app.judge.course import judge
from bids_app.train.fold import run_fold
from tests.workflows.small_cohort import small_recipe, write_small_cohort
from tests.workflows.test_training import settings_of


def test_five_people_are_one_fold_each(tmp_path):
    from bids_app.train.course import set_out

    recipe = small_recipe(targets=[{"name": "score", "kind": "continuous", "unit": "mm"}])
    settings = settings_of(write_small_cohort(tmp_path, 5, recipe=recipe), folds=5, steps=1)
    course = set_out(settings, recipe, memory_gb=4, threads=1, say=lambda text: None)
    assert all(len(task.fold["test"]) == 1 and not task.fold["validation"] for task in course.tasks)
    for task in course.tasks:
        run_fold(task)
    judge(settings, course, [])
    found = json.loads((course.folder / "results.json").read_text())
    assert found["arms"]["multi-task"]["splits"]["folds"]["summary"]["participants"] == 5
    assert found["calibration"]["targets"]["score"]["note"] == "too few for an interval"
    assert "familiarity" not in found["calibration"]
    assert len(load_bundle(course.folder / "bundle").networks) == 5
