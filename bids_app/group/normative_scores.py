"""Scores by a fitted normative model, for people who are not among its controls; and the model as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.normative import VERSION, Curve, Normative, Scale

#: Controls of a new site from which on its shift is estimated.
FEWEST_AT_SITE = 2
KIND = "tandem normative model"


@dataclass(frozen=True)
class Scored:
    """Scores of one measure.

    Attributes:
        expected: mean of people like this one, in the measure's unit.
        deviation: standard deviation of a new person around it, the model's own uncertainty included.
        z: (value - expected) / deviation.
    """

    expected: np.ndarray
    deviation: np.ndarray
    z: np.ndarray


def score(
    model: Normative, table: pd.DataFrame, measure: str, *, site: pd.Series | None = None, own: pd.Series | None = None
) -> Scored:
    """Where people lie.

    Args:
        model: fitted.
        table: a row per session, with the columns that the model needs, as `Normative.needs`.
        measure: column, one of the model's.
        site: of each row; None where the model has no sites.
        own: True for controls of new sites, who say where their site lies; a control's own value counts in its own
            score, so score others by them.

    Returns:
        NaN where something is not known, or a category was not among the controls.
    """
    curve = model.curves[measure]
    ages = table[model.age].to_numpy(float)
    x = model.scale.columns(ages, table)
    y = table[measure].to_numpy(float)
    _p, names = x.shape[1], list(curve.sites)
    z = np.zeros((len(x), len(names)))
    more = np.zeros(len(x))
    left = y - x @ curve.beta
    noise = curve.deviation(model.scale.place(ages)) ** 2
    shift = np.zeros(len(x))
    if site is not None and names:
        cells = site.astype(object).to_numpy()
        for place, name in enumerate(names):
            z[:, place] = cells == name
        for new in sorted({str(one) for one in cells if one is not None and one == one} - set(names)):
            rows = cells == new
            taught = rows & (own.to_numpy(bool) if own is not None else False) & np.isfinite(left)
            shift[rows], more[rows] = _new_site(left[taught], noise[taught], curve.between)
        unknown = pd.isna(cells)
        more[unknown] = curve.between
    both = np.concatenate([x, z], axis=1)
    expected = both @ np.concatenate([curve.beta, list(curve.sites.values())]) + shift
    deviation = np.sqrt(noise + np.einsum("ij,jk,ik->i", both, curve.covariance, both) + more)
    return Scored(expected, deviation, (y - expected) / deviation)


def _new_site(left: np.ndarray, noise: np.ndarray, between: float) -> tuple[float, float]:
    """Shift of a site and its variance, from what its controls leave over; without them 0, and all between sites."""
    if len(left) < FEWEST_AT_SITE or between <= 0:
        return 0.0, between
    precision = float((1 / noise).sum()) + 1 / between
    return float((left / noise).sum()) / precision, 1 / precision


def unseen(model: Normative, site: pd.Series) -> list[str]:
    """Sites that no measure's model has seen."""
    known = {name for curve in model.curves.values() for name in curve.sites}
    return sorted({str(one) for one in site.dropna()} - known) if known else []


def to_plain(model: Normative) -> dict[str, Any]:
    """Numbers and texts for a JSON file."""
    curves = {
        name: {**asdict(curve), "beta": curve.beta.tolist(), "covariance": curve.covariance.tolist()}
        for name, curve in model.curves.items()
    }
    return {
        "kind": KIND, "version": VERSION, "age": model.age, "site": model.site, "fitted_on": model.fitted_on,
        "note": "Research use only: a z-score is no finding about a person.",
        "scale": asdict(model.scale), "curves": curves,
    }  # fmt: skip


def from_plain(content: Any, source: str) -> Normative:
    """A model from what a JSON file holds.

    Raises:
        DataError: it is no normative model, or of another version; names the file.
    """
    if not isinstance(content, Mapping) or content.get("kind") != KIND:
        raise DataError(f"{source} is no normative model of this program (made by --normative-fit)")
    if content.get("version") != VERSION:
        raise DataError(
            f"{source} is a normative model of version {content.get('version')}; this program reads {VERSION}"
        )
    try:
        scale = scale_from(content["scale"])
        curves = {}
        for name, one in content["curves"].items():
            sites = {str(site): float(shift) for site, shift in one["sites"].items()}
            beta, covariance = np.array(one["beta"], float), np.array(one["covariance"], float)
            if covariance.shape != (len(beta) + len(sites),) * 2 or not np.isfinite(covariance).all():
                raise ValueError(f"the covariance of {name} has the wrong shape or is not finite")
            spread = (float(one["spread"][0]), float(one["spread"][1]))
            curves[name] = Curve(beta, sites, float(one["between"]), spread, covariance, int(one["n"]))
        site = content["site"]
        return Normative(
            scale, curves, str(content["age"]), None if site is None else str(site), str(content["fitted_on"])
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{source} is damaged: {error}; fit the model again") from error


def scale_from(told: Mapping[str, Any]) -> Scale:
    """A scale from its fields, as a JSON file holds them.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they are not those of a scale.
    """
    return Scale(
        float(told["low"]), float(told["high"]), tuple(float(k) for k in told["knots"]),
        {name: (float(mean), float(spread)) for name, (mean, spread) in told["covariates"].items()},
        {name: tuple(str(level) for level in levels) for name, levels in told["levels"].items()},
    )  # fmt: skip


def read_normative(path: Path) -> Normative:
    """A model from its file.

    Raises:
        DataError: the file cannot be read or is no model.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the normative model {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"the normative model {path} is no JSON: {error}") from error
    return from_plain(content, str(path))
