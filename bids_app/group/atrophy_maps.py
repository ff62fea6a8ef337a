"""Maps of grey matter that sessions left: found in their records, read, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids.record import SessionRecord
from bids_app.errors import DataError
from bids_app.imaging.grey_matter import SHAPE, map_grid
from bids_app.recipes.recipe import ANATOMY

AGAIN = "run its session again with --grey-matter-map"


@dataclass(frozen=True)
class DensityMap:
    """A session's map of grey matter.

    Attributes:
        key, participant, session: the session; labels without ``sub-`` and ``ses-``.
        path: of the map.
        reference: the session's own T1w.
        back: transform from the template to it; None where it is not there any more.
        inside_ml: intracranial volume.
        template, fwhm: space of the map, and its smoothing in mm.
    """

    key: str
    participant: str
    session: str | None
    path: Path
    reference: Path | None
    back: Path | None
    inside_ml: float
    template: str
    fwhm: float


def density_maps(output_dir: Path, record: SessionRecord, bad: set[str]) -> list[DensityMap]:
    """The map of a session, if it has one and its labels were not rated bad."""
    found = []
    for images in record.images.values():
        facts, files = images.preprocessing.grey_matter, images.files
        if not files.grey_matter or not facts or ANATOMY in bad:
            continue
        reference = next(iter(files.reference.values()), None)
        found.append(
            DensityMap(
                record.key, record.participant, record.session, output_dir / files.grey_matter,
                output_dir / reference if reference else None,
                output_dir / files.from_template if files.from_template else None,
                float(facts["inside_ml"]), str(facts["template"]), float(facts["fwhm_mm"]),
            )
        )  # fmt: skip
    return found[:1]


def read_density(one: DensityMap) -> np.ndarray:
    """Grey matter of every voxel of the maps' grid, ml per ml, float32, `SHAPE`.

    Raises:
        DataError: the file cannot be read, is on another grid, or holds what no map can hold.
    """
    try:
        image = nib.load(one.path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # nibabel, gzip and zlib have errors of their own
        raise DataError(f"the grey-matter map {one.path} cannot be read ({error}); {AGAIN}") from error
    if values.shape != SHAPE or not np.allclose(image.affine, map_grid().affine, atol=1e-3):
        told = " x ".join(map(str, values.shape))
        raise DataError(
            f"the grey-matter map {one.path} is on another grid ({told} voxels) than the maps of this version "
            f"({' x '.join(map(str, SHAPE))} voxels of 2 mm); {AGAIN}"
        )
    if not np.isfinite(values).all() or values.min() < -1e-3:
        raise DataError(f"the grey-matter map {one.path} holds values below zero or not finite; {AGAIN}")
    return values


def check_alike(maps: Sequence[DensityMap], template: str = "", fwhm: float = 0.0) -> None:
    """Refuse maps of several templates or smoothings, or of others than a model has.

    Raises:
        DataError: names the file that differs.
    """
    template, fwhm = template or maps[0].template, fwhm or maps[0].fwhm
    for one in maps:
        if (one.template, one.fwhm) != (template, fwhm):
            raise DataError(
                f"the grey-matter map {one.path} is in {one.template}, smoothed by {one.fwhm:g} mm; others, or the "
                f"model, are in {template}, smoothed by {fwhm:g} mm; {AGAIN}"
            )
