"""What the lesson of lesions asks for, that a small network learns from it, and what is written at the end."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.bundle.bundle import load_bundle
from bids_app.errors import UsageError
from bids_app.lessons.export import export_drawn
from bids_app.lessons.judge import Truth, calibrate_drawn, judge_lesions
from bids_app.lessons.lesions import ADC_NORMAL, LesionLesson
from bids_app.lessons.lesson import SCHEDULE, DrawPlan
from bids_app.lessons.train import fit_lesson, new_state
from bids_app.recipes.learning import NetworkSpec
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.heads.labelmaps import is_tissue, load_label_map
from bids_app.synthesis.heads.placed import PlacedMap
from bids_app.synthesis.pathology.painting import PathologyPainter, region_classes
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

PATCH = (32, 32, 32)
SMALL = NetworkSpec(filters=8, blocks=(1, 1), fold=2, deep_supervision=1)
SPACING = 3.5
LESION_RECIPES = ("ms", "schwannoma", "stroke", "tbi", "tumour")


@pytest.fixture(scope="module")
def placed(tmp_path_factory) -> list[PlacedMap]:
    """A head of few structures, whose middle is that of the brain."""
    one = load_label_map(save_labels(tmp_path_factory.mktemp("maps") / "a.nii.gz", head_labels(), spacing=SPACING))
    middle = one.brain.float().mean(0)
    return [PlacedMap(one, -middle * SPACING, torch.eye(3) * SPACING)]


def lesson_of(name: str, placed: list[PlacedMap], network: NetworkSpec = SMALL) -> LesionLesson:
    recipe = load_recipe(name)
    grid = recipe.grid.model_copy(update={"spacing_mm": SPACING})
    lesson = LesionLesson(recipe.model_copy(update={"network": network, "grid": grid}), placed, 1)
    lesson.patch = PATCH
    return lesson


@pytest.mark.parametrize("name", LESION_RECIPES)
def test_every_lesion_recipe_draws_scans(name, placed):
    lesson = lesson_of(name, placed)
    images, target = lesson[5]
    again = lesson[5]
    assert images.shape == (len(lesson.recipe.sequences), *PATCH)
    assert torch.isfinite(images).all()
    assert target.max() <= len(lesson.recipe.regions)
    assert torch.equal(images, again[0])
    assert torch.equal(target, again[1])


def test_drawn_scans_teach_no_outcome_for_nobody_has_one(placed):
    assert load_recipe("stroke").targets
    lesson = lesson_of("stroke", placed)
    assert lesson.recipe.targets == ()
    assert lesson.recipe.learning.covariates == ()


def test_an_optional_sequence_is_missing_now_and_then_and_the_reference_never(placed):
    lesson = lesson_of("ms", placed)
    there = np.array([lesson.draw(number)[1].numpy() for number in range(12)])
    assert there[:, 0].all()
    assert 0 < there[:, 1:].mean() < 1
    number = int(np.flatnonzero(~there[:, 2])[0])
    assert not lesson[number][0][2].any()


def test_an_adc_map_keeps_its_unit(placed):
    lesson = lesson_of("stroke", placed)
    images, _, _ = lesson.draw(2)
    inside = images[1] > 0.3
    assert 0.5 < float(images[1][inside].median()) < 3.2  # the phantom holds much fluid, whose ADC is 3
    assert lesson.normalisation == [{"kind": "scan"}, ADC_NORMAL]
    network_sees = lesson[2][0][1]
    expected = ((images[1] - ADC_NORMAL["mean"]) / ADC_NORMAL["sd"]).clamp(-5, 5) * (images[1] != 0)
    torch.testing.assert_close(network_sees, expected)


def test_sequences_show_one_lesion_with_their_own_signs(placed):
    """Dark on T1w, bright on FLAIR beside white matter: of the same voxels, before a scanner adds noise."""
    one, differences = placed[0], []
    labels = one.label_map.labels
    at = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in labels.shape], indexing="ij"))
    paint = PathologyPainter(one, "ms", ("T1w", "T2w", "FLAIR"), SPACING)
    for seed in range(8):
        images = paint(labels, at, torch.Generator().manual_seed(seed))
        lesion = region_classes(paint.drawn, 1) > 0
        white = is_tissue("white")[labels.long()] & ~lesion
        if lesion.sum() >= 10:
            differences.append([float(images[c][lesion].median() - images[c][white].median()) for c in (0, 2)])
    assert len(differences) >= 4
    t1w, flair = np.array(differences).T
    assert (t1w < 0).all()
    assert flair.mean() > 0.05
    assert (flair > 0).mean() > 0.5  # where black holes prevail it is dark


def test_a_recipe_without_a_pathology_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no table \[lesson\]"):
        LesionLesson.load(load_recipe("alzheimer"), tmp_path, 1)


def planted(number: int) -> Truth:
    """A bright box in noise, and in every third scan nothing."""
    rng = np.random.default_rng(number)
    stack, classes = rng.normal(1, 0.1, (1, 16, 16, 16)).astype(np.float32), np.zeros((16, 16, 16), int)
    if number % 3:
        classes[4:10, 5:11, 6:12] = 1
        stack[0, classes > 0] += 3
    return Truth(stack, np.ones(1, bool), classes)


class _Bright(torch.nn.Module):
    """Says lesion of what is bright; its probabilities are too low, so that 0.5 finds nothing."""

    factor = 1

    def forward(self, x):
        from bids_app.networks.multitask import Answer

        bright = torch.where(x[:, :1] > 2.5, -0.7, -6.0)
        return Answer([torch.cat([torch.zeros_like(bright), bright], 1)], {}, bright)


def test_a_step_teaches_every_voxel_of_a_folded_block(placed):
    """With one place of each block a step, places learned apart: a chequerboard where a sequence was missing."""
    lesson = lesson_of("tumour", placed)
    network = new_state(lesson.recipe, lesson.plan, 1).network
    images, target = lesson[3]
    loss, _ = lesson.judge(network, images[None], target[None], 0.0, 0)
    loss.backward()
    gradient = network.unet.up_layers[-1]["head"].weight.grad
    assert len(gradient) == (len(lesson.recipe.regions) + 1) * 2**3
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_thresholds_are_fitted_and_false_volume_is_told_apart():
    from bids_app.bundle.trial import trial_bundle

    recipe = load_recipe("ms")
    recipe = recipe.model_copy(update={"sequences": recipe.sequences[:1]})
    trial = trial_bundle(recipe, _Bright(), {"threshold": 0.5, "temperature": 1.0})
    trial.__dict__["plans"] = [{"normalisation": {"T1w": {"kind": "cohort", "mean": 0.0, "sd": 1.0}}}]
    scans = [planted(n) for n in range(6)]
    assert judge_lesions(trial, scans)["lesion"]["dice"] == 0.0
    trial.calibration.update(calibrate_drawn(trial, scans))
    figures = judge_lesions(trial, scans)["lesion"]
    assert trial.calibration["threshold"] < 0.5
    assert figures["dice"] == 1.0
    assert (figures["with"], figures["without"]) == (4, 2)
    assert figures["without_false_volume"] == 1.0
    assert figures["lesion_f1"] == 1.0


def test_a_threshold_is_the_best_of_scans_and_not_of_the_largest_lesion(monkeypatch):
    """One large lesion is best at 0.7, three small ones at 0.3: each scan counts once."""
    from bids_app.bundle.trial import trial_bundle

    recipe = load_recipe("ms")
    trial = trial_bundle(recipe, _Bright(), {"threshold": 0.5, "temperature": 1.0})
    scans, answers = [], []
    for side, inside, around in ((12, 0.9, 0.65), (2, 0.35, 0.02), (2, 0.35, 0.02), (2, 0.35, 0.02)):
        classes = np.zeros((20, 20, 20), int)
        classes[2 : 2 + side, 2 : 2 + side, 2 : 2 + side] = 1
        probability = np.full((1, *classes.shape), 0.01, np.float32)
        probability[0, 1 : 4 + side, 1 : 4 + side, 1 : 4 + side] = around
        probability[0][classes > 0] = inside
        scans.append(Truth(np.zeros((3, *classes.shape), np.float32), np.ones(3, bool), classes))
        answers.append(probability)
    said = iter(answers)
    monkeypatch.setattr("bids_app.lessons.judge.predict", lambda *_: next(said))
    monkeypatch.setattr("bids_app.lessons.temperature.TEMPERATURES", (1.0,))
    assert 0.2 <= calibrate_drawn(trial, scans)["threshold"] <= 0.35


def test_specks_are_dropped_and_lesions_stay():
    from bids_app.bundle.trial import trial_bundle
    from bids_app.predict.regions import label_map, without_specks

    recipe = load_recipe("ms")
    bundle = trial_bundle(recipe, _Bright(), {"threshold": 0.5, "least_mm3": 30.0})
    probability = np.zeros((1, 12, 12, 12), np.float32)
    probability[0, 1:3, 1:3, 1:3] = 0.9  # 8 voxels of 1 mm³
    probability[0, 6:10, 6:10, 6:10] = 0.9
    kept = without_specks(bundle, probability, 1.0)
    labels = label_map(bundle, kept)
    assert labels.sum() == 64
    assert 0 < kept[0, 1, 1, 1] < 0.5
    assert label_map(bundle, without_specks(bundle, probability, 8.0)).sum() == 72  # as coarse voxels they are large


#: Of a short training on tumours and their parts, and the Dice it must reach in the mean of its last 20 steps (0.21,
#: 0.24 and 0.42 were measured for three seeds; it begins below 0.04).
STEPS, LEAST_DICE = 60, 0.19


def test_a_short_training_learns_and_becomes_a_bundle(placed, tmp_path):
    lesson = lesson_of("tumour", placed, NetworkSpec(filters=8, blocks=(1, 1, 1), fold=1, deep_supervision=1))
    lesson.plan = DrawPlan(reuse=6, pool=16, schedule=replace(SCHEDULE, rate=4e-3, warm_up=5, average=0.9))
    state = fit_lesson(new_state(lesson.recipe, lesson.plan, 1), lesson, seed=1, steps=STEPS)
    dice = [row["dice"] for row in state.history]
    assert dice[0] < 0.1, dice
    assert np.nanmean(dice[-2:]) > LEAST_DICE, dice
    names = [sequence.name for sequence in lesson.recipe.sequences]
    path = export_drawn(
        state,
        lesson,
        lesson.truth,
        tmp_path / "bundle",
        seed=1,
        patch=PATCH,
        held_out=["another map"],
        normalisation=dict(zip(names, lesson.normalisation, strict=True)),
        counts=(2, 3),
        subsets={"without FLAIR": lambda number: lesson.truth(number, without=("FLAIR",))},
    )
    bundle = load_bundle(path)
    assert set(bundle.calibration["thresholds"]) == {"core", "oedema", "enhancing"}
    assert bundle.metrics["simulator_held_out"]["scans"] == 3
    assert "without FLAIR" in bundle.metrics["simulator_subsets"]
    assert bundle.plans[0]["normalisation"]["FLAIR"] == {"kind": "scan"}
    card = (path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Research use only" in card
    assert "another map" in card
    assert json.loads((path / "manifest.json").read_text())["real_images"] == []
