"""The recipe `stroke` from raw b-values, from a scanner's trace image and ADC map, and what stops it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import Preprocessing, SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.cli.preview import steps
from bids_app.errors import ImageError, InputMissing
from bids_app.recipes.recipe import load_recipe
from bids_app.report.methods import build_methods
from bids_app.settings import Settings
from tests.data import real
from tests.phantoms import checksums
from tests.workflows.diffusion_phantom import NAME, TISSUE, true_maps, write_diffusion, write_stroke_bundle
from workflows.choosing import choose, preflight, watched
from workflows.dataset import prepare_dataset
from workflows.interfaces.diffusion import CheckPair
from workflows.run_session import run_session


def settings_of(root: Path, bids: Path) -> Settings:
    return Settings(
        bids,
        root / "out",
        recipe=("stroke",),
        bundle=root / "bundle",
        work_dir=root / "work",
        sloppy=True,
        device="cpu",
    )


def run(root: Path, bids: Path, participant: str = "01") -> int:
    """One session in this process, with a bundle of random weights."""
    write_stroke_bundle(root / "bundle")
    settings = settings_of(root, bids)
    prepare_dataset(settings)
    return run_session(settings, participant, None, threads=1)


def record_of(root: Path, key: str = "sub-01") -> SessionRecord:
    return read_session(root / "out", key)


def done_of(root: Path, key: str = "sub-01") -> Preprocessing:
    return record_of(root, key).images["trace"].preprocessing


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A raw series only, run once; the folder with ``bids`` and ``out``."""
    root = tmp_path_factory.mktemp("raw")
    write_diffusion(root / "bids")
    before = checksums(root / "bids")
    assert run(root, root / "bids") == 0
    assert checksums(root / "bids") == before
    return root


def valid(folder: Path) -> None:
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    validator = shutil.which("bids-validator-deno", path=beside_python)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed; it comes with the test extra")
    done = subprocess.run([validator, "--ignoreWarnings", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


STAYS = {
    "sub-01_dir-AP_desc-preproc_trace",
    "sub-01_dir-AP_space-trace_desc-preproc_ADC",
    "sub-01_dir-AP_space-trace_desc-brain_mask",
    "sub-01_from-trace_to-MNI152NLin2009aSym_mode-image_xfm",
    "sub-01_space-trace_seg-stroke_dseg",
    "sub-01_space-trace_seg-stroke_probseg",
    "sub-01_desc-stroke_volumes",
    "sub-01_desc-stroke_lesions",
    "sub-01_space-trace_label-L_desc-stroke_mask",
}


def test_everything_lies_in_the_folder_of_diffusion_images(raw):
    assert {path.name.split(".")[0] for path in (raw / "out/sub-01").rglob("*.*")} == STAYS
    assert {path.parent.name for path in (raw / "out/sub-01").rglob("*.*")} == {"dwi"}


def test_outputs_from_a_raw_series_are_valid_bids(raw):
    valid(raw / "out")


def test_the_computed_map_is_the_true_one_within_noise(raw):
    made = nib.load(raw / "out" / f"{NAME}_dir-AP_space-trace_desc-preproc_ADC.nii.gz")
    _, adc, affine = true_maps()
    np.testing.assert_allclose(made.affine, nib.as_closest_canonical(nib.Nifti1Image(adc, affine)).affine, atol=1e-4)
    found = np.asarray(made.dataobj)
    truth = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(adc, affine)).dataobj)
    tissue = truth == TISSUE
    # noise of 6 on signals of 600 and 270 (averaged over three): 0.01 and 0.013 of ln S, one standard deviation
    assert np.median(found[tissue]) == pytest.approx(TISSUE, abs=0.003)
    assert found[tissue].std() == pytest.approx(0.0163, rel=0.1)
    assert (found[truth == 0] == 0).all()


def test_sidecars_point_to_the_raw_series(raw):
    for name in ("desc-preproc_trace", "space-trace_desc-preproc_ADC"):
        sidecar = json.loads((raw / "out" / f"{NAME}_dir-AP_{name}.json").read_text())
        assert sidecar["Sources"] == [f"bids:raw:{NAME}_dir-AP_dwi.{end}" for end in ("nii.gz", "bval", "bvec")]
        assert "raw diffusion series" in sidecar["ComputedFrom"]
    assert sidecar["Units"] == "1e-3 mm2/s"


def test_the_page_and_the_methods_say_what_was_computed(raw):
    record = record_of(raw)
    done = done_of(raw)
    assert done.diffusion["shells"] == [{"b": 1000.0, "volumes": 3, "directions": 3}]
    assert not done.adc  # its unit is known
    assert not done.diffusion["left_out_b"]
    words = " ".join(build_methods(record).paragraphs)
    assert "computed from the raw diffusion series (b = 0 and 1000 s/mm²)" in words
    assert "rigid" not in words
    page = (raw / "out/sub-01.html").read_text()
    assert "sub-01_dir-AP_dwi.nii.gz: volumes 1 at b = 0, 3 at b = 1000 s/mm²" in page
    stages = {stage.name for stage in record.stages}
    assert "diffusion compute" in stages
    assert "ADC bias" not in stages


def test_a_changed_b_value_makes_the_session_stale(raw):
    settings = settings_of(raw, raw / "bids")
    selection = choose(settings, "01", None, load_recipe("stroke"))
    assert {path.name for path in watched(selection) if path.is_file()} == {
        f"sub-01_dir-AP_dwi.{end}" for end in ("nii.gz", "bval", "bvec")
    }


@pytest.fixture(scope="module")
def scanner(tmp_path_factory):
    """Trace image and ADC map in 1e-6 mm²/s, the map on a grid of its own, run once."""
    root = tmp_path_factory.mktemp("scanner")
    write_diffusion(root / "bids", raw=False)
    path = root / "bids" / f"{NAME}_ADC.nii.gz"
    image = nib.load(path)
    cut = nib.Nifti1Image(np.asarray(image.dataobj)[2:, 1:], image.affine.copy())
    cut.affine[:3, 3] += image.affine[:3, :3] @ [2, 1, 0]
    nib.save(nib.Nifti1Image(np.asarray(cut.dataobj)[::-1], cut.affine @ flip(cut.shape[0])), path)
    assert run(root, root / "bids") == 0
    return root


def flip(count: int) -> np.ndarray:
    return np.array([[-1.0, 0, 0, count - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_a_map_on_another_grid_is_resampled_and_comes_in_one_unit(scanner):
    made = nib.load(scanner / "out" / f"{NAME}_space-trace_desc-preproc_ADC.nii.gz")
    trace = nib.load(scanner / "out" / f"{NAME}_desc-preproc_trace.nii.gz")
    np.testing.assert_allclose(made.affine, trace.affine)
    _, adc, affine = true_maps()
    truth = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(adc, affine)).dataobj)
    np.testing.assert_allclose(np.asarray(made.dataobj), truth, atol=2e-3)
    assert done_of(scanner).adc["came_in"] == "1e-6 mm2/s"
    assert done_of(scanner).pair["grids_apart_mm"] > 4
    valid(scanner / "out")


def test_a_map_of_another_place_is_refused_by_its_name(scanner, tmp_path):
    image = nib.load(scanner / "bids" / f"{NAME}_ADC.nii.gz")
    image.affine[:3, 3] += [0, 45, 0]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), tmp_path / "adc.nii")
    trace = str(scanner / "bids" / f"{NAME}_trace.nii.gz")
    node = CheckPair(in_file=str(tmp_path / "adc.nii"), reference=trace, source="sub-01_ADC.nii.gz")
    with pytest.raises(ImageError, match=r"sub-01_ADC.nii.gz: it covers .* make the ADC map from the same series"):
        node.run(cwd=str(tmp_path))


@pytest.mark.parametrize(
    ("bvalues", "why"),
    [
        (None, "sub-01_dir-AP_dwi.bval is missing beside it"),
        ("0 1000 1000", "has 3 b-values, .* has 4 volumes"),
        ("1000 1000 1000 1000", "no volume without diffusion weighting"),
        ("0 0 0 2000", "no volume with a b-value between 50 and 1500"),
        ("zero 1000", "is no table of numbers"),
    ],
)
def test_b_values_that_nothing_can_be_made_of_end_the_session_before_any_work(tmp_path, bvalues, why):
    write_diffusion(tmp_path / "bids", bvalues=bvalues or "")
    if bvalues is None:
        (tmp_path / "bids" / f"{NAME}_dir-AP_dwi.bval").unlink()
    settings = settings_of(tmp_path, tmp_path / "bids")
    selection = choose(settings, "01", None, load_recipe("stroke"))
    with pytest.raises((ImageError, InputMissing), match=why):
        preflight(settings, selection)


def test_a_series_is_no_image_for_any_other_use(tmp_path):
    write_diffusion(tmp_path / "bids")
    folder = tmp_path / "bids/sub-01/dwi"
    (folder / "sub-01_dir-AP_dwi.nii.gz").rename(folder / "sub-01_trace.nii.gz")
    write_diffusion(tmp_path / "more", raw=False)
    shutil.copy(tmp_path / "more" / f"{NAME}_ADC.nii.gz", folder)
    settings = settings_of(tmp_path, tmp_path / "bids")
    with pytest.raises(ImageError, match=r"4-D .* a single volume is needed"):
        preflight(settings, choose(settings, "01", None, load_recipe("stroke")))


def test_a_dry_run_names_what_would_be_computed():
    recipe = load_recipe("stroke").with_targets(()).model_copy(update={"regions": ()})
    said = steps(Settings(Path("in"), Path("out"), brain_mask="template"), [recipe], ["ADC"], ["trace", "ADC"])
    assert said[0] == "compute trace and ADC from the diffusion series"
    assert "ADC in one unit, in its place" in said


def test_a_real_acute_stroke_runs(tmp_path):
    data = real("stroke")
    assert run(tmp_path, data, "dwi01") == 0
    done = done_of(tmp_path, "sub-dwi01")
    assert done.adc["came_in"] == "1e-3 mm2/s"
    assert done.pair["correlation"] < -0.7
    assert done.stripped
    assert done.brain_ml == pytest.approx(1172, abs=10)
    assert record_of(tmp_path, "sub-dwi01").all_warnings() == []
    valid(tmp_path / "out")
