"""What must be known of a resting-state series beside its voxels: its sidecar, held against its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import ImageError, InputMissing

#: Fewest volumes for any map; and volumes and seconds below which a map is not to be relied on.
FEWEST, ENOUGH, ENOUGH_S = 10, 100, 240.0
#: Repetition times that are believed, s.
SHORTEST_S, LONGEST_S = 0.2, 10.0


@dataclass(frozen=True)
class Timing:
    """Times of a series.

    Attributes:
        tr: repetition time, s.
        slices: start of each slice, s; None where the sidecar has none.
        warnings: sentences.
    """

    tr: float
    slices: np.ndarray | None
    warnings: tuple[str, ...] = ()


def header_repetition(image: Any) -> float | None:
    """Repetition time in the header of a series, s; None where it says nothing, or not in which unit.

    Args:
        image: of nibabel, ``(x, y, z, t)``; only its header is read.
    """
    zooms = image.header.get_zooms()
    unit = image.header.get_xyzt_units()[1]
    if len(zooms) < 4 or unit == "unknown":
        return None
    seconds = float(zooms[3]) * {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    return seconds if seconds > 0 else None


def read_timing(
    path: Path, metadata: Mapping[str, Any], shape: tuple[int, ...], header_tr: float | None, *, prepared: bool = False
) -> Timing:
    """Check the sidecar of a series.

    Args:
        path: of the series, for messages.
        metadata: of its sidecars.
        shape: ``(x, y, z, t)``.
        header_tr: repetition time in the header, s; None where it has none.
        prepared: another program did what is to be done about slices.

    Raises:
        InputMissing: no RepetitionTime anywhere.
        ImageError: too few volumes, an impossible repetition time, or sidecar and header contradict each other.
    """
    volumes, told = shape[3], []
    if volumes < FEWEST:
        raise ImageError(f"{path} has {volumes} volumes; maps of a resting-state series need {FEWEST} at least")
    given = metadata.get("RepetitionTime")
    if given is None and not header_tr:
        raise InputMissing(f"{path} has no RepetitionTime: write it, in seconds, into the JSON file beside it")
    tr = float(header_tr or 0) if given is None else _number(given, path)
    if given is None:
        told.append(f"{path.name}: no RepetitionTime in a sidecar; {tr:g} s of the header was taken")
    if not SHORTEST_S <= tr <= LONGEST_S:
        raise ImageError(f"{path}: a repetition time of {tr:g} s is impossible; is it in milliseconds?")
    if given is not None and header_tr and abs(tr - header_tr) > 0.01 * tr + 0.005 and header_tr >= SHORTEST_S:
        raise ImageError(
            f"{path}: its sidecar says RepetitionTime {tr:g} s, its header {header_tr:g} s; correct the wrong one"
        )
    slices = None if prepared else _slices(metadata.get("SliceTiming"), path, shape[2], tr, told)
    if not prepared and metadata.get("SliceEncodingDirection", "k") not in ("k", "k-"):
        told.append(f"{path.name}: slices run along another axis than the third; their timing was not corrected")
        slices = None
    elif slices is not None and metadata.get("SliceEncodingDirection") == "k-":
        slices = slices[::-1]
    if volumes < ENOUGH or volumes * tr < ENOUGH_S:
        told.append(
            f"{path.name}: {volumes} volumes in {volumes * tr / 60:.1f} minutes are too few for maps to rely on "
            f"({ENOUGH} volumes and {ENOUGH_S / 60:.0f} minutes at least)"
        )
    return Timing(tr, slices, tuple(told))


def _number(value: Any, path: Path) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ImageError(f"{path}: RepetitionTime {value!r} in its sidecar is no number of seconds") from None


def _slices(given: Any, path: Path, count: int, tr: float, told: list[str]) -> np.ndarray | None:
    if not given:
        told.append(f"{path.name}: no SliceTiming in a sidecar; slices were taken as of one time")
        return None
    try:
        times = np.array(given, float)
    except (TypeError, ValueError):
        raise ImageError(f"{path}: SliceTiming in its sidecar is no list of numbers") from None
    if times.shape != (count,):
        raise ImageError(f"{path}: SliceTiming has {times.size} times, the series {count} slices: they do not fit")
    if times.min() < 0 or times.max() >= tr + 1e-3:
        raise ImageError(
            f"{path}: SliceTiming goes to {times.max():g} s, beyond its RepetitionTime of {tr:g} s; is it in "
            "milliseconds?"
        )
    return times
