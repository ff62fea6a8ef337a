"""A recipe of one slice that needs mask and template: small heads, one slice of them, and real clinical scans."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record_file import read_session
from bids_app.cli.main import main
from bids_app.recipes.recipe import Recipe
from tests.data import real
from tests.learned.small_bundle import small_recipe, write_small
from tests.workflows.heads import small_heads

QUICK = ["--sloppy", "--brain-mask", "template", "--omp-nthreads", "1"]


def flat_recipe(kind: str = "whole", **grid) -> Recipe:
    where = {"kind": kind, "spacing_mm": 1.0, "flat": True, "centre_mm": [0, 0, 20], **grid}
    network = {"dimensions": 2, "slices": 3, "filters": 4, "blocks": [1, 1], "deep_supervision": 1}
    return small_recipe(grid=where, network=network)


def apply(root: Path, bids: Path, bundle: Path, *more: str) -> Path:
    words = [bids, root / "out", "participant", "--bundle", bundle, "-w", root / "work", *QUICK, *more]
    assert main(list(map(str, words))) == 0
    return root / "out"


def keep_one_slice(path: Path, number: int) -> None:
    image = nib.load(path)
    nib.save(image.slicer[:, :, number : number + 1], path)


def seen_in(out: Path, key: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """Slices with any probability, the preprocessed reference's affine, and what the record says of the slice."""
    part = read_session(out, key).recipes["small"]
    image = nib.load(out / part.files.probseg)
    values = np.asarray(image.dataobj)
    assert values[values > 0].min() > 0
    return np.flatnonzero(values.any((0, 1, 3))), image.affine, part.prediction.slice


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A whole head (01) and one slice of another (02); a recipe of the whole brain."""
    root = tmp_path_factory.mktemp("heads")
    small_heads(root / "bids", ["01", "02"], spacing=3.0)
    keep_one_slice(root / "bids/sub-02/anat/sub-02_T1w.nii.gz", 30)
    write_small(root / "bundle", recipe=flat_recipe())
    apply(root, root / "bids", root / "bundle")
    return root / "out"


def test_the_slice_nearest_to_the_templates_level_is_taken_whole(run):
    seen, affine, about = seen_in(run, "sub-01")
    assert about["rule"] == "measured"
    assert seen.tolist() == about["looked_at"]
    assert len(seen) == 1
    matrix = np.array(read_session(run, "sub-01").images["T1w"].preprocessing.to_template)
    heights = [(matrix @ affine @ [30, 35, k, 1])[2] for k in range(about["of"])]
    assert abs(int(np.argmin(np.abs(np.array(heights) - 20))) - seen[0]) <= 1  # the middle of the slice is elsewhere
    assert abs(about["away_mm"]) <= 1.6


def test_one_slice_is_looked_at_without_template_mask_and_n4_and_says_so(run):
    seen, _, about = seen_in(run, "sub-02")
    assert (about["rule"], seen.tolist(), about["of"]) == ("the only slice", [0], 1)
    record = read_session(run, "sub-02")
    assert "was not registered to the template" in record.recipes["small"].taken_as
    images = record.images["T1w"]
    assert images.preprocessing.to_template is None
    assert images.files.brain_mask is None
    assert not images.preprocessing.bias


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), [("tumour", "sub-01"), ("ms_two_visits", "sub-01_ses-1")])
@pytest.mark.parametrize("kind", ["whole", "region"])
def test_real_scans_of_thick_slices_are_read_as_they_were_measured(tmp_path, name, key, kind):
    more = {"size_mm": 120} if kind == "region" else {}
    write_small(tmp_path / "bundle", recipe=flat_recipe(kind, **more))
    only = ["--session-label", "1"] if "ses" in key else []
    seen, _, about = seen_in(apply(tmp_path, real(name), tmp_path / "bundle", *only), key)
    assert (about["rule"], len(seen)) == ("measured", 1)
    assert seen.tolist() == about["looked_at"]
    assert abs(about["away_mm"]) <= about["thickness_mm"] / 2 + 0.1
    assert about["thickness_mm"] == pytest.approx({"tumour": 6.5, "ms_two_visits": 3.0}[name], abs=0.01)


@pytest.mark.slow
def test_one_slice_of_a_real_scan(tmp_path):
    shutil.copytree(real("tumour"), tmp_path / "bids")
    for path in (tmp_path / "bids").rglob("*.nii.gz"):
        path.chmod(0o644)
        keep_one_slice(path, 13)
    write_small(tmp_path / "bundle", recipe=flat_recipe())
    seen, _, about = seen_in(apply(tmp_path, tmp_path / "bids", tmp_path / "bundle"), "sub-01")
    assert (about["rule"], seen.tolist(), about["thickness_mm"]) == (
        "the only slice",
        [0],
        pytest.approx(6.5, abs=0.01),
    )
