"""What tests of this room are fed with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np


@dataclass(frozen=True)
class Query:
    """What a recipe says about a sequence."""

    name: str
    suffix: str
    entities: dict = field(default_factory=dict)
    required: bool = True
    alternatives: tuple[str, ...] = ()
    slab: bool = False


T1W = Query("T1w", "T1w")
FLAIR = Query("FLAIR", "FLAIR", required=False)


def make_image(path: Path, *, shape=(32, 32, 32), zoom=2.0, values=None) -> Path:
    """A random image at ``path``; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32) if values is None else values
    nib.save(nib.Nifti1Image(data, np.diag([zoom] * 3 + [1.0])), path)
    return path
