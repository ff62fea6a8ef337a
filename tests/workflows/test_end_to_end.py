"""The whole participant and group level on small brains: every file, valid BIDS, the same bytes twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app.__main__ import main
from bids_app.bids.digest import sha256_of
from bids_app.bids.status import read_status
from tests.phantoms import checksums
from tests.workflows.heads import small_heads

GOLDEN = {
    "anat/{key}_desc-preproc_T1w.nii.gz",
    "anat/{key}_desc-preproc_T1w.json",
    "anat/{key}_space-T1w_desc-preproc_FLAIR.nii.gz",
    "anat/{key}_space-T1w_desc-preproc_FLAIR.json",
    "anat/{key}_space-T1w_desc-brain_mask.nii.gz",
    "anat/{key}_space-T1w_desc-brain_mask.json",
    "anat/{key}_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5",
    "anat/{key}_space-T1w_seg-habenula_dseg.nii.gz",
    "anat/{key}_space-T1w_seg-habenula_dseg.json",
    "anat/{key}_space-T1w_seg-habenula_probseg.nii.gz",
    "anat/{key}_space-T1w_seg-habenula_probseg.json",
    "anat/{key}_desc-habenula_volumes.tsv",
    "anat/{key}_desc-habenula_volumes.json",
    "anat/{key}_space-MNI152NLin2009aSym_res-2_desc-preproc_T1w.nii.gz",
    "anat/{key}_space-MNI152NLin2009aSym_res-2_desc-preproc_T1w.json",
    "anat/{key}_space-MNI152NLin2009aSym_seg-habenula_res-2_dseg.nii.gz",
    "anat/{key}_space-MNI152NLin2009aSym_seg-habenula_res-2_dseg.json",
}
LEVELS = ("participant", "group")
GROUP = {"group_volumes.tsv", "group_volumes_wide.tsv", "group_volumes.json", "group_attrition.tsv", "group.html"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two participants, run once; the folder with ``bids``, ``out`` and ``work``."""
    root = tmp_path_factory.mktemp("whole")
    small_heads(root / "bids", ["01", "02"], spacing=2.0, sequences=("T1w", "FLAIR"))
    before = checksums(root / "bids")
    assert main(words(root)) == 0
    assert checksums(root / "bids") == before
    return root


def words(root: Path, out: str = "out", work: str = "work", levels: tuple[str, ...] = LEVELS) -> list[str]:
    options = ["--sequences", "FLAIR", "--sloppy", "--output-spaces", "T1w", "MNI152NLin2009cAsym:res-2"]
    return [str(root / "bids"), str(root / out), *levels, "-w", str(root / work), "--omp-nthreads", "1", *options]


@pytest.mark.parametrize("key", ["sub-01", "sub-02"])
def test_every_promised_file_is_there_and_no_other(run, key):
    written = {str(p.relative_to(run / "out" / key)) for p in (run / "out" / key).rglob("*") if p.is_file()}
    assert written == {name.format(key=key) for name in GOLDEN}


def test_the_result_is_valid_bids(run):
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    validator = shutil.which("bids-validator-deno", path=beside_python)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed; it comes with the test extra")
    done = subprocess.run([validator, "--ignoreWarnings", str(run / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_group_level_needs_the_output_folder_only(run, tmp_path):
    assert {name for name in GROUP if (run / "out" / name).is_file()} == GROUP
    table = (run / "out" / "group_volumes.tsv").read_text().splitlines()
    assert {"participant_id", "region", "value", "group"} <= set(table[0].split("\t"))


def test_outputs_say_what_they_were_made_from(run):
    sidecar = json.loads((run / "out" / "sub-01/anat/sub-01_space-T1w_seg-habenula_dseg.json").read_text())
    assert sidecar["Sources"] == ["bids::sub-01/anat/sub-01_space-T1w_seg-habenula_probseg.nii.gz"]
    assert sidecar["Use"] == "research use only"
    origin = sidecar["Provenance"]
    assert len(origin["weights_sha256"]["habenula"]) == 64
    assert origin["threads"] == 1
    first = json.loads((run / "out" / "sub-01/anat/sub-01_desc-preproc_T1w.json").read_text())
    assert first["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]


def test_the_status_knows_stages_and_outputs(run):
    status = read_status(run / "out", "sub-01")
    assert status.state == "done"
    assert {"reference bias", "reference mask", "template register", "habenula predict"} <= set(status.stages)
    assert all(sha256_of(run / "out" / name) == digest for name, digest in status.outputs.items())


def test_work_files_stay_small(run):
    size = sum(p.stat().st_size for p in (run / "work" / "sub-01").rglob("*") if p.is_file())
    voxels = 98 * 116 * 94
    assert size < 14 * 4 * voxels  # float32 images on the native grid, no more than a handful of each sequence


def test_a_participant_alone_gets_the_same_bytes_again(run):
    alone = [*words(run, "out2", "work2", levels=("participant",)), "--participant-label", "01"]
    assert main(alone) == 0
    outputs = read_status(run / "out", "sub-01").outputs
    assert len(outputs) > 10
    for name, digest in outputs.items():
        if name.endswith((".nii.gz", ".tsv")):
            assert sha256_of(run / "out2" / name) == digest, name


def test_a_deleted_output_comes_back_without_registering_again(run, capsys):
    lost = run / "out" / "sub-01/anat/sub-01_space-T1w_seg-habenula_dseg.nii.gz"
    digest = sha256_of(lost)
    lost.unlink()
    assert main(words(run)) == 0
    assert sha256_of(lost) == digest
    assert "sub-02 finished before" in capsys.readouterr().out


def test_reports_can_be_written_again(run, capsys):
    page = run / "out" / "sub-01.html"
    page.unlink()
    assert main([*words(run)[:2], "participant", "--reports-only"]) == 0
    assert page.is_file()
    assert main([*words(run)[:2], "participant", "--boilerplate-only"]) == 0
    assert "N4" in capsys.readouterr().out
