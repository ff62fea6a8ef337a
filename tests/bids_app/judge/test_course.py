"""A training with very few people ends with its bundle, and says what they were too few for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from bids_app.bundle.bundle import load_bundle
from bids_app.judge.beside import functional_evaluations, scans_of
from bids_app.judge.course import judge
from bids_app.train.fold import run_fold
from tests.workflows.small_cohort import small_recipe, write_small_cohort
from tests.workflows.test_training import settings_of


def with_series(course, folder):
    """The course with resting-state series of its people."""
    rng, sessions = np.random.default_rng(0), []
    for number, session in enumerate(course.cohort.sessions):
        path = folder / f"{session.key}_task-rest_desc-cubes_timeseries.tsv"
        np.savetxt(path, rng.normal(size=(40, 4)), delimiter="\t", header="x15\tx45\tx-15\tx-45", comments="")
        sessions.append(replace(session, courses=path, motion=0.1 * number))
    return replace(course, cohort=replace(course.cohort, sessions=tuple(sessions)))


def test_five_people_are_one_fold_each(tmp_path, monkeypatch):
    from bids_app.train.course import set_out

    recipe = small_recipe(targets=[{"name": "score", "kind": "continuous", "unit": "mm"}])
    settings = settings_of(write_small_cohort(tmp_path, 5, recipe=recipe), folds=5, steps=1)
    course = set_out(settings, recipe, memory_gb=4, threads=1, say=lambda text: None)
    assert all(len(task.fold["test"]) == 1 and not task.fold["validation"] for task in course.tasks)
    course = with_series(course, tmp_path)
    for task in course.tasks:
        run_fold(task)
    asked = {}
    doubt = lambda own, baselines, *_, **__: asked.update(baselines) or ["It is too good."]  # noqa: E731
    monkeypatch.setattr("bids_app.judge.beside.suspicions", doubt)
    told = judge(settings, course, [])
    found = json.loads((course.folder / "results.json").read_text())
    card = course.folder / "bundle" / "MODEL_CARD.md"
    assert found["arms"]["multi-task"]["splits"]["folds"]["summary"]["participants"] == 5
    assert found["calibration"]["targets"]["score"]["note"] == "too few for an interval"
    assert {"connectivity", "connectivity-tangent", "age-sex-motion"} <= set(found["baselines"])
    assert "connectivity-tangent" in (settings.output_dir / f"training_{recipe.name}.html").read_text()
    assert {"age-sex-site", "covariates", "age-sex-motion"} <= set(asked)
    assert not any(row["arm"] == "age-sex-site" for row in found["comparison"]["folds"]["rows"])
    assert found["suspicions"] == ["Folds at random: It is too good."]
    page = settings.output_dir / f"training_{recipe.name}.html"
    assert "Folds at random: It is too good." in told
    assert all("It is too good." in path.read_text() for path in (page, card))
    course.cohort.sessions[0].courses.write_text("x15\tx45\n1\tmuch\n")
    assert functional_evaluations(course, recipe, "folds", course.splits["folds"], list(scans_of(course))) == {}
    assert "baselines of resting-state series are left out: " in course.cohort.notes[-1]
    assert "familiarity" not in found["calibration"]
    assert len(load_bundle(course.folder / "bundle").networks) == 5
