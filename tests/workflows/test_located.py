"""A recipe that learned crops, on whole heads: found by the bundle anatomy on either side, in one session each."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.cli.preview import preview
from bids_app.errors import UsageError
from bids_app.predict import anatomy, locate
from bids_app.predict.vote import Vote
from bids_app.recipes.recipe import load_recipe
from bids_app.report.methods import build_methods
from bids_app.settings import Settings
from tests.learned.small_bundle import write_small
from tests.learned.small_head import AFFINE, FLUID, LEFT, RIGHT, head_bundle, head_image
from workflows.cohort import Unit
from workflows.dataset import prepare_dataset
from workflows.run_session import run_session
from workflows.wanted import anatomy_of, load_recipes, settle

#: Brightness of what stands for the left and the right hippocampus, and where each lies, world mm.
BALLS = {17: (700.0, (-28.0, -18.0, -12.0)), 53: (800.0, (28.0, -18.0, -12.0))}
SHOWN = {2: LEFT, 24: FLUID, 41: RIGHT, 17: BALLS[17][0], 53: BALLS[53][0]}
REGIONS = [
    {"index": 2, "name": "left half", "side": "left", "partner": 41},
    {"index": 17, "name": "left hippocampus", "side": "left", "partner": 53},
    {"index": 24, "name": "cerebrospinal fluid"},
    {"index": 41, "name": "right half", "side": "right", "partner": 2},
    {"index": 53, "name": "right hippocampus", "side": "right", "partner": 17},
]


def read_structures(bundle, stacked, present=None, **options):
    """In place of the network that labels heads: brightness says what is where."""
    each = [np.clip(1 - np.abs(stacked[0] - SHOWN[region.index]) / 49, 0, 1) for region in bundle.recipe.regions]
    return np.stack(each).astype(np.float32)


def read_crop(bundle, stacked, present=None, **options):
    """In place of the network that learned left crops: what is bright, in front of its middle and behind."""
    bright = (stacked[0] > 600) & (stacked[0] < 850)
    across = np.arange(bright.shape[1])[None, :, None]
    middle = (bright * across).sum() / max(bright.sum(), 1)
    front = across > middle
    return Vote(np.stack([bright & front, bright & ~front]).astype(np.float32), np.zeros(bright.shape, np.float32), 1)


def whole_head(balls: bool) -> nib.Nifti1Image:
    image = head_image()
    values = np.array(image.dataobj)
    at = np.moveaxis(np.indices(values.shape), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    for brightness, place in BALLS.values() if balls else ():
        values[np.linalg.norm(at - place, axis=-1) < 9] = brightness
    return nib.Nifti1Image(values, AFFINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A head, one without what is looked for, and a crop, one after another into one output folder."""
    root = tmp_path_factory.mktemp("located")
    crop = nib.Nifti1Image(np.random.default_rng(0).uniform(90, 110, (35, 51, 35)).astype(np.float32), np.eye(4))
    for label, image in (("01", whole_head(True)), ("02", whole_head(False)), ("03", crop)):
        folder = root / f"bids/sub-{label}/anat"
        folder.mkdir(parents=True)
        nib.save(image, folder / f"sub-{label}_T1w.nii.gz")
    (root / "bids/dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0"}))
    head_bundle(root / "bundles/anatomy", regions=REGIONS)
    write_small(root / "bundles/hippocampus", recipe=load_recipe("hippocampus"))
    settings = Settings(
        root / "bids", root / "out", recipe=("hippocampus",), sloppy=True, work_dir=root / "work", device="cpu"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_app.bundle.bundle.SHIPPED", root / "bundles")
        patch.setattr(anatomy, "predict", read_structures)
        patch.setattr(locate, "predict_vote", read_crop)
        prepare_dataset(settings)
        codes = [run_session(settings, label, None, threads=1) for label in ("01", "02", "03")]
    return settings, codes


def record(run, label: str) -> SessionRecord:
    return read_session(run[0].output_dir, f"sub-{label}")


def test_both_sides_are_found_where_they_lie_and_named(run):
    settings, codes = run
    assert codes[0] == 0
    image = nib.load(settings.output_dir / "sub-01/anat/sub-01_space-T1w_seg-hippocampus_dseg.nii.gz")
    labels = np.asarray(image.dataobj)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    for parts, (_, place) in zip(((1, 2), (3, 4)), BALLS.values(), strict=True):
        front, back = (np.argwhere(labels == part) @ image.affine[:3, :3].T + image.affine[:3, 3] for part in parts)
        np.testing.assert_allclose(np.vstack([front, back]).mean(0), place, atol=2)
        assert front[:, 1].mean() > back[:, 1].mean() + 4
    rows = (settings.output_dir / "seg-hippocampus_dseg.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in rows[1:]] == [
        ["1", "left anterior hippocampus"],
        ["2", "left posterior hippocampus"],
        ["3", "right anterior hippocampus"],
        ["4", "right posterior hippocampus"],
    ]


def test_what_was_done_stands_in_sidecar_record_and_page(run):
    out, found = run[0].output_dir, record(run, "01")
    sidecar = json.loads((out / "sub-01/anat/sub-01_space-T1w_seg-hippocampus_dseg.json").read_text())
    assert sidecar["LocatedBy"] == "labels 17 and 53 of anatomy"
    part = found.recipes["hippocampus"]
    assert "is taken for a whole head or brain (crops are smaller than 80 mm" in part.taken_as
    assert part.located["right"]["dice"] > 0.8
    assert list(found.recipes) == ["hippocampus"]
    assert part.prediction.grid.model_dump() == {"shape": [36, 50, 36], "spacing": 1.0}
    totals = {row.name: row.soft_mm3 for row in part.prediction.regions if row.kind == "total"}
    parts = [row.soft_mm3 for row in part.prediction.regions if row.kind != "total"]
    assert totals == {
        "left hippocampus": pytest.approx(sum(parts[:2])),
        "right hippocampus": pytest.approx(sum(parts[2:])),
    }
    words = " ".join(build_methods(found).paragraphs)
    assert "the right side was shown as its mirror image" in words
    assert "taken as they came" not in words
    assert "taken for a whole head" in (out / "sub-01.html").read_text()
    assert (out / "docs/model_card-anatomy.md").is_file()


def test_a_head_without_it_ends_well_and_says_so(run):
    _, codes = run
    found = record(run, "02").recipes["hippocampus"]
    assert codes[1] == 0
    assert [row.found for row in found.prediction.regions] == [False] * 6  # two parts and their sum on either side
    for side in ("left", "right"):
        assert any(f"no {side} one was looked for, because anatomy found none" in text for text in found.warnings)


def test_a_crop_beside_whole_heads_is_refused_with_what_to_do(run):
    settings, codes = run
    assert codes[2] == UsageError.exit_code
    assert "crops and whole brains go into output folders of their own" in record(run, "03").reason
    assert not list(settings.output_dir.glob("sub-03/**/*dseg*"))


def test_the_preview_names_the_steps_of_each_image_and_writes_nothing(run, tmp_path, capsys):
    settings = run[0].replace(output_dir=tmp_path / "none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_app.bundle.bundle.SHIPPED", settings.bids_dir.parent / "bundles")
        assert preview(settings, [Unit("01", None), Unit("03", None)]) == 0
    head, crop = json.loads(capsys.readouterr().out)
    assert "find the places by anatomy" in head["steps"]
    assert crop["steps"] == ["conform", "predict hippocampus", "write"]
    assert "is taken for a crop" in crop["taken_as"][0]
    assert not settings.output_dir.exists()


def of(**changes) -> Settings:
    return Settings(Path("in"), Path("out"), recipe=("hippocampus",), **changes)


def test_a_whole_brain_without_the_bundle_that_finds_the_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bids_app.bundle.bundle.SHIPPED", tmp_path)
    settled, _ = settle(of(), load_recipes(of())[0], Path("sub-01_T1w.nii.gz"), (180, 240, 200))
    with pytest.raises(UsageError, match="hippocampus needs the bundle anatomy to find its place in a whole brain"):
        anatomy_of(of(), [settled])
    crop, _ = settle(of(), load_recipes(of())[0], Path("sub-01_T1w.nii.gz"), (35, 50, 35))
    assert anatomy_of(of(), [crop]) is None


def test_a_whole_brain_may_be_brought_to_the_template():
    wanted = of(output_spaces=("T1w", "MNI152NLin2009cAsym"))
    settled, told = settle(wanted, load_recipes(wanted)[0], Path("sub-01_T1w.nii.gz"), (180, 240, 200))
    assert settled.grid.kind == "sides"
    assert told == (
        "hippocampus: sub-01_T1w.nii.gz, 180 x 240 x 200 mm, is taken for a whole head or brain (crops are smaller "
        "than 80 mm along every axis)"
    )
