"""What is told of atrophy: a table of structures, frequency, tests, pictures, words; the writers of sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.group.atrophy_maps import DensityMap
from bids_app.group.atrophy_model import People, VoxelModel, spread_out
from bids_app.group.atrophy_write import atrophied, write_maps
from bids_app.group.lesion_symptom import voxel_test
from bids_app.group.maps import DRAWS, FEWEST, add_rows, asked_scores, keep_map, peak_of, tested_map
from bids_app.group.names import words
from bids_app.group.normative_answers import AGAIN, LEFT_OUT, NEW
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers
from bids_app.imaging.grey_matter import map_grid
from bids_app.report.mosaic import mosaic
from bids_app.report.planes import Volume

#: People whose maps are pictures on the page: those with most atrophy.
PICTURES = 6
#: Name of the row of everything that is modelled.
ALL = "grey matter"
NAME = "atrophy"
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "region": "Structure of the template (by the bundle anatomy), or grey matter: all that is modelled.",
    "mean_z": "Mean of z over its voxels: grey matter against people of the same age, covariates, head size and site; "
    "below zero is less.",
    "atrophied_ml": "Its volume, in the template, inside the mask of atrophy.",
    "region_ml": "Its volume in the template.",
    "scored": "leave-one-out: a control, by the model without it; new: by the whole model; another session of a "
    "control: by a model that has seen this participant.",
    "note": "age outside the controls' (taken as the nearest age of theirs); site that the model has not seen.",
}


@dataclass(frozen=True)
class Found:
    """Everybody's scores.

    Attributes:
        model: that gave them.
        maps, table, groups, people: of each session with a map.
        density, z: ``(sessions, voxels)``; z is NaN where something is not known.
        taught: bool: controls that were scored by the model without them.
        again: bool: other sessions of theirs.
        scored: bool: whether there is a z.
    """

    model: VoxelModel
    maps: list[DensityMap]
    table: pd.DataFrame
    groups: pd.Series
    people: People
    density: np.ndarray
    z: np.ndarray
    taught: np.ndarray
    again: np.ndarray
    scored: np.ndarray

    @property
    def outside(self) -> np.ndarray:
        """Whether a session's age lies outside the model's."""
        scale = self.model.scale
        return np.asarray((self.people.age < scale.low) | (self.people.age > scale.high))

    @property
    def new_site(self) -> np.ndarray:
        """Whether the model has not seen a session's site."""
        if not self.model.sites or self.people.site is None:
            return np.zeros(len(self.maps), bool)
        return np.array([str(one) not in self.model.sites for one in self.people.site])


def show(found: Found, plan: GroupPlan, answers: Answers) -> None:
    """Put everything into the answers."""
    inside = np.zeros(found.z.shape, bool)
    for row in np.flatnonzero(found.scored):
        inside[row] = atrophied(found.z[row], found.model.mask, plan.atrophy_threshold, plan.atrophy_extent)
    answers.add("group_atrophy", table_of(found, inside), COLUMNS)
    if not found.model.names:
        answers.warnings.append("The bundle anatomy is not in this installation: group_atrophy.tsv has no structures.")
    rows = _frequencies(found, inside, plan, answers)
    add_rows([*rows, *_tests(found, plan, answers)], answers)
    _pictures(found, inside, plan, answers)
    answers.later += [_writer(found, row, inside[row], plan) for row in np.flatnonzero(found.scored)]
    answers.methods.append(said_of(found, plan))
    scale = found.model.scale
    if (outside := found.outside & found.scored).any():
        keys = ", ".join(one.key for one, out in zip(found.maps, outside, strict=True) if out)
        answers.warnings.append(
            f"The model of grey matter has seen ages from {scale.low:g} to {scale.high:g}; ages outside are taken as "
            f"the nearest of these, for {keys}."
        )
    site = found.people.site
    if site is not None and found.new_site.any():
        new = ", ".join(sorted({str(one) for one in site[found.new_site]}))
        answers.warnings.append(
            f"The model of grey matter has not seen the site {new}: two or more controls of a site say where it lies; "
            "without them the spread between sites is added."
        )


def table_of(found: Found, inside: np.ndarray) -> pd.DataFrame:
    """A row per session and structure; columns of `COLUMNS`."""
    model, ml = found.model, map_grid().voxel_volume / 1000
    there = [(name, model.regions == index) for index, name in model.names.items() if (model.regions == index).any()]
    parts = [(ALL, np.ones(model.regions.shape, bool)), *there]
    rows: list[dict[str, Any]] = []
    for row in np.flatnonzero(found.scored):
        notes = [f"age outside {model.scale.low:g} to {model.scale.high:g}"] if found.outside[row] else []
        notes += ["new site"] if found.new_site[row] else []
        identity = {
            "participant_id": found.table["participant_id"].iloc[row],
            "session_id": found.table["session_id"].iloc[row],
        }
        how = LEFT_OUT if found.taught[row] else AGAIN if found.again[row] else NEW
        rows += [
            {
                **identity, "region": name, "mean_z": float(found.z[row, part].mean()),
                "atrophied_ml": float(inside[row, part].sum() * ml), "region_ml": float(part.sum() * ml),
                "scored": how, "note": "; ".join(notes) or None,
            }
            for name, part in parts
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _first(found: Found) -> np.ndarray:
    """The first scored session of each participant."""
    people = found.table["participant_id"].astype(str).where(found.scored)
    return found.scored & ~people.duplicated().to_numpy()


def _frequencies(found: Found, inside: np.ndarray, plan: GroupPlan, answers: Answers) -> list[dict[str, Any]]:
    first, rows = _first(found), []
    levels = sorted(found.groups[first].dropna().unique()) if plan.group is not None else []
    for who, own in [("everybody", first), *((level, first & (found.groups == level).to_numpy()) for level in levels)]:
        share = spread_out(inside[own].mean(axis=0), found.model.mask)
        name = "_".join(["group", NAME, *words(who), "frequency"]) + ".nii.gz"
        keep_map(name, share, f"{NAME}: share of {who} ({own.sum()}) with less grey matter than expected", answers)
        about = {"map": name, "recipe": NAME, "what": f"frequency, {who}", "n": int(own.sum())}
        rows.append(about | {"voxels": int((share > 0).sum())} | peak_of(share))
    return rows


def _tests(found: Found, plan: GroupPlan, answers: Answers) -> list[dict[str, Any]]:
    """Scales and two groups against grey matter, at the same age, covariates, head size and site."""
    rows = []
    first, design = _first(found), found.model.scale.columns(found.people.age, found.people.others)
    others = design if found.people.site is None else np.concatenate([design, _sites(found.people.site)], axis=1)
    for what, score in asked_scores(found.table, plan):
        known = first & np.isfinite(score) & np.isfinite(others).all(axis=1)
        columns = _independent(others[known])
        if known.sum() < max(FEWEST, columns.shape[1] + 5) or np.ptp(score[known]) == 0:
            answers.warnings.append(f"{NAME}: too few people for a voxelwise test of {what}.")
            continue
        test = voxel_test(score[known], found.density[known], columns, draws=plan.permutations or DRAWS, seed=plan.seed)
        rows.append(tested_map(NAME, what, test, found.model.mask.ravel(), int(known.sum()), answers))
    return rows


def _sites(site: np.ndarray) -> np.ndarray:
    """A column per site after the first; NaN where it is not known."""
    names = sorted({str(one) for one in site if one is not None})
    unknown = np.array([one is None for one in site])
    columns = [np.where(unknown, np.nan, site == name) for name in names[1:]]
    return np.stack(columns, axis=1).astype(float) if columns else np.zeros((len(site), 0))


def _independent(columns: np.ndarray) -> np.ndarray:
    """Columns that do not follow from those before them: a spline may have none of these people in a part."""
    kept: list[int] = []
    for place in range(columns.shape[1]):
        if np.linalg.matrix_rank(columns[:, [*kept, place]]) > len(kept):
            kept.append(place)
    return columns[:, kept]


def _pictures(found: Found, inside: np.ndarray, plan: GroupPlan, answers: Answers) -> None:
    """z inside the mask of those with most of it."""
    ml = inside.sum(axis=1) * map_grid().voxel_volume / 1000
    for row in [int(r) for r in np.argsort(-ml)[:PICTURES] if ml[r] > 0]:
        shown = spread_out(np.where(inside[row], found.z[row], 0), found.model.mask)
        answers.shown.setdefault("maps", []).append(
            {
                "title": f"{NAME}: {found.maps[row].key}, {ml[row]:.0f} ml", "file": "",
                "note": f"z < {plan.atrophy_threshold:g}, {plan.atrophy_extent:g} ml or more together",
                "picture": mosaic(Volume(shown, map_grid().affine)),
            }
        )  # fmt: skip


def _writer(found: Found, row: int, inside: np.ndarray, plan: GroupPlan) -> Callable[[Path], list[Path]]:
    model = found.model

    def write(output_dir: Path) -> list[Path]:
        told = {
            "ZThreshold": plan.atrophy_threshold, "ClusterExtentMl": plan.atrophy_extent,
            "NormativeModel": model.fitted_on,
        }  # fmt: skip
        one = found.maps[row]
        return write_maps(
            output_dir, one, spread_out(found.z[row], model.mask), spread_out(inside, model.mask) > 0, told
        )

    return write


def said_of(found: Found, plan: GroupPlan) -> str:
    """What was done, for the methods text."""
    model = found.model
    others = [*model.scale.covariates, *model.scale.levels]
    source = "" if plan.atrophy == "fit" else ", read from a file,"
    site = ", and a shift per site drawn to zero by restricted maximum likelihood" if model.sites else ""
    return (
        f"A normative model of grey matter{source} was fitted voxel by voxel on {model.fitted_on} (maps in "
        f"{model.template}, volume kept, smoothed by {model.fwhm:g} mm) [@vbm; @vbm-modulation]: a cubic B-spline of "
        f"{model.age}, {', '.join(others)}{site}. Controls were scored by the model without them; ages were kept "
        f"inside {model.scale.low:g} to {model.scale.high:g}. Atrophy is z below {plan.atrophy_threshold:g} in pieces "
        f"of {plan.atrophy_extent:g} ml or more. Groups and scales were tested on the maps by least squares at the "
        f"same covariates, with {plan.permutations or DRAWS} permutations of residuals, corrected for the familywise "
        "error by the largest t [@freedman-lane]."
    )
