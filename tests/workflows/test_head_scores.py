"""A recipe of a whole head with targets: labels and answers from one network, in files, page and the group's table."""

from __future__ import annotations

import json

import nibabel as nib
import pytest

from bids_app.bids.record_file import read_session
from bids_app.predict import anatomy
from bids_app.settings import Settings
from tests.learned.small_bundle import small_manifest, write_small
from tests.learned.small_head import head_image, head_recipe, read_brightness
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session

TARGETS = [
    {"name": "age", "kind": "continuous", "column": "age", "unit": "years"},
    {"name": "sex", "kind": "binary", "column": "sex", "levels": ["F", "M"]},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("healthy")
    folder = root / "bids/sub-01/anat"
    folder.mkdir(parents=True)
    nib.save(head_image(), folder / "sub-01_T1w.nii.gz")
    (root / "bids/dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0"}))
    bundle = write_small(
        root / "bundle",
        recipe=head_recipe(name="healthy", targets=TARGETS),
        manifest=small_manifest(participants=["80"]),
    )
    settings = Settings(
        root / "bids",
        root / "out",
        recipe=("healthy",),
        bundle=bundle.path,
        sloppy=True,
        work_dir=root / "work",
        device="cpu",
        brain_mask="template",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "predict", read_brightness)
        prepare_dataset(settings)
        assert run_session(settings, "01", None, threads=1) == 0
    return root / "out"


def test_the_session_has_labels_and_answers(run):
    assert (run / "sub-01/anat/sub-01_space-T1w_seg-healthy_dseg.nii.gz").is_file()
    answer = json.loads((run / "sub-01/anat/sub-01_desc-healthy_prediction.json").read_text())
    assert answer["ResearchUseOnly"] is True
    assert set(answer["Targets"]) == {"age", "sex"}
    assert answer["Targets"]["age"]["unit"] == "years"
    assert sum(answer["Targets"]["sex"]["levels"].values()) == pytest.approx(1, abs=1e-3)
    part = read_session(run, "sub-01").recipes["healthy"]
    assert part.scores is not None


def test_the_page_shows_the_answers(run):
    page = (run / "sub-01.html").read_text()
    assert "age" in page
    assert "esearch use only" in page
