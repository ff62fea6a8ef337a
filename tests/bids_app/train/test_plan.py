import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from bids_app.errors import TrainingError
from bids_app.recipes.recipe import Recipe, parse_recipe
from bids_app.scans.scan import Scan
from bids_app.train.memory import step_gb
from bids_app.train.plan import check_plan, make_plan, parse_plan, read_plan, standardise, write_plan

MAP = {"name": "ADC", "suffix": "ADC", "required": False, "quantitative": True}


def recipe_of(*targets: dict, sequences: tuple[dict, ...] = (), dimensions: int = 3, **learning) -> Recipe:
    return parse_recipe(
        {
            "name": "trial",
            "title": "Trial",
            "sequences": [{"name": "T1w", "suffix": "T1w"}, *sequences],
            "grid": {"kind": "whole", "spacing_mm": 1.0, "flat": dimensions == 2},
            "regions": [{"index": 1, "name": "lesion", "kind": "lesion"}],
            "targets": list(targets),
            "learning": learning,
            "network": {"filters": 16, "blocks": [1, 2, 2], "dimensions": dimensions},
        },
        source="trial",
    )


def scans_of(
    recipe: Recipe, *targets: tuple[float, ...], shape: tuple[int, ...] = (30, 38, 25), covariates: tuple = ()
) -> list[Scan]:
    """One scan per row of targets (or five); the last is the largest."""
    rng = np.random.default_rng(0)
    rows = targets or [()] * 5
    scans = []
    for number, row in enumerate(rows):
        size = [n - (number < len(rows) - 1 and n > 1) for n in shape]
        stack = rng.normal(100, 10, (len(recipe.sequences), *size)).astype(np.float32)
        stack[:, :2] = 0
        present = np.ones(len(recipe.sequences), bool)
        late = np.array(covariates[number] if covariates else (), float)
        scans.append(Scan(f"sub-{number:02d}", f"{number:02d}", stack, present, None, 1.0, np.array(row, float), late))
    return scans


DIAGNOSIS = {"name": "diagnosis", "kind": "binary", "levels": ["no", "yes"]}
AGE = {"name": "age", "kind": "continuous"}
TWO = [(0.0,), (0.0,), (0.0,), (1.0,), (math.nan,)]


def test_field_of_view_holds_the_largest_scan_and_can_be_halved():
    plan = make_plan(recipe_of(), scans_of(recipe_of()), memory_gb=8)
    assert plan.field_of_view == plan.patch == (32, 40, 28)
    assert plan.factor == 4


def test_a_slice_stays_one_voxel_thin():
    recipe = recipe_of(dimensions=2)
    plan = make_plan(recipe, scans_of(recipe, shape=(30, 38, 1)), memory_gb=8)
    assert plan.patch == (32, 40, 1)


def test_without_a_target_memory_is_met_by_a_smaller_patch():
    recipe = recipe_of(batch=2)
    scans = scans_of(recipe, shape=(96, 112, 96))
    plan = make_plan(recipe, scans, memory_gb=1.0)
    assert plan.memory_gb <= 1.0
    assert plan.spacing_mm == 1.0
    assert plan.filters == 16
    assert max(plan.patch) - min(plan.patch) <= plan.factor
    assert math.prod(plan.patch) < math.prod(plan.field_of_view)
    assert any("largest that fits" in reason for reason in plan.why)


@pytest.mark.parametrize("memory_gb", [4.0, 1.5, 0.6, 0.15, 0.1])
def test_with_a_target_the_view_is_never_cut(memory_gb):
    recipe = recipe_of(DIAGNOSIS, batch=2)
    plan = make_plan(recipe, scans_of(recipe, *TWO, shape=(96, 112, 96)), memory_gb=memory_gb)
    assert plan.patch == plan.field_of_view
    assert all(side * plan.spacing_mm >= n for side, n in zip(plan.patch, (96, 112, 96), strict=True))
    assert plan.memory_gb <= memory_gb


def test_a_network_that_is_told_its_left_and_right_sees_the_whole_view():
    recipe = recipe_of(batch=2)
    recipe = recipe.model_copy(update={"network": recipe.network.model_copy(update={"sided": True})})
    plan = make_plan(recipe, scans_of(recipe, shape=(96, 112, 96)), memory_gb=1.0)
    assert plan.patch == plan.field_of_view
    assert plan.spacing_mm > 1
    assert plan.memory_gb <= 1.0
    assert any("told its left and right" in reason for reason in plan.why)


def test_memory_is_met_by_the_grid_first_then_the_width_then_the_batch():
    recipe = recipe_of(DIAGNOSIS, batch=2)
    scans = scans_of(recipe, *TWO, shape=(96, 112, 96))
    plans = [make_plan(recipe, scans, memory_gb=gb) for gb in (4.0, 1.5, 0.45, 0.25, 0.15)]
    asked = [(plan.spacing_mm, plan.filters, plan.batch) for plan in plans]
    assert asked[0] == (1.0, 16, 2)
    assert asked[1][0] > 1
    assert asked[1][1:] == (16, 2)
    assert asked[-1] == (2.0, 8, 1)
    assert any("mm in place of 1 mm" in reason for reason in plans[1].why)


def test_too_little_memory_for_anything_is_refused():
    recipe = recipe_of(DIAGNOSIS)
    with pytest.raises(TrainingError, match="too little"):
        make_plan(recipe, scans_of(recipe, *TWO, shape=(96, 112, 96)), memory_gb=0.01)


def test_thin_scans_lose_the_deepest_level():
    recipe = recipe_of()
    plan = make_plan(recipe, scans_of(recipe, shape=(30, 38, 9)), memory_gb=8)
    assert plan.blocks == (1, 2)
    assert any("voxels thin" in reason for reason in plan.why)


def test_rare_levels_weigh_more_and_one_on_average():
    plan = make_plan(recipe_of(DIAGNOSIS), scans_of(recipe_of(DIAGNOSIS), *TWO), memory_gb=8)
    no, yes = plan.targets["diagnosis"]["weights"]
    assert yes == pytest.approx(3 * no, rel=1e-3)
    assert (3 * no + yes) / 4 == pytest.approx(1, rel=1e-3)


def test_a_continuous_target_and_a_covariate_get_their_mean_and_spread_and_a_target_its_ends():
    recipe = recipe_of(AGE, covariates=["tiv"])
    scans = scans_of(recipe, (20.0,), (40.0,), (math.nan,), covariates=((1400.0,), (math.nan,), (1600.0,)))
    plan = make_plan(recipe, scans, memory_gb=8)
    assert plan.targets["age"] == {"mean": 30.0, "sd": 10.0, "low": 20.0, "high": 40.0}
    assert plan.covariates["tiv"] == {"mean": 1500.0, "sd": 100.0}


@pytest.mark.parametrize(("values", "told"), [([0.0, 0.0], "only the value 0"), ([math.nan] * 2, "no value")])
def test_a_target_with_one_value_alone_is_refused(values, told):
    recipe = recipe_of(DIAGNOSIS)
    with pytest.raises(TrainingError, match=f"diagnosis.*{told}"):
        make_plan(recipe, scans_of(recipe, *[(value,) for value in values]), memory_gb=8)


def test_a_map_is_normalised_by_the_cohort_and_keeps_its_scale():
    recipe = recipe_of(sequences=(MAP,))
    scans = scans_of(recipe)
    plan = make_plan(recipe, scans, memory_gb=8)
    how = plan.normalisation["ADC"]
    assert how["mean"] == pytest.approx(100, abs=0.5)
    assert how["sd"] == pytest.approx(10, abs=0.2)
    raw = torch.from_numpy(scans[0].stack)
    once, brighter = (standardise(stack, plan, ["T1w", "ADC"]) for stack in (raw, raw * 1.2))
    torch.testing.assert_close(once[0], brighter[0], atol=1e-3, rtol=1e-3)
    assert (brighter[1] - once[1])[raw[1] != 0].mean() == pytest.approx(2, abs=0.1)
    assert (once[1][raw[1] == 0] == 0).all()


def test_an_absent_map_does_not_count():
    recipe = recipe_of(sequences=(MAP,))
    scans = scans_of(recipe)
    for scan in scans[1:]:
        scan.present[1] = False
        scan.stack[1] = 7
    assert make_plan(recipe, scans, memory_gb=8).normalisation["ADC"]["mean"] == pytest.approx(100, abs=1)
    scans[0].present[1] = False
    with pytest.raises(TrainingError, match="ADC"):
        make_plan(recipe, scans, memory_gb=8)


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    recipe = recipe_of(DIAGNOSIS, AGE, sequences=(MAP,))
    scans = scans_of(recipe, (0.0, 30.0), (1.0, 50.0), (0.0, math.nan))
    plan = make_plan(recipe, scans, memory_gb=8, fold_name="fold-1", steps=300, batch=2)
    path = write_plan(plan, tmp_path / "plan.json")
    assert read_plan(path, recipe) == plan
    assert (plan.steps, plan.batch, plan.fitted_on["fold"], plan.fitted_on["participants"]) == (300, 2, "fold-1", 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch": 0}, "batch: must be above zero"),
        ({"batch": "many"}, "batch: "),
        ({"patch": [30, 40, 28]}, "patch: 30 is no multiple of 4"),
        ({"patch": [16, 40, 28]}, "patch: smaller than field_of_view"),
        ({"depth": 4}, "depth: there is no such field"),
        ({"normalisation": {"T1w": {"kind": "cohort"}}}, "normalisation.T1w: kind must be"),
        ({"targets": {}}, "targets: .* in the recipe trial"),
        ({"rate": math.nan}, "rate: must be above zero"),
    ],
)
def test_an_edited_plan_is_refused_by_the_name_of_its_field(tmp_path, change, told):
    recipe = recipe_of(DIAGNOSIS)
    path = write_plan(make_plan(recipe, scans_of(recipe, *TWO), memory_gb=8), tmp_path / "plan.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TrainingError, match=f"plan.json: .*{told}"):
        read_plan(path, recipe)


def test_a_plan_without_a_field_and_a_file_that_is_no_plan_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="patch: Field required"):
        parse_plan({"batch": 2})
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_plan(tmp_path / "plan.json")


def a_plan():
    return make_plan(recipe_of(), scans_of(recipe_of()), memory_gb=8)


def test_ten_real_steps_say_how_long_one_takes():
    steps = []
    checked = check_plan(a_plan(), lambda: steps.append(1) or 0.5).checked
    assert len(steps) == 10
    assert checked["seconds_per_step"] >= 0
    assert checked["peak_gb"] > 0.05


def test_a_loss_that_is_not_finite_refuses_the_plan():
    with pytest.raises(TrainingError, match="loss of nan at step 1"):
        check_plan(a_plan(), lambda: math.nan)


@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory"), MemoryError()]
)
def test_running_out_of_memory_says_what_to_make_smaller(error):
    def step():
        raise error

    with pytest.raises(TrainingError, match=r"batch .* patch .* filters"):
        check_plan(a_plan(), step)


def test_another_error_of_a_step_is_not_taken_for_memory():
    def step():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        check_plan(a_plan(), step)


MEASURED = """
import sys, torch
from bids_app.train.memory import peak_gb as peak
from bids_app.networks.losses import ScaledDiceCELoss
from bids_app.networks.multitask import MultiTaskNet, NetworkShape
torch.set_num_threads(1)
def step(side, batch, fold):
    network = MultiTaskNet(NetworkShape(2, 3, 16, (1, 2, 2), 2, fold))
    labels = torch.softmax(torch.randn(batch, 3, side, side, side), 1)
    ScaledDiceCELoss(1.0, batch=False)(network(torch.randn(batch, 2, side, side, side)).logits, labels).backward()
step(16, 1, 1)
before = peak()
step(*map(int, sys.argv[1:]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
@pytest.mark.parametrize(("side", "batch", "fold"), [(48, 2, 1), pytest.param(80, 1, 2, marks=pytest.mark.slow)])
def test_the_estimate_is_what_a_step_really_takes(side, batch, fold):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(side), str(batch), str(fold)], capture_output=True, text=True, check=True
    )
    estimate = step_gb(
        [side] * 3, batch, sequences=2, classes=3, filters=16, blocks=(1, 2, 2), deep_supervision=2, fold=fold
    )
    assert 0.6 < float(done.stdout) / estimate < 1.5
