"""Lesions of a group in template space: how often each place is hit, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.bids.record import SessionRecord
from bids_app.errors import ImageError
from bids_app.group.contrasts import groups_of, level_order
from bids_app.group.design import as_levels, as_numbers, design_of, find_columns
from bids_app.group.lesion_symptom import VoxelTest, voxel_test
from bids_app.group.names import words
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers
from bids_app.imaging.grey_matter import SHAPE, map_grid
from bids_app.report.mosaic import mosaic
from bids_app.report.planes import Volume, load_volume, sample

#: A voxel is tested where so many people have a lesion, at least, and so many have none.
FEWEST_HIT, FEWEST_SHARE = 5, 0.02
#: Fewest people of a test, and permutations where none are asked for.
FEWEST, DRAWS = 20, 1000
COLUMNS = {
    "map": "File of the map.",
    "recipe": "Recipe whose lesions are mapped; atrophy for maps of grey matter.",
    "what": "frequency: share of participants with a lesion or atrophy there; or the scale or contrast that is tested.",
    "n": "Participants, the first session of each.",
    "voxels": "Voxels hit by anybody, or tested.",
    "threshold": "abs(t) from which on p, corrected for the familywise error over voxels, is below 0.05.",
    "significant": "Voxels beyond it.",
    "peak": "Largest share, or the t that is farthest from zero.",
    "p": "Corrected p of that voxel.",
    "x_mm": "Where it is, to the right, in the template's world.",
    "y_mm": "To the front.",
    "z_mm": "Upwards.",
}
LESIONS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that found the lesion.",
    "lesion": "Its number in the session's own table.",
    "volume": "Volume, mm3.",
    "region": "Region it lies in, where that is known.",
    "side": "left, right or midline.",
    "probability": "Mean calibrated probability.",
    "x_mm": "Centre in the template's world, to the right; n/a where the session was not registered to it.",
    "y_mm": "To the front.",
    "z_mm": "Upwards.",
}

LOAD = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that looked for lesions.",
    "region": "Region that lesions lie in; whole for all together; not known where no bundle names regions.",
    "side": "left, right or midline; both for all together; n/a where it is not known.",
    "lesions": "How many lie there, by the region that holds most of each.",
    "volume": "Their volume, mm3.",
}


@dataclass(frozen=True)
class LesionMask:
    """A session's mask of all lesions of a recipe, and the matrix from its world to the template's."""

    key: str
    recipe: str
    path: Path
    to_template: np.ndarray


def affine() -> np.ndarray:
    """Voxel to world of the maps, which have the grid of those of grey matter."""
    return map_grid().affine


def lesion_masks(output_dir: Path, record: SessionRecord, bad: set[str]) -> list[LesionMask]:
    """Of a session, but for recipes rated bad and sessions without a place in the template."""
    found = []
    for part in record.done():
        images = record.images_of(part)
        matrix = images.preprocessing.to_template if images else None
        if part.files.lesion_mask and matrix and part.recipe not in bad:
            path = output_dir / part.files.lesion_mask
            found.append(LesionMask(record.key, part.recipe, path, np.array(matrix, float)))
    return found


def lesion_rows(record: SessionRecord, identity: tuple[str, str]) -> list[tuple[Any, ...]]:
    """A row per lesion; columns of `LESIONS`."""
    return [
        (
            *(*identity, part.recipe, one.index, one.volume_mm3, one.region, one.side, one.probability),
            *(one.template_mm or (None, None, None)),
        )
        for part in record.done()
        if part.prediction is not None
        for one in part.prediction.lesions or []
    ]


def load_table(lesions: Sequence[tuple[Any, ...]], looked: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """Number and volume of lesions by region and side, and of all together; columns of `LOAD`.

    Args:
        lesions: of `lesion_rows`.
        looked: participant, session and recipe of everybody in whom lesions were looked for: those without have a row.
    """
    table = pd.DataFrame([row[:7] for row in lesions], columns=list(LESIONS)[:7])
    table["region"], table["side"] = table["region"].fillna("not known"), table["side"].fillna("n/a")
    who = ["participant_id", "session_id", "recipe"]
    totals = table.groupby(who, sort=False)["volume"].agg(["size", "sum"])
    totals = totals.reindex(pd.MultiIndex.from_tuples(list(dict.fromkeys(looked)), names=who), fill_value=0)
    parts = table.groupby([*who, "region", "side"], sort=False)["volume"].agg(["size", "sum"])
    both = pd.concat([totals.reset_index().assign(region="whole", side="both"), parts.reset_index()])
    both = both.rename(columns={"size": "lesions", "sum": "volume"})[list(LOAD)]
    return both.sort_values(who, kind="stable", ignore_index=True)


def in_template(mask: LesionMask) -> np.ndarray:
    """Whether each voxel of the maps' grid lies in a lesion: bool of `SHAPE`, by the affine part of the registration.

    Raises:
        ImageError: the mask cannot be read.
    """
    volume = load_volume(mask.path)
    voxels = np.argwhere(volume.data > 0)
    hit = np.zeros(SHAPE, bool)
    if not len(voxels):
        return hit
    onward = np.linalg.inv(affine()) @ mask.to_template @ volume.affine
    places = voxels @ onward[:3, :3].T + onward[:3, 3]
    reach = np.abs(onward[:3, :3]).sum(1) / 2 + 1
    low = np.clip(np.floor(places.min(0) - reach).astype(int), 0, SHAPE)
    high = np.clip(np.ceil(places.max(0) + reach).astype(int) + 1, 0, SHAPE)
    if (high <= low).any():
        return hit
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", affine()[:3, :3], grid) + affine()[:3, 3][:, None, None, None]
    back = np.linalg.inv(mask.to_template)
    hit[box] = sample(Volume((volume.data > 0).astype(np.float32), volume.affine), world, to_volume=back) >= 0.5
    return hit


def answer_maps(masks: Sequence[LesionMask], wide: pd.DataFrame, plan: GroupPlan, answers: Answers) -> None:
    """Frequency of lesions over everybody and in each group, and voxelwise tests of scales and groups.

    Args:
        masks: of all sessions.
        wide: a row per session, its key as index.
        plan: groups, scales, covariates, permutations.
        answers: gets images, a table, pictures and sentences.
    """
    rows: list[dict[str, Any]] = []
    first = ~wide["participant_id"].duplicated()
    for recipe in dict.fromkeys(mask.recipe for mask in masks):
        hits, keys = [], []
        for mask in masks:
            if mask.recipe != recipe or not first.get(mask.key, False):
                continue
            try:
                hits.append(in_template(mask).ravel())
                keys.append(mask.key)
            except ImageError as error:
                answers.warnings.append(f"{mask.key}: its lesion mask is left out of the maps ({error}).")
        if hits:
            rows += _maps_of(recipe, np.stack(hits), wide.loc[keys], plan, answers)
    if not rows:
        answers.warnings.append("No session has a lesion mask with a place in the template, so there are no maps.")
        return
    add_rows(rows, answers)
    answers.methods.append(
        "Lesion masks were brought to the template by the affine part of each registration, at 2 mm, the first session "
        f"of each participant. Voxels hit in at least {FEWEST_HIT} participants were tested by least squares with "
        f"{plan.permutations or DRAWS} permutations of residuals, corrected for the familywise error by the largest t "
        "[@freedman-lane]."
    )


def _maps_of(
    recipe: str, hits: np.ndarray, table: pd.DataFrame, plan: GroupPlan, answers: Answers
) -> list[dict[str, Any]]:
    rows = [_frequency(recipe, "everybody", hits, answers)]
    groups = None
    if plan.group is not None:
        groups = as_levels(table[plan.group])
        for level in sorted(groups.dropna().unique()):
            rows.append(_frequency(recipe, level, hits[(groups == level).to_numpy()], answers))
    names = [n for n in dict.fromkeys([*plan.covariates, plan.site]) if n and n != plan.group]
    covariates = design_of(table, names, [plan.site] if plan.site else []).columns if names else pd.DataFrame()
    others = np.concatenate([np.ones((len(table), 1)), covariates.to_numpy(float).reshape(len(table), -1)], axis=1)
    for what, score in asked_scores(table, plan):
        known = np.isfinite(score) & np.isfinite(others).all(axis=1)
        count = hits[known].sum(0)
        tested = (count >= max(FEWEST_HIT, FEWEST_SHARE * known.sum())) & (known.sum() - count >= FEWEST_HIT)
        if known.sum() < FEWEST or not tested.any() or np.ptp(score[known]) == 0:
            answers.warnings.append(f"{recipe}: too few people or lesions for a voxelwise test of {what}.")
            continue
        found = voxel_test(
            score[known], hits[known][:, tested], others[known], draws=plan.permutations or DRAWS, seed=plan.seed
        )
        rows.append(tested_map(recipe, what, found, tested, int(known.sum()), answers))
    return rows


def asked_scores(table: pd.DataFrame, plan: GroupPlan) -> list[tuple[str, np.ndarray]]:
    """What maps are tested against: each scale, and two groups as 0 (the control group) and 1; NaN where not known.

    Raises:
        DataError: a scale is no column, or holds what is no number.
    """
    find_columns(plan.scales, list(table.columns), "--scales")
    asked = [(scale, as_numbers(table[scale], scale).to_numpy(float)) for scale in plan.scales]
    groups = as_levels(table[plan.group]) if plan.group is not None else None
    if groups is not None and groups.nunique() == 2:
        one, other = level_order(groups_of(table, plan), plan)
        asked.append((f"{other}-{one}", np.where(groups.isna(), np.nan, groups == other).astype(float)))
    return asked


def add_rows(rows: list[dict[str, Any]], answers: Answers) -> None:
    """Put rows of `COLUMNS` into ``group_maps.tsv``, behind those that are there."""
    table, before = pd.DataFrame(rows, columns=list(COLUMNS)), answers.tables.get("group_maps.tsv")
    answers.add("group_maps", table if before is None else pd.concat([before, table], ignore_index=True), COLUMNS)


def peak_of(values: np.ndarray) -> dict[str, float]:
    """Value farthest from zero and its place."""
    at = np.unravel_index(int(np.abs(values).argmax()), SHAPE)
    x, y, z = affine()[:3, :3] @ np.array(at) + affine()[:3, 3]
    return {"peak": float(values.ravel()[np.abs(values).argmax()]), "x_mm": x, "y_mm": y, "z_mm": z}


def _frequency(recipe: str, who: str, hits: np.ndarray, answers: Answers) -> dict[str, Any]:
    name = "_".join(["group", *words(recipe), *words(who), "frequency"]) + ".nii.gz"
    share = hits.mean(0).reshape(SHAPE).astype(np.float32) if len(hits) else np.zeros(SHAPE, np.float32)
    keep_map(name, share, f"{recipe}: share of {who} ({len(hits)}) with a lesion", answers)
    about = {"map": name, "recipe": recipe, "what": f"frequency, {who}", "n": len(hits)}
    return about | {"voxels": int((share > 0).sum())} | peak_of(share)


def tested_map(
    recipe: str, what: str, found: VoxelTest, tested: np.ndarray, n: int, answers: Answers
) -> dict[str, Any]:
    """Keep t and corrected p of a test as images and a picture; its row of `COLUMNS`."""
    name = "_".join(["group", *words(recipe), *words(what)])
    t, p = np.zeros(tested.size, np.float32), np.ones(tested.size, np.float32)
    t[tested], p[tested] = found.t, found.p
    answers.images[f"{name}_pfwe.nii.gz"] = nib.Nifti1Image(p.reshape(SHAPE), affine())
    beyond = np.where(np.abs(t) >= found.threshold, t, 0).reshape(SHAPE)
    title = f"{recipe}: t of {what}, {n} people"
    keep_map(f"{name}_t.nii.gz", t.reshape(SHAPE), title, answers, shown=beyond, note=f"abs(t) ≥ {found.threshold:.2f}")
    peak = peak_of(t.reshape(SHAPE))
    return {
        "map": f"{name}_t.nii.gz", "recipe": recipe, "what": what, "n": n, "voxels": int(tested.sum()),
        "threshold": found.threshold, "significant": int((beyond != 0).sum()), **peak, "p": float(p.min()),
    }  # fmt: skip


def keep_map(
    name: str, values: np.ndarray, title: str, answers: Answers, *, shown: np.ndarray | None = None, note: str = ""
) -> None:
    """Keep an image of the maps' grid, and its picture for the page (of ``shown``, where that is another)."""
    answers.images[name] = nib.Nifti1Image(values, affine())
    picture = mosaic(Volume(values if shown is None else shown, affine()))
    answers.shown.setdefault("maps", []).append({"title": title, "note": note, "picture": picture, "file": name})


def lesion_table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """All lesions of all sessions."""
    table = pd.DataFrame(rows, columns=list(LESIONS))
    numbers = ("volume", "probability", "x_mm", "y_mm", "z_mm")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})
