"""Recipes of one slice are taught by drawn scans too: from a TOML file to a bundle that answers for a brain."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.bids.record_file import read_session
from bids_app.bundle.bundle import load_bundle
from bids_app.bundle.trial import trial_bundle
from bids_app.cli.main import main
from bids_app.errors import UsageError
from bids_app.lessons import drawn_targets
from bids_app.lessons.drawn_targets import calibrate_targets, judge_targets, solve_drawn, spread_of, truths
from bids_app.lessons.export import export_drawn
from bids_app.lessons.judge import Truth
from bids_app.lessons.lesson import taught_by
from bids_app.lessons.real import load_real
from bids_app.lessons.slab import MARGIN_MM, map_at_level, seen_slices, slab_sides
from bids_app.lessons.train import fit_lesson, load_lesson, new_state
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.heads.labelmaps import load_label_map
from bids_app.synthesis.heads.placed import LANDMARKS, MIDDLE_MNI, STEM, place_map
from bids_app.synthesis.scanner.generator import Ranges, draw_places
from tests.bids_app.lessons.test_real import write_participant
from tests.bids_app.synthesis.small_heads import save_labels
from tests.workflows.heads import small_heads

RECIPE = """
name = "slices"
title = "Lesions in one slice"
reference = "T1w"

[[sequences]]
name = "T1w"
suffix = "T1w"

[[sequences]]
name = "FLAIR"
suffix = "FLAIR"
required = false

[grid]
kind = "whole"
spacing_mm = 3.5
flat = true
level_mm = 10
range_mm = 8

[[regions]]
index = 1
name = "lesion"
kind = "lesion"

[[targets]]
name = "burden"
kind = "continuous"
unit = "ml"

[[targets]]
name = "affected"
kind = "binary"
levels = ["no", "yes"]

[[targets]]
name = "severity"
kind = "continuous"
required = false

[labels]
suffix = "mask"

[learning]
covariates = ["age"]
target_gradient = "features"

[network]
dimensions = 2
slices = 3
filters = 4
blocks = [1, 1]
deep_supervision = 1

[lesson]
kind = "lesions"
pathology = "tbi"

[lesson.targets]
burden = "volume"
affected = "presence"
"""


def mni_labels(side: int = 48, spacing: float = 3.5) -> np.ndarray:
    """A head of ellipsoids whose structures lie where `places_of_head` looks for them, FreeSurfer's numbers."""
    middle = (np.arange(side) - (side - 1) / 2) * spacing
    at = np.stack(np.meshgrid(*[middle + offset for offset in MIDDLE_MNI], indexing="ij"), -1)

    def inside(place, half):
        return (((at - place) / half) ** 2).sum(-1) < 1

    labels = np.where(inside(MIDDLE_MNI, (78, 82, 80)), 513, 0).astype(np.int16)
    labels[inside(MIDDLE_MNI, (70, 76, 74))] = 24
    side_of = np.where(at[..., 0] < 0, 0, 1)
    for column, half in enumerate([(65, 70, 60), (50, 52, 44)]):
        mask = inside((0, -17, 12), half)
        labels[mask] = np.array([(3, 42), (2, 41)][column])[side_of[mask]]
    mask = inside((0, -60, -40), (52, 30, 20))
    labels[mask] = np.array((8, 47))[side_of[mask]]
    for (left, right), (x, y, z) in LANDMARKS.values():
        if left not in (3, 8):
            labels[inside((-x, y, z), 5.5)], labels[inside((x, y, z), 5.5)] = left, right
    labels[inside((-6, -10, 18), (5, 24, 7))], labels[inside((6, -10, 18), (5, 24, 7))] = 4, 43
    labels[inside(STEM[1], (9, 9, 18))] = STEM[0]
    return labels


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slab")
    (folder / "labelmaps").mkdir()
    for name in "ab":
        save_labels(folder / f"labelmaps/{name}.nii.gz", mni_labels(), spacing=3.5)
    (folder / "slices.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def lesson(root):
    return load_lesson(root / "slices.toml", root, root, 1)


@pytest.fixture(scope="module")
def placed(root):
    return place_map(load_label_map(root / "labelmaps/a.nii.gz"))


def test_the_head_of_these_tests_lies_where_it_should(placed):
    middle = placed.places((torch.tensor(placed.label_map.labels.shape) - 1).reshape(3, 1, 1, 1) / 2)[0, 0, 0]
    assert torch.linalg.norm(middle) < 6
    assert torch.allclose(placed.steps, 3.5 * torch.eye(3), atol=0.4)


@pytest.mark.parametrize("range_mm", [0.0, 8.0])
def test_the_middle_slice_lies_at_the_level_and_within_its_range(lesson, placed, range_mm):
    generator, upright = torch.Generator().manual_seed(1), Ranges(turn=0, scale=0, shear=0, bend_mm=0, near_brain=1)
    heights = []
    for _ in range(24):
        here = map_at_level(lesson.recipe, placed, range_mm, generator)
        at = draw_places(here, lesson.patch, 3.5, replace(upright, shift_mm=0.0), generator)
        middle = seen_slices(at, 1)
        assert middle.shape[-1] == 1
        up = torch.einsum("axyz,ab->xyzb", middle, placed.steps)[..., 2] + placed.origin[2] + MIDDLE_MNI[2]
        heights.append(float(up.mean()))
    assert np.abs(np.array(heights) - 10).max() <= range_mm + 0.5
    assert np.std(heights) > 1 if range_mm else np.std(heights) < 0.5


def test_a_slab_is_as_thin_as_its_slices_and_margins(lesson):
    assert slab_sides(lesson.recipe) == (46, 56, 3 + 2 * 2)
    assert MARGIN_MM <= 2 * 3.5
    images, classes = lesson[3]
    assert images.shape == (2 * 3, 46, 56)
    assert classes.shape == (46, 56)
    assert torch.equal(images, lesson[3][0])
    truth = lesson.truth(3)
    assert truth.stack.shape == (2, 46, 56, 3)
    assert truth.classes.shape == (46, 56, 1)


def test_neighbours_are_other_slices_of_the_same_head(lesson):
    stack = next(one for one in (lesson.truth(n).stack[0] for n in range(20)) if one[..., 1].any())
    below, middle, above = np.moveaxis(stack, -1, 0)
    assert not np.array_equal(below, middle)
    inside = (below > 0) & (middle > 0) & (above > 0)
    assert inside.sum() > 200
    assert np.corrcoef(below[inside], middle[inside])[0, 1] > 0.2


def test_a_flat_lesson_that_stopped_learns_what_it_would_have(lesson, tmp_path):
    def weights(state):
        return torch.cat([p.detach().flatten() for net in (state.network, state.mean) for p in net.parameters()])

    whole = fit_lesson(new_state(lesson.recipe, lesson.plan, 1), lesson, seed=1, steps=6)
    stopped = new_state(lesson.recipe, lesson.plan, 1)
    fit_lesson(stopped, lesson, seed=1, steps=6, stop_at=3, checkpoint=tmp_path / "c.pt")
    again = new_state(lesson.recipe, lesson.plan, 7)
    again.load(tmp_path / "c.pt")
    assert again.step == 3
    fit_lesson(again, lesson, seed=1, steps=6, ahead=True)
    assert torch.equal(weights(again), weights(whole))
    assert not torch.equal(weights(again), weights(stopped))


def test_from_a_file_to_a_bundle_to_a_participant(root, tmp_path, monkeypatch):
    monkeypatch.setitem(export_drawn.__kwdefaults__, "counts", (4, 4))
    monkeypatch.setattr(drawn_targets, "SOLVE_SCANS", 24)
    words = ["--data", str(root), "--out", str(tmp_path / "trained"), "--steps", "4", "--threads", "1"]
    assert main(["train-bundle", str(root / "slices.toml"), *words]) == 0
    bundle = load_bundle(tmp_path / "trained/bundle")
    assert (bundle.network.shape.dimensions, bundle.network.shape.slices) == (2, 3)
    assert [target.name for target in bundle.recipe.targets] == ["burden", "affected"]
    assert bundle.recipe.learning.covariates == ()
    assert bundle.manifest["held_out"] == ["b"]
    assert {"burden", "affected"} <= set(bundle.metrics["simulator_targets"])
    assert set(bundle.calibration["targets"]) == {"burden", "affected"}
    card = (tmp_path / "trained/bundle/MODEL_CARD.md").read_text()
    assert "No target" not in card
    assert "burden" in card
    small_heads(tmp_path / "bids", ["01"])
    words = [tmp_path / "bids", tmp_path / "out", "participant", "--recipe", root / "slices.toml"]
    words += ["--bundle", tmp_path / "trained/bundle", "-w", tmp_path / "w", "--sloppy", "--omp-nthreads", "1"]
    words += ["--brain-mask", "template"]
    assert main([*map(str, words)]) == 0
    part = read_session(tmp_path / "out", "sub-01").recipes["slices"]
    assert part.prediction.slice["rule"] == "measured"
    assert part.prediction.slice["level_mm"] == 10
    found = json.loads(next((tmp_path / "out").rglob("*_desc-slices_prediction.json")).read_text())
    assert "burden" in json.dumps(found)
    assert "affected" in json.dumps(found)


def test_truths_follow_from_what_was_drawn(lesson):
    nothing, some = torch.zeros(46, 56, dtype=torch.uint8), torch.zeros(46, 56, dtype=torch.uint8)
    some[3:5, 3:8] = 1
    assert truths(lesson.recipe, nothing) == [0, 0]
    assert truths(lesson.recipe, some) == [pytest.approx(10 * 3.5**3 / 1000), 1]
    assert truths(lesson.recipe, some.numpy()[..., None]) == truths(lesson.recipe, some)


class Discs:
    """A lesson whose scans show a bright disc, larger or smaller, or none."""

    def __init__(self, recipe) -> None:
        self.recipe = recipe

    def __getitem__(self, number):
        rng = np.random.default_rng(number)
        radius = rng.uniform(4, 12) if number % 3 else 0
        x, y = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5, indexing="ij")
        classes = (x**2 + y**2 < radius**2).astype(np.uint8)
        image = classes * 3 + rng.normal(0, 0.1, classes.shape) + 1
        stack = np.repeat(image[None], 6, 0).astype(np.float32)
        return torch.from_numpy((stack - stack.mean()) / stack.std()), torch.from_numpy(classes)

    def truth(self, number) -> Truth:
        image, classes = self[number]
        stack = image.numpy().reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
        return Truth(np.ascontiguousarray(stack), np.ones(2, bool), classes.numpy()[..., None].astype(int))


def test_a_head_that_is_solved_on_drawn_scans_answers_for_others(lesson, monkeypatch):
    discs = Discs(lesson.recipe)
    scalings = spread_of(lesson.recipe, lambda number: discs[number][1])
    network = new_state(lesson.recipe, lesson.plan, 1).mean
    told = solve_drawn(network, discs, scalings)
    assert told["burden"]["people"] == drawn_targets.SOLVE_SCANS
    trial = trial_bundle(lesson.recipe, network, {"threshold": 0.5}, {"patch": [32, 32, 1], "targets": scalings})
    trial.calibration["targets"] = calibrate_targets(trial, discs.truth, 24)
    assert trial.calibration["targets"]["burden"]["half_width"] > 0
    figures = judge_targets(trial, discs.truth, 24)
    assert figures["burden"]["correlation"] > 0.9
    assert figures["affected"]["auc"] == 1.0


def test_targets_teach_the_network_where_the_recipe_says_so(lesson):
    images, classes = lesson[1]
    losses = {}
    for gradient in ("none", "features"):
        learning = lesson.recipe.learning.model_copy(update={"target_gradient": gradient})
        one = replace(lesson, recipe=lesson.recipe.model_copy(update={"learning": learning}))
        network = new_state(one.recipe, one.plan, 3).network
        for head in network.heads.values():
            torch.nn.init.normal_(head.image.weight, generator=torch.Generator().manual_seed(1))
        network.eval()
        losses[gradient] = float(one.judge(network, images[None], classes[None], 0.5, 0)[0].detach())
    assert losses["features"] > losses["none"]


def test_a_target_that_is_the_same_in_all_scans_is_refused(lesson):
    with pytest.raises(UsageError, match="the target burden was 0 in all of 32 drawn scans"):
        spread_of(lesson.recipe, lambda number: torch.zeros(4, 4))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('burden = "volume"', 'weight = "volume"'), "targets names 'weight', which is none of the recipe's targets"),
        (('burden = "volume"', 'affected2 = "presence"'), "targets names 'affected2'"),
        (('burden = "volume"', 'burden = "presence"'), "the target burden needs two levels"),
        (('affected = "presence"', 'affected = "volume"'), "the target affected has levels"),
        (('kind = "whole"', 'kind = "image"'), "a grid of kind 'whole' or 'region'"),
    ],
)
def test_what_a_drawn_scan_cannot_answer_is_refused(root, tmp_path, change, said):
    content = RECIPE.replace(*change)
    assert content != RECIPE
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(UsageError, match=said):
        load_lesson(tmp_path / "mine.toml", root, tmp_path, 1)


@pytest.mark.parametrize("name", ["anatomy", "habenula", "healthy"])
def test_other_lessons_refuse_one_slice_with_the_reason(root, tmp_path, name):
    recipe = load_recipe(name)
    grid = recipe.grid.model_copy(update={"flat": True})
    flat = recipe.model_copy(
        update={"grid": grid, "network": recipe.network.model_copy(update={"dimensions": 2, "sided": False})}
    )
    with pytest.raises(UsageError, match="that is not flat"):
        taught_by(flat)


def test_real_slices_near_the_level_are_mixed_in(root, tmp_path):
    (tmp_path / "labelmaps").symlink_to(root / "labelmaps")
    write_participant(tmp_path, "sub-1", dataset="clinic")
    content = RECIPE.replace("spacing_mm = 3.5", "spacing_mm = 1").replace(
        'pathology = "tbi"',
        'pathology = "tbi"\nreal_share = 1.0\nreal = [{folder = "clinic", licence = "of ours"}]',
    )
    (tmp_path / "mine.toml").write_text(content.replace("level_mm = 10", "level_mm = 4"))
    lesson = load_lesson(tmp_path / "mine.toml", tmp_path, tmp_path, 1)
    scans = load_real(lesson.recipe, tmp_path)
    assert sorted(scan.offset for scan in scans) == list(range(-8, 9))
    assert scans[0].stack.shape[-1] == 3
    marked = {scan.offset: bool(scan.labels.any()) for scan in scans}
    assert marked[-5]  # 4 - 5 - 6 = 7 voxels below the middle of the brain, which is slice 17.5: slice 10 or 11
    assert not marked[8]
    assert lesson.real.participants == ["sub-1"]
    images, classes = lesson[0]
    assert images.shape == (6, *lesson.patch[:2])
    assert classes.shape == lesson.patch[:2]


def test_a_target_of_whole_brains_sees_all_of_them(root, tmp_path):
    content = RECIPE.replace("flat = true\nlevel_mm = 10\nrange_mm = 8\n", "").replace(
        "dimensions = 2\nslices = 3\n", ""
    )
    (tmp_path / "mine.toml").write_text(content)
    lesson = load_lesson(tmp_path / "mine.toml", root, tmp_path, 1)
    assert lesson.patch == (46, 56, 44)
    assert all(side * 3.5 >= length for side, length in zip(lesson.seen, (160, 192, 152), strict=True))
    images, classes = lesson[0]
    network = new_state(lesson.recipe, lesson.plan, 1).network
    loss, _ = lesson.judge(network, images[None], classes[None], 0.5, 0)
    assert torch.isfinite(loss)
