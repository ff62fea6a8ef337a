"""Maps of a resting-state series: amplitude of slow fluctuations, regional homogeneity. Arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Band of spontaneous activity, Hz: Zang 2007 (Brain Dev 29:83-91); up to 0.1 as Biswal 1995 (Magn Reson Med 34:537).
BAND_HZ = (0.01, 0.1)
#: At most so many columns of nuisance for each volume.
NUISANCE_SHARE = 0.25
#: First frames among which the signal may still be settling, and how far from the rest such a frame lies.
SETTLING, FAR_MAD = 5, 6.0


@dataclass(frozen=True)
class Maps:
    """``alff``, ``falff``, ``reho``: ``(x, y, z)``, float32, 0 outside the mask; ``tsnr`` likewise.

    ``courses``: what is left of the mask's voxels in the band, ``(voxels, t)``, float32; ``freedom``: how many degrees
    of freedom that is.
    """

    alff: np.ndarray
    falff: np.ndarray
    reho: np.ndarray
    tsnr: np.ndarray
    courses: np.ndarray
    freedom: int


def settling_frames(series: np.ndarray) -> int:
    """How many first frames are brighter than the rest: the magnetisation is not in its steady state yet."""
    level = series.reshape(-1, series.shape[-1]).mean(0)
    rest = level[SETTLING:]
    if len(rest) < 2 * SETTLING:
        return 0
    middle = np.median(rest)
    spread = max(1.4826 * float(np.median(np.abs(rest - middle))), 1e-4 * abs(float(middle)))
    bright = level[:SETTLING] > middle + FAR_MAD * spread
    return int(np.argmin(np.append(bright, False)))


def corrected_timing(series: np.ndarray, times: np.ndarray, tr: float, axis: int = 2) -> np.ndarray:
    """Every slice as if taken at the middle of the repetition, by a shift of phase over a mirrored course.

    Args:
        series: ``(x, y, z, t)``.
        times: start of each slice, s.
        tr: repetition time, s.
        axis: of the slices.
    """
    frames = series.shape[-1]
    out = np.empty(series.shape, np.float32)
    frequency = np.fft.rfftfreq(2 * frames)
    for place, start in enumerate(times):
        where = tuple(slice(None) if a != axis else place for a in range(3))
        course = series[where].astype(np.float32)
        mirrored = np.concatenate([course, course[..., ::-1]], axis=-1)
        shift = (tr / 2 - start) / tr  # frames later
        spectrum = np.fft.rfft(mirrored, axis=-1) * np.exp(2j * np.pi * frequency * shift)
        out[where] = np.fft.irfft(spectrum, n=2 * frames, axis=-1)[..., :frames]
    return out


def dvars(series: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Root mean square change from frame to frame, in per cent of the mean: ``(t,)``, 0 for the first (Power 2012)."""
    inside = series[mask].astype(np.float64)
    change = np.sqrt((np.diff(inside, axis=1) ** 2).mean(0))
    return np.concatenate([[0.0], 100 * change / max(abs(inside.mean()), 1e-12)])


def motion_columns(parameters: np.ndarray, volumes: int) -> np.ndarray:
    """24 columns (Friston 1996, Magn Reson Med 35:346-355), the 6 themselves, or none: as many as the volumes allow."""
    before = np.concatenate([parameters[:1], parameters[:-1]])
    choices = [np.concatenate([parameters, parameters**2, before, before**2], axis=1), parameters]
    return next((c for c in choices if c.shape[1] <= NUISANCE_SHARE * volumes), np.zeros((volumes, 0)))


def outside_band(volumes: int, tr: float, band: tuple[float, float] = BAND_HZ) -> np.ndarray:
    """Cosines (of the discrete transform) whose frequency lies outside a band, the constant among them: ``(t, k)``."""
    order = np.arange(volumes)
    frequency = order / (2 * volumes * tr)
    places = np.pi * (np.arange(volumes) + 0.5)[:, None] * order[None] / volumes
    return np.cos(places)[:, (frequency < band[0]) | (frequency > band[1])]


def without(series: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What is left of courses ``(voxels, t)`` after all columns at once, nuisance and filter, by least squares.

    One after the other would bring back what the first took out (Lindquist 2019, Hum Brain Mapp 40:2358-2376).
    """
    length = np.linalg.norm(columns, axis=0)
    basis, triangle = np.linalg.qr(columns[:, length > 0] / length[length > 0])
    basis = basis[:, np.abs(np.diag(triangle)) > 1e-8]
    return series - (series @ basis) @ basis.T


def slow_amplitude(series: np.ndarray, tr: float, band: tuple[float, float] = BAND_HZ) -> tuple[np.ndarray, np.ndarray]:
    """ALFF and fALFF of courses ``(voxels, t)``: mean amplitude of the band's frequencies, in the signal's unit, and
    its share of the amplitudes of all frequencies (Zang 2007; Zou 2008, J Neurosci Methods 172:137-141)."""
    count = series.shape[1]
    amplitude = np.abs(np.fft.rfft(series, axis=1)) * 2 / count
    frequency = np.fft.rfftfreq(count, tr)
    inside = (frequency >= band[0]) & (frequency <= band[1])
    if not inside.any():
        return np.zeros(len(series)), np.zeros(len(series))
    total = amplitude[:, 1:].sum(1)
    return amplitude[:, inside].mean(1), amplitude[:, inside].sum(1) / np.maximum(total, 1e-12)


def homogeneity(series: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Kendall's W of each voxel's course and its neighbours' (27 in all), those in the mask: ``(x, y, z)``, 0 outside.

    Args:
        series: ``(voxels in the mask, t)``.
        mask: ``(x, y, z)``.

    Zang 2004, NeuroImage 22:394-400.
    """
    from scipy.ndimage import uniform_filter

    count = series.shape[1]
    ranks = series.argsort(axis=1, kind="stable").argsort(axis=1).astype(np.float32) + 1
    neighbours = np.rint(uniform_filter(mask.astype(np.float64), 3, mode="constant") * 27)[mask]
    squares = np.zeros(len(series))
    whole = np.zeros(mask.shape)
    for t in range(count):
        whole[mask] = ranks[:, t]
        total = uniform_filter(whole, 3, mode="constant")[mask] * 27
        squares += (total - neighbours * (count + 1) / 2) ** 2
    out = np.zeros(mask.shape, np.float32)
    out[mask] = 12 * squares / (neighbours**2 * (count**3 - count))
    return out


def maps_of(series: np.ndarray, mask: np.ndarray, tr: float, nuisance: np.ndarray) -> Maps:
    """ALFF and fALFF after nuisance and a line, ReHo after nuisance and everything outside the band; the first two and
    ReHo are divided by their mean in the mask, as is usual before people are compared.

    Args:
        series: ``(x, y, z, t)``, still head.
        mask: of the brain.
        tr: s.
        nuisance: ``(t, k)``, may have no columns.
    """
    volumes = series.shape[-1]
    courses = series[mask].astype(np.float64)
    mean = courses.mean(1)
    line = np.stack([np.ones(volumes), np.linspace(-1, 1, volumes)], axis=1)
    flat = without(courses, np.concatenate([line, nuisance], axis=1))
    alff, falff = slow_amplitude(flat, tr)
    spread = flat.std(1)
    columns = np.concatenate([outside_band(volumes, tr), nuisance], axis=1)
    banded = without(courses, columns)
    reho = homogeneity(banded, mask)

    def placed(values: np.ndarray, scaled: bool) -> np.ndarray:
        out = np.zeros(mask.shape, np.float32)
        out[mask] = values / (values.mean() or 1.0) if scaled else values
        return out

    tsnr = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
    return Maps(
        placed(alff, True),
        placed(falff, True),
        placed(reho[mask], True),
        placed(tsnr, False),
        banded.astype(np.float32),
        volumes - int(np.linalg.matrix_rank(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12))),
    )
