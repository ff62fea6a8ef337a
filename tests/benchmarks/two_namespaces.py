"""Training by two processes in two network namespaces (as on two computers), compared with two processes in one.

``python -m tests.benchmarks.two_namespaces`` joins two namespaces by a virtual cable, runs ``torchrun`` with gloo in
each, and prints how far the weights differ from those of ``torchrun`` with two processes in one. Needs root and ``ip``;
it says "not run" where that is not allowed, and then ends with 77.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = 40
NOT_RUN = 77
NAMES = ("tandem_a", "tandem_b")
ADDRESSES = ("10.199.0.1", "10.199.0.2")
PORT = "29511"


def train(folder: Path) -> None:
    """One of the two processes: the training loop on small scans, as a fold uses it; leaves its weights."""
    import torch

    from bids_app.train.augment import Augmentation
    from bids_app.train.fold import join, leave
    from bids_app.train.loop import Schedule
    from bids_app.train.tasks import fit_tasks
    from tests.learned.small import small_losses, small_patches, small_scans, small_state

    torch.set_num_threads(1)
    worker, state = join("cpu"), small_state(dropout=0.0)
    patches = small_patches(small_scans(8), batch=4)
    schedule = Schedule(STEPS, look_every=0)
    fit_tasks(state, patches, small_losses(), schedule, augmentation=Augmentation(), worker=worker)
    weights = torch.cat([p.detach().flatten() for p in state.mean.parameters()])
    np.save(folder / f"{worker.rank}.npy", weights.numpy())
    leave()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def connect() -> None:
    """Two namespaces with a cable between them."""
    for name in NAMES:
        ip("netns", "add", name)
    ip("link", "add", "tandem_va", "netns", NAMES[0], "type", "veth", "peer", "name", "tandem_vb", "netns", NAMES[1])
    for name, device, address in zip(NAMES, ("tandem_va", "tandem_vb"), ADDRESSES, strict=True):
        ip("-n", name, "address", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "link", "set", "lo", "up")


def disconnect() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def torchrun(folder: Path, *how: str, before: tuple[str, ...] = (), device: str = "lo") -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", *how, "-m", __spec__.name, "--worker", str(folder)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*before, *command], env=environment, stdout=subprocess.DEVNULL)


def apart(folder: Path) -> float:
    """Seconds of one process in each namespace."""
    began, runs = time.perf_counter(), []
    for rank, (name, device) in enumerate(zip(NAMES, ("tandem_va", "tandem_vb"), strict=True)):
        meet = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", f"--master-addr={ADDRESSES[0]}"]
        before = ("ip", "netns", "exec", name)
        runs.append(torchrun(folder, *meet, f"--master-port={PORT}", before=before, device=device))
    codes = [run.wait(timeout=500) for run in runs]
    if any(codes):
        raise SystemExit("training in two namespaces failed")
    return time.perf_counter() - began


def together(folder: Path) -> float:
    """Seconds of two processes in one."""
    began = time.perf_counter()
    if torchrun(folder, "--standalone", "--nproc-per-node=2").wait(timeout=500):
        raise SystemExit("training in one namespace failed")
    return time.perf_counter() - began


def largest_difference(folder: Path) -> tuple[float, float]:
    """Between the two processes that were apart, and between them and those that were together."""
    first, second = (np.load(folder / "apart" / f"{rank}.npy") for rank in (0, 1))
    alike = np.load(folder / "together" / "0.npy")
    return float(np.abs(first - second).max()), float(np.abs(first - alike).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=Path, help="used by the command itself")
    given = parser.parse_args()
    if given.worker:
        train(given.worker)
        return 0
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("not run: network namespaces need root and the program ip")
        return NOT_RUN
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            connect()
        except subprocess.CalledProcessError as error:
            disconnect()
            print(f"not run: {error.stderr.strip()}")
            return NOT_RUN
        try:
            seconds = apart(folder / "apart")
        finally:
            disconnect()
        alone = together(folder / "together")
        between, from_one = largest_difference(folder)
    print(f"{STEPS} steps: {seconds:.0f} s in two namespaces, {alone:.0f} s in one; largest difference of a weight:")
    print(f"between the two {between:g}, from two processes in one namespace {from_one:g}")
    return 0 if between == 0 and from_one < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
