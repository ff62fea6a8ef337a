"""949 real strokes: how often each place is hit, and where lesions go with the NIHSS, at the same age and volume.

``python -m tests.benchmarks.lesion_symptom DATA [--out DIR] [--permutations 1000]``. DATA is the folder with
``stroke_outcome``: masks in template space and participants.tsv. Prints the peak of the frequency map, the voxels that
go with the score after correction for the familywise error, and the CPU seconds of each part.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.group.lesion_symptom import voxel_test
from bids_app.group.maps import FEWEST_HIT, FEWEST_SHARE, SHAPE, LesionMask, affine, in_template


def place(values: np.ndarray) -> str:
    at = np.unravel_index(int(np.abs(values).argmax()), SHAPE)
    x, y, z = affine()[:3, :3] @ np.array(at) + affine()[:3, 3]
    return f"{values.ravel()[np.abs(values).argmax()]:.3f} at {x:.0f}, {y:.0f}, {z:.0f} mm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--permutations", type=int, default=1000)
    given = parser.parse_args()
    folder = given.data / "stroke_outcome"
    table = pd.read_csv(folder / "participants.tsv", sep="\t", na_values=["n/a"]).set_index("participant_id")
    start = time.process_time()
    names, hits = [], []
    for path in sorted((folder / "lesions").glob("*_mask.nii.gz")):
        names.append(path.name.split("_")[0])
        hits.append(in_template(LesionMask(names[-1], "stroke", path, np.eye(4))).ravel())
    stack = np.stack(hits)
    print(f"{len(names)} masks read in {time.process_time() - start:.0f} CPU s; most hit: {place(stack.mean(0))}")
    people = table.loc[names]
    score = people["nihss"].to_numpy(float)
    age = pd.to_numeric(people["age"].astype(str).str.rstrip("+"), errors="coerce").to_numpy(float)  # "89+"
    known = np.isfinite(score) & np.isfinite(age)
    volume = np.log(stack.sum(1) + 1.0)
    for title, columns in (("age", [age]), ("age and log volume", [age, volume])):
        start = time.process_time()
        count = stack[known].sum(0)
        tested = count >= max(FEWEST_HIT, FEWEST_SHARE * known.sum())
        others = np.column_stack([np.ones(len(score)), *columns])[known]
        found = voxel_test(np.sqrt(score[known]), stack[known][:, tested], others, draws=given.permutations)
        t = np.zeros(stack.shape[1], np.float32)
        t[tested] = found.t
        beyond = int((found.p <= 0.05).sum())
        print(
            f"square root of NIHSS, at the same {title}: {known.sum()} people, {tested.sum()} voxels, abs(t) from "
            f"{found.threshold:.2f} on: {beyond} voxels; largest t {place(t)}; {time.process_time() - start:.0f} CPU s"
        )
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(t.reshape(SHAPE), affine()).to_filename(
                given.out / f"nihss_{title.replace(' ', '_')}_t.nii.gz"
            )


if __name__ == "__main__":
    main()
