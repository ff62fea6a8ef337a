"""Recipes of one slice from training to the page: on a thick scan, and on files of one slice."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record_file import read_session
from bids_app.bids.tables import read_rows
from bids_app.bundle.bundle import load_bundle
from bids_app.cli.main import main
from bids_app.report.methods import build_methods
from bids_app.scans.scan import load_scans
from tests.phantoms import save
from tests.workflows.small_cohort import small_recipe, write_small_cohort

SLICES = {
    "grid": {"kind": "image", "spacing_mm": 1.0, "flat": True, "range_mm": 2.0},
    "network": {"dimensions": 2, "slices": 3, "filters": 4, "blocks": [1, 1], "deep_supervision": 1},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A bundle of balls in slices, of ten people."""
    root = write_small_cohort(tmp_path_factory.mktemp("slices"), 10, recipe=small_recipe(**SLICES))
    words = [root / "bids", root / "out", "train", "--recipe", root / "balls.toml", "--folds", "2"]
    words += ["-d", f"manual={root}/bids/derivatives/manual", "-w", root / "work", "--steps", "6"]
    assert main(list(map(str, words))) == 0
    return root


@pytest.fixture(scope="module")
def applied(trained) -> Path:
    """The bundle on a thick scan (01), on a file with one slice (02) and on one of two dimensions (03)."""
    bids = trained / "new"
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, (18, 20, 6)).astype(np.float32)
    values[5:12, 5:12, 2:4] += 5
    for label in ("01", "02", "03"):
        for sequence in ("T1w", "FLAIR"):
            path = bids / f"sub-{label}" / "anat" / f"sub-{label}_{sequence}.nii.gz"
            array = {"01": values, "02": values[..., 3:4], "03": values[..., 3]}[label]
            save(path, array, np.diag([1, 1, 4.0 if label != "03" else 1.0, 1]))
            if label == "03":
                path.with_name(f"sub-03_{sequence}.json").write_text(json.dumps({"SliceThickness": 6.0}))
    about = {"Name": "new", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (bids / "dataset_description.json").write_text(json.dumps(about))
    words = [bids, trained / "applied", "participant", "group", "--bundle", bundle_of(trained), "-w", trained / "w"]
    assert main([*map(str, words), "--slice-at", "4.5", "--omp-nthreads", "1"]) == 0
    return trained / "applied"


def bundle_of(root: Path) -> Path:
    return root / "out" / "training" / "balls" / "bundle"


def test_every_slice_of_the_range_was_learned_and_one_of_each_person_was_judged(trained):
    folder = next((trained / "work" / "training" / "balls").glob("scans_*"))
    scans = load_scans(folder)
    assert len(scans) == 10 * 5
    assert {scan.offset for scan in scans} == {-2, -1, 0, 1, 2}
    assert scans[0].stack.shape == (2, 16, 16, 3)
    assert [scan.key for scan in load_scans(folder, at_level=True)] == [f"sub-{n:02d}" for n in range(10)]
    results = json.loads((trained / "out" / "training" / "balls" / "results.json").read_text())
    assert results["arms"]["multi-task"]["splits"]["folds"]["summary"]["participants"] == 10
    answers = list((trained / "out" / "training" / "balls" / "arms" / "multi-task").glob("*/answers/*.npz"))
    assert {path.stem for path in answers} == {f"sub-{n:02d}" for n in range(10)}


def test_the_bundle_knows_its_neighbours(trained):
    bundle = load_bundle(bundle_of(trained))
    assert bundle.network.shape.slices == 3
    assert bundle.recipe.needed_grid.range_mm == 2


@pytest.mark.parametrize(
    ("label", "shape", "rule", "seen", "thickness"),
    [
        ("01", (18, 20, 6), "measured", [4], 4.0),
        ("02", (18, 20, 1), "the only slice", [0], 4.0),
        ("03", (18, 20, 1), "the only slice", [0], 6.0),
    ],
)
def test_the_map_says_which_slice_was_looked_at(applied, label, shape, rule, seen, thickness):
    anat, key = applied / f"sub-{label}" / "anat", f"sub-{label}"
    image = nib.load(anat / f"{key}_space-T1w_seg-balls_probseg.nii.gz")
    values = np.asarray(image.dataobj).reshape(*shape, -1)
    assert np.flatnonzero(values.any((0, 1, 3))).tolist() == seen
    told = json.loads((anat / f"{key}_space-T1w_seg-balls_dseg.json").read_text())
    assert (told["SliceRule"], told["SlicesLookedAt"], told["SliceAxis"]) == (rule, seen, "k")
    assert "all other slices" in told["NotLookedAt"]
    about = read_session(applied, key).recipes["balls"].prediction.slice
    assert (about["looked_at"], about["of"], about["thickness_mm"]) == (seen, shape[2], thickness)
    row = read_rows(anat / f"{key}_desc-balls_volumes.tsv")[1][0]
    assert row["slices_looked_at"] == f"k={seen[0]} of {shape[2]}"
    if row["soft_mm3"] != "n/a":
        assert float(row["area_mm2"]) == pytest.approx(float(row["soft_mm3"]) / thickness, rel=0.01, abs=0.01)


def test_the_page_and_the_record_say_what_was_not_done(applied):
    page = (applied / "sub-01.html").read_text()
    assert "Not looked at" in page
    assert "all slices of T1w but 4 (of 6" in page
    record = read_session(applied, "sub-03")
    assert any("FLAIR.nii.gz is one slice" in warning for warning in record.images["T1w"].warnings)
    assert "not registered to the template" in record.recipes["balls"].taken_as
    assert "one slice of 6 mm" in " ".join(build_methods(record).paragraphs)
    scores = json.loads((applied / "sub-01" / "anat" / "sub-01_desc-balls_prediction.json").read_text())
    assert scores["SliceLevel"] == 4.5
    assert scores["SliceAwayFromLevel"] == pytest.approx(1.5)


def test_the_level_that_was_asked_for_is_in_the_runs_record(applied):
    kept = "\n".join(path.read_text() for path in applied.glob("logs/**/*.toml"))
    assert "slice_at = 4.5" in kept


def test_the_group_level_has_the_areas(applied):
    rows = read_rows(applied / "group_volumes.tsv")[1]
    assert {row["measure"] for row in rows} >= {"soft_mm3", "area_mm2"}
    assert {row["unit"] for row in rows if row["measure"] == "area_mm2"} == {"mm2"}


def test_a_level_without_a_recipe_of_one_slice_is_refused(trained, capfd):
    words = [trained / "new", trained / "x", "participant", "--recipe", "anatomical", "--slice-at", "3"]
    assert main(list(map(str, words))) != 0
    assert "looks at one slice" in capfd.readouterr().err
