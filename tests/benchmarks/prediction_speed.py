"""Seconds to predict a whole brain at 1 mm: Tandem's tiles beside nnU-Net's predictor, with the very same network.

    NN/bin/pip install torch nnunetv2==2.5.2 dynamic_network_architectures==0.3.1 monai==1.6.1
    python -m tests.benchmarks.prediction_speed --nnunet-python NN/bin/python [--shape 160 192 160] [--tile 96]

Both sides are processes of their own that load the same weights and the same standardised phantom, on the CPU with the
same threads. nnU-Net's `nnUNetPredictor` runs Tandem's network, so that only what lies around it differs: tile step
0.5, Gaussian weights, the same mirrored passes (``--mirror``: left and right), and the same tile. Counted is from the
stack to probabilities, without loading, imports and resampling; the faster of ``--rounds`` counts.

Small trials mislead: torch computes convolutions of a single small tile with its slow fallback and those of two with
oneDNN (8 filters, tile of 48: 0.48 against 0.08 CPU seconds a tile), so that a mirrored batch of two looks much
faster. At 16 filters and a tile of 96 the two cost the same (2.36 and 2.33).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_app.networks.multitask import MultiTaskNet, NetworkShape

ROOT = Path(__file__).parents[2]
READ = """
import json, sys, time
from pathlib import Path
import numpy as np
import torch
folder, threads = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
how = json.loads((folder / "how.json").read_text())
from bids_app.networks.multitask import build_network
network = build_network(how["network"]).eval()
network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
passes = []
network.register_forward_pre_hook(lambda module, inputs: passes.append(list(inputs[0].shape)))
stack = np.load(folder / "stack.npy")
"""
WRITE = """
rounds = []
for _ in range(how["rounds"]):
    passes.clear()
    started, processor = time.perf_counter(), time.process_time()
    probability = run()
    rounds.append([time.perf_counter() - started, time.process_time() - processor])
voxels = sum(int(np.prod(shape)) for shape in passes)
np.save(folder / (sys.argv[3] + ".npy"), np.asarray(probability, np.float16))
seconds, processor = min(rounds)
print(json.dumps({"seconds": seconds, "CPU seconds": processor, "passes": len(passes), "voxels seen": voxels}))
"""
OURS = """
from bids_app.bundle.trial import trial_bundle
from bids_app.predict.predict import predict
from bids_app.recipes.recipe import Recipe
recipe = Recipe.model_validate(how["recipe"])
bundle = trial_bundle(recipe, network, {"threshold": 0.5, "temperature": 1.0})
bundle.__dict__["networks"] = [network]
bundle.__dict__["plans"] = [{"patch": how["tile"]}]
def run():
    return predict(bundle, stack, tta=how["mirror"], threads=threads)
"""
NNUNET = """
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from bids_app.networks.standardise import standardise
class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network
    def forward(self, x):
        return self.network(x).logits[0]
plain = Logits().eval()
plans = PlansManager({
    "label_manager": "LabelManager",
    "configurations": {"3d": {"patch_size": how["tile"], "architecture": {}}},
})
predictor = nnUNetPredictor(
    tile_step_size=0.5, use_gaussian=True, use_mirroring=how["mirror"], perform_everything_on_device=False,
    device=torch.device("cpu"), verbose=False, allow_tqdm=False,
)
labels = {"background": 0, **{f"region{k}": k for k in range(1, how["network"]["classes"])}}
predictor.manual_initialization(
    plain, plans, plans.get_configuration("3d"), [plain.state_dict()], {"labels": labels}, "", (0,)
)
def run():
    logits = predictor.predict_logits_from_preprocessed_data(standardise(torch.from_numpy(stack)))
    return predictor.label_manager.apply_inference_nonlin(logits)[1:]
"""


def prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Weights, phantom and settings, for both sides."""
    torch.manual_seed(0)
    shape = NetworkShape(1, 3, arguments.filters, tuple(arguments.blocks), 2)
    torch.save(MultiTaskNet(shape).state_dict(), folder / "weights.pt")
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in arguments.shape], indexing="ij")
    brain = sum(axis**2 for axis in axes) < 1
    stack = np.random.default_rng(0).normal(100, 20, arguments.shape) * brain
    np.save(folder / "stack.npy", stack[None].astype(np.float32))
    regions = [{"index": k, "name": side, "side": side, "partner": 3 - k} for k, side in ((1, "left"), (2, "right"))]
    recipe: dict[str, Any] = {
        "name": "speed",
        "title": "Speed",
        "sequences": [{"name": "T1w", "suffix": "T1w"}],
        "regions": regions,
        "grid": {"kind": "whole", "spacing_mm": 1.0},
    }
    how = {
        "network": shape.to_plain(),
        "recipe": recipe,
        "tile": [min(arguments.tile, n) for n in arguments.shape],
        "mirror": arguments.mirror,
        "rounds": arguments.rounds,
    }
    (folder / "how.json").write_text(json.dumps(how))


def run_side(python: str, side: str, script: str, folder: Path, threads: int) -> dict[str, float]:
    """Seconds of the fastest round, and what the network looked at in it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "nnUNet_compile": "0"}
    command = [python, "-c", READ + script + WRITE, str(folder), str(threads), side]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{side} ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet-python", required=True, help="interpreter of the environment that holds nnU-Net")
    parser.add_argument("--shape", type=int, nargs=3, default=(160, 192, 160), help="of the scan, voxels")
    parser.add_argument("--tile", type=int, default=96, help="side, voxels")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="+", default=(1, 2, 2, 4))
    parser.add_argument("--mirror", action="store_true", help="average with the mirror image's prediction")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(arguments, folder)
        ours = run_side(sys.executable, "tandem", OURS, folder, arguments.threads)
        theirs = run_side(arguments.nnunet_python, "nnunet", NNUNET, folder, arguments.threads)
        one, other = (np.load(folder / f"{side}.npy").astype(np.float32) for side in ("tandem", "nnunet"))
    size = " x ".join(map(str, arguments.shape))
    print(f"{size} voxels, tiles of {arguments.tile}, {arguments.filters} filters, {arguments.threads} threads\n")
    print("| | Tandem | nnU-Net | nnU-Net / Tandem |\n|---|---|---|---|")
    for name in ours:
        print(f"| {name} | {ours[name]:.2f} | {theirs[name]:.2f} | {theirs[name] / ours[name]:.2f} |")
    # nnU-Net averages logits and does not name mirrored sides back, so with --mirror the two need not agree
    print(f"\nmean difference of probability {np.abs(one - other).mean():.4f}")


if __name__ == "__main__":
    main()
