"""Do maps of atrophy find a planted loss, and are they calibrated on real heads?

``python -m tests.benchmarks.atrophy_maps OUT [--phantoms 32] [--heads 92] [--data DATA] [--judge]``. People of the demo
cohort `alzheimer` (simulator; a quarter with the disease) and heads of IXI (real) go from their labels to maps of grey
matter; the labels are those of the truth and of the data set's own maps, so that what is judged is the way from labels
to z, not the network. Each map stays in OUT, where it is found again; ``--judge`` makes no more maps. Prints for the
phantoms the planted loss of the hippocampus against mean z there, the share of voxels below the threshold in healthy
people (by the model without them), and where the voxels lie that a test of the groups finds; for the heads the mean
and standard deviation of z in the third that trained nothing, and the age slopes of hippocampus and ventricles.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.group.atrophy_model import People, VoxelModel, fit_voxels, score_voxels, spread_out, voxels_of
from bids_app.group.atrophy_regions import nearest_grey, template_regions
from bids_app.group.atrophy_write import atrophied
from bids_app.group.lesion_symptom import voxel_test
from bids_app.imaging.grey_matter import FLUID, carried, grey_matter_map, map_grid, smoothed, tissues
from bids_app.imaging.landmarks import MIDDLES, affine_to_template
from bids_app.imaging.registration import Fit, Image, register
from bids_app.imaging.stacking import Grid
from bids_app.imaging.templates import find_template
from bids_app.lessons.real_heads import HEADS, files_of, merge, merging_table
from bids_app.synthesis.datasets.demo_cohorts import DemoPlan
from bids_app.synthesis.datasets.demo_images import draw_participant
from tests.data import data_root

#: FreeSurfer's numbers of the parts of a phantom, in their order; of other grey matter, thalamus.
PARTS = (24, 4, 3, 10, 2, 17, 53)
HIPPOCAMPI, CORTEX = (17, 53), (3, 42)
TEMPLATE = "MNI152NLin2009cAsym"
#: Resolution of the phantoms' registration, mm: they are as smooth as that.
PHANTOM_MM = 4.0
DRAWS = 500


def make_map(labels: np.ndarray, affine: np.ndarray, out: Path, spacing: float, about: Mapping[str, Any]) -> None:
    """From labels to ``OUT/NAME.npz`` (maps of grey matter and ventricles) and ``.json``; not again where they are."""
    if out.with_suffix(".json").is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    template, path = find_template(TEMPLATE), out.with_name(f"{out.name}_labels.nii")
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), path)
    picture = out.with_name(f"{out.name}_picture.nii")
    nib.save(nib.Nifti1Image(tissues(labels), affine), picture)
    middles = {n: (affine @ np.r_[np.argwhere(labels == n).mean(0), 1])[:3] for n in MIDDLES if (labels == n).any()}
    on = Image(template.image, template.mask)
    how = Fit("affine", initial=affine_to_template(middles), brains=True, spacing=spacing)
    placed = register(Image(picture), on, how, out.with_name(f"{out.name}_start"))
    found = grey_matter_map(path, on, placed.matrix, out.with_name(f"{out.name}_syn"), spacing=spacing)
    fluid = np.isin(labels, FLUID) & (labels != 24)
    ventricles = smoothed(carried(fluid, Grid(labels.shape, affine), found.inverse, map_grid()), map_grid(), 8.0)
    np.savez(out.with_suffix(".npz"), grey=found.density, ventricles=ventricles)
    ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    told = {"inside_ml": found.inside_ml, "dice": found.dice, "seconds": found.seconds}
    hippocampus = [float((labels == n).sum() * ml) for n in HIPPOCAMPI]
    out.with_suffix(".json").write_text(json.dumps({**about, **told, "hip": hippocampus}))
    for left in out.parent.glob(f"{out.name}_*"):
        left.unlink()


def make_phantom(index: int, out: Path, seed: int = 11) -> None:
    """Person ``index`` of the cohort: every fourth has the disease."""
    if out.with_suffix(".json").is_file():
        return
    sick = index % 4 == 3
    person = draw_participant(DemoPlan("alzheimer", n=1, seed=seed), 3 * index + 2 * sick)
    _, shares = person.varied.partition()
    inside = shares.sum(0).numpy() > 0.5
    labels = np.where(inside, np.array(PARTS)[shares.argmax(0).numpy()], 0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -(np.array(labels.shape) - 1.0)
    planted = 1 - float(np.exp(person.latents["hippocampus_planted_log"]))
    about = {**person.row, "sick": bool(sick), "planted": planted}
    make_map(labels, affine, out, PHANTOM_MM, about)


def make_head(row: Mapping[str, str], data: Path, out: Path) -> None:
    """A head of IXI by the data set's own map of regions."""
    image = nib.as_closest_canonical(nib.load(files_of(data, row["participant_id"])[1]))
    make_map(merge(np.asarray(image.dataobj), merging_table(data)), image.affine, out, 3.0, dict(row))


def load(folder: Path, name: str = "grey") -> tuple[np.ndarray, pd.DataFrame]:
    """Maps ``(n, x, y, z)`` and what is known of each person, in the order of their names."""
    files = sorted(folder.glob("*.json"))
    table = pd.DataFrame([json.loads(path.read_text()) for path in files])
    maps = np.stack([np.load(path.with_suffix(".npz"))[name] for path in files])
    return maps, table.assign(age=table["age"].astype(float))


def people_of(table: pd.DataFrame) -> People:
    """Age, sex and head size."""
    others = pd.DataFrame({"sex": table["sex"].astype(object), "inside": table["inside_ml"].astype(float)})
    return People(table["age"].to_numpy(float), others.reset_index(drop=True))


def inside_of(maps: np.ndarray, regions: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """Mean of each map over structures, ``(n,)``."""
    return np.asarray(maps[:, np.isin(regions, numbers)].mean(axis=1))


def judge_phantoms(folder: Path) -> dict[str, float]:
    """Planted against found."""
    maps, table = load(folder)
    sick, people = table["sick"].to_numpy(bool), people_of(table)
    mask = voxels_of(maps[~sick].mean(0))
    density = maps[:, mask]
    model, left_out = fit_voxels(density[~sick], people.of(~sick), mask)
    z = np.empty(density.shape, np.float32)
    z[~sick], z[sick] = left_out, score_voxels(model, density[sick], people.of(sick))
    regions = template_regions(TEMPLATE)[0][mask]
    found = np.array([inside_of(one[None], regions, HIPPOCAMPI)[0] for one in z])
    design = np.c_[np.ones(len(table)), people.age, table["sex"] == "M", table["inside_ml"]]
    hits = np.stack([atrophied(one, mask, -2, 0.5) for one in z])
    test = voxel_test(sick.astype(float), density, design, draws=DRAWS)
    beyond = (np.abs(test.t) >= test.threshold) & (test.t < 0)
    planted_in = np.isin(regions, (*HIPPOCAMPI, *CORTEX, 1035, 2035))
    return {
        "people": len(table), "sick": int(sick.sum()), "seconds of a map": float(table["seconds"].median()),
        "r of planted loss and mean z, hippocampus": float(np.corrcoef(table["planted"], found)[0, 1]),
        "mean z of the sick, hippocampus": float(found[sick].mean()),
        "mean z of the healthy, hippocampus": float(found[~sick].mean()),
        "standard deviation of z of the healthy": float(z[~sick].std()),
        "share of voxels below -2, healthy": float((z[~sick] < -2).mean()),
        "the same in pieces of 0.5 ml": float(hits[~sick].mean()),
        "share of voxels below -2, sick": float((z[sick] < -2).mean()),
        "ml of atrophy, healthy (median)": float(np.median(hits[~sick].sum(1)) * 0.008),
        "ml of atrophy, sick (median)": float(np.median(hits[sick].sum(1)) * 0.008),
        "significant voxels": int(beyond.sum()),
        "share of them inside planted structures": float(planted_in[beyond].mean()) if beyond.any() else np.nan,
        "share of all voxels there": float(planted_in.mean()),
        "share of the lowest hundredth of t inside": float(planted_in[test.t <= np.quantile(test.t, 0.01)].mean()),
        "significant gains": int(((np.abs(test.t) >= test.threshold) & (test.t > 0)).sum()),
        "share of the hippocampi found": float(beyond[np.isin(regions, HIPPOCAMPI)].mean()),
    }  # fmt: skip


def slope_of(values: np.ndarray, table: pd.DataFrame) -> float:
    """Per cent of the mean per decade, at the same sex and head size."""
    design = np.c_[np.ones(len(table)), table["age"], table["sex"] == "M", table["inside_ml"]].astype(float)
    return float(1000 * np.linalg.lstsq(design, values, rcond=None)[0][1] / values.mean())


def judge_heads(folder: Path) -> dict[str, float]:
    """Calibration in people who trained nothing: every third; slopes of those who did."""
    maps, table = load(folder)
    new = np.arange(len(table)) % 3 == 2
    people, mask = people_of(table), voxels_of(maps[~new].mean(0))
    density = maps[:, mask]
    model, left_out = fit_voxels(density[~new], people.of(~new), mask)
    z = score_voxels(model, density[new], people.of(new))
    regions = template_regions(TEMPLATE)[0]
    ventricles = load(folder, "ventricles")[0].sum(axis=(1, 2, 3)) * 0.008
    hippocampi = inside_of(maps, regions, HIPPOCAMPI)
    told = {
        "people": len(table), "new": int(new.sum()), "voxels": int(mask.sum()),
        "seconds of a map": float(table["seconds"].median()),
        "mean z, new": float(z.mean()), "standard deviation of z, new": float(z.std()),
        "mean over voxels of the standard deviation over people": float(z.std(axis=0, ddof=1).mean()),
        "spread of people's mean z": float(z.mean(axis=1).std(ddof=1)),
        "mean z, left out": float(left_out.mean()), "standard deviation of z, left out": float(left_out.std()),
        "share of voxels below -2, new": float((z < -2).mean()),
        "share below -2 in pieces of 0.5 ml, new": float(np.mean([atrophied(one, mask, -2, 0.5).mean() for one in z])),
        "hippocampus, % per decade": slope_of(hippocampi, table),
        "hippocampus above 50 years, % per decade": slope_of(hippocampi[table["age"] > 50], table[table["age"] > 50]),
        "hippocampus by its labels, % per decade": slope_of(np.array(table["hip"].tolist()).sum(1), table),
        "all grey matter, % per decade": slope_of(maps.sum(axis=(1, 2, 3)) * 0.008, table),
        "ventricles, % per decade": slope_of(ventricles, table),
        "r of age and mean z, new": float(np.corrcoef(table["age"][new], z.mean(axis=1))[0, 1]),
    }  # fmt: skip
    save_pictures(folder, model, z)
    return told


def save_pictures(folder: Path, model: VoxelModel, z: np.ndarray) -> None:
    """z of the person with least grey matter for who they are, and the mean of all, as images."""
    least = int(z.mean(axis=1).argmin())
    for name, values in {"least_z": z[least], "mean_z": z.mean(axis=0), "spread": model.spread}.items():
        nib.save(nib.Nifti1Image(spread_out(values, model.mask), map_grid().affine), folder / f"{name}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--phantoms", type=int, default=32)
    parser.add_argument("--heads", type=int, default=92)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--judge", action="store_true")
    options = parser.parse_args()
    for index in [] if options.judge else range(options.phantoms):
        make_phantom(index, options.out / "phantoms" / f"{index:03d}")
    if options.phantoms:
        print(json.dumps({"phantoms": judge_phantoms(options.out / "phantoms")}, indent=2), flush=True)
    with open(options.data / HEADS / "participants.tsv", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["age"] != "n/a"][: options.heads]
    for row in [] if options.judge else rows:
        make_head(row, options.data, options.out / "ixi" / row["participant_id"])
    if options.heads:
        print(json.dumps({"ixi": judge_heads(options.out / "ixi")}, indent=2), flush=True)


def test_a_structure_is_found_on_the_grid():
    labels = np.zeros(map_grid().shape, np.int16)
    labels[40:44, 40:44, 40:44] = 17
    assert inside_of(np.ones((2, *labels.shape)), nearest_grey(labels), HIPPOCAMPI).tolist() == [1, 1]


if __name__ == "__main__":
    main()
