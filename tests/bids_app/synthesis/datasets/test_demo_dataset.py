from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.__main__ import main
from bids_app.bids.tables import read_rows
from bids_app.cohort.labels import find_labels
from bids_app.errors import CannotWrite, UsageError
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.datasets import demo_dataset
from bids_app.synthesis.datasets.demo_cohorts import COHORTS, GENERATORS, SEVERITY, STROKE, DemoPlan
from bids_app.synthesis.datasets.demo_dataset import LATENTS, write_demo
from bids_app.synthesis.datasets.demo_images import draw_participant, eloquent, protocol
from bids_app.synthesis.heads.placed import from_mni
from bids_app.synthesis.heads.structures import part_names
from tests.phantoms import checksums

SPACING = 5.0
PARTS = (".", "derivatives/manual")


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Every cohort, written when it is asked for."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp("cohorts") / name
            made[name] = write_demo(DemoPlan(name, n=2, sites=2, seed=3, spacing=SPACING), root)
        return made[name]

    return get


def rows(path: Path) -> list[dict[str, str]]:
    _, found, told = read_rows(path)
    assert not told
    return found


def array(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("name", COHORTS)
def test_every_cohort_has_its_images_its_truth_and_words_for_each_column(cohorts, name):
    root, kind = cohorts(name), COHORTS[name]
    manual = root / "derivatives" / "manual"
    for person in ("sub-01", "sub-02"):
        shapes = set()
        for sequence in kind.sequences:
            (path,) = (root / person).glob(f"*/{person}_{sequence}.nii.gz")
            image = array(path)
            shapes.add(image.shape)
            assert image.any()
            assert json.loads(path.with_name(f"{person}_{sequence}.json").read_text())["SkullStripped"]
        (soft,) = manual.glob(f"{person}/*/{person}_space-orig_seg-anatomy_probseg.nii.gz")
        (hard,) = manual.glob(f"{person}/*/{person}_space-orig_seg-anatomy_dseg.nii.gz")
        assert {array(hard).shape, array(soft).shape[:3]} == shapes
        labelled, filled = array(hard) > 0, array(soft).sum(-1) >= 0.5
        assert (labelled == filled).mean() > 0.999
        assert set(np.unique(array(hard))) <= {0, *part_names(kind.structures)}
        assert labelled.any()
    for table in (root / "participants.tsv", manual / "latents.tsv"):
        told = json.loads(table.with_suffix(".json").read_text())
        assert set(rows(table)[0]) == {"participant_id", *told}
    for row in rows(root / "participants.tsv"):
        for column, meaning in json.loads((root / "participants.json").read_text()).items():
            assert row[column] in meaning.get("Levels", {row[column]: ""}) or row[column] == "n/a"


@pytest.mark.parametrize("name", COHORTS)
def test_bids_validator_finds_no_error(cohorts, name):
    validator = shutil.which("bids-validator-deno") or str(Path(sys.executable).parent / "bids-validator-deno")
    if not Path(validator).exists():
        pytest.skip("bids-validator-deno is not installed")
    for part in PARTS:
        command = [validator, "--no-color", "--ignoreWarnings", str(cohorts(name) / part)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout


def test_lesion_labels_shares_and_table_say_the_same(cohorts):
    manual = cohorts("ms") / "derivatives" / "manual"
    for row in rows(manual / "latents.tsv"):
        start = manual / row["participant_id"] / "anat" / f"{row['participant_id']}_space-orig"
        soft = array(Path(f"{start}_seg-ms_probseg.nii.gz"))
        hard, mask = array(Path(f"{start}_seg-ms_dseg.nii.gz")), array(Path(f"{start}_label-L_mask.nii.gz"))
        assert soft.sum() * SPACING**3 / 1000 == pytest.approx(float(row["lesion_ml"]), rel=0.05)
        assert np.array_equal(hard > 0, mask > 0)
        assert mask.any()


def test_an_infarct_core_is_bright_on_the_trace_and_dark_on_the_adc():
    plan = DemoPlan("stroke", n=8, seed=1, spacing=4.0)
    for index in range(plan.n):
        person = draw_participant(plan, index)
        core = (person.pathology.labelled() > 0.9).numpy()
        if core.sum() > 20:
            break
    healthy = (person.varied.brain.tissue[2] > 0.95).numpy() & (person.pathology.labelled() == 0).numpy()
    assert person.images["trace"][core].mean() > 1.3 * person.images["trace"][healthy].mean()
    assert person.images["ADC"][core].mean() < 0.8 * person.images["ADC"][healthy].mean()
    assert 0.6 < person.images["ADC"][healthy].mean() / 1000 < 0.9


def test_a_run_at_rest_says_its_timing_and_the_second_group_has_an_altered_region(cohorts):
    root = cohorts("restingstate")
    image = nib.load(root / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    told = json.loads((root / "sub-01/func/sub-01_task-rest_bold.json").read_text())
    assert (told["TaskName"], told["RepetitionTime"]) == ("rest", pytest.approx(float(image.header.get_zooms()[3])))
    recipe, manual = load_recipe("restingstate"), root / "derivatives" / "manual"
    found = [find_labels(recipe, manual, who, None)[0] for who in ("01", "02")]  # as training would
    assert found[0] == manual / "sub-01" / "func" / "sub-01_task-rest_space-orig_label-L_desc-altered_mask.nii.gz"
    masks = [array(path) for path in found]
    assert [row["diagnosis"] for row in rows(root / "participants.tsv")] == ["control", "altered"]
    assert [bool(mask.any()) for mask in masks] == [False, True]
    assert masks[0].shape == image.shape[:3]


def test_the_same_plan_gives_the_same_bytes_whatever_the_folder(cohorts, tmp_path):
    again = write_demo(DemoPlan("stroke", n=2, sites=2, seed=3, spacing=SPACING), tmp_path / "other")
    assert checksums(again) == checksums(cohorts("stroke"))


def test_the_generators_differ_in_anatomy_field_and_timing():
    train, test = (DemoPlan("ms", generator=name) for name in GENERATORS)
    assert train.family != test.family
    assert train.field_tesla(0) != test.field_tesla(0)
    usual = DemoPlan("ms", generator="train"), DemoPlan("ms", generator="test", sites=2)
    assert protocol(usual[0], 0, "T1w") != protocol(usual[1], 1, "T1w")


def test_sequences_with_and_without_contrast_agent_share_their_timing():
    plan = DemoPlan("glioma")
    plain, agent = (protocol(plan, 0, name).sidecar() for name in ("T1w", "ce-gadolinium_T1w"))
    assert plain == agent


def test_the_outcome_has_the_probability_that_its_logit_says():
    facts = {"age": 70.0, "lesion_ml": 5.0, "eloquent_ml": 0.6}
    latent = -1.2 + 0.5 * math.log(5.1) + 1.2 * math.sqrt(0.6) + 0.4 * 2
    assert STROKE.latent(facts) == pytest.approx(latent)
    ranks = (np.arange(2000) + 0.5) / 2000
    drawn = [STROKE.draw(facts, rank, 0.0) for rank in ranks]
    poor = np.array([row["outcome"] == "poor" for row in drawn])
    assert poor.mean() == pytest.approx(1 / (1 + math.exp(-latent)), abs=1e-3)
    assert np.array_equal(poor, [row["mrs"] >= 3 for row in drawn])


def test_the_command_says_which_recipe_can_be_trained_on_the_cohort(tmp_path, capsys):
    assert main(["demo", "--cohort", "schizophrenia", "-n", "1", "--spacing", "6", str(tmp_path / "d")]) == 0
    labels = tmp_path / "d" / "derivatives" / "manual"
    assert f"train --recipe schizophrenia -d manual={labels}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["alzheimer", "schizophrenia", "tbi", "stroke"])
def test_a_cohort_has_the_labels_and_columns_of_its_recipe(cohorts, name):
    recipe, root = load_recipe(name), cohorts(name)
    (path, wrong), columns = (
        find_labels(recipe, root / "derivatives/manual", "02", None),
        rows(root / "participants.tsv"),
    )
    assert wrong is None
    there = set(np.unique(array(path)).tolist())
    # a small lesion fills half of no voxel of 5 mm
    assert there <= {0, 1} if recipe.labels.suffix == "mask" else there > {region.index for region in recipe.regions}
    told = json.loads((root / "participants.json").read_text())
    for target in recipe.targets:
        assert target.source in columns[0]
        assert set(target.levels) <= set(told[target.source].get("Levels", target.levels))
    assert set(recipe.learning.covariates) <= set(columns[0])


def test_people_who_were_not_injured_have_no_lesion_and_no_outcome():
    control, injured = (draw_participant(DemoPlan("tbi", n=2, spacing=6.0, seed=2), index) for index in (0, 1))
    assert (control.row["diagnosis"], injured.row["diagnosis"]) == ("control", "injury")
    assert control.row["outcome"] == "n/a"
    assert injured.row["outcome"] in ("favourable", "unfavourable")
    assert not control.pathology.labelled().any()


def test_severity_is_known_of_the_depressed_alone_and_falls_with_the_habenulae():
    control, ill = (draw_participant(DemoPlan("depression", n=2, spacing=6.0, seed=2), index) for index in (0, 1))
    assert control.row["severity"] == "n/a"
    assert 0 <= float(ill.row["severity"]) <= 52
    small, large = (SEVERITY.latent({"age": 50.0, "habenula_left_ml": v, "habenula_right_ml": v}) for v in (0.01, 0.02))
    assert small > large


def test_the_motor_tract_weighs_more_than_the_rest_of_the_brain():
    capsule, frontal = (torch.tensor(from_mni(point)).reshape(1, 1, 1, 3) for point in ((-23, -14, 8), (20, 50, 10)))
    assert float(eloquent(capsule)) > 0.9
    assert float(eloquent(frontal)) < 0.01


def test_every_latent_variable_of_the_pathologies_has_words():
    for name in COHORTS:
        person = draw_participant(DemoPlan(name, n=1, spacing=6.0, seed=2), 0)
        unknown = {n for n in person.latents if n not in LATENTS and not n.endswith(("_ml", "_latent"))}
        assert not unknown


@pytest.mark.parametrize(
    "wrong",
    [
        {"cohort": "gout"},
        {"n": 0},
        {"sites": 0},
        {"sites": 27},
        {"seed": -1},
        {"spacing": 0.0},
        {"spacing": 20.0},
        {"generator": "both"},
        {"anatomy": "dog"},
    ],
)
def test_a_wrong_plan_is_refused(wrong):
    with pytest.raises(UsageError):
        DemoPlan(**{"cohort": "ms", **wrong})


def test_nothing_is_left_when_drawing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_dataset, "_write_truth", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_demo(DemoPlan("healthy", n=1, spacing=6.0), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ["--cohort", "gout"],
        ["--cohort", "ms", "-n", "0"],
        ["--cohort", "ms", "--sites", "0"],
        ["--cohort", "ms", "--seed", "-1"],
        ["--sites", "2"],
        ["-n", "0"],
    ],
)
def test_the_command_refuses_bad_input_and_writes_nothing(wrong, tmp_path):
    assert main(["demo", *wrong, str(tmp_path / "d")]) == UsageError.exit_code
    assert list(tmp_path.iterdir()) == []


def test_the_command_leaves_a_folder_with_something_in_it_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["demo", "--cohort", "healthy", "-n", "1", str(tmp_path)]) == CannotWrite.exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--cohort", "healthy", "-n", "1", str(tmp_path / "file" / "d")]) == CannotWrite.exit_code


def test_the_command_writes_the_cohort_and_says_what_to_run_next(tmp_path, capsys):
    command = ["demo", "--cohort", "healthy", "-n", "1", "--spacing", "6", "--generator", "test", str(tmp_path / "d")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "participant --recipe healthy" in said
    assert "train --recipe" not in said
    assert COHORTS["restingstate"].next == "functional"
    assert "anatomy procedural" in (tmp_path / "d" / "README").read_text()
