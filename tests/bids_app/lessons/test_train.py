import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.errors import BundleError, InputMissing, UsageError
from bids_app.lessons.calibrate_habenula import calibrate, draw_pairs
from bids_app.lessons.drawn import DrawnScans
from bids_app.lessons.habenula import HabenulaLesson
from bids_app.lessons.lesson import SCHEDULE, DrawPlan
from bids_app.lessons.train import answered, fit_lesson, new_state, start_from, train_bundle
from bids_app.measure.calibration import scaled_by_temperature
from bids_app.recipes.learning import NetworkSpec
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.habenula.scans import Sources, tissue_numbers
from bids_app.synthesis.habenula.shapes import ellipsoid, volume_of
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

SMALL = DrawPlan(batch=1, pool=1, schedule=replace(SCHEDULE, warm_up=2, save_every=2))


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("habenula").model_copy(update={"network": NetworkSpec(filters=8, blocks=(1, 1, 1), fold=2)})


@pytest.fixture(scope="module")
def sources() -> Sources:
    n = 96
    x = (np.arange(n) - (n - 1) / 2) / 2
    labels = np.full((n, n, n), 2)
    labels[np.abs(x) < 12] = 10
    labels[np.abs(x) < 2.5] = 14
    shape = torch.from_numpy(ellipsoid())[None]
    image = torch.from_numpy(tissue_numbers(labels))[None]
    centres = torch.tensor([[-3.4, 0.0, 0.0], [3.4, 0.0, 0.0]])
    return Sources(
        ("a",), ("labels",), (image,), (None,), (centres,), shape, torch.tensor([volume_of(shape[0].numpy())])
    )


class Numbers:
    """A lesson whose scans are their own number; it counts what is drawn."""

    def __init__(self, plan: DrawPlan) -> None:
        self.plan, self.asked = plan, []

    def __getitem__(self, number):
        self.asked.append(number)
        return torch.full((1, 2), float(number)), torch.tensor([number])

    def mirrored(self, images, target):
        return -images, target


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("plan", [DrawPlan(batch=2, reuse=4, pool=6), DrawPlan(batch=1, reuse=2, pool=24)])
def test_a_batch_depends_on_its_step_alone(plan, ahead):
    lesson = Numbers(plan)
    whole = DrawnScans(lesson, 3, ahead=ahead)
    batches = [whole.batch(step) for step in range(12)]
    whole.close()
    resumed = DrawnScans(Numbers(plan), 3, ahead=ahead)
    for step in range(7, 12):
        for one, other in zip(batches[step], resumed.batch(step), strict=True):
            assert torch.equal(one, other)
    resumed.close()
    assert whole.drawn_by(11) == min(8, plan.pool) + 12 * plan.batch // plan.reuse
    assert sorted(set(lesson.asked)) == sorted(lesson.asked)  # no scan is drawn twice
    assert any((batch.images < 0).any() for batch in batches)  # mirror images
    assert not torch.equal(DrawnScans(Numbers(plan), 4).batch(9).truth, batches[9].truth) or plan.batch == 1


def test_a_later_stage_draws_scans_that_no_earlier_one_had():
    source = DrawnScans(Numbers(SMALL), 1, begin=(10, 40))
    assert source.batch(10).truth.min() >= 40


def test_a_lesson_that_stopped_learns_what_it_would_have(recipe, sources, tmp_path):
    def weights(state):
        return torch.cat([p.detach().flatten() for net in (state.network, state.mean) for p in net.parameters()])

    plan = replace(SMALL, pool=3)
    lesson = HabenulaLesson(recipe, sources, 1, plan)
    whole = fit_lesson(new_state(recipe, plan, 1), lesson, seed=1, steps=4)
    fit_lesson(new_state(recipe, plan, 1), lesson, seed=1, steps=4, stop_at=2, checkpoint=tmp_path / "c.pt")
    again = new_state(recipe, plan, 7)
    again.load(tmp_path / "c.pt")
    assert again.step == 2
    fit_lesson(again, lesson, seed=1, steps=4, ahead=True)
    assert (again.step, again.drawn) == (4, whole.drawn)
    assert torch.equal(weights(again), weights(whole))


def test_a_checkpoint_brings_everything_back(recipe, sources, tmp_path):
    lesson = HabenulaLesson(recipe, sources, 1, SMALL)
    state = fit_lesson(new_state(recipe, SMALL, 1), lesson, seed=1, steps=1, checkpoint=tmp_path / "c.pt")
    other = new_state(recipe, SMALL, 2)
    other.load(tmp_path / "c.pt")
    assert (other.step, other.drawn) == (1, state.drawn)
    for one, two in zip(state.mean.parameters(), other.mean.parameters(), strict=True):
        assert torch.equal(one, two)
    assert fit_lesson(other, lesson, seed=1, steps=1).step == 1  # steps count what was done before


def test_weights_of_another_recipe_are_taken_over_where_they_fit(recipe):
    one, other = (
        new_state(recipe, SMALL, 1),
        new_state(
            load_recipe("anatomy").model_copy(
                update={"network": NetworkSpec(filters=8, blocks=(1, 1, 1), fold=2, deep_supervision=2)}
            ),
            SMALL,
            2,
        ),
    )
    taken = start_from(other, one.network.state_dict())
    assert 0 < taken < len(other.network.state_dict())  # not the last layer: there are other regions
    inner = "unet.encoder.layers.1.blocks.0.conv1.weight"
    assert torch.equal(other.mean.state_dict()[inner], one.network.state_dict()[inner])


def test_regions_that_both_networks_have_are_taken_over():
    whole = load_recipe("anatomy")
    whole = whole.model_copy(update={"network": whole.network.model_copy(update={"filters": 8, "blocks": (1, 1)})})
    fewer = whole.model_copy(update={"regions": tuple(r for r in whole.regions if r.index not in (17, 53))})
    one, other = new_state(whole, SMALL, 1), new_state(fewer, SMALL, 2)
    names = [[region.name for region in recipe.regions] for recipe in (fewer, whole)]
    drawn = {name: value.clone() for name, value in other.network.state_dict().items()}
    start_from(other, one.network.state_dict(), names)
    last = [name for name in drawn if ".head." in name and name.endswith("weight")]
    assert last
    mine, theirs = (answered(some, True) for some in names)
    assert len(mine) < len(theirs)
    for name in last:
        here, there = (state.network.state_dict()[name].unflatten(0, (-1, 8)) for state in (other, one))
        for answer in mine:
            assert torch.equal(here[mine.index(answer)], there[theirs.index(answer)])
    start_from(other, one.network.state_dict())  # without names nothing more is changed
    assert all(torch.equal(other.mean.state_dict()[name], other.network.state_dict()[name]) for name in last)


def test_a_temperature_of_one_changes_nothing():
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 50).T[1:]
    np.testing.assert_allclose(scaled_by_temperature(p, 1.0), p, atol=1e-6)
    assert scaled_by_temperature(p, 5.0).max() < p.max()


def test_only_the_habenula_has_a_generator(tmp_path):
    with pytest.raises(UsageError, match="habenula"):
        train_bundle("anatomical", tmp_path, tmp_path, steps=1)


def test_an_end_must_be_given(tmp_path):
    with pytest.raises(UsageError, match="minutes or steps"):
        train_bundle("habenula", tmp_path, tmp_path)


def test_members_of_another_shape_cannot_vote(tmp_path):
    (tmp_path / "labelmaps").mkdir()
    save_labels(tmp_path / "labelmaps/training_seg_01.nii.gz", head_labels(), spacing=3.5)
    with pytest.raises(UsageError, match="another shape than the recipe anatomy"):
        train_bundle("anatomy", tmp_path, tmp_path / "out", steps=1, beside="hippocampus")


@pytest.mark.parametrize("length", [{"steps": 0}, {"minutes": 0.0}, {"steps": -1, "minutes": 1.0}])
def test_nothing_to_train_is_refused(length, tmp_path):
    with pytest.raises(UsageError, match="more than 0"):
        train_bundle("habenula", tmp_path, tmp_path / "out", **length)
    assert not (tmp_path / "out").exists()


def test_missing_data_folder_is_named(tmp_path):
    with pytest.raises(InputMissing, match="nowhere"):
        train_bundle("habenula", tmp_path / "nowhere", tmp_path, steps=1)


@pytest.mark.slow
def test_learns_to_find_and_measure(sources, tmp_path):
    """110 steps on one block brain: Dice above 0.15 where it began below 0.05, and volumes that can be calibrated."""
    plan = DrawPlan(reuse=8, pool=24, schedule=replace(SCHEDULE, warm_up=20))
    recipe, log = load_recipe("habenula"), tmp_path / "log.csv"
    lesson = HabenulaLesson(recipe, sources, 1, plan, cross_entropy=(10.0, 10.0))
    state = fit_lesson(new_state(recipe, plan, 1), lesson, seed=1, steps=110, log_path=log)
    with log.open() as file:
        dice = [float(row["dice"]) for row in csv.DictReader(file)]
    assert dice[0] < 0.05
    assert np.mean(dice[-2:]) > 0.15
    calibration, figures = calibrate(recipe, state.network, draw_pairs(sources, [0], 2, 10_000))
    assert 0 < calibration["threshold"] < 1
    assert 0 <= figures["found"] <= 1


def test_a_bundle_to_start_from_is_looked_for_before_anything_is_read(tmp_path):
    with pytest.raises(BundleError, match="nowhere"):
        train_bundle("anatomy", tmp_path, tmp_path / "out", steps=1, start="nowhere")
    assert not (tmp_path / "out").exists()
