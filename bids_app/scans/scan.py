"""What the engine learns from: scans with whatever is known of them, and batches of patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile

import numpy as np

from bids_app.bids.files import write_arrays
from bids_app.errors import TrainingError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Scan:
    """One session on the recipe's grid, and what is known of it.

    Attributes:
        key: ``sub-01_ses-01``.
        participant: without ``sub-``.
        stack: float, shape ``(sequences, x, y, z)``, brightness as it came; zero outside the brain and where there is
            no image. Of a flat grid ``z`` are the slices that the network sees, the middle one being the scan's own.
        present: one flag per sequence.
        labels: position of a voxel's region in the recipe's list, counted from 1, 0 for none; shape ``(x, y, z)``,
            uint8, ``z = 1`` of a flat grid. None where nobody labelled this session.
        spacing: edge of a voxel, mm.
        targets: one number per target: the position of its level, or the value; NaN where it is not known.
        covariates: one number per covariate, NaN where it is not known.
        site, sex, age: for the tables; None or NaN where not known.
        offset: of a flat grid, how many slices above the level; only the slice at the level, 0, is ever judged.
    """

    key: str
    participant: str
    stack: np.ndarray
    present: np.ndarray
    labels: np.ndarray | None
    spacing: float
    targets: np.ndarray
    covariates: np.ndarray
    site: str | None = None
    sex: str | None = None
    age: float = float("nan")
    offset: int = 0

    @property
    def has_lesion(self) -> bool | None:
        """Whether any region is there; None where nobody labelled this session."""
        return None if self.labels is None else bool(self.labels.any())


class Batch(NamedTuple):
    """Patches on the device, as network and losses want them.

    Attributes:
        images: standardised, ``(n, sequences, *patch)``; zero where a sequence is absent.
        present: ``(n, sequences)``, 1 or 0.
        labels: parts that sum to one, background first, ``(n, regions + 1, *patch)``; meaningless where not labelled.
        labelled: ``(n,)``, 1 or 0.
        targets: ``(n, targets)``, NaN where not known.
        covariates: ``(n, covariates)``, NaN where not known.
    """

    images: torch.Tensor
    present: torch.Tensor
    labels: torch.Tensor
    labelled: torch.Tensor
    targets: torch.Tensor
    covariates: torch.Tensor


def save_scan(scan: Scan, folder: Path) -> Path:
    """Keep a scan as ``KEY.npz`` (plain arrays, brightness in half precision scaled to its range)."""
    folder.mkdir(parents=True, exist_ok=True)
    scale = np.array([max(float(np.abs(c).max()), 1e-6) for c in scan.stack], np.float32)
    parts = {
        "stack": (scan.stack / scale[:, None, None, None]).astype(np.float16),
        "scale": scale,
        "present": np.asarray(scan.present, bool),
        "spacing": np.float64(scan.spacing),
        "targets": np.asarray(scan.targets, np.float64),
        "covariates": np.asarray(scan.covariates, np.float64),
        "age": np.float64(scan.age),
        "site": np.str_(scan.site or ""),
        "sex": np.str_(scan.sex or ""),
        "participant": np.str_(scan.participant),
        "offset": np.int64(scan.offset),
    }
    if scan.labels is not None:
        parts["labels"] = scan.labels.astype(np.uint8)
    path = folder / f"{scan.key}.npz"
    return write_arrays(path, parts)


def load_scan(path: Path) -> Scan:
    """The inverse of `save_scan`.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            stack = parts["stack"].astype(np.float32) * parts["scale"][:, None, None, None]
            return Scan(
                path.stem,
                str(parts["participant"]),
                stack,
                parts["present"],
                parts.get("labels"),
                float(parts["spacing"]),
                parts["targets"],
                parts["covariates"],
                str(parts["site"]) or None,
                str(parts["sex"]) or None,
                float(parts["age"]),
                int(parts["offset"]) if "offset" in parts else 0,
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise TrainingError(f"the prepared scan {path} is damaged ({error}); delete it and run again") from error


def load_scans(folder: Path, participants: Iterable[str] | None = None, *, at_level: bool = False) -> list[Scan]:
    """Every prepared scan of a folder, or those of some participants, in the order of their names.

    Args:
        at_level: of a flat recipe only the slice at the level, one scan per session: what is judged.
    """
    wanted = None if participants is None else set(participants)
    scans = [load_scan(path) for path in sorted(folder.glob("*.npz")) if not path.name.startswith(".")]
    return [s for s in scans if (wanted is None or s.participant in wanted) and not (at_level and s.offset)]


def pad_to(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Zeros on both sides of the last axes until they reach ``shape``."""
    lacking = [max(0, want - have) for want, have in zip(shape, array.shape[-len(shape) :], strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - len(shape)) + [(n // 2, n - n // 2) for n in lacking])
