"""Seconds per synthetic scan on the CPU: Tandem's generator beside TorchIO's and cornucopia's, on the same label map.

    pip install torchio==1.2.1 cornucopia==0.5.1
    python -m tests.benchmarks.generator_speed [--box 96 112 96] [--threads 2] [--rounds 3] [--spline]

One real label map is cut to one box, which everybody gets; nobody reads files. Two comparisons:

- **brightness**: labels to an image and no more. Tandem's `draw_brightness` and `textured`, TorchIO's
  `RandomLabelsToImage`, cornucopia's `RandomGaussianMixtureTransform` without its smoothing of every label's texture.
- **whole chain**: deformation, brightness, shading, resolution, noise, gamma. Tandem's `draw_scans` at its own ranges;
  TorchIO's random affine, elastic deformation, labels to image, bias field, anisotropy, noise and gamma, every one in
  every scan; cornucopia's `SynthFromLabelTransform`, with linear fields (``order=1``, which it calls much faster) and,
  with ``--spline``, at its default of cubic ones.

Contestants take turns scan by scan, so that another program's load meets all alike; medians of wall-clock and CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import pytest
import torch

from bids_app.synthesis.heads.labelmaps import LabelMap, load_label_map
from bids_app.synthesis.scanner.generator import Ranges, draw_brightness, draw_scans, textured
from tests.data import real

INSTALL = "pip install torchio==1.2.1 cornucopia==0.5.1"
#: How many times as fast as either, in CPU time.
WANTED = 3.0

#: A contestant draws the scan of a seed.
Contestant = Callable[[int], object]


def boxed(box: tuple[int, int, int], name: str = "training_seg_01") -> LabelMap:
    """A real label map, cut to ``box`` voxels around the brain."""
    whole = load_label_map(real("labelmaps") / f"{name}.nii.gz")
    middle = whole.brain.sum(0) // 2
    start = [max(0, min(int(m) - n // 2, side - n)) for m, n, side in zip(middle, box, whole.labels.shape, strict=True)]
    labels = whole.labels[tuple(slice(s, s + n) for s, n in zip(start, box, strict=True))].contiguous()
    brain = (whole.brain - torch.tensor(start)).clamp_min(0)
    return LabelMap(name, labels, whole.spacing, torch.minimum(brain, torch.tensor(labels.shape)))


def brightness_alone(label_map: LabelMap) -> dict[str, Contestant]:
    """Labels to an image."""
    import cornucopia
    import torchio

    labels, how = label_map.labels, Ranges()
    subject = torchio.Subject(labels=torchio.LabelMap(tensor=labels[None]))
    to_image = torchio.RandomLabelsToImage(label_key="labels", image_key="image")
    mixture = cornucopia.RandomGaussianMixtureTransform(fwhm=0, background=0)
    as_long = labels[None].long()

    def ours(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return textured(labels, *draw_brightness(how, generator), generator)

    return {"Tandem": ours, "TorchIO": lambda seed: to_image(subject), "cornucopia": lambda seed: mixture(as_long)}


def whole_chain(label_map: LabelMap, *, spline: bool = False) -> dict[str, Contestant]:
    """From labels to a scan."""
    import cornucopia
    import torchio

    labels = label_map.labels
    subject = torchio.Subject(labels=torchio.LabelMap(tensor=labels[None]))
    chain = torchio.Compose(
        [
            torchio.RandomAffine(scales=0.18, degrees=16),
            torchio.RandomElasticDeformation(),
            torchio.RandomLabelsToImage(label_key="labels", image_key="image"),
            torchio.RandomBiasField(),
            torchio.RandomAnisotropy(downsampling=(1, 7)),
            torchio.RandomNoise(std=(0, 0.08)),
            torchio.RandomGamma(),
        ]
    )
    as_long, linear = labels[None].long(), cornucopia.SynthFromLabelTransform(order=1)
    contestants: dict[str, Contestant] = {
        "Tandem": lambda seed: draw_scans([label_map], [seed], shape=labels.shape, spacing=label_map.spacing),
        "TorchIO": lambda seed: chain(subject),
        "cornucopia, linear": lambda seed: linear(as_long),
    }
    if spline:
        default = cornucopia.SynthFromLabelTransform()
        contestants["cornucopia, default"] = lambda seed: default(as_long)
    return contestants


def take_turns(contestants: dict[str, Contestant], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall-clock and CPU seconds of a scan; the first of each does not count."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for seed in range(rounds + 1):
        for name, draw in contestants.items():
            started, processor = time.perf_counter(), time.process_time()
            draw(seed)
            spent[name].append((time.perf_counter() - started, time.process_time() - processor))
    return {name: tuple(map(statistics.median, zip(*rows[1:], strict=True))) for name, rows in spent.items()}


def table(title: str, found: dict[str, tuple[float, float]]) -> str:
    own = found["Tandem"]
    lines = [f"| {title} | wall s | CPU s | times Tandem's, wall | CPU |", "|---|---|---|---|---|"]
    for name, (wall, cpu) in found.items():
        lines.append(f"| {name} | {wall:.3f} | {cpu:.3f} | {wall / own[0]:.1f} | {cpu / own[1]:.1f} |")
    return "\n".join(lines)


def least_ratio(found: dict[str, tuple[float, float]]) -> float:
    """CPU time of the fastest other, in Tandem's."""
    return min(cpu for name, (_, cpu) in found.items() if name != "Tandem") / found["Tandem"][1]


def run(
    box: tuple[int, int, int], *, rounds: int = 3, threads: int = 2, spline: bool = False
) -> list[dict[str, tuple[float, float]]]:
    """Both comparisons, printed; the first is cheap and gets three times as many rounds."""
    torch.set_num_threads(threads)
    label_map = boxed(box)
    sides = " x ".join(map(str, label_map.labels.shape))
    kinds = len(torch.unique(label_map.labels))
    print(f"{sides} voxels of {label_map.spacing:g} mm, {kinds} labels, {threads} threads, median of {rounds} scans\n")
    results = []
    for title, contestants, turns in (
        ("brightness", brightness_alone(label_map), 3 * rounds),
        ("whole chain", whole_chain(label_map, spline=spline), rounds),
    ):
        results.append(take_turns(contestants, turns))
        print(table(title, results[-1]) + "\n", flush=True)
    return results


@pytest.mark.benchmark
def test_drawing_scans_is_three_times_as_fast():
    for module in ("torchio", "cornucopia"):
        pytest.importorskip(module, reason=f"{module} is not installed; {INSTALL}")
    for found in run((96, 112, 96)):
        assert least_ratio(found) >= WANTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--box", type=int, nargs=3, default=(96, 112, 96), help="voxels of 1 mm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="scans of the whole chain that count")
    parser.add_argument("--spline", action="store_true", help="cornucopia at its default, too: minutes a scan")
    options = parser.parse_args()
    try:
        results = run(tuple(options.box), rounds=options.rounds, threads=options.threads, spline=options.spline)
    except ImportError as error:
        sys.exit(f"{error}; to compare: {INSTALL}")
    print(f"least ratio of CPU time {min(map(least_ratio, results)):.1f}; wanted {WANTED:g}")


if __name__ == "__main__":
    main()
