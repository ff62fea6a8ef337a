"""Tandem beside its peers on the same heads: ``python -m tests.benchmarks.peers --work DIR``.

The people of `ixi` who train nothing in Tandem's bundles (a peer may have learned from IXI; look at its paper). Brain
masks: the network of `anatomy`, a template's brain carried over, and deepbet where its command is given
(``--deepbet COMMAND``, installed in an environment of its own: ``pip install torch deepbet==1.0.2``); Dice is with all
within the skull. Structures: `anatomy`, and every folder of label maps in FreeSurfer's numbers that a user has
(``--labels synthseg=FOLDER``; SynthSeg, FastSurfer and brainchop write such maps; a file per person, named
``sub-LABEL*.nii.gz``). CPU seconds are those of the process and its children; label maps come without.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.imaging.conform import conform
from bids_app.imaging.head import find_brain
from bids_app.imaging.stacking import Grid, sample
from bids_app.lessons.real_heads import head_names
from bids_app.measure.overlap import dice
from bids_app.predict.anatomy import find_anatomy
from tests.benchmarks.anatomy_heldout import STRUCTURES, truth_of, whole
from tests.data import data_root, real

Row = dict[str, float]


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What it returns, and its CPU seconds."""
    started = cpu_seconds()
    return work(), cpu_seconds() - started


def deepbet_mask(command: str, image: Path, grid: Grid) -> np.ndarray:
    """The brain as deepbet finds it, on the image's grid."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("in", "masks", "brains", "volumes"):
            (out / name).mkdir()
        (out / "in" / image.name).symlink_to(image.resolve())
        words = [command, "-i", out / "in", "-m", out / "masks", "-o", out / "brains", "-v", out / "volumes", "-g"]
        subprocess.run(list(map(str, words)), check=True, capture_output=True)
        (mask,) = (out / "masks").glob("*.nii*")
        return sample(mask, np.eye(4), grid, order=0) > 0


def template_mask(image: Path, grid: Grid) -> np.ndarray:
    """A template's brain, carried over by registration."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "head.nii"
        conform(image, plain)
        mask, _ = find_brain(plain, template=None, seed=1, threads=1, sloppy=False)
        other = Grid.of(plain)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), other.affine), Path(folder) / "mask.nii")
        return sample(Path(folder) / "mask.nii", np.eye(4), grid, order=0) > 0


def structures(labels: np.ndarray, truth: np.ndarray) -> Row:
    """Dice of each structure, mean of both sides, and of all that has a label with all within the skull."""
    found = {
        name: float(np.mean([dice(whole(labels, (n,)), whole(truth, (n,))) for n in numbers]))
        for name, numbers in STRUCTURES.items()
    }
    return {**found, "intracranial": dice(labels > 0, truth > 0)}


def measure(root: Path, name: str, *, deepbet: str | None, folders: dict[str, Path]) -> tuple[Row, dict[str, Row]]:
    """Masks (Dice and seconds by name), and structures (by name)."""
    image, truth, grid = truth_of(root, name)
    bundle, masks, maps = load_bundle("anatomy"), {}, {}
    found, seconds = None, cpu_seconds()
    found = find_anatomy(bundle, image, threads=1)
    masks["network"], masks["network s"] = dice(found.brain, truth > 0), cpu_seconds() - seconds
    maps["anatomy"] = structures(found.labels, truth)
    ways = {"template": lambda: template_mask(image, grid)}
    if deepbet:
        ways["deepbet"] = lambda: deepbet_mask(deepbet, image, grid)
    for way, work in ways.items():
        mask, masks[f"{way} s"] = timed(work)
        masks[way] = dice(mask, truth > 0)
    for peer, folder in folders.items():
        (path,) = sorted(folder.glob(f"{name}*.nii*"))[:1] or [None]
        if path is not None:
            labels = np.rint(sample(path, np.eye(4), grid, order=0)).astype(int)
            maps[peer] = structures(labels, truth)
    return masks, maps


def table(rows: list[Row]) -> list[str]:
    """Mean and least of every column."""
    return [
        f"{key:24s} mean {np.mean([row[key] for row in rows]):.3f}  least {min(row[key] for row in rows):.3f}  most "
        f"{max(row[key] for row in rows):.3f}"
        for key in rows[0]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--deepbet", help="the command deepbet-cli of its own environment")
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--n", type=int, help="so many heads; by default all that judge")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    root, folders = data_root(), {n: Path(p) for n, _, p in (one.partition("=") for one in options.labels)}
    names = head_names(root, held_out=True)
    names = names[:: max(1, len(names) // options.n)] if options.n else names
    masks, maps = [], {}
    for name in names:
        one, by_peer = measure(root, name, deepbet=options.deepbet, folders=folders)
        masks.append(one)
        for peer, row in by_peer.items():
            maps.setdefault(peer, []).append(row)
        print(name, json.dumps({k: round(v, 3) for k, v in one.items()}), flush=True)
    (options.work / "peers.json").write_text(json.dumps({"masks": masks, "structures": maps}, indent=1))
    print(f"brain masks, {len(masks)} heads:", *table(masks), sep="\n")
    for peer, rows in maps.items():
        print(f"structures of {peer}, {len(rows)} heads:", *table(rows), sep="\n")


@pytest.mark.benchmark
def test_the_network_finds_the_brain_better_than_the_template():
    root = real("ixi").parent
    rows = [measure(root, name, deepbet=None, folders={})[0] for name in head_names(root, held_out=True)[::10]]
    assert np.mean([row["network"] for row in rows]) > np.mean([row["template"] for row in rows]) - 0.02


if __name__ == "__main__":
    main()
