"""The people of `stroke_outcome`: their real infarcts and outcomes, with DWI and ADC drawn around the infarct.

What is real: the mask, at its place in the template, age, sex, NIHSS and mRS. What is drawn: everything else. A head
from a label map is moved and scaled a little and brought to the template by the affine map of its structures
(`place_map`) and the extent of its brain; tissues, mimics (T2 shine-through, pile-up, old infarcts) and the infarct are
painted by their signal equations, and a scanner adds blur, slices, noise and shading. Nobody's own head or scan is
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bids_app.lessons.lesions import RANGES
from bids_app.recipes.grid import GridSpec
from bids_app.recipes.learning import Learning, NetworkSpec, Preprocessing
from bids_app.recipes.recipe import Labels, Recipe, Region, SequenceSpec, Target
from bids_app.scans.scan import Scan, load_scan, save_scan
from bids_app.synthesis.fields import normal, places, read, rotation
from bids_app.synthesis.heads.labelmaps import brain_table, load_label_maps
from bids_app.synthesis.heads.placed import MIDDLE_MNI, PlacedMap, from_mni, place_map
from bids_app.synthesis.pathology.painting import PathologyPainter
from bids_app.synthesis.scanner.generator import kept, look_up, painted, scan

SEQUENCES = ("trace", "ADC")
#: The grid of the drawn images: sides, mm, and its middle in the template, MNI mm.
SPACING_MM, SHAPE, MIDDLE = 4.0, (40, 48, 40), (0.0, -18.0, 10.0)
#: How far a head is moved (mm), turned (radians) and scaled (logarithm) from where its structures put it.
MOVED_MM, TURNED, SCALED = 2.0, 0.03, 0.03
#: Percentiles of a brain's voxels along each axis that are brought to those of the template.
EXTENT = (1.0, 99.0)
#: Favourable outcome: mRS 0 to 2.
FAVOURABLE = 2


@dataclass(frozen=True)
class Strokes:
    """Everybody of the set with a known NIHSS.

    Attributes:
        names: ``sub-...``.
        masks: share of each voxel of the drawn grid that the real infarct fills, float16, ``(people, *SHAPE)``.
        loads: ml of the infarct in each region of the arterial atlas of the set (30 arterial, 2 ventricular),
            ``(people, 32)``.
        volume: ml at 1 mm, ``(people,)``.
        age, nihss, mrs: ``(people,)``, NaN where not known; age 89 stands for older people too.
        male: 1 or 0.
    """

    names: list[str]
    masks: np.ndarray
    loads: np.ndarray
    volume: np.ndarray
    age: np.ndarray
    male: np.ndarray
    nihss: np.ndarray
    mrs: np.ndarray

    @cached_property
    def favourable(self) -> np.ndarray:
        """mRS 0 to 2 is 1, more is 0; NaN where not known."""
        return np.where(np.isfinite(self.mrs), (self.mrs <= FAVOURABLE).astype(float), np.nan)

    def only(self, rows: np.ndarray) -> Strokes:
        """Some of them, by number."""
        names = [self.names[n] for n in rows]
        return Strokes(names, *(getattr(self, one.name)[rows] for one in fields(self) if one.name != "names"))


def load_strokes(root: Path, kept: Path, limit: int | None = None) -> Strokes:
    """Masks and table, kept as arrays in ``kept``, for a mask takes a moment to read.

    Args:
        limit: of people, for a trial.
    """
    import nibabel as nib

    folder = root / "stroke_outcome"
    table = pd.read_csv(folder / "participants.tsv", sep="\t", na_values=["n/a"]).set_index("participant_id")
    table = table[table["nihss"].notna()].sort_index().head(limit or len(table))
    path = kept / "strokes.npz"
    if not path.is_file():
        atlas = nib.as_closest_canonical(nib.load(folder / "ArterialAtlas136.nii.gz"))
        regions = np.asarray(atlas.dataobj).astype(int)
        masks, loads = [], []
        for name in table.index:
            image = nib.as_closest_canonical(nib.load(folder / "lesions" / f"{name}_space-MNI152_label-L_mask.nii.gz"))
            mask = np.asarray(image.dataobj) > 0.5
            loads.append(np.bincount(regions[mask], minlength=regions.max() + 1) / 1000)
            masks.append(on_grid(mask, image.affine))
        kept.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, names=list(table.index), masks=np.stack(masks), loads=np.stack(loads))
    with np.load(path) as parts:
        assert list(parts["names"]) == list(table.index), f"{path} is of other people: delete it"
        masks, loads = parts["masks"], parts["loads"]
    age = pd.to_numeric(table["age"].astype(str).str.rstrip("+"), errors="coerce").to_numpy(float)
    known = [table[name].to_numpy(float) for name in ("nihss", "mrs")]
    male = (table["sex"] == "M").to_numpy(float)
    return Strokes(list(table.index), masks, loads[:, 1:], loads.sum(1), age, male, *known)


def on_grid(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Share of each voxel of the drawn grid that a 1 mm mask fills, float16, `SHAPE`."""
    at = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    corner = np.array(MIDDLE) - SPACING_MM * np.array(SHAPE) / 2
    voxel = np.floor((at - corner) / SPACING_MM).astype(int)
    voxel = voxel[((voxel >= 0) & (voxel < SHAPE)).all(1)]
    counts = np.bincount(np.ravel_multi_index(tuple(voxel.T), SHAPE), minlength=int(np.prod(SHAPE)))
    return (counts.reshape(SHAPE) / SPACING_MM**3).astype(np.float16)


def stroke_recipe(steps: int, *, gradient: str = "none", targets: bool = True) -> Recipe:
    """Core, NIHSS and mRS 0 to 2 from trace and ADC, with age and sex; the images lie in the template already.

    Left and right are never swapped: language and neglect have a side.
    """
    nihss = Target(name="nihss", kind="continuous", column="nihss", unit="points", weight=0.3)
    favourable = Target(name="favourable", kind="binary", levels=("mRS 3-6", "mRS 0-2"), weight=0.3)
    return Recipe(
        name="strokeoutcome",
        title="Acute infarct and its outcome, drawn images",
        reference="trace",
        sequences=(
            SequenceSpec(name="trace", suffix="trace"),
            SequenceSpec(name="ADC", suffix="ADC", quantitative=True),
        ),
        grid=GridSpec(kind="image", spacing_mm=SPACING_MM),
        regions=(Region(index=1, name="infarct core", abbreviation="IC", kind="lesion"),),
        targets=(nihss, favourable) if targets else (),
        labels=Labels(derivative="manual", suffix="mask", entities={"label": "L"}),
        learning=Learning(
            steps=steps, rate=2e-3, batch=4, mirror=False, covariates=("age", "male"), target_gradient=gradient
        ),
        network=NetworkSpec(filters=12, blocks=(1, 1, 1), deep_supervision=1, fold=2),
        preprocessing=Preprocessing(bias=False),
    )


def load_heads(root: Path) -> list[PlacedMap]:
    """Every label map, its brain as large along each axis as that of the template."""
    import nibabel as nib

    atlas = nib.load(root / "stroke_outcome" / "ArterialAtlas136.nii.gz")
    at = np.argwhere(np.asarray(atlas.dataobj) > 0)[::50] @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
    low, high = (torch.from_numpy(side).float() for side in np.percentile(at, EXTENT, axis=0) - MIDDLE_MNI)
    return [fitted(place_map(one), low, high) for one in load_label_maps(root / "labelmaps")]


def fitted(head: PlacedMap, low: torch.Tensor, high: torch.Tensor) -> PlacedMap:
    """A head stretched along each axis so that its brain reaches from ``low`` to ``high``, mm from the middle."""
    inside = brain_table()[head.label_map.labels.long()].nonzero()[::50].float()
    own = torch.from_numpy(np.percentile((inside @ head.steps + head.origin).numpy(), EXTENT, axis=0)).float()
    scale = (high - low) / (own[1] - own[0])
    return replace(head, origin=(head.origin - own[0]) * scale + low, steps=head.steps * scale)


def keep_scans(
    people: Strokes, heads: Callable[[], list[PlacedMap]], group: np.ndarray, folder: Path, seed: int
) -> list[Scan]:
    """Everybody's scan, drawn once and kept.

    Args:
        heads: gives them, if somebody has to be drawn.
        group: number of the fold that tests each person: every fold has heads of its own, so that who is tested has a
            head that nobody had who trained.
    """
    count, loaded = int(group.max()) + 1, []
    found = []
    for n, name in enumerate(people.names):
        path = folder / f"{name}.npz"
        if not path.is_file():
            generator = torch.Generator().manual_seed(1_000_003 * seed + n)
            loaded = loaded or heads()
            mine = loaded[int(group[n]) :: count]
            head = mine[int(torch.randint(len(mine), (), generator=generator))]
            save_scan(draw_scan(people, n, jittered(head, generator), generator), folder)
        found.append(load_scan(path))
    return found


def jittered(head: PlacedMap, generator: torch.Generator) -> PlacedMap:
    """A head a little aside of where its structures put it, as a registration leaves it."""
    change = rotation(normal(generator, TURNED, (3,))) * torch.exp(normal(generator, SCALED, (3,)))
    return replace(head, origin=head.origin @ change + normal(generator, MOVED_MM, (3,)), steps=head.steps @ change)


def draw_scan(people: Strokes, n: int, head: PlacedMap, generator: torch.Generator) -> Scan:
    """Trace and ADC of a head on the template's grid, with the real infarct of the ``n``-th person in it."""
    mask = torch.from_numpy(people.masks[n].astype(np.float32))
    middle = torch.tensor(from_mni(MIDDLE))
    grid = places(SHAPE, SPACING_MM) + middle

    def core(at: torch.Tensor) -> torch.Tensor:
        return read(mask[None], at - middle, SPACING_MM)[0].clamp(0, 1)

    at = ((grid - head.origin) @ torch.linalg.inv(head.steps)).movedim(-1, 0).contiguous()
    labels = look_up(head.label_map.labels, at)
    paint = PathologyPainter(head, "stroke", SEQUENCES, SPACING_MM, core=core)
    clean = painted(head.label_map, labels, at, SPACING_MM, paint, generator)
    keep = kept(labels, generator) | (mask > 0.25)  # another's head can be smaller than this person's was
    images = [scan(one, SPACING_MM, RANGES, generator, keep=keep, unit=c == 1).numpy() for c, one in enumerate(clean)]
    truth = (people.masks[n] >= 0.5).astype(np.uint8)
    targets = np.array([people.nihss[n], people.favourable[n]])
    name = people.names[n]
    return Scan(
        name,
        name.removeprefix("sub-"),
        np.stack(images).astype(np.float32),
        np.ones(2, bool),
        truth,
        SPACING_MM,
        targets,
        np.array([people.age[n], people.male[n]]),
        age=float(people.age[n]),
    )


def deal(people: Strokes, folds: int, seed: int) -> np.ndarray:
    """Number of the fold that tests each person; folds are alike in NIHSS and in how many have a favourable outcome."""
    from sklearn.model_selection import StratifiedKFold

    fifth = np.digitize(people.nihss, np.quantile(people.nihss, [0.2, 0.4, 0.6, 0.8]))
    outcome = np.nan_to_num(people.favourable, nan=2.0).astype(int)
    found = np.zeros(len(people.names), int)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(fifth, 3 * fifth + outcome)
    for number, (_, test) in enumerate(parts):
        found[test] = number
    return found
