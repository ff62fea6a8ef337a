"""Targets from the command's own road: a score per session, its file, its page, and who must not be judged by it."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record_file import read_session
from bids_app.bids.status import read_status
from bids_app.settings import Settings
from tests.learned.small_bundle import small_manifest, small_recipe, write_small
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session

GRID = {"kind": "image", "spacing_mm": 3.0}


def dataset(root):
    """Two participants with small T1w and FLAIR images and a weight."""
    for index, name in enumerate(("01", "77")):
        folder = root / f"sub-{name}" / "anat"
        folder.mkdir(parents=True)
        for suffix in ("T1w", "FLAIR"):
            values = np.random.default_rng(index).normal(100, 20, (24, 24, 24)).clip(1).astype(np.float32)
            nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), folder / f"sub-{name}_{suffix}.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    (root / "participants.tsv").write_text("participant_id\tweight\tsex\nsub-01\t70\tF\nsub-77\tn/a\tM\n")
    return root


def run(tmp_path, participant, *, regions=True, members=2):
    """The record, the prediction file and the page of one session."""
    bids = dataset(tmp_path / "bids")
    recipe = small_recipe(regions=regions, grid=GRID, learning={"covariates": ["weight", "sex"]})
    manifest = small_manifest(covariate_levels={"sex": ["F", "M"]})
    bundle = write_small(tmp_path / "bundle", recipe=recipe, members=members, manifest=manifest)
    settings = Settings(
        bids,
        tmp_path / "out",
        work_dir=tmp_path / "work",
        recipe=(str(bundle.path / "recipe.toml"),),
        bundle=bundle.path,
    )
    prepare_dataset(settings)
    code = run_session(settings, participant, None, threads=1)
    status = read_status(settings.output_dir, f"sub-{participant}")
    assert code == 0, status.reason
    record = read_session(tmp_path / "out", f"sub-{participant}").recipes["small"]
    path = tmp_path / "out" / record.files.scores
    return record, json.loads(path.read_text()), (tmp_path / "out" / f"sub-{participant}.html").read_text(), bundle


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return run(tmp_path_factory.mktemp("s"), "77")


def test_a_prediction_says_what_it_is_and_what_made_it(scored):
    record, found, _, bundle = scored
    assert record.files.scores == "sub-77/anat/sub-77_desc-small_prediction.json"
    assert found["ResearchUseOnly"] is True
    assert found["WeightsSHA256"] == bundle.sha256
    assert found["Sequences"] == {"T1w": True, "FLAIR": True}
    assert set(found["Targets"]) == {"group", "stage", "age"}
    assert found["Targets"]["group"]["members"] == 2
    assert found["TrainedThisBundle"] == []
    assert len(found["Sources"]) == 2


def test_what_is_not_known_of_a_participant_is_said(scored):
    record, found, _, _ = scored
    assert found["Covariates"] == {"weight": None, "sex": 1.0}
    assert any("weight of sub-77 is not known" in warning for warning in record.warnings)


def test_the_page_shows_scores_for_research_only(scored):
    _, _, page, _ = scored
    section = page[page.index("Scores: Small things") :]
    assert "Research use only: scores, not diagnoses" in section[:400]
    assert "depression 0." in section
    assert "nats of 2" in section


def test_regions_of_the_same_recipe_are_written_too(scored):
    record, _, _, _ = scored
    assert record.files.dseg.endswith("seg-small_dseg.nii.gz")
    assert record.prediction.members == 2


def test_a_recipe_of_targets_alone_runs_and_warns_of_a_name_that_trained(tmp_path):
    record, found, page, _ = run(tmp_path, "01", regions=False, members=1)
    assert record.files.dseg is None
    assert found["Targets"]["age"]["members"] == 1
    assert "a participant named sub-01 trained" in found["TrainedThisBundle"][0]
    assert "a participant named sub-01 trained" in page
    assert "one member" in page
