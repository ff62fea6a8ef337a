"""What ``--fast`` changes: the habenulae of `depression` placed in the template instead of registered to it.

    python -m tests.benchmarks.fast_way [--participants 01 ...]

Per brain: how far apart the two ways put the middle of the habenulae's place before the network looks, and how far
apart centres and soft volumes are afterwards; CPU seconds of either way (ANTs is loaded before the clock starts).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bundle.bundle import load_bundle
from bids_app.imaging.ants_parts import load_ants
from bids_app.imaging.bias import correct_bias
from bids_app.imaging.brain import brain_mask
from bids_app.imaging.conform import conform
from bids_app.imaging.quick_registrar import QuickRegistrar
from bids_app.imaging.registration import Fit, Image, register
from bids_app.imaging.stacking import transform_points
from bids_app.imaging.templates import find_template
from bids_app.imaging.transforms import set_threads
from bids_app.predict.predict import locate_and_predict
from bids_app.predict.regions import measure_regions
from tests.data import real

PARTICIPANTS = ("01", "02", "03", "04", "52", "53", "54", "55")


def one_way(bundle: Any, folder: Path, program: Any) -> dict[str, Any]:
    """Habenulae after one of the ways: centres (2, 3) mm, soft mm³ (2,), where the place was first, CPU seconds."""
    template = find_template()
    start = time.process_time()
    found = register(
        Image(folder / "n4.nii", folder / "mask.nii"),
        Image(template.image, template.mask),
        Fit("affine", brains=True),
        folder / "to_template",
        program=program,
    )
    seconds = time.process_time() - start
    images, here = {"T1w": folder / "n4.nii"}, {"T1w": np.eye(4)}
    seen = locate_and_predict(bundle, images, here, found.matrix, mask=folder / "mask.nii", threads=1)
    rows = measure_regions(bundle, seen.probability, seen.grid).rows
    return {
        "centres": np.array([row["centre_mm"] or (np.nan,) * 3 for row in rows]),
        "soft": np.array([row["soft_mm3"] for row in rows]),
        "place": transform_points(np.linalg.inv(found.matrix), np.array([[0.0, -26.0, 2.0]]))[0],
        "dice": found.dice,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", nargs="+", default=PARTICIPANTS)
    bundle, lines = load_bundle("habenula"), []
    set_threads(1)
    load_ants()
    print("brain   place mm  centres mm   soft mm3         fast mm3         change %     Dice         CPU s")
    for name in parser.parse_args().participants:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            conform(real("depression") / f"sub-{name}/anat/sub-{name}_T1w.nii.gz", folder / "t1w.nii")
            correct_bias(folder / "t1w.nii", folder / "n4.nii")
            brain_mask(folder / "t1w.nii", folder / "mask.nii")
            usual, fast = (one_way(bundle, folder, program) for program in (None, QuickRegistrar()))
        place = np.linalg.norm(usual["place"] - fast["place"])
        apart = np.linalg.norm(usual["centres"] - fast["centres"], axis=1)
        change = 100 * (fast["soft"] / usual["soft"] - 1)
        lines.append([place, *apart, *np.abs(change), usual["seconds"], fast["seconds"]])
        pairs = [f"{a:5.2f} {b:5.2f}" for a, b in (apart, usual["soft"], fast["soft"], change)]
        pairs += [f"{usual['dice']:.3f} {fast['dice']:.3f}", f"{usual['seconds']:.1f} {fast['seconds']:.1f}"]
        print(f"sub-{name}  {place:7.2f}  " + "  ".join(f"{pair:15s}" for pair in pairs), flush=True)
    mean = np.nanmean(lines, axis=0)
    print(
        f"mean: place {mean[0]:.2f} mm, centres {mean[1:3].mean():.2f} mm, soft volumes {mean[3:5].mean():.1f} %, ",
        end="",
    )
    print(f"CPU {mean[5]:.1f} and {mean[6]:.1f} s")


if __name__ == "__main__":
    main()
