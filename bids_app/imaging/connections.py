"""Connections of a resting-state series: maps of seeds, and of networks by dual regression. Arrays in and out."""

from __future__ import annotations

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.stacking import transform_points

#: Fewest voxels of the series, inside the brain, for a seed whose mean is more than noise.
FEWEST_VOXELS = 4
#: A seed map's correlations end here, so that z of a seed's own voxels stays a number.
MOST_R = 0.999999


def seed_map(series: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Fisher's z of the correlation of courses ``(voxels, t)`` with a seed's ``(t,)``; 0 where nothing changes."""
    left = series - series.mean(1, keepdims=True)
    own = seed - seed.mean()
    length = np.linalg.norm(left, axis=1) * np.linalg.norm(own)
    return np.arctanh(np.clip(left @ own / np.maximum(length, 1e-12), -MOST_R, MOST_R))


def grid_places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World coordinates of every voxel, mm, ``(voxels, 3)``, in the order of ``mask.ravel()``."""
    return transform_points(affine, np.indices(shape).reshape(3, -1).T)


def seed_at_points(
    courses: np.ndarray, mask: np.ndarray, to_template: np.ndarray, points: np.ndarray, radius: float, what: str
) -> tuple[np.ndarray, int]:
    """Mean of the points' mean courses, ``(t,)``; and how many voxels they have together.

    Args:
        courses: ``(voxels of the mask, t)``.
        mask: of the brain, on the series' grid.
        to_template: voxels of that grid to the template's world, mm, ``(4, 4)``.
        points: ``(n, 3)``, in that world.
        radius: mm.
        what: the seed, for messages.

    Raises:
        ImageError: a point outside the field of view or the brain, or with fewer than `FEWEST_VOXELS` voxels.
    """
    places, inside = grid_places(mask.shape, to_template), mask.ravel()
    means, count = [], 0
    for point in np.asarray(points, float):
        near = ((places - point) ** 2).sum(1) <= radius**2
        name = "{} at ({:g}, {:g}, {:g})".format(what, *point)
        means.append(_mean_course(courses, near, inside, name))
        count += int((near & inside).sum())
    return np.mean(means, axis=0), count


def seed_in_labels(
    courses: np.ndarray,
    mask: np.ndarray,
    to_labels: np.ndarray,
    region: tuple[np.ndarray, np.ndarray],
    radius: float,
    what: str,
) -> tuple[np.ndarray, int]:
    """Mean course of a region, ``(t,)``, and how many voxels it has.

    Args:
        courses, mask: as in `seed_at_points`.
        to_labels: voxels of the series' grid to the world of the labels, mm, ``(4, 4)``.
        region: mask of it, and its voxel to world matrix.
        radius: mm around the region that count as well.
        what: the seed, for messages.

    Raises:
        ImageError: the region is empty, or as in `seed_at_points`.
    """
    from scipy.spatial import cKDTree

    labelled, affine = region
    if not labelled.any():
        raise ImageError(f"{what}: nothing of it was found in this session")
    places = grid_places(mask.shape, to_labels)
    index = np.rint(transform_points(np.linalg.inv(affine), places)).astype(int)
    there = ((index >= 0) & (index < labelled.shape)).all(1)
    near = np.zeros(len(places), bool)
    near[there] = labelled[tuple(index[there].T)]
    if radius:
        own = transform_points(affine, np.argwhere(labelled))
        near |= np.isfinite(cKDTree(own).query(places, distance_upper_bound=radius + 1e-6)[0])
    inside = mask.ravel()
    return _mean_course(courses, near, inside, what), int((near & inside).sum())


def _mean_course(courses: np.ndarray, near: np.ndarray, inside: np.ndarray, name: str) -> np.ndarray:
    """Mean course of a seed's voxels that lie in the brain."""
    used = near[inside]
    count = int(used.sum())
    if count == 0 and near.sum() >= FEWEST_VOXELS:
        raise ImageError(f"{name} lies outside the brain of the series: is the place right, and the registration?")
    if count < FEWEST_VOXELS:
        raise ImageError(
            f"{name} has too few voxels of the series in the brain ({count}; {FEWEST_VOXELS} are needed): raise "
            "radius_mm, or look whether the series' field of view reaches there"
        )
    return courses[used].astype(np.float64).mean(0)


def maps_at(values: np.ndarray, affine: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Networks at places of their world, by linear interpolation, 0 outside their image: ``(places, networks)``.

    Args:
        values: ``(x, y, z, networks)``.
        affine: voxel to world, mm.
        places: ``(n, 3)``, mm.
    """
    from scipy.ndimage import map_coordinates

    index = transform_points(np.linalg.inv(affine), places).T
    options = {"order": 1, "mode": "constant", "cval": 0.0}
    return np.stack([map_coordinates(values[..., k], index, **options) for k in range(values.shape[-1])], axis=1)


def dual_regression(
    courses: np.ndarray, networks: np.ndarray, which: int, freedom: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """A network as one person has it: all networks onto every volume, and the courses that come out onto every voxel.

    Args:
        courses: ``(voxels, t)``, without mean.
        networks: ``(voxels, k)``.
        which: of the networks is wanted, from 0.
        freedom: degrees of freedom that are left in a course: volumes less what was taken out of them.
        what: for messages.

    Returns:
        z of that network in every voxel, from t of the second regression, ``(voxels,)``; courses of all networks in the
        first, ``(t, k)``.

    Raises:
        ImageError: networks that cannot be told apart in this brain, or more of them than the series bears.

    Beckmann 2009 (NeuroImage 47 Suppl 1:S148); Nickerson 2017 (Front Neurosci 11:115).
    """
    from scipy.special import ndtri_exp
    from scipy.stats import t as student

    count = networks.shape[1]
    left = freedom - count
    if left < 2:
        raise ImageError(f"{what}: the series has {freedom} degrees of freedom, too few for {count} networks at once")
    centred = networks - networks.mean(0)
    if np.linalg.matrix_rank(centred) < count:
        raise ImageError(f"{what}: in this brain a network is empty, or one is made up of others")
    first = np.linalg.lstsq(centred, courses.astype(np.float64), rcond=None)[0].T
    inverse = np.linalg.pinv(first.T @ first)
    weights = courses @ (first @ inverse)
    rest = ((courses - weights @ first.T) ** 2).sum(1) / left
    error = np.sqrt(rest * inverse[which, which])
    score = np.divide(weights[:, which], error, out=np.zeros_like(error), where=error > 0)
    return -np.sign(score) * ndtri_exp(student.logsf(np.abs(score), left)), first
