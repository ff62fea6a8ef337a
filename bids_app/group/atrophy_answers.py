"""Who has less grey matter than people of the same age, sex, head size and site, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.atrophy_file import packed_model, read_model
from bids_app.group.atrophy_maps import AGAIN, DensityMap, check_alike, read_density
from bids_app.group.atrophy_model import People, VoxelModel, fit_voxels, score_voxels, voxels_of
from bids_app.group.atrophy_regions import template_regions
from bids_app.group.atrophy_shown import Found, show
from bids_app.group.design import as_column, as_levels, as_numbers, find_columns
from bids_app.group.normative import FEWEST
from bids_app.group.normative_answers import control_groups, other_covariates
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers
from bids_app.imaging.grey_matter import SHAPE
from bids_app.text import some

#: Name of the head size among the covariates: always in the model.
INSIDE = "intracranial_ml"


@dataclass(frozen=True)
class Asked:
    """Sessions with a map, in the order of the table.

    Attributes:
        maps: one per row.
        table: rows of the group's table.
        groups: of each row.
        controls: bool, of each row.
        first: the first session of a participant.
    """

    maps: list[DensityMap]
    table: pd.DataFrame
    groups: pd.Series
    controls: np.ndarray
    first: np.ndarray


def answer_atrophy(maps: Sequence[DensityMap], wide: pd.DataFrame, plan: GroupPlan, answers: Answers) -> None:
    """Fit a model of grey matter on the controls, or read one, and map everybody's atrophy.

    Args:
        maps: of all sessions that have one.
        wide: a row per session, its key as index.
        plan: ``atrophy``: ``fit``, or the path of a model.
        answers: gets a table, images, pictures, the model and sentences; and what writes each session's maps.

    Raises:
        DataError: no maps, a map or a model that cannot be used, too few controls, a column that is not there.
    """
    asked = _asked(maps, wide, plan, answers)
    told = np.zeros(len(asked.maps), bool)
    if plan.atrophy == "fit":
        people, own = _people(asked, plan, INSIDE), asked.controls & asked.first
        rows, told = np.asarray(own & people.known), np.asarray(own & ~people.known)
        check_alike(asked.maps)
        if rows.sum() < FEWEST:
            raise DataError(
                f"--atrophy-fit needs {FEWEST} controls with a map of grey matter whose {plan.age} and covariates are "
                f"known; there {'is' if rows.sum() == 1 else 'are'} {rows.sum()}"
            )
        mask = voxels_of(_mean([one for one, own in zip(asked.maps, rows, strict=True) if own]))
        density = _densities(asked.maps, mask)
        fitted, left_out = fit_voxels(density[rows], people.of(rows), mask, age=plan.age, site=plan.site)
        model = _described(fitted, asked.maps[0], plan)
        z = np.full(density.shape, np.nan, np.float32)
        z[rows] = left_out
        answers.binaries["group_atrophy_model.npz"] = packed_model(model)
    else:
        model = read_model(Path(str(plan.atrophy)))
        check_alike(asked.maps, model.template, model.fwhm)
        people = _people_for(model, asked, plan)
        rows, density = np.zeros(len(asked.maps), bool), _densities(asked.maps, model.mask)
        z = np.full(density.shape, np.nan, np.float32)
    new = np.flatnonzero(~rows)
    teachers = asked.controls[new] if plan.group is not None else None
    z[new] = score_voxels(model, density[new], people.of(new), teachers)
    scored = np.asarray(np.isfinite(z).all(axis=1))
    _tell_unknown(asked, told | ~scored, answers)
    if not scored.any():
        raise DataError("nobody's age, covariates and site are known, so that no atrophy can be mapped")
    taught = set(asked.table["participant_id"].astype(str)[rows])
    again = np.asarray(asked.table["participant_id"].astype(str).isin(taught).to_numpy(bool) & ~rows)
    show(Found(model, asked.maps, asked.table, asked.groups, people, density, z, rows, again, scored), plan, answers)


def _asked(maps: Sequence[DensityMap], wide: pd.DataFrame, plan: GroupPlan, answers: Answers) -> Asked:
    by_key = {one.key: one for one in maps}
    keys = [str(key) for key in wide.index if key in by_key]
    if not keys:
        raise DataError(f"no session of this folder has a map of grey matter: {AGAIN.replace('its', 'each')}")
    if lost := [str(key) for key in wide.index if key not in by_key]:
        answers.warnings.append(f"Without a map of grey matter, and so without one of atrophy: {some(lost)}; {AGAIN}.")
    table = wide.loc[keys]
    groups = control_groups(table, plan)
    every = plan.group is None
    controls = np.ones(len(keys), bool) if every else (groups == plan.control_group).to_numpy(bool)
    first = ~table["participant_id"].duplicated().to_numpy()
    return Asked([by_key[key] for key in keys], table, groups, controls, first)


def _people(asked: Asked, plan: GroupPlan, inside: str) -> People:
    """Age, covariates and site as the plan names them; the head size comes with the maps."""
    names = [plan.age, *other_covariates(plan)]
    find_columns(names, list(asked.table.columns), "--atrophy-fit")
    columns = {n: as_column(asked.table[n], n) for n in names[1:] if n != inside}
    columns[inside] = pd.Series([one.inside_ml for one in asked.maps], index=asked.table.index, dtype=float)
    site = None
    if plan.site is not None:
        find_columns([plan.site], list(asked.table.columns), "--site-column")
        site = as_levels(asked.table[plan.site]).to_numpy(object)
    age = as_numbers(asked.table[plan.age], plan.age).to_numpy(float)
    return People(age, pd.DataFrame(columns, index=asked.table.index), site)


def _people_for(model: VoxelModel, asked: Asked, plan: GroupPlan) -> People:
    """What a model that was read needs."""
    numbers = [model.age, *(name for name in model.scale.covariates if name != INSIDE)]
    find_columns([*numbers, *model.scale.levels], list(asked.table.columns), "--atrophy: the model needs it")
    columns = {name: as_numbers(asked.table[name], name) for name in numbers[1:]}
    columns |= {name: as_levels(asked.table[name]) for name in model.scale.levels}
    columns[INSIDE] = pd.Series([one.inside_ml for one in asked.maps], index=asked.table.index, dtype=float)
    site = None
    if model.sites:
        name = plan.site or str(model.site)
        find_columns(
            [name], list(asked.table.columns), "--atrophy: the model has sites, whose column --site-column names"
        )
        site = as_levels(asked.table[name]).to_numpy(object)
    age = as_numbers(asked.table[model.age], model.age).to_numpy(float)
    return People(age, pd.DataFrame(columns, index=asked.table.index), site)


def _mean(maps: Sequence[DensityMap]) -> np.ndarray:
    """Mean map, one read after the other."""
    total = np.zeros(SHAPE, np.float64)
    for one in maps:
        total += read_density(one)
    return total / max(len(maps), 1)


def _densities(maps: Sequence[DensityMap], mask: np.ndarray) -> np.ndarray:
    """``(n, voxels)`` of a mask, float32."""
    density = np.empty((len(maps), int(mask.sum())), np.float32)
    for place, one in enumerate(maps):
        density[place] = read_density(one)[mask]
    return density


def _described(model: VoxelModel, one: DensityMap, plan: GroupPlan) -> VoxelModel:
    """With its regions, and where it comes from."""
    regions, names = template_regions(one.template)
    who = f"{model.n} participants" + (f" of the group {plan.control_group}" if plan.control_group else "")
    known = replace(model, template=one.template, fwhm=one.fwhm, fitted_on=who)
    return replace(known, regions=regions[model.mask], names=names)


def _tell_unknown(asked: Asked, rows: np.ndarray, answers: Answers) -> None:
    if rows.any():
        keys = [one.key for one, own in zip(asked.maps, rows, strict=True) if own]
        answers.warnings.append(
            f"Left out of the maps of atrophy, as age, a covariate or the site is not known: {some(keys)}."
        )
