"""Several recipes, one output folder: together or one after the other, and each on its own when another fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from bids_app.bids.record import CORRECTED, UNCORRECTED
from bids_app.bids.record_file import read_session
from bids_app.bids.status import start_status, write_status
from bids_app.errors import InputMissing, UsageError
from bids_app.group.tables import write_group
from bids_app.predict import anatomy, locate
from bids_app.recipes.recipe import load_recipe
from bids_app.recipes.write import recipe_to_toml
from bids_app.settings import Settings
from tests.learned.small_bundle import small_recipe, write_small
from tests.learned.small_head import head_bundle
from tests.workflows.test_located import REGIONS, read_crop, read_structures, whole_head
from workflows.dataset import finish_dataset, prepare_dataset
from workflows.run_session import run_session
from workflows.wanted import Finished

THREE = ("small", "hippocampus", "anatomy")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A head, bundles for three recipes of different needs, and stand-ins for the networks of two of them."""
    root = tmp_path_factory.mktemp("several")
    folder = root / "bids/sub-01/anat"
    folder.mkdir(parents=True)
    nib.save(whole_head(True), folder / "sub-01_T1w.nii.gz")
    (root / "bids/dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0"}))
    head_bundle(root / "bundles/anatomy", regions=REGIONS)
    write_small(root / "bundles/hippocampus", recipe=load_recipe("hippocampus"))
    small = small_recipe(targets=False)
    write_small(root / "bundles/small", recipe=small)
    needy = small_recipe(targets=False, name="needy", sequences=[*plain(small), {"name": "PDw", "suffix": "PDw"}])
    write_small(root / "bundles/needy", recipe=needy)
    for recipe in (small, needy):
        (root / f"{recipe.name}.toml").write_text(recipe_to_toml(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_app.bundle.bundle.SHIPPED", root / "bundles")
        patch.setattr(anatomy, "predict", read_structures)
        patch.setattr(locate, "predict_vote", read_crop)
        yield root


def plain(recipe) -> list[dict]:
    return [{"name": one.name, "suffix": one.suffix, "required": one.required} for one in recipe.sequences]


def settings_for(root: Path, out: str, *recipes: str, **more) -> Settings:
    """Only the two runs that are compared have work folders of their own: the others save the shared steps."""
    named = tuple(str(root / f"{name}.toml") if name in ("small", "needy") else name for name in recipes)
    options = {"work_dir": root / ("work_apart" if out == "apart" else "work"), "brain_mask": "network", **more}
    return Settings(root / "bids", root / out, recipe=named, sloppy=True, device="cpu", **options)


def run(settings: Settings) -> int:
    prepare_dataset(settings)
    code = run_session(settings, "01", None, threads=1)
    finish_dataset(settings)
    return code


@pytest.fixture(scope="module")
def together(root):
    assert run(settings_for(root, "together", *THREE)) == 0
    return root / "together"


@pytest.fixture(scope="module")
def apart(root):
    """The same recipes in three commands; with the state of every part after each."""
    states = []
    for name in THREE:
        assert run(settings_for(root, "apart", name)) == 0
        states.append({key: part.finished for key, part in read_session(root / "apart", "sub-01").recipes.items()})
    return root / "apart", states


def outputs(out: Path, *suffixes: str) -> dict[str, bytes]:
    found = [path for path in sorted(out.rglob("*")) if path.name.endswith(suffixes) and "logs" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_one_command_and_three_give_the_same_tables_masks_and_images(together, apart):
    mine, theirs = (outputs(out, ".tsv", ".nii.gz") for out in (together, apart[0]))
    assert set(mine) == set(theirs)
    assert {name for name in mine if mine[name] != theirs[name]} == set()
    names = {Path(name).name for name in mine}
    assert {"sub-01_desc-preproc_T1w.nii.gz", "sub-01_desc-uncorrected_T1w.nii.gz"} <= names
    assert {f"sub-01_desc-{name}_volumes.tsv" for name in THREE} <= names


def test_there_is_one_record_with_a_part_for_each_and_one_page(together, apart):
    for out in (together, apart[0]):
        record = read_session(out, "sub-01")
        assert {name: part.state for name, part in record.recipes.items()} == dict.fromkeys(THREE, "done")
        assert set(record.images) == {"T1w"}
        assert set(record.images["T1w"].files.reference) == {CORRECTED, UNCORRECTED}
        assert [record.recipes[name].way for name in THREE] == [CORRECTED, UNCORRECTED, CORRECTED]
        assert [path.name for path in sorted(out.glob("sub-*.html"))] == ["sub-01.html"]
        page = (out / "sub-01.html").read_text()
        assert all(f'id="regions-{name}"' in page for name in THREE)
        methods = (out / "CITATION.md").read_text()
        assert methods.count("was registered to the template") == 1
        assert methods.count("bundle hippocampus (weights") == 1


def test_what_is_shared_runs_once(together):
    stages = [stage.name for stage in read_session(together, "sub-01").stages]
    assert len(stages) == len(set(stages))
    shared = ("reference bias", "reference mask", "reference anatomy", "template register")
    assert [stages.count(name) for name in shared] == [1, 1, 1, 1]


def test_the_group_level_reads_all_of_them(apart):
    write_group(apart[0])
    rows = (apart[0] / "group_volumes.tsv").read_text().splitlines()
    assert {row.split("\t")[2] for row in rows[1:]} == {*THREE, "n/a"}
    attrition = (apart[0] / "group_attrition.tsv").read_text().splitlines()
    assert [row.split("\t")[2:5] for row in attrition[1:]] == [[name, "done", "in the table"] for name in THREE]


def test_a_finished_recipe_is_not_computed_again_because_another_was_added(apart):
    _, (first, second, third) = apart
    assert first.items() <= second.items() <= third.items()


def test_the_outputs_are_valid_bids(apart):
    validator = shutil.which(
        "bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if validator is None:
        pytest.skip("bids-validator-deno is not installed; it comes with the test extra")
    done = subprocess.run([validator, "--ignoreWarnings", str(apart[0])], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_recipe_that_fails_leaves_the_others_done(root):
    settings = settings_for(root, "needy", "small", "needy")
    assert run(settings) == InputMissing.exit_code
    record = read_session(settings.output_dir, "sub-01")
    assert (record.state, record.recipes["small"].state, record.recipes["needy"].state) == ("failed", "done", "failed")
    assert record.reason.startswith("needy: no PDw")
    before = record.recipes["small"].finished
    assert run(settings) == InputMissing.exit_code  # again: only what failed is tried
    assert read_session(settings.output_dir, "sub-01").recipes["small"].finished == before
    write_group(settings.output_dir)
    assert "small" in (settings.output_dir / "group_volumes.tsv").read_text()
    page = (settings.output_dir / "sub-01.html").read_text()
    assert "no PDw" in page
    assert 'id="regions-small"' in page


def test_a_network_that_fails_takes_nothing_from_the_others(root, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(locate, "predict_vote", broken)
    settings = settings_for(root, "broken", "hippocampus", "small")
    assert run(settings) == 1
    record = read_session(settings.output_dir, "sub-01")
    assert (record.recipes["hippocampus"].state, record.recipes["small"].state) == ("failed", "done")
    assert record.recipes["hippocampus"].reason == "RuntimeError: boom"
    assert (settings.output_dir / "sub-01/anat/sub-01_desc-small_volumes.tsv").is_file()


def test_an_interrupted_run_of_another_recipe_leaves_what_was_finished(root, together, tmp_path):
    out = shutil.copytree(together, tmp_path / "out")
    record = read_session(out, "sub-01")
    record.recipes["small"].state, record.state = "running", "running"
    (out / "logs/sub-01/record.json").write_text(record.model_dump_json())
    write_status(out, start_status("01", pid=2**22 + 1))
    found = read_session(out, "sub-01")
    assert {name: part.state for name, part in found.recipes.items()} == {
        "small": "failed",
        "hippocampus": "done",
        "anatomy": "done",
    }
    there = settings_for(root, "x", "hippocampus", "anatomy").replace(output_dir=out)
    assert Finished(there).status("sub-01").state == "done"
    assert Finished(settings_for(root, "x", *THREE).replace(output_dir=out)).status("sub-01") is None


def test_options_that_would_change_what_others_were_made_from_are_refused(root, together, tmp_path):
    out = shutil.copytree(together, tmp_path / "out")
    before = outputs(out, ".nii.gz")
    other = settings_for(root, "x", "anatomical", denoise=True).replace(output_dir=out)
    assert run(other) == UsageError.exit_code
    reason = read_session(out, "sub-01").recipes["anatomical"].reason
    assert "made for small and hippocampus and anatomy with another --denoise (False)" in reason
    assert outputs(out, ".nii.gz") == before
