"""What a registration program has to do for Tandem: three calls, so that ANTs can be exchanged for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bids_app.imaging.stacking import Grid

#: Kinds of linear registration: the same head, or a head on a template.
LINEAR = ("rigid", "affine")


@dataclass(frozen=True)
class Working:
    """An image at working resolution, with the voxels that count (None: all)."""

    array: np.ndarray
    grid: Grid
    mask: np.ndarray | None


class Registrar(Protocol):
    """A registration program. Matrices carry the moving image's world to the fixed one's (RAS, mm, ``(4, 4)``)."""

    def linear(
        self, fixed: Working, moving: Working, begin: np.ndarray, kind: str, *, seed: int, folder: Path
    ) -> np.ndarray:
        """The best matrix near ``begin``; ``kind`` is one of `LINEAR`; no file is left in ``folder``."""
        ...

    def deform(self, fixed: Working, moving: Working, affine: Path, *, seed: int, prefix: Path) -> tuple[Path, Path]:
        """A deformation after ``affine`` (an ITK file): two ITK displacement fields, forward and back."""
        ...

    def composite(self, transforms: Sequence[Path | str], out: Path | str) -> Path:
        """A chain of transforms, in the order of `Registration.forward`, as one ITK file that ends in ``.h5``."""
        ...
