"""Seconds per training step with augmentation: batched on the device beside MONAI's transforms, scan by scan.

    python -m tests.benchmarks.training_step [--shape 64 64 64] [--sequences 2] [--batch 4] [--threads 2]

The same network, loss, optimiser, scans, batch and precision on both sides. MONAI's side is what a user writes: a
dictionary of random transforms in a Dataset, read by a DataLoader with ``--workers`` processes (one on two cores). What
both do: affine, elastic deformation, bias field, noise, blur, gamma, low resolution and mirroring, with the same
probabilities; Tandem's brightness and contrast have no counterpart there. Printed for the default probabilities and for
1 (every scan gets everything).

The ratio of whole steps depends on how dear the network is beside its transforms: say shape, filters and fold with it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import DataLoader, Dataset
from monai.transforms import (
    Compose,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandSimulateLowResolutiond,
)
from torch.utils.data import RandomSampler

from bids_app.networks.losses import ScaledDiceCELoss
from bids_app.networks.multitask import MultiTaskNet, NetworkShape
from bids_app.networks.standardise import standardise
from bids_app.scans.scan import Scan
from bids_app.train.augment import Augmentation, apply, draw
from bids_app.train.batches import Patches

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
WARM_UP = 2


def phantom_scans(shape: tuple[int, ...], sequences: int, count: int = 8) -> list[Scan]:
    """Ellipsoids of smooth texture, two regions inside."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.9
    scans = []
    for number in range(count):
        coarse = torch.from_numpy(rng.normal(100, 20, (1, sequences, *[n // 4 for n in shape])).astype(np.float32))
        stack = F.interpolate(coarse, shape, mode="trilinear")[0].numpy() * inside
        spot = sum((axis - shift) ** 2 for axis, shift in zip(axes, rng.uniform(-0.4, 0.4, 3), strict=True)) < 0.1
        labels = (spot * (1 + (axes[0] > 0))).astype(np.uint8)
        name = f"{number:02d}"
        scans.append(Scan(f"sub-{name}", name, stack, np.ones(sequences, bool), labels, 1.0, np.zeros(0), np.zeros(0)))
    return scans


def ours(patches: Patches, how: Augmentation) -> Batches:
    """Batches as `bids_app.train.loop` makes them."""
    generator = torch.Generator().manual_seed(0)
    step = 0
    while True:
        batch = patches.batch(step)
        batch = apply(batch, draw(batch, how, generator))
        yield batch.images, batch.labels
        step += 1


def monais(scans: list[Scan], how: Augmentation, batch: int, workers: int, steps: int) -> Batches:
    """Batches of a DataLoader over MONAI's per-scan transforms."""
    both, modes = ["image", "label"], ("bilinear", "nearest")
    angle = math.radians(how.rotation)
    moves = 1 - (1 - how.p_rotation) * (1 - how.p_scaling) * (1 - how.p_shift)
    transforms = Compose(
        [
            RandAffined(
                both,
                prob=moves,
                rotate_range=(angle,) * 3,
                scale_range=(how.scaling[0] - 1, how.scaling[1] - 1),
                translate_range=tuple(how.shift * n for n in scans[0].stack.shape[1:]),
                mode=modes,
                padding_mode="zeros",
            ),
            Rand3DElasticd(
                both,
                sigma_range=(5, 7),
                magnitude_range=(50, 150),
                prob=how.p_elastic,
                mode=modes,
                padding_mode="zeros",
            ),
            RandBiasFieldd("image", prob=how.p_bias, coeff_range=(0, 0.1)),
            RandGaussianNoised("image", prob=how.p_noise, std=math.sqrt(how.noise)),
            RandGaussianSmoothd("image", *[how.blur] * 3, prob=how.p_blur),
            RandSimulateLowResolutiond("image", prob=how.p_low_resolution, zoom_range=how.low_resolution),
            RandAdjustContrastd(
                "image", prob=how.p_inverted_gamma, gamma=how.gamma, invert_image=True, retain_stats=True
            ),
            RandAdjustContrastd("image", prob=how.p_gamma, gamma=how.gamma, retain_stats=True),
            RandFlipd(both, prob=how.p_mirror, spatial_axis=0),
        ]
    )
    rows = [
        {"image": standardise(torch.from_numpy(scan.stack)), "label": torch.from_numpy(scan.labels)[None].float()}
        for scan in scans
    ]
    sampler = RandomSampler(rows, replacement=True, num_samples=batch * steps)
    for item in DataLoader(Dataset(rows, transforms), batch_size=batch, sampler=sampler, num_workers=workers):
        labels = F.one_hot(item["label"].as_tensor()[:, 0].long(), 3).movedim(-1, 1).float()
        yield item["image"].as_tensor(), labels


def seconds_per_step(batches: Batches, learn: Callable[[torch.Tensor, torch.Tensor], object], steps: int) -> float:
    """Mean over ``steps``, after `WARM_UP` that do not count."""
    for _ in range(WARM_UP):
        learn(*next(batches))
    started = time.perf_counter()
    for _ in range(steps):
        learn(*next(batches))
    return (time.perf_counter() - started) / steps


def learner(
    sequences: int, filters: int, blocks: tuple[int, ...], fold: int = 1
) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """One step of a new network: forward, loss, backward, optimiser."""
    torch.manual_seed(0)
    network, loss_of = MultiTaskNet(NetworkShape(sequences, 3, filters, blocks, 2, fold)), ScaledDiceCELoss(1.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def learn(images: torch.Tensor, labels: torch.Tensor) -> None:
        loss = loss_of(network(images).logits, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return learn


def measure(arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    """Both sides in turn, ``--rounds`` times; the faster round of each counts."""
    scans = phantom_scans(tuple(arguments.shape), arguments.sequences)
    patches = Patches(scans, arguments.shape, arguments.batch, 0, regions=2, normalise=standardise)
    learn = learner(arguments.sequences, arguments.filters, tuple(arguments.blocks), arguments.fold)
    steps = arguments.steps

    def alone(images: torch.Tensor, labels: torch.Tensor) -> None:
        pass

    fixed = next(ours(patches, Augmentation().at(0)))
    bare = seconds_per_step(iter(lambda: fixed, None), learn, steps)
    rows = []
    for name, how in (("default", Augmentation()), ("1", Augmentation().at(1))):
        sides = {
            "ours": lambda how=how: ours(patches, how),
            "monai": lambda how=how: monais(scans, how, arguments.batch, arguments.workers, steps + WARM_UP),
        }
        row: dict[str, float | str] = {"probabilities": name, "network alone": bare}
        for side, batches in sides.items():
            row[f"{side}, augmentation alone"] = seconds_per_step(batches(), alone, steps)
        for side in sides:
            row[side] = math.inf
        for _ in range(arguments.rounds):
            for side, batches in sides.items():
                row[side] = min(row[side], seconds_per_step(batches(), learn, steps))
        row["times as fast"] = row["monai"] / row["ours"]
        rows.append(row)
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 64, 64), help="of a scan, voxels")
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="+", default=(1, 2, 2))
    parser.add_argument("--fold", type=int, default=1, help="as a recipe's; 2 makes the network about 8 times cheaper")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="of MONAI's DataLoader")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments)
    size = " x ".join(map(str, arguments.shape))
    print(f"{arguments.batch} scans of {arguments.sequences} x {size}, {arguments.filters} filters, ", end="")
    print(f"fold {arguments.fold}, {arguments.threads} threads, {arguments.workers} worker; seconds per step\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(v if isinstance(v, str) else f"{v:.3f}" for v in row.values()) + " |")


if __name__ == "__main__":
    main()
