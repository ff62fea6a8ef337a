"""Real masks are painted into other people's heads, and what a table knows of the people is answered."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from bids_app.bundle.bundle import load_bundle
from bids_app.errors import RecipeError, UsageError
from bids_app.lessons import outcomes
from bids_app.lessons.judge import Truth
from bids_app.lessons.lesson import taught_by
from bids_app.lessons.outcomes import ICBM, OutcomeLesson, solve_outcomes
from bids_app.lessons.train import load_lesson, new_state, train_bundle
from bids_app.predict.targets import predict_targets
from bids_app.recipes.recipe import load_recipe, parse_recipe
from tests.bids_app.lessons.test_masks import write_people
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

#: NIHSS of somebody whose infarct lies on the left or right.
LEFT, RIGHT = 18, 4
PEOPLE = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """People whose infarcts lie to the left and make much of a difference, or to the right and make little."""
    folder = tmp_path_factory.mktemp("outcomes")
    people = []
    for n in range(PEOPLE):
        side = -1 if n % 3 else 1
        people.append(((LEFT if side < 0 else RIGHT) + n % 2, (side * 32, -10 + n % 5, 22), 14 + n % 4))
    write_people(folder / "stroke_outcome", people)
    (folder / "labelmaps").mkdir()
    for name in ("a", "b"):
        save_labels(folder / "labelmaps" / f"{name}.nii.gz", head_labels(), spacing=3.9)
    return folder


def small(recipe, **changes):
    """The recipe with voxels of 5 mm."""
    grid = recipe.grid.model_copy(update={"spacing_mm": 5.0})
    return recipe.model_copy(update={"grid": grid, **changes})


@pytest.fixture(scope="module")
def lesson(root):
    return OutcomeLesson.load(small(load_recipe("strokeseverity")), root, 1)


def test_the_brain_of_a_map_reaches_as_far_as_that_of_the_template(lesson):
    from bids_app.synthesis.heads.labelmaps import brain_table
    from bids_app.synthesis.heads.placed import MIDDLE_MNI

    placed = lesson.placed[0]
    inside = brain_table()[placed.label_map.labels.long()].nonzero().float()
    mni = (inside @ placed.steps + placed.origin).numpy() + MIDDLE_MNI
    np.testing.assert_allclose(np.percentile(mni, [1, 99], axis=0), ICBM, atol=4)


def test_a_scan_shows_the_infarct_of_its_person_where_it_lies(lesson):
    assert len(lesson.known.names) == PEOPLE - PEOPLE // 5
    found, contrast = [], []
    for number in (0, 1, 2, 3, PEOPLE - PEOPLE // 5):
        person = lesson.person(number)
        truth = lesson.truth(number)
        there = truth.classes == 1
        assert there.any()
        side = np.argwhere(there)[:, 0].mean() - (there.shape[0] - 1) / 2
        assert np.sign(side) == (1 if lesson.known.targets[person, 0] < 10 else -1)
        assert there.sum() * 0.125 == pytest.approx(lesson.known.ml(person), rel=0.6)
        around = binary_dilation(there, iterations=3) & ~binary_dilation(there)
        contrast.append([image[there].mean() / image[around].mean() for image in truth.stack])
        found.append((person, truth.stack))
    trace, adc = np.median(contrast, axis=0)
    assert trace > 1.1
    assert adc < 0.9
    assert found[0][0] == found[-1][0] == 0  # after the last the first comes again
    assert not np.array_equal(found[0][1], found[-1][1])  # in another head
    np.testing.assert_array_equal(lesson.truth(1).stack, found[1][1])  # the same number is the same scan


def test_heads_find_what_the_readings_tell(lesson, monkeypatch):
    state = new_state(lesson.recipe, lesson.plan, 1)
    columns = state.mean.shape.blocks_read

    def truth(number):
        adc = lesson.known.targets[lesson.person(number), 0] / 20
        return Truth(np.full((2, 4, 4, 4), adc, np.float32), np.ones(2, bool), np.zeros((4, 4, 4), np.int64))

    def look(x):
        readings = torch.zeros(1, state.mean.shape.readings)
        readings[0, columns["amounts"].start] = x[0, 1].mean()  # the ADC map keeps its scale
        return None, None, readings

    monkeypatch.setattr(lesson, "truth", truth)
    monkeypatch.setattr(state.mean, "look", look)
    told = solve_outcomes(state.mean, lesson)["nihss"]
    assert told["blocks"] == ["amounts"]
    assert told["people"] == PEOPLE - PEOPLE // 5
    assert told["errors"]["amounts"] < 0.05
    assert told["errors"]["places"] == pytest.approx(1, abs=0.1)


def test_a_bundle_is_made_that_marks_and_answers(root, tmp_path, monkeypatch):
    monkeypatch.setattr(outcomes, "ROUNDS", 1)
    monkeypatch.setattr(outcomes, "USUAL", 20)
    toml = tmp_path / "mine.toml"
    text = (outcomes.Path(outcomes.__file__).parents[1] / "recipes/strokeseverity.toml").read_text()
    toml.write_text(text.replace("spacing_mm = 4.0", "spacing_mm = 5.0"))
    folder = train_bundle(toml, root, tmp_path / "out", steps=3, threads=1)
    bundle = load_bundle(folder)
    lesson = OutcomeLesson.load(bundle.recipe, root, 1)
    scan = lesson.truth(5)
    answer = predict_targets(bundle, scan.stack, scan.present)["nihss"]
    assert answer["unit"] == "points"
    assert answer["abstained"] or LEFT + 1 >= answer["value"] >= RIGHT
    assert bundle.calibration["familiarity"]["threshold"] > 0
    assert bundle.manifest["people"] == PEOPLE - PEOPLE // 5
    assert bundle.manifest["real_images"] == []
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["outcomes"]["nihss"]["people"] == 3
    assert metrics["outcomes"]["nihss"]["by_volume"].keys() == metrics["outcomes"]["nihss"].keys() - {
        "people", "by_volume", "coverage",
    }  # fmt: skip
    card = (folder / "MODEL_CARD.md").read_text()
    assert "The lesions are real" in card
    assert "from the volume of the same masks" in card
    assert "BSD-2-Clause" in (folder / "LICENSE").read_text()


def test_what_does_not_fit_a_lesson_of_outcomes_is_refused(root, lesson):
    recipe = load_recipe("strokeseverity")
    learning = recipe.learning.model_copy(update={"target_gradient": "all"})
    with pytest.raises(UsageError, match="target_gradient is 'none', not 'all'"):
        OutcomeLesson.load(recipe.model_copy(update={"learning": learning}), root, 1)
    with pytest.raises(UsageError, match="and targets"):
        taught_by(recipe.with_targets([]))
    head = recipe.grid.model_copy(update={"kind": "head"})
    with pytest.raises(UsageError, match="a grid of kind 'whole'"):
        taught_by(recipe.model_copy(update={"grid": head}))
    plain = recipe.model_dump()
    for change in ({"real": ()}, {"real_share": 0.5}, {"pathology": ""}):
        with pytest.raises(RecipeError, match="lesson: "):
            parse_recipe({**plain, "lesson": {**plain["lesson"], **change}}, source="mine.toml")
    with pytest.raises(UsageError, match="is not loaded"):
        _ = replace(lesson, people=None).known


def test_the_command_finds_the_lesson(root, tmp_path):
    found = load_lesson("strokeseverity", root, tmp_path, 1, leave_out=["sub-01"])
    assert isinstance(found, OutcomeLesson)
    assert "sub-01" not in found.known.names
    assert found.patch == (40, 48, 40)
