"""The recipe anatomy in a session: one run of its network for mask and labels, on whatever one sequence is there."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record_file import read_session
from bids_app.bids.status import read_status
from bids_app.cli.console import make_console, print_statuses
from bids_app.cli.run import check_before_work
from bids_app.errors import UsageError
from bids_app.imaging import brain
from bids_app.predict import anatomy
from bids_app.recipes.recipe import Recipe, load_recipe
from bids_app.report.methods import build_methods
from bids_app.settings import Settings
from tests.learned.small_head import LEFT, RIGHT, SKIN, head_bundle, head_image, read_brightness
from tests.workflows.test_session_graph import build, names  # noqa: F401 (a fixture)
from workflows.cohort import needed_gb
from workflows.dataset import prepare_dataset
from workflows.interfaces.imaging import BrainMask
from workflows.prediction import predicted_fields
from workflows.resources import HEAD_GB, SESSION_GB
from workflows.run_session import run_session
from workflows.wanted import anatomy_of

GOLDEN = {
    "sub-01_desc-preproc_T2w.nii.gz",
    "sub-01_desc-preproc_T2w.json",
    "sub-01_space-T2w_desc-brain_mask.nii.gz",
    "sub-01_space-T2w_desc-brain_mask.json",
    "sub-01_from-T2w_to-MNI152NLin2009aSym_mode-image_xfm.h5",
    "sub-01_space-T2w_seg-anatomy_dseg.nii.gz",
    "sub-01_space-T2w_seg-anatomy_dseg.json",
    "sub-01_desc-anatomy_volumes.tsv",
    "sub-01_desc-anatomy_volumes.json",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A head of which there is only a T2w, run once with a stand-in for the network; its calls are counted."""
    root = tmp_path_factory.mktemp("head")
    folder = root / "bids/sub-01/anat"
    folder.mkdir(parents=True)
    nib.save(head_image(), folder / "sub-01_T2w.nii.gz")
    (root / "bids/dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0"}))
    bundle = head_bundle(root / "bundle")
    calls = []

    def predict(*args, **options):
        calls.append(options)
        return read_brightness(*args, **options)

    settings = Settings(
        root / "bids",
        root / "out",
        recipe=("anatomy",),
        bundle=bundle.path,
        sloppy=True,
        work_dir=root / "work",
        device="cpu",
        tta=True,
        brain_mask="network",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "predict", predict)
        prepare_dataset(settings)
        assert run_session(settings, "01", None, threads=1) == 0
    return root / "out", calls


@pytest.fixture(scope="module")
def record(run):
    return read_session(run[0], "sub-01")


def test_every_promised_file_bears_the_name_of_the_sequence_that_was_there(run):
    assert {path.name for path in (run[0] / "sub-01/anat").iterdir()} == GOLDEN


def test_mask_and_labels_come_from_one_run_of_the_network(run):
    out, calls = run
    assert [call["tta"] for call in calls] == [True]
    mask, labels = (
        np.asarray(nib.load(out / f"sub-01/anat/sub-01_space-T2w_{name}.nii.gz").dataobj)
        for name in ("desc-brain_mask", "seg-anatomy_dseg")
    )
    np.testing.assert_array_equal(mask > 0, np.isin(labels, (2, 41)))


def test_the_table_has_every_region_the_brain_and_all_within_the_skull(run):
    rows = (run[0] / "sub-01/anat/sub-01_desc-anatomy_volumes.tsv").read_text().splitlines()
    first = [row.split("\t")[:2] for row in rows]
    assert first == [
        ["index", "name"],
        ["2", "left half"],
        ["24", "cerebrospinal fluid"],
        ["41", "right half"],
        ["n/a", "brain"],
        ["n/a", "total intracranial volume"],
    ]


def test_sidecars_say_what_made_the_files(run):
    anat = run[0] / "sub-01/anat"
    mask = json.loads((anat / "sub-01_space-T2w_desc-brain_mask.json").read_text())
    assert mask["Method"] == "by the network of the bundle bundle"
    dseg = json.loads((anat / "sub-01_space-T2w_seg-anatomy_dseg.json").read_text())
    assert (dseg["Sequences"], dseg["Assignment"]) == (["T2w"], "likeliest region, or none")
    assert dseg["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    why = json.loads((anat / "sub-01_desc-preproc_T2w.json").read_text())["ChosenBecause"]
    assert why == "no T1w in sub-01; T2w stands for it: the only T2w that fits"


def test_what_is_odd_about_the_brain_stands_in_the_status_too(run, record):
    (images,) = record.images.values()
    told = read_status(run[0], "sub-01").warnings
    assert images.warnings  # a ball is no brain
    assert set(images.warnings) <= set(told)
    said = io.StringIO()
    print_statuses({"sub-01": read_status(run[0], "sub-01")}, make_console(file=said))
    assert re.search(rf"done .* {len(told)}  ", said.getvalue())


def test_the_page_and_the_methods_say_so_too(run, record):
    page = (run[0] / "sub-01.html").read_text()
    assert "by the network of the bundle bundle" in page
    assert "T2w stands for it" in page
    assert "3 of 3 regions found" in page
    words = " ".join(build_methods(record).paragraphs)
    assert "It read T2w as it came" in words
    assert "brain and total" not in words
    assert [stage.name for stage in record.stages].count("reference anatomy") == 1
    assert record.recipes["anatomy"].prediction.sequence == "T2w"


def test_the_result_is_valid_bids(run):
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    validator = shutil.which("bids-validator-deno", path=beside_python)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed; it comes with the test extra")
    done = subprocess.run([validator, "--ignoreWarnings", str(run[0])], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_group_level_takes_sums_of_regions_too(run):
    from bids_app.group.tables import write_group

    write_group(run[0])
    rows = (run[0] / "group_volumes.tsv").read_text()
    assert "total intracranial volume" in rows


@pytest.fixture
def ships(tmp_path, monkeypatch):
    """As if the bundle shipped."""
    bundle = head_bundle(tmp_path / "anatomy")
    monkeypatch.setattr("bids_app.bundle.bundle.SHIPPED", tmp_path)
    return bundle


def settings(**changes) -> Settings:
    return Settings(Path("in"), Path("out"), **changes)


def test_the_network_looks_for_the_brain_of_other_recipes_unless_it_is_told_not_to(build, ships):  # noqa: F811
    recipes = ("anatomical",)
    label = build(recipes=recipes).get_node("reference_wf.anatomy").inputs
    assert (label.wanted, label.weights) == (False, ships.sha256)
    assert "reference_wf.anatomy" not in names(build(recipes=recipes, brain_mask="template"))
    assert "reference_wf.anatomy" not in names(build(recipes=recipes, skull_strip="skip"))


@pytest.mark.parametrize(("spacing", "gb"), [(1.0, HEAD_GB), (2.0, SESSION_GB)])
def test_a_network_on_fine_voxels_of_a_head_needs_more_memory(tmp_path, monkeypatch, spacing, gb):
    head_bundle(tmp_path / "anatomy", spacing_mm=spacing)
    monkeypatch.setattr("bids_app.bundle.bundle.SHIPPED", tmp_path)
    assert needed_gb(settings(recipe=("anatomical",), brain_mask="auto")) == gb
    assert needed_gb(settings(recipe=("anatomical",), brain_mask="template")) == SESSION_GB < HEAD_GB


def test_without_its_bundle_the_network_cannot_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("bids_app.bundle.bundle.SHIPPED", tmp_path)
    recipes = [load_recipe("anatomical")]
    assert anatomy_of(settings(brain_mask="auto"), recipes) is None
    with pytest.raises(UsageError, match="bundle anatomy is not in this installation"):
        check_before_work(settings(recipe=("anatomical",), brain_mask="network"))


def test_many_regions_leave_no_probabilities():
    plain = load_recipe("habenula").model_dump()
    plain["regions"] = [{"index": i, "name": f"region {i}"} for i in range(1, 14)]
    assert "probseg" not in predicted_fields(Recipe.model_validate(plain))
    assert "probseg" in predicted_fields(load_recipe("habenula"))
    assert predicted_fields(load_recipe("anatomy")) == ("dseg", "volumes")


@pytest.fixture
def mask_of(tmp_path, monkeypatch):
    """A function that runs the node of the mask with an answer of the network."""
    nib.save(head_image(), tmp_path / "head.nii")
    values = np.asarray(head_image().dataobj)
    nib.save(
        nib.Nifti1Image(np.isin(values, (LEFT, RIGHT)).astype(np.uint8), head_image().affine), tmp_path / "mask.nii"
    )

    def find_brain(path, **options):
        return values != SKIN, {"method": "the template's", "warnings": [], "to_template": np.eye(4).tolist()}

    monkeypatch.setattr("bids_app.imaging.head.find_brain", find_brain)

    def work(**inputs):
        node = BrainMask(
            in_file=str(tmp_path / "head.nii"),
            template="MNI152NLin2009cAsym",
            seed=1,
            bundle="bundles/anatomy",
            found=str(tmp_path / "mask.nii"),
            **inputs,
        )
        return node._work(tmp_path)

    return work


@pytest.mark.parametrize(
    ("method", "doubt", "by_network", "told"),
    [
        ("auto", "", True, ""),
        ("auto", "it measures 90 ml", False, r"cannot be right \(it measures 90 ml\), so that a template's brain"),
        ("network", "it measures 90 ml", True, "used as asked, but cannot be right: it measures 90 ml"),
        ("template", "", False, ""),
    ],
)
def test_who_makes_the_mask_is_said(mask_of, monkeypatch, method, doubt, by_network, told):
    monkeypatch.setattr(brain, "BRAIN_ML", (0.0, 1e6))  # the head of the test has a large one
    made = mask_of(method=method, doubt=doubt)
    assert ("by the network of the bundle anatomy" in made["how"]) == by_network
    assert bool(made["bundle"]) == by_network
    assert bool(made["to_template"]) != by_network
    assert made["facts"]["brain_method"] == made["how"]
    warnings = " ".join(w for w in made["facts"]["warnings"] if "unusual" not in w)
    assert re.search(told, warnings) if told else warnings == ""


def test_where_neither_brain_can_be_right_the_networks_stays_and_that_is_said(mask_of):
    made = mask_of(method="auto", doubt="it measures 90 ml")
    assert made["how"] == "by the network of the bundle anatomy"
    assert "neither can be trusted" in made["facts"]["warnings"][0]


def test_structures_place_the_head_where_no_template_was_carried_over(mask_of):
    placed = np.diag([1.1, 1.2, 1.0, 1.0]).tolist()
    assert mask_of(method="auto", doubt="", placed=placed)["to_template"] == placed


def test_a_stripped_image_keeps_its_own_mask(mask_of):
    made = mask_of(method="network", skull_strip="skip")
    assert "not blank" in made["how"]
    assert made["bundle"] == ""
