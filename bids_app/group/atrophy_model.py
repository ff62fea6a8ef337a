"""A normative model of grey matter, voxel by voxel: what healthy people of an age, sex, head size and site have there.

The mean is that of `bids_app.group.normative`: a cubic B-spline of age, linear covariates, and a shift per site that is
drawn to zero; the ratio of the variance between sites to that within is one for all voxels, so that a single hat matrix
serves them all, and a control's score by the model without it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.normative import FEWEST, RATIOS, Scale, scale_of
from bids_app.imaging.grey_matter import SHAPE

#: Voxels are modelled where controls have so much grey matter on average, ml per ml: the usual absolute threshold of
#: voxel-based morphometry is 0.1 to 0.2.
LEAST_DENSITY = 0.1
#: The spread of a voxel is not taken to be smaller than this part of the median over voxels: where hardly anybody
#: differs, a nothing would give a large z.
LEAST_SPREAD = 0.25
#: Voxels that are computed at once.
AT_ONCE = 20000


@dataclass(frozen=True)
class VoxelModel:
    """A fitted model.

    Attributes:
        scale: of ages and covariates.
        age, site: names of the columns; ``site`` is None where there are none.
        sites: those of the controls, in the order of the last rows of ``beta``.
        ratio: variance between sites by that within.
        mask: bool, `SHAPE`: what is modelled.
        beta: ``(p + sites, voxels)``, float32: coefficients of `Scale.columns`, then shifts.
        spread: ``(voxels,)``, float32: standard deviation between people, ml per ml.
        inverse: ``(p + sites, p + sites)``: covariance of ``beta`` by ``spread`` squared.
        freedom: degrees of freedom of ``spread``.
        n: controls.
        regions: ``(voxels,)``, int16: structure of each voxel, 0 for none.
        names: of the structures.
        template: space of the maps.
        fwhm: of their smoothing, mm.
        fitted_on: in words, who it was fitted on.
    """

    scale: Scale
    age: str
    site: str | None
    sites: tuple[str, ...]
    ratio: float
    mask: np.ndarray
    beta: np.ndarray
    spread: np.ndarray
    inverse: np.ndarray
    freedom: int
    n: int
    regions: np.ndarray
    names: dict[int, str] = field(default_factory=dict)
    template: str = ""
    fwhm: float = 0.0
    fitted_on: str = ""


@dataclass(frozen=True)
class People:
    """What a model needs to know of people, a row for each of them.

    Attributes:
        age: years, NaN where not known.
        others: covariates by name: numbers, or texts for categories.
        site: of each; None where the model has no sites.
    """

    age: np.ndarray
    others: pd.DataFrame
    site: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """Whether all is known of a person."""
        told = np.isfinite(self.age) & self.others.notna().all(axis=1).to_numpy()
        return told if self.site is None else told & np.array([one is not None and one == one for one in self.site])

    def of(self, rows: np.ndarray) -> People:
        """Some of them, by their numbers or by True and False."""
        return People(
            self.age[rows],
            self.others.iloc[np.arange(len(self.age))[rows]],
            None if self.site is None else self.site[rows],
        )


def voxels_of(mean: np.ndarray) -> np.ndarray:
    """The voxels that are modelled, from the controls' mean map; bool, `SHAPE`.

    Raises:
        DataError: there are none.
    """
    mask = np.asarray(mean >= LEAST_DENSITY)
    if not mask.any():
        raise DataError(
            f"no voxel of the controls' maps holds {LEAST_DENSITY:g} ml of grey matter per ml: are these maps of "
            "--grey-matter-map?"
        )
    return mask


def fit_voxels(
    density: np.ndarray, people: People, mask: np.ndarray, *, age: str = "age", site: str | None = None,
) -> tuple[VoxelModel, np.ndarray]:  # fmt: skip
    """Fit the model on controls of whom all is known.

    Args:
        density: ``(n, voxels)``: their maps in ``mask``.
        people: who they are.
        mask: from `voxels_of`.
        age, site: names of the columns.

    Returns:
        The model, without its regions and where it comes from; and z of every control by the model without it,
        ``(n, voxels)``, float32: exact at the same ratio.

    Raises:
        DataError: too few controls, something that is not known, or all of one age.
    """
    scale, design, sites = _checked(density, people, age)
    both, p, q = _with_sites(design, people.site, sites), design.shape[1], len(sites)
    gram = both.T @ both
    gram[np.arange(1, p), np.arange(1, p)] += 1e-8 * np.trace(gram[:p, :p]) / p  # as in `normative`: gaps of ages
    right, squares = np.empty((p + q, density.shape[1])), np.empty(density.shape[1])
    for part in _parts(density.shape[1]):
        some = density[:, part].astype(np.float64)
        right[:, part], squares[part] = both.T @ some, np.square(some).sum(axis=0)
    ratio = _likeliest_ratio(gram, right, squares, p, len(density)) if q else 0.0
    inverse = np.linalg.inv(_penalised(gram, p, ratio))
    beta = inverse @ right
    freedom = len(density) - p
    variance = np.maximum((squares - np.einsum("ij,ij->j", right, beta)) / freedom, 0)
    floor = LEAST_SPREAD * float(np.median(np.sqrt(variance)))
    if floor < 1e-6:
        raise DataError("the controls' grey-matter maps are all the same, so that there is no spread to measure by")
    leverage = np.einsum("ij,jk,ik->i", both, inverse, both)
    free = np.maximum(1 - leverage, 1e-9)[:, None]
    z = np.empty(density.shape, np.float32)
    for part in _parts(density.shape[1]):
        left = density[:, part] - both @ beta[:, part]
        others = np.maximum((variance[part] * freedom - left**2 / free) / (freedom - 1), floor**2)
        z[:, part] = as_normal(left / np.sqrt(free * others), freedom - 1)
    spread = np.maximum(np.sqrt(variance), floor)
    model = VoxelModel(
        scale, age, site, sites, ratio, mask, beta.astype(np.float32), spread.astype(np.float32), inverse, freedom,
        len(density), np.zeros(density.shape[1], np.int16),
    )  # fmt: skip
    return model, z


def score_voxels(model: VoxelModel, density: np.ndarray, people: People, own: np.ndarray | None = None) -> np.ndarray:
    """z of people who are not among the model's controls: ``(n, voxels)``, float32; NaN where something is not known.

    Args:
        model: fitted.
        density: ``(n, voxels)``: their maps in the model's mask.
        people: who they are.
        own: True for controls of sites that the model has not seen: two or more of a site say where it lies.
    """
    design = model.scale.columns(people.age, people.others)
    both = _with_sites(design, people.site, model.sites)
    extra = np.einsum("ij,jk,ik->i", both, model.inverse, both)
    taught = np.zeros(len(density), bool) if own is None else own & np.isfinite(extra)
    groups = _new_sites(people.site, model.sites) if model.sites else {}
    z = np.empty(density.shape, np.float32)
    for part in _parts(density.shape[1]):
        left = density[:, part] - both @ model.beta[:, part].astype(np.float64)
        more = np.zeros(len(density))
        for rows in groups.values():
            teachers = rows & taught
            few = teachers.sum() < 2 or model.ratio <= 0
            weight = 0.0 if few else 1 / (teachers.sum() + 1 / model.ratio)
            shift = left[teachers].sum(axis=0) * weight
            left[rows] -= shift
            more[rows] = model.ratio if few else weight
        deviation = model.spread[part] * np.sqrt(1 + extra + more)[:, None]
        z[:, part] = as_normal(left / deviation, model.freedom)
    return z


def as_normal(t: np.ndarray, freedom: int) -> np.ndarray:
    """The z that is as rare as a t of so many degrees of freedom.

    Wallace, Annals of Mathematical Statistics 30 (1959) 1124-1130: within 0.02 of the exact z for abs(z) up to 5 at 10
    degrees of freedom and more.
    """
    far = np.sqrt(freedom * np.log1p(np.square(t) / freedom))
    return np.copysign(far * (8 * freedom + 1) / (8 * freedom + 3), t)


def _checked(density: np.ndarray, people: People, age: str) -> tuple[Scale, np.ndarray, tuple[str, ...]]:
    """Scale, design and sites of controls."""
    n = len(density)
    if n < FEWEST:
        raise DataError(
            f"a model of grey matter needs {FEWEST} controls with a map whose {age} and covariates are known; there "
            f"{'is' if n == 1 else 'are'} {n}"
        )
    if not people.known.all():
        raise DataError(f"{age}, a covariate or the site of {(~people.known).sum()} controls is not known")
    if np.ptp(people.age) == 0:
        raise DataError(f"a model of {age} needs controls of different {age}; all have {people.age[0]:g}")
    scale = scale_of(people.age, people.others)
    design = scale.columns(people.age, people.others)
    names = sorted({str(one) for one in people.site}) if people.site is not None else []
    if n < 2 * design.shape[1]:
        raise DataError(f"{n} controls are too few for {design.shape[1]} coefficients: name fewer --covariates")
    return scale, design, tuple(names) if len(names) > 1 else ()


def _with_sites(design: np.ndarray, site: np.ndarray | None, sites: tuple[str, ...]) -> np.ndarray:
    """The design, and a column per site; a site that is not among them has zeros."""
    if not sites or site is None:
        return np.concatenate([design, np.zeros((len(design), len(sites)))], axis=1)
    return np.concatenate([design, np.stack([site == name for name in sites], axis=1)], axis=1)


def _new_sites(site: np.ndarray | None, sites: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Rows of every site that is not among the model's; people of an unknown site are one."""
    cells = np.empty(0, object) if site is None else np.array([str(s) for s in site], object)
    return {name: cells == name for name in sorted(set(cells) - set(sites))}


def _penalised(gram: np.ndarray, p: int, ratio: float) -> np.ndarray:
    tail = np.arange(p, len(gram))
    left = gram.copy()
    left[tail, tail] += 1 / max(ratio, 1e-8)
    return left


def _likeliest_ratio(gram: np.ndarray, right: np.ndarray, squares: np.ndarray, p: int, n: int) -> float:
    """The ratio of variances with the largest restricted likelihood, summed over voxels (Henderson, Biometrics 31
    (1975) 423-447)."""
    best = (np.inf, 0.0)
    for ratio in RATIOS[1:]:
        left = _penalised(gram, p, float(ratio))
        rest = np.maximum(squares - np.einsum("ij,ij->j", right, np.linalg.solve(left, right)), 1e-12)
        inside = np.linalg.slogdet(left)[1] + (len(gram) - p) * np.log(ratio)
        best = min(best, (float(((n - p) * np.log(rest) + inside).sum()), float(ratio)))
    return best[1]


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE))


def spread_out(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values of the voxels of a mask as an image, 0 outside it; float32, `SHAPE`."""
    image = np.zeros(SHAPE, np.float32)
    image[mask] = values
    return image
