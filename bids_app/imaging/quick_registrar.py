"""Registration that ends where others begin: a `bids_app.imaging.registrar.Registrar` without a program behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.registrar import Working
from bids_app.imaging.transforms import read_matrix, write_matrix


class QuickRegistrar:
    """The position to begin with, as it is: from the head's structures, or the most similar of many (with shift, turn
    and growth along the axes). Two thirds of the time of a registration to the template are what it leaves out."""

    def linear(
        self, fixed: Working, moving: Working, begin: np.ndarray, kind: str, *, seed: int, folder: Path
    ) -> np.ndarray:
        """``begin``."""
        return begin

    def deform(self, fixed: Working, moving: Working, affine: Path, *, seed: int, prefix: Path) -> tuple[Path, Path]:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError("--fast makes no deformation: leave it out, or do not ask for images in the template's space")

    def composite(self, transforms: Sequence[Path | str], out: Path | str) -> Path:
        """One linear transform as an ITK text file, which is read without ANTs.

        Raises:
            ImageError: it is not one, or not linear.
        """
        if len(transforms) != 1:
            raise ImageError(f"one linear transform can be written as text, not {len(transforms)}")
        return write_matrix(read_matrix(transforms[0]), out)
