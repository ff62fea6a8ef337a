"""Diffusion: a trace image and an ADC map from raw volumes, and ADC maps of any unit in one unit.

With the Stejskal-Tanner equation (J Chem Phys 1965;42:288) a direction's signal is S(b) = S(0) exp(-b D). The geometric
mean over directions that cover all sides alike decays with the mean of their diffusivities, a third of the diffusion
tensor's trace (Basser, Mattiello, Le Bihan, J Magn Reson B 1994;103:247): hence the name of the image. The slope of the
logarithm over b is the apparent diffusion coefficient (Le Bihan et al., Radiology 1986;161:401).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_app.errors import ImageError
from bids_app.imaging.background import air_ceiling
from bids_app.measure.volumes import largest_piece

#: s/mm². Scanners write 5 or 10 where they mean none: a round number of ours, below the b of clinical images.
B0_AT_MOST = 50.0
#: Above it the logarithm is no line in b: kurtosis (Jensen et al., Magn Reson Med 2005;53:1432). A round number of
#: ours, well above the b of 1000 of clinical images and below the b of 2000 that kurtosis needs.
B_AT_MOST = 1500.0
#: Volumes whose b-values round to the same multiple are one shell, s/mm²: scanners scatter by some tens.
SHELL_STEP = 100.0
#: Axes closer than this (cosine) are one direction.
SAME_AXIS = 0.99

#: Unit of an ADC map -> factor to 1e-3 mm²/s. Scanners write whole numbers as 1e-6 mm²/s.
ADC_UNITS = {"1e-3 mm2/s": 1.0, "1e-6 mm2/s": 1e-3, "mm2/s": 1e3}
#: 1e-3 mm²/s. Brain tissue lies between infarcts (about 0.3) and mixtures with fluid (3.0): round numbers of ours.
TISSUE = (0.2, 2.0)
#: Median over tissue, 1e-3 mm²/s. Adults have 0.62-0.79 in white, 0.64-0.83 in deep grey, 0.78-1.09 in cortical grey
#: matter (Helenius et al., AJNR 2002;23:194; 80 people, 36 regions). Outside the first pair it is said, outside the
#: second no unit fits: newborns have more, an infarct of half the brain less; round numbers of ours.
USUAL_MEDIAN, POSSIBLE_MEDIAN = (0.6, 1.1), (0.45, 1.5)
#: Of the voxels above zero, so many are tissue in the unit that is meant: a round number of ours.
TISSUE_SHARE = 0.3
#: How a trace image and its ADC map lie on each other, measured on one acute stroke (2 mm): of the bright voxels
#: 0.9999 have an ADC, and ln trace and ADC correlate with -0.76; shifted by 10 mm 0.88 and -0.14 to -0.26, by 20 mm
#: 0.76 and -0.04 to -0.14, front and back swapped 0.73 and -0.23.
COVERED_AT_LEAST = 0.85
CORRELATION_AT_MOST, USUAL_CORRELATION = -0.1, -0.3
#: Of the way from the surface of a head to its middle (about 70 mm): scalp and skull, 15 mm, and some cortex.
RIND = 0.25


@dataclass(frozen=True)
class Scheme:
    """Which volumes of a series are what; positions from 0, b in s/mm²."""

    unweighted: tuple[int, ...]
    shells: tuple[tuple[float, tuple[int, ...]], ...]  # mean b and its volumes, b rising
    left_out: tuple[float, ...] = ()  # rounded b of shells above `B_AT_MOST`


@dataclass(frozen=True)
class Diffusion:
    """Maps of the shape of a volume, float32, zero where there is no signal.

    Attributes:
        trace: signal at the highest shell.
        adc: 1e-3 mm²/s.
        facts: how they were made, plain data.
        warnings: what a person should know.
    """

    trace: np.ndarray
    adc: np.ndarray
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()


def read_scheme(bvalues: Sequence[float] | np.ndarray) -> Scheme:
    """Sort volumes into those without diffusion weighting and shells up to `B_AT_MOST`.

    Args:
        bvalues: one per volume, s/mm².

    Raises:
        ImageError: none without or none with (usable) weighting, or numbers that are no b-values.
    """
    values = np.asarray(bvalues, dtype=float).ravel()
    if not len(values) or not np.isfinite(values).all() or (values < 0).any():
        raise ImageError("its b-values must be numbers from 0 up, in s/mm²")
    shown = ", ".join(f"{b:g}" for b in sorted(set(values.tolist()))[:8])
    unweighted = tuple(np.flatnonzero(values <= B0_AT_MOST).tolist())
    if not unweighted:
        raise ImageError(
            f"no volume without diffusion weighting (b up to {B0_AT_MOST:g} s/mm²; there are {shown}): an ADC needs one"
        )
    rounded = np.rint(values / SHELL_STEP) * SHELL_STEP
    weighted = values > B0_AT_MOST
    shells = []
    for b in sorted(set(rounded[weighted & (values <= B_AT_MOST)].tolist())):
        members = np.flatnonzero(weighted & (values <= B_AT_MOST) & (rounded == b))
        shells.append((float(values[members].mean()), tuple(members.tolist())))
    left_out = tuple(sorted(set(rounded[values > B_AT_MOST].tolist())))
    if not shells:
        raise ImageError(
            f"no volume with a b-value between {B0_AT_MOST:g} and {B_AT_MOST:g} s/mm² (there are {shown}): neither "
            "trace nor ADC can be made; above that the decay is no longer exponential"
        )
    return Scheme(unweighted, tuple(shells), left_out)


def trace_and_adc(
    series: np.ndarray, bvalues: Sequence[float] | np.ndarray, directions: np.ndarray | None = None
) -> Diffusion:
    """Trace image and ADC map of a raw diffusion series.

    S_b is the geometric mean over the directions of a shell (the plain mean where all its volumes have one direction),
    S_0 the plain mean of the unweighted volumes. The trace image is S_b of the highest shell; the ADC is minus the
    slope of the least-squares line through ln S over b, all shells weighing the same; two points give
    ln(S_0 / S_b) / b. Movement between volumes and eddy currents are not corrected.

    Args:
        series: shape ``(x, y, z, n)``, magnitudes.
        bvalues: ``n`` numbers, s/mm².
        directions: shape ``(n, 3)``, zero for none; None where they are not known.

    Raises:
        ImageError: shapes that do not fit, or no usable b-values (see `read_scheme`).
    """
    if series.ndim != 4 or len(np.ravel(bvalues)) != series.shape[3]:
        raise ImageError(f"{len(np.ravel(bvalues))} b-values do not fit a series of shape {series.shape}")
    scheme = read_scheme(bvalues)
    values = np.asarray(bvalues, dtype=float).ravel()
    there = np.ones(series.shape[:3], bool)
    for index in (*scheme.unweighted, *(i for _, members in scheme.shells for i in members)):
        there &= series[..., index] > 0
    points = [(float(values[list(scheme.unweighted)].mean()), _mean(series, scheme.unweighted, there))]
    counts, warnings = [], []
    for b, members in scheme.shells:
        count, told = _directions(b, members, directions)
        counts.append(count)
        warnings += told
        points.append((b, (_mean if count == 1 else _geometric_mean)(series, members, there)))
    at, logarithms = np.array([b for b, _ in points]), np.stack([np.log(signal) for _, signal in points])
    slope = np.tensordot(at - at.mean(), logarithms, 1) / ((at - at.mean()) ** 2).sum()
    adc, trace = np.zeros(there.shape, np.float32), np.zeros(there.shape, np.float32)
    adc[there] = np.maximum(-1e3 * slope, 0)
    trace[there] = points[-1][1]
    facts = {
        "unweighted": len(scheme.unweighted),
        "shells": [
            {"b": round(one, 1), "volumes": len(members), "directions": count}
            for (one, members), count in zip(scheme.shells, counts, strict=True)
        ],
        "trace_b": round(float(at[-1]), 1),
        "trace_mean": "plain" if counts[-1] == 1 else "geometric",
        "left_out_b": list(scheme.left_out),
    }
    return Diffusion(trace, adc, facts, tuple(dict.fromkeys(warnings)))


def _mean(series: np.ndarray, members: Sequence[int], there: np.ndarray) -> np.ndarray:
    total = np.zeros(int(there.sum()))
    for index in members:
        total += series[..., index][there]
    return total / len(members)


def _geometric_mean(series: np.ndarray, members: Sequence[int], there: np.ndarray) -> np.ndarray:
    total = np.zeros(int(there.sum()))
    for index in members:
        total += np.log(series[..., index][there], dtype=float)
    return np.exp(total / len(members))


def _directions(b: float, members: Sequence[int], directions: np.ndarray | None) -> tuple[int, list[str]]:
    """How many directions a shell has (its volumes, where none are known), and what a person should know."""
    if directions is None or not np.any(axes := np.asarray(directions, dtype=float)[list(members)]):
        told = [f"one volume at b = {b:.0f} s/mm² without a direction: it is taken to be trace-weighted"]
        return len(members), told if len(members) == 1 else []
    axes = axes[np.linalg.norm(axes, axis=1) > 0]
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    known: list[np.ndarray] = []
    for axis in axes:
        if not any(abs(float(axis @ other)) > SAME_AXIS for other in known):
            known.append(axis)
    if len(known) < 3:
        along = f"along {len(known)} direction{'s' if len(known) > 1 else ''} only"
        return len(known), [f"at b = {b:.0f} s/mm² diffusion was measured {along}: trace and ADC hold for no other"]
    return len(known), []


@dataclass(frozen=True)
class AdcUnit:
    """What an ADC map is written in; ``median`` of brain tissue in 1e-3 mm²/s."""

    name: str
    factor: float
    median: float
    warnings: tuple[str, ...] = ()


def adc_unit(values: np.ndarray) -> AdcUnit:
    """Recognise the unit of an ADC map by the median over brain tissue.

    Tissue is what lies within `TISSUE` in the unit that is tried: ten to one, where units are a thousand apart. Fluid,
    and noise near zero, are left out by it without a mask.

    Args:
        values: a map of a head or brain, any shape.

    Raises:
        ImageError: no unit gives the median of a brain.
    """
    positive = np.asarray(values)[np.asarray(values) > 0]
    for name, factor in ADC_UNITS.items():
        scaled = positive * factor
        tissue = scaled[(scaled >= TISSUE[0]) & (scaled <= TISSUE[1])]
        if len(tissue) < max(TISSUE_SHARE * len(positive), 1):
            continue
        median = float(np.median(tissue))
        if POSSIBLE_MEDIAN[0] <= median <= POSSIBLE_MEDIAN[1]:
            usual = USUAL_MEDIAN[0] <= median <= USUAL_MEDIAN[1]
            told = f"the ADC of brain tissue is {median:.2f}e-3 mm²/s in the median, adults have 0.6 to 1.1"
            return AdcUnit(name, factor, round(median, 4), () if usual else (told,))
    middle = f"{np.median(positive):.4g}" if len(positive) else "not above 0 anywhere"
    raise ImageError(
        f"no unit makes it an ADC map of a brain: its median is {middle}, brain tissue has 0.6 to 1.1 in 1e-3 mm²/s, "
        "600 to 1100 in 1e-6 mm²/s, 0.0006 to 0.0011 in mm²/s; is it another image?"
    )


def to_common_unit(values: np.ndarray) -> tuple[np.ndarray, AdcUnit]:
    """An ADC map in 1e-3 mm²/s, float32, and the unit it came in.

    Raises:
        ImageError: see `adc_unit`.
    """
    unit = adc_unit(values)
    return (np.asarray(values, np.float64) * unit.factor).astype(np.float32), unit


def check_pair(
    trace: np.ndarray, trace_affine: np.ndarray, adc: np.ndarray, adc_affine: np.ndarray
) -> tuple[dict[str, Any], list[str]]:
    """See that an ADC map lies where its trace image lies, by world coordinates.

    Both come from one series, so that no registration is needed; grids may differ. Two things are looked at: whether
    the bright voxels of one have values in the other, and whether fluid, dark here, is high there.

    Args:
        trace, adc: shape ``(x, y, z)`` each, any unit.
        trace_affine, adc_affine: voxel to world, mm, ``(4, 4)``.

    Returns:
        ``grids_apart_mm`` (the farthest corner), ``covered``, ``correlation`` (None of a constant map); warnings.

    Raises:
        ImageError: they do not show the same place.
    """
    to_adc = np.linalg.inv(adc_affine) @ trace_affine
    level = float(np.percentile(trace[trace > 0], 95)) if (trace > 0).any() else 0.0
    inside, air = _within_head(trace, level)
    level = float(np.percentile(trace[inside], 95)) if air else level
    index = np.argwhere(inside & (trace > (0.1 * level if air == 0 else 0)))
    index = index[:: max(1, len(index) // 200_000)]
    at = np.rint(index @ to_adc[:3, :3].T + to_adc[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < adc.shape)).all(axis=1)
    found = np.zeros(len(index))
    found[inside] = adc[tuple(at[inside].T)]
    seen = trace[tuple(index.T)]
    bright = seen > (0.2 if air == 0 else 0.6) * level  # scalp with its fat suppressed has an ADC of 0 and noise
    covered = float((found[bright] > 0).mean()) if bright.any() else 0.0
    covered = max(covered, _covered_back(trace, adc, np.linalg.inv(to_adc), 0.1 * level))
    both = (found > 0) & (seen > 0)
    varied = both.sum() > 100 and found[both].std() > 1e-3 * found[both].mean()
    correlation = float(np.corrcoef(np.log(seen[both]), found[both])[0, 1]) if varied else None
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in trace.shape])).reshape(3, -1)
    apart = (np.asarray(trace_affine) - adc_affine)[:3]
    facts = {
        "grids_apart_mm": round(float(np.linalg.norm(apart[:, :3] @ ends + apart[:, 3:], axis=0).max()), 3),
        "covered": round(covered, 4),
        "correlation": None if correlation is None else round(correlation, 3),
    }
    if covered < COVERED_AT_LEAST:
        raise ImageError(
            f"it covers {100 * covered:.0f} % of the brain in the trace image: the two are not of one participant and "
            "session, or one of them lost its position (affine); make the ADC map from the same series"
        )
    if correlation is not None and correlation > CORRELATION_AT_MOST:
        raise ImageError(
            f"fluid in the trace image is no fluid in it (correlation {correlation:.2f}, a pair has about -0.8): the "
            "two are not of one participant and session, or one of them lost its position (affine)"
        )
    weak = correlation is not None and correlation > USUAL_CORRELATION
    told = f"trace and ADC agree less than a pair does (correlation {correlation or 0:.2f}); look at their pictures"
    return facts, [told] if weak else []


def _within_head(trace: np.ndarray, level: float) -> tuple[np.ndarray, float]:
    """Where the head is, and what the noise of air around it reaches; everywhere and 0 where air is blank.

    An ADC of noise is any number, and a whole head has more air than brain; of scalp and skull it is nearly noise, too.
    Only what lies deeper, dark fluid in it too, says whether two images belong together.
    """
    from scipy import ndimage

    air = air_ceiling(trace)
    if air <= 0.01 * level:
        return np.ones(trace.shape, bool), 0.0
    smooth = ndimage.uniform_filter(trace.astype(np.float32), 3)  # three voxels: noise falls to a fifth, a head stays
    head = ndimage.binary_opening(smooth > max(air, 0.2 * level), iterations=1)
    solid = ndimage.binary_closing(np.pad(largest_piece(head), 3), iterations=3)[3:-3, 3:-3, 3:-3]
    depth = ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(solid), 1))[1:-1, 1:-1, 1:-1]
    if not depth.any():
        return np.ones(trace.shape, bool), 0.0
    return depth > RIND * depth.max(), air


def _covered_back(trace: np.ndarray, adc: np.ndarray, to_trace: np.ndarray, level: float) -> float:
    """Share of the map's voxels that are bright in the trace image: high for a stripped map of a whole head."""
    index = np.argwhere(adc > 0)
    index = index[:: max(1, len(index) // 200_000)]
    at = np.rint(index @ to_trace[:3, :3].T + to_trace[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < trace.shape)).all(axis=1)
    return float((trace[tuple(at[inside].T)] > level).sum() / len(index)) if len(index) else 0.0
