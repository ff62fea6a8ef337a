"""What is handed on loads without Tandem and gives the same answers."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.bundle import monai as monai_export
from bids_app.bundle.bundle import load_bundle
from bids_app.bundle.monai import export_monai
from bids_app.cli.main import main
from bids_app.errors import CannotWrite, UsageError
from bids_app.predict.predict import predict
from bids_app.predict.targets import predict_targets
from tests.learned.small_bundle import CALIBRATION, small_recipe, write_small

STACK = np.random.default_rng(0).normal(100, 20, (2, 16, 16, 16)).astype(np.float32)
PLANS = [
    {
        "normalisation": {"T1w": {"kind": "scan"}, "FLAIR": {"kind": "cohort", "mean": mean, "sd": 20.0}},
        "targets": {"age": {"mean": mean, "sd": 10.0}},
        "covariates": {"weight": {"mean": 70.0, "sd": 9.0}},
    }
    for mean in (90.0, 110.0)
]
#: Runs in a fresh interpreter in which Tandem cannot be imported.
ELSEWHERE = """
import sys, json, numpy as np, torch
sys.modules["bids_app"] = None
root, stack, out = sys.argv[1:4]
sys.path.insert(0, root)
from pathlib import Path
from monai.bundle import ConfigParser, load
network = load(Path(root).name, bundle_dir=str(Path(root).parent), device="cpu", workflow_type="inference").eval()
parser = ConfigParser()
parser.read_config(root + "/configs/inference.json")
parser.read_meta(root + "/configs/metadata.json")
image = parser.get_parsed_content("preprocessing")({"image": stack})["image"]
with torch.inference_mode():
    whole = parser.get_parsed_content("inferer")(image[None], network)[0]
    parts = network.answer(image[None].as_tensor(), torch.tensor([[1.0, 1.0]]), torch.tensor([[80.0]]))
np.savez(out, whole=whole.numpy(), **{str(i): p[0].numpy() for i, p in enumerate(parts)})
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    recipe = small_recipe(learning={"covariates": ["weight"]}, network={"finest": 2})
    calibration = {**CALIBRATION, "targets": {"group": {"temperature": 1.7}, "stage": {"temperature": 0.6}}}
    folder = tmp_path_factory.mktemp("b") / "b"
    return write_small(folder, recipe=recipe, members=2, plan=PLANS, calibration=calibration)


def same_targets(bundle, found):
    """Targets of an export in the recipe's order are those of Tandem."""
    wanted = predict_targets(bundle, STACK, None, {"weight": 80.0})
    for values, (name, answer) in zip(found, wanted.items(), strict=True):
        given = [answer["value"]] if name == "age" else list(answer["levels"].values())
        np.testing.assert_allclose(values, given, atol=2e-5 if name != "age" else 1e-3)


def test_monai_loads_it_without_tandem_and_answers_the_same(bundle, tmp_path):
    root = export_monai(bundle, tmp_path / "exported")
    nib.save(nib.Nifti1Image(np.moveaxis(STACK, 0, -1), np.eye(4)), tmp_path / "stack.nii.gz")
    words = [sys.executable, "-c", ELSEWHERE, str(root), str(tmp_path / "stack.nii.gz"), str(tmp_path / "found.npz")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["whole"][1:], predict(bundle, STACK), atol=1e-5)
        np.testing.assert_allclose(found["0"][1:], predict(bundle, STACK), atol=1e-5)
        same_targets(bundle, [found[str(i)] for i in (1, 2, 3)])


def test_the_metadata_say_what_each_channel_is(bundle, tmp_path):
    root = export_monai(bundle, tmp_path / "exported")
    plain = json.loads((root / "configs" / "metadata.json").read_text())["network_data_format"]
    assert plain["inputs"]["image"]["channel_def"] == {"0": "T1w", "1": "FLAIR"}
    assert plain["inputs"]["image"]["spatial_shape"] == [16, 16, 16]
    assert plain["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "left thing", "2": "right thing"}
    assert "Research use only" in (root / "docs" / "README.md").read_text()
    assert (root / "LICENSE").read_text() == (bundle.path / "LICENSE").read_text()
    assert "bids_app" not in (root / "scripts" / "network.py").read_text().replace("`bids_app.", "")


def test_the_shipped_bundle_is_handed_on_from_the_command_line(tmp_path, capsys):
    assert main(["bundle", "export", "habenula", str(tmp_path / "h")]) == 0
    assert "wrote" in capsys.readouterr().out
    state = torch.load(tmp_path / "h" / "models" / "model.pt", weights_only=True)
    assert len(state) == sum(len(one.state_dict()) for one in load_bundle("habenula").networks)


def test_a_folder_in_use_is_left_alone(bundle, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(CannotWrite, match="already"):
        export_monai(bundle, tmp_path)
    assert (tmp_path / "mine").read_text() == "x"


def test_onnx_without_its_packages_says_what_to_install(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"tandem-mri\[onnx\]"):
        export_monai(bundle, tmp_path / "e", onnx=True)
    assert not (tmp_path / "e").exists()


def test_onnx_answers_the_same(bundle, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    root = export_monai(bundle, tmp_path / "exported", onnx=True)
    session = runtime.InferenceSession(root / "models" / "model.onnx", providers=["CPUExecutionProvider"])
    kinds = [how["kind"] for how in monai_export.arguments(bundle)["normalisation"][0]]
    from bids_app.bundle.portable import Prepare

    image = Prepare(kinds)(torch.from_numpy(STACK)).numpy()[None]
    given = {"image": image, "present": np.ones((1, 2), np.float32), "covariates": np.float32([[80]])}
    found = session.run(None, given)
    np.testing.assert_allclose(found[0][0, 1:], predict(bundle, STACK), atol=1e-5)
    same_targets(bundle, [values[0] for values in found[1:]])
