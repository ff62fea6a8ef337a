"""A kind of target is one object: a made-up kind is learned, answered, judged and shown without any other change."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_app.errors import DataError, RecipeError
from bids_app.targets import kinds
from bids_app.targets.kinds import kind_names, kind_of, register
from bids_app.targets.valued import Valued

ROOT = Path(__file__).parents[3]


class Count(Valued):
    """How often something happened: a Poisson distribution's logarithm of the mean."""

    name = "count"

    def fit(self, values, levels):
        return {"mean": float(values.mean())}

    def loss(self, logits, truth, scaling=None):
        mean = (logits[:, 0] + math.log((scaling or {}).get("mean", 1.0))).exp()
        return (mean - truth * mean.log()).sum(), logits.new_tensor(float(len(truth)))

    def in_unit(self, outputs, scaling):
        return np.exp(outputs) * scaling.get("mean", 1.0)

    @staticmethod
    def link(logits, how):
        return logits.exp() * how.get("mean", 1.0)


@pytest.fixture
def count(monkeypatch):
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    return register(Count())


def names_of_kinds(path: Path) -> list[int]:
    """Lines on which the name of a kind is compared with, looked up, or listed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    looked = (ast.Compare, ast.Dict, ast.Subscript, ast.Match, ast.Set, ast.Tuple, ast.List)
    return [
        part.lineno
        for node in ast.walk(tree)
        if isinstance(node, looked)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and part.value in ("binary", "categorical", "ordinal", "continuous")
    ]


def test_nobody_else_asks_for_a_kind_by_its_name():
    files = [p for room in ("bids_app", "workflows") for p in (ROOT / room).rglob("*.py")]
    asking = {str(p.relative_to(ROOT)): lines for p in files if (lines := names_of_kinds(p))}
    # a dataset with known truth states the kinds of its own targets, as a recipe does
    assert set(asking) <= {"bids_app/synthesis/datasets/cohort_dataset.py"}


def test_every_kind_states_what_it_is_judged_by():
    for kind in map(kind_of, kind_names()):
        assert kind.foremost in kind.columns
        assert set(kind.tested) <= set(kind.columns)


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(RecipeError, match="binary, categorical, ordinal, continuous"):
        kind_of("binery")


def test_a_name_is_taken_once():
    with pytest.raises(RecipeError, match="already"):
        register(kind_of("binary"))


@pytest.mark.parametrize("name", ["binary", "categorical", "ordinal"])
def test_the_exported_link_is_the_one_that_predicts(name):
    kind = kind_of(name)
    logits = np.random.default_rng(0).normal(0, 2, (6, kind.outputs(4)))
    found = kind.link(torch.from_numpy(logits), {"temperature": 1.7})
    np.testing.assert_allclose(found.numpy(), kind.probabilities(logits, 1.7), atol=1e-12)


def test_the_exported_link_of_a_value_is_in_its_unit():
    kind, scaling = kind_of("continuous"), {"mean": 50.0, "sd": 10.0}
    found = kind.link(torch.tensor([[1.5]]), {"temperature": 1.0, **scaling})
    assert found.item() == kind.in_unit(np.array([1.5]), scaling)[0] == 65


def test_nobody_is_told_a_value_that_no_training_participant_had():
    kind = kind_of("continuous")
    scaling = kind.fit(np.array([0.0, 10.0, 30.0]), 0)
    outputs = np.array([[-9.0], [0.5], [9.0]])
    said = kind.in_unit(outputs, scaling)[:, 0]
    assert said[0] == 0
    assert said[2] == 30
    assert 0 < said[1] < 30
    np.testing.assert_allclose(kind.link(torch.from_numpy(outputs), scaling).numpy()[:, 0], said)
    lined = kind.baseline(np.arange(30.0)[:, None], np.arange(30.0), np.array([[-500.0], [500.0]]), 0)
    assert lined.ravel().tolist() == [0, 29]


def test_a_value_has_no_levels_to_decide_between():
    for ask in (kind_of("continuous").decide, kind_of("continuous").probabilities):
        with pytest.raises(DataError, match="not probabilities"):
            ask(np.array([0.5, 0.5]))


def test_binary_loss_is_the_cross_entropy():
    total, count = kind_of("binary").loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1.0]))
    assert float(total) == pytest.approx(math.log(2))
    assert float(count) == 1


def test_class_weights_balance_the_classes():
    logits, truth = torch.zeros(4, 2), torch.tensor([0.0, 0, 0, 1])
    total, count = kind_of("binary").loss(logits, truth, {"weights": [1.0, 3.0]})
    assert float(count) == 6
    assert float(total / count) == pytest.approx(math.log(2))


def test_a_farther_level_costs_more():
    sure_of_first = torch.tensor([[-4.0, -4.0, -4.0]])
    near, far = (float(kind_of("ordinal").loss(sure_of_first, torch.tensor([level]))[0]) for level in (1.0, 3.0))
    assert far > near > 0.5


def test_a_continuous_target_is_learned_in_standard_deviations():
    total, _ = kind_of("continuous").loss(torch.tensor([[1.0]]), torch.tensor([70.0]), {"mean": 60.0, "sd": 10.0})
    assert float(total) == 0


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A cohort of balls whose number of voxels, in hundreds, is a count, trained in this process."""
    from bids_app.judge.course import judge
    from bids_app.train.course import set_out
    from bids_app.train.fold import run_fold
    from tests.workflows.small_cohort import small_recipe, write_small_cohort
    from tests.workflows.test_training import settings_of

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
        register(Count())
        recipe = small_recipe(targets=[{"name": "score", "kind": "count"}])
        root = write_small_cohort(tmp_path_factory.mktemp("count"), 8, recipe=recipe)
        settings = settings_of(root, steps=4)
        course = set_out(settings, recipe, memory_gb=4, threads=1, say=lambda text: None)
        for task in course.tasks:
            run_fold(task)
        judge(settings, course, [])
        yield root


def test_a_made_up_kind_is_trained_judged_and_shown(counted):
    results = json.loads((counted / "out" / "training" / "balls" / "results.json").read_text())
    found = results["arms"]["multi-task"]["splits"]["folds"]["summary"]["targets"]["score"]
    assert found["kind"] == "count"
    assert found["measures"]["mae"]["value"] < 10
    beside = results["baselines"]["covariates"]["splits"]["folds"]["summary"]["targets"]["score"]
    assert beside["measures"]["mae"]["value"] is not None
    assert results["calibration"]["targets"]["score"]["note"] == "too few for an interval"
    assert "Mean absolute error" in (counted / "out" / "training_balls.html").read_text()


def test_a_made_up_kind_is_predicted_and_handed_on(counted):
    from bids_app.bundle.bundle import load_bundle
    from bids_app.bundle.monai import network_source, portable
    from bids_app.predict.targets import predict_targets
    from bids_app.report.view import score_text

    bundle = load_bundle(counted / "out" / "training" / "balls" / "bundle")
    stack = np.random.default_rng(0).normal(10, 2, (2, 16, 16, 16)).astype(np.float32)
    answer = predict_targets(bundle, stack, None, {"age": 25.0})["score"]
    assert 0 < answer["value"] < 50
    assert score_text("score", answer)[1] == f"{answer['value']:.3g}"
    members = portable(bundle)
    image = torch.from_numpy(stack)[None]
    image = torch.stack([(c - c.mean()) / c.std(correction=0) for c in image[0]])[None]
    with torch.inference_mode():
        handed_on = members.answer(image, torch.ones(1, 2), torch.tensor([[25.0]]))[-1]
    assert handed_on.item() == pytest.approx(answer["value"], rel=0.02)
    assert "class Count:" in network_source(bundle)
