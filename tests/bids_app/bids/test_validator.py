"""bids-validator 3 on a dataset with every kind of file that Tandem writes, made by its own sink."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.dataset import dataset_links, write_dataset_files
from bids_app.bids.provenance import provenance
from bids_app.bids.sink import Sink
from bids_app.bids.status import start_status, write_status
from tests.bids_app.bids.test_dataset import REGIONS

TEMPLATE = "MNI152NLin2009cAsym"


def validator() -> str:
    found = shutil.which("bids-validator-deno") or str(Path(sys.executable).with_name("bids-validator-deno"))
    if not Path(found).is_file():
        pytest.skip("bids-validator-deno is not installed")
    return found


def volume(values=None, shape=(8, 8, 8)):
    values = np.random.default_rng(0).random(shape) if values is None else values
    return nib.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2, 2, 1]))


def write_session(settings, session: str, raw: Path, transform: Path) -> None:
    """Every file of the output contract, for one session."""
    made = provenance(settings, threads=1, device="cpu", weights={"habenula": "0" * 64})
    sink = Sink(
        settings.output_dir, "01", session, datasets=dataset_links(settings.output_dir, settings), provenance=made
    )
    t1w = sink.image(volume(), "T1w", desc="preproc", sources=[raw], sidecar={"SkullStripped": False})
    native = {"space": "T1w", "reference": t1w, "sources": [t1w]}
    sink.image(volume(), "FLAIR", desc="preproc", sidecar={"SkullStripped": False}, **native)
    sink.image(volume(), "T1w", ce="gadolinium", desc="preproc", sidecar={"SkullStripped": False}, **native)
    ones = volume(np.ones((8, 8, 8)))
    sink.image(ones, "mask", desc="brain", sidecar={"Type": "Brain"}, **native)
    sink.image(ones, "mask", label="L", desc="tbi", sidecar={"Type": "Lesion"}, **native)
    sink.image(ones, "dseg", seg="habenula", **native)
    labels = {"LabelMap": [r.name for r in REGIONS]}
    sink.image(volume(shape=(8, 8, 8, 2)), "probseg", seg="habenula", sidecar=labels, **native)
    fields = {"SkullStripped": True, "Resolution": "1 mm"}
    sink.image(volume(), "T1w", space=TEMPLATE, res="1", desc="preproc", sources=[t1w], sidecar=fields)
    sink.image(ones, "dseg", space=TEMPLATE, seg="habenula", res="1", sidecar={"Resolution": "1 mm"})
    for one, other in (("T1w", TEMPLATE), (TEMPLATE, "T1w")):
        sink.file(transform, "xfm", ".h5", from_=one, to=other, mode="image", sources=[t1w], sidecar={"Type": "x"})
    rows = [{"index": 1, "name": "left habenula", "soft_mm3": 17.0}]
    sink.table(rows, "volumes", desc="habenula", columns={"soft_mm3": {"Units": "mm^3"}})
    sink.table(rows, "lesions", desc="tbi")
    sink.json({"probability": 0.5}, "prediction", desc="depression")
    sink.report("<html></html>")
    write_status(settings.output_dir, start_status("01", session).finish("done", outputs=sink.outputs))


@pytest.fixture
def derivatives(dataset, settings, tmp_path):
    root = dataset("sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    out = tmp_path / "tandem"
    run = settings(output_dir=out)
    (tmp_path / "MODEL_CARD.md").write_text("# Card\n")
    recipe = SimpleNamespace(name="habenula", title="Habenula", regions=REGIONS)
    bundle = SimpleNamespace(name="habenula", path=tmp_path, recipe=recipe)
    words = {"tbi": "Traumatic lesions", "depression": "Score of depression"}
    write_dataset_files(out, run, [bundle], descriptions=words)
    (tmp_path / "x.h5").write_bytes(b"transform")
    for session in ("1", "2"):
        raw = root / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        write_session(run, session, raw, tmp_path / "x.h5")
    (out / "sub-01" / "figures").mkdir()
    (out / "sub-01" / "figures" / "x.svg").write_text("<svg/>")
    for name in ("group_volumes.tsv", "group_volumes.json", "group.html", "group_attrition.tsv"):
        (out / name).write_text("{}" if name.endswith("json") else "x\n1\n")
    return out


def test_bids_validator_finds_no_error(derivatives):
    command = [validator(), str(derivatives), "--ignoreWarnings", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(done.stdout)["issues"]["issues"] if done.stdout.startswith("{") else done.stdout + done.stderr
    errors = [i for i in found if i.get("severity") == "error"] if isinstance(found, list) else found
    assert (done.returncode, errors) == (0, [])


def test_bids_validator_sees_a_wrong_name(derivatives):
    """The check above means something."""
    validator()
    anat = derivatives / "sub-01/ses-1/anat"
    shutil.copy(next(anat.glob("*_dseg.nii.gz")), anat / "sub-01_ses-1_res-1_seg-x_space-T1w_dseg.nii.gz")
    done = subprocess.run(
        [validator(), str(derivatives), "--ignoreWarnings"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 16
