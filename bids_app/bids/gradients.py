"""The b-values and directions of a raw diffusion series, in FSL's text files beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bids_app.bids.naming import parse_name
from bids_app.bids.selection import Candidate
from bids_app.errors import ImageError, InputMissing, TandemError
from bids_app.imaging.diffusion import read_scheme
from bids_app.recipes.seeds import CONNECTION_MAPS
from bids_app.recipes.series import SERIES, SERIES_MAPS
from bids_app.text import read_text

#: Images that are computed from a raw series where the dataset has none: suffix -> suffix of the series.
COMPUTED = {"trace": "dwi", "ADC": "dwi", **dict.fromkeys((*SERIES_MAPS, *CONNECTION_MAPS, SERIES), SERIES)}
#: Suffixes of what is always computed: a series without the regression, or a map of some other seed, would pass for it.
NEVER_TAKEN = (SERIES, *CONNECTION_MAPS)


def find_gradients(image: Path, root: Path, extension: str = ".bval") -> Path | None:
    """The ``.bval`` or ``.bvec`` that holds for a series by the inheritance principle: the nearest that fits.

    Args:
        image: the series.
        root: of the dataset, beyond which nothing is looked for.
        extension: of the file.
    """
    image, root = Path(image), Path(root).absolute()
    entities, suffix, _ = parse_name(image)
    for folder in image.absolute().parents:
        fitting = []
        for path in folder.glob(f"*{suffix}{extension}"):
            theirs, their_suffix, _ = parse_name(path)
            if their_suffix == suffix and theirs.items() <= entities.items():
                fitting.append((len(theirs), path))
        if fitting:
            return max(fitting)[1]
        if folder == root:
            break
    return None


def read_bvalues(image: Path, root: Path, volumes: int | None = None) -> np.ndarray:
    """The b-values of a series, s/mm², checked.

    Args:
        image: the series.
        root: of the dataset.
        volumes: how many the series has; None where that is not known yet.

    Raises:
        InputMissing: there is no ``.bval``, or it cannot be read.
        ImageError: it is no list of numbers, of another length than the series, or nothing can be made of its b-values.
    """
    path = find_gradients(image, root)
    if path is None:
        name = Path(image).name.partition(".")[0]
        raise InputMissing(
            f"{image} has no b-values: {name}.bval is missing beside it; a trace image and an ADC map cannot be made "
            "without. Copy it there, or give *_trace and *_ADC images"
        )
    values = _numbers(path)
    if values.ndim > 1 and 1 not in values.shape:
        raise ImageError(f"{path} has {values.shape[0]} rows of numbers, b-values stand in one row; is it a .bvec?")
    values = values.ravel()
    if volumes is not None and len(values) != volumes:
        raise ImageError(f"{path} has {len(values)} b-values, {image} has {volumes} volumes: they do not fit")
    try:
        read_scheme(values)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    return values


def read_directions(image: Path, root: Path, volumes: int) -> tuple[np.ndarray | None, list[str]]:
    """The directions of a series, shape ``(volumes, 3)``; None where there are none to use; what should be said."""
    path = find_gradients(image, root, ".bvec")
    if path is None:
        return None, []
    try:
        values = _numbers(path)
    except TandemError as error:
        return None, [f"{error}; it is not used"]
    values = values.T if values.shape == (3, volumes) else values
    if values.shape != (volumes, 3) or not np.isfinite(values).all():
        return None, [f"{path} has numbers of shape {values.shape}, 3 x {volumes} are expected; it is not used"]
    return values, []


def usable_series(images: Iterable[Path], root: Path) -> tuple[list[Path], list[Candidate]]:
    """Of raw series those that a trace image and an ADC map can be made from; the others with what they lack.

    A field map of reversed phase encoding is a ``_dwi``, too, and has b = 0 only.
    """
    good, bad = [], []
    for image in images:
        try:
            read_bvalues(image, root)
            good.append(image)
        except TandemError as error:
            bad.append(Candidate(image, str(error)))
    return good, bad


def _numbers(path: Path) -> np.ndarray:
    """Rows of numbers, ``(rows, columns)``."""
    try:
        rows = [line.replace(",", " ").split() for line in read_text(path)[0].split("\n")]
        values = np.array([[float(word) for word in row] for row in rows if row], dtype=float)
    except OSError as error:
        raise InputMissing(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ImageError(f"{path} is no table of numbers ({error})") from error
    if not values.size:
        raise ImageError(f"{path} is empty")
    return values
