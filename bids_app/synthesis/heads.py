"""Whole heads of any contrast, drawn from label maps at 3 mm: what the brain mask learns from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import InputMissing

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SPACING_MM = 3
SHAPE = (64, 80, 80)
#: FreeSurfer labels outside the brain: CSF around it (24), and everything SynthSeg's authors put around (from 500 on).
OUTSIDE = (24,)
FIRST_EXTRACEREBRAL = 500
#: Sulci up to so wide belong to the brain, as in masks drawn by people, mm.
CLOSING_MM = 4
#: Classes that a voxel may hold.
MOST = 4


def prepare_heads(folder: Path, cache: Path) -> list[Path]:
    """Reduce every label map to parts per class and voxel at 3 mm; kept in ``cache``.

    Returns:
        One ``.npz`` per map, RAS: the `MOST` largest parts of each voxel as ``classes`` and ``shares`` (in 1/255),
        shape ``(MOST, x, y, z)``, and ``brain`` ``(x, y, z)`` in 1/255.

    Raises:
        InputMissing: no label map in the folder.
    """
    maps = sorted(Path(folder).glob("*.nii.gz"))
    if not maps:
        raise InputMissing(f"{folder} holds no label maps (*.nii.gz)")
    cache.mkdir(parents=True, exist_ok=True)
    made = []
    for path in maps:
        out = cache / f"{path.name.partition('.')[0]}.npz"
        if not out.is_file():
            partial = out.with_name(f"{out.stem}.part.npz")
            classes, shares, brain = reduce_map(path)
            np.savez_compressed(partial, classes=classes, shares=shares, brain=brain)
            partial.replace(out)
            log.info("prepared %s", out)
        made.append(out)
    return made


def reduce_map(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes with the largest parts of every 3 mm voxel, those parts, and the brain's; uint8, parts in 1/255."""
    import nibabel as nib
    from scipy import ndimage

    image = nib.as_closest_canonical(nib.load(path))
    labels = np.asarray(image.dataobj).astype(np.int16)
    where = np.argwhere(labels)
    labels = labels[tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))]
    labels = np.pad(labels, [(6, 6 + -(n + 12) % SPACING_MM) for n in labels.shape])
    brain = (labels > 0) & (labels < FIRST_EXTRACEREBRAL) & ~np.isin(labels, OUTSIDE)
    away = ndimage.distance_transform_edt(~brain)
    closed = ndimage.distance_transform_edt(away <= CLOSING_MM) > CLOSING_MM
    brain = ndimage.binary_fill_holes(brain | closed)
    values = np.unique(labels)
    parts = np.stack([_reduced(labels == value) for value in values])
    classes = np.argsort(-parts.astype(np.int16), axis=0, kind="stable")[:MOST]
    return classes.astype(np.uint8), np.take_along_axis(parts, classes, 0), _reduced(brain)


def _reduced(mask: np.ndarray) -> np.ndarray:
    n = SPACING_MM
    blocks = mask.reshape(mask.shape[0] // n, n, mask.shape[1] // n, n, mask.shape[2] // n, n)
    return np.rint(blocks.mean((1, 3, 5), dtype=np.float32) * 255).astype(np.uint8)


Head = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]


def load_heads(paths: list[Path]) -> list[Head]:
    """``(classes, shares, brain)`` of each prepared map."""
    import torch

    heads = []
    for path in paths:
        with np.load(path, allow_pickle=False) as stored:
            classes = torch.from_numpy(stored["classes"]).int()
            shares, brain = (torch.from_numpy(stored[name]).float() / 255 for name in ("shares", "brain"))
            heads.append((classes, shares / shares.sum(0).clamp_min(1e-3), brain))
    return heads


def draw_head(head: Head, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One scan of a head, of random contrast, pose, coverage and slice thickness.

    Returns:
        Image ``(1, *SHAPE)`` and target ``(2, *SHAPE)`` (background, brain; parts that sum to one).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    classes, shares, brain = head
    both = torch.stack([_paint(classes, shares, generator), brain])
    image, brain = _posed(both, generator)
    image = _acquired(image, generator)
    image, brain = _covered(image, brain, generator)
    if _chance(generator, 0.15):
        image = image * (brain > 0.3)
    return image[None], torch.stack([1 - brain, brain])


def _chance(generator: torch.Generator, probability: float) -> bool:
    import torch

    return bool(torch.rand((), generator=generator) < probability)


def _between(generator: torch.Generator, low: float, high: float, *size: int) -> torch.Tensor:
    import torch

    return low + (high - low) * torch.rand(size, generator=generator)


def _paint(classes: torch.Tensor, shares: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A brightness for every class, and texture; air is dark in most scans."""
    import torch

    count = int(classes.max()) + 1
    means, spreads = _between(generator, 0, 1, count), _between(generator, 0, 0.12, count)
    means[0], spreads[0] = (_between(generator, 0, 0.06, 1)[0], 0.02) if _chance(generator, 0.8) else (means[0], 0.05)
    texture = torch.randn(classes.shape[1:], generator=generator)
    return ((means[classes] + spreads[classes] * texture) * shares).sum(0).clamp_min(0)


def _posed(both: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turned, scaled, bent, shifted and perhaps mirrored, on `SHAPE`; linear, one interpolation."""
    import torch
    import torch.nn.functional as F

    from bids_app.synthesis.contrast import rotation

    limits = torch.tensor([0.6, 0.25, 0.25])  # pitch about the left-right axis is what heads differ in
    turn = rotation((torch.rand(3, generator=generator) * 2 - 1) * limits)
    linear = turn * _between(generator, 0.85, 1.18, 3)
    if _chance(generator, 0.5):
        linear[0] = -linear[0]
    axes = [torch.arange(n) - (n - 1) / 2 for n in SHAPE]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    coarse = torch.randn((1, 3, 5, 6, 6), generator=generator) * _between(generator, 0, 1.6, 1)
    bend = F.interpolate(coarse, SHAPE, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    middle = (torch.tensor(both.shape[1:]) - 1) / 2 + _between(generator, -6, 6, 3)
    places = grid @ linear.T + bend + middle
    scaled = 2 * places / (torch.tensor(both.shape[1:]) - 1) - 1
    return F.grid_sample(both[None], scaled.flip(-1)[None], align_corners=True)[0]


def _acquired(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shading, thick slices, noise, gamma."""
    import torch
    import torch.nn.functional as F

    shade = torch.randn((1, 1, 4, 4, 4), generator=generator) * _between(generator, 0, 0.4, 1)
    image = image * F.interpolate(shade, SHAPE, mode="trilinear", align_corners=True)[0, 0].exp()
    if _chance(generator, 0.4):
        axis = int(torch.randint(3, (1,), generator=generator))
        sizes = list(SHAPE)
        sizes[axis] = round(sizes[axis] / float(_between(generator, 1.1, 2.4, 1)))
        thick = F.interpolate(image[None, None], sizes, mode="area")
        image = F.interpolate(thick, SHAPE, mode="trilinear", align_corners=False)[0, 0]
    image = image + torch.randn(image.shape, generator=generator) * _between(generator, 0, 0.05, 1)
    return image.clamp_min(0) ** _between(generator, 0.6, 1.6, 1)


def _covered(image: torch.Tensor, brain: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Nothing below some level (necks are cut where the box ends), and sometimes nothing above another."""
    import torch

    low, high = 0, SHAPE[2]
    inside = torch.nonzero(brain.amax((0, 1)) > 0.5)
    if len(inside):
        bottom, top = int(inside[0]), int(inside[-1])
        if _chance(generator, 0.6):
            low = max(0, bottom - int(torch.randint(-4, 16, (1,), generator=generator)))
        if _chance(generator, 0.2):
            high = min(SHAPE[2], top + int(torch.randint(-2, 5, (1,), generator=generator)))
    covered = torch.zeros(SHAPE[2])
    covered[low:high] = 1
    return image * covered, brain * covered
