"""Shapes of lesions: blobs warped by smooth noise, grown to a volume, and masks of real strokes.

A shape is a score in mm, worked out on a grid of about 2 mm around one place: the lesion is where the score is above a
level, which is chosen so that the volume comes out. Only the edge is drawn at the head's own resolution.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bids_app.errors import DataError, InputMissing
from bids_app.synthesis.fields import chance, normal, read, rotation, smooth_field, uniform
from bids_app.synthesis.heads.placed import PlacedTissue
from bids_app.synthesis.pathology.lesions import WINDOW_MM, Blobs, bent_blobs, filled_voxels

ARCHIVE = Path("lesion_shapes") / "stroke_lesions_mni_1mm.tar"
#: Masks of acute infarcts, one file each, where there are any; smaller ones than this have no shape, voxels.
ACUTE, FEWEST_VOXELS = Path("stroke_outcome") / "lesions", 100
#: Voxels of the grids on which places are drawn, and large shapes are worked out.
COARSE_MM, SCORE_MM = 3.0, 2.0
#: Halvings of the search for the level that gives a volume.
HALVINGS = 16

Allowed = Callable[[torch.Tensor], torch.Tensor]


def brain(tissue: torch.Tensor) -> torch.Tensor:
    return (tissue[1] + tissue[2]).clamp(0, 1)


def white(tissue: torch.Tensor) -> torch.Tensor:
    return tissue[2].clamp(0, 1)


def inside(tissue: torch.Tensor) -> torch.Tensor:
    return tissue.sum(0).clamp(0, 1)


def anywhere(tissue: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(tissue[0])


def load(data_root: Path | str) -> list[torch.Tensor]:
    """Masks of real strokes, each cut to its own extent, axes right, anterior, superior; 1 mm, uint8.

    Args:
        data_root: the folder that holds ``lesion_shapes/stroke_lesions_mni_1mm.tar`` and, where they are there, the
            files of `ACUTE`.

    Raises:
        InputMissing: the archive is not there.
        DataError: it cannot be read, or holds no mask.
    """
    path = Path(data_root) / ARCHIVE
    if not path.is_file():
        raise InputMissing(f"{path} is missing; name the folder that holds {ARCHIVE}, or do without real shapes")
    shapes = []
    try:
        with tarfile.open(path) as archive:
            names = sorted(name for name in archive.getnames() if name.endswith("_lesion.nii.gz"))
            for name in names:
                member = archive.extractfile(name)
                mask = _mask(member.read() if member else b"")
                if mask is not None:
                    shapes.append(mask)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an archive of NIfTI masks ({error}); fetch it again") from error
    if not shapes:
        raise DataError(f"{path} holds no mask named *_lesion.nii.gz with a voxel in it")
    return shapes + _acute(Path(data_root) / ACUTE)


def _acute(folder: Path) -> list[torch.Tensor]:
    found = []
    for path in sorted(folder.glob("*_mask.nii.gz")):
        try:
            mask = _mask(path.read_bytes())
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a NIfTI mask ({error}); fetch it again") from error
        if mask is not None and int(mask.sum()) >= FEWEST_VOXELS:
            found.append(mask)
    return found


def _mask(compressed: bytes) -> torch.Tensor | None:
    import nibabel as nib

    image = nib.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(compressed)))
    array = np.asarray(nib.as_closest_canonical(image).dataobj) > 0.5
    where = np.argwhere(array)
    if not len(where):
        return None
    low, high = where.min(0), where.max(0) + 1
    return torch.from_numpy(array[tuple(map(slice, low, high))].astype(np.uint8))


@dataclass(frozen=True)
class Window:
    """The surroundings of one place.

    Attributes:
        fine: where they lie on the head's grid.
        step: every so many voxels of the head is one of the score's grid.
        at: as `PlacedTissue.at`, on the score's grid.
        offset: mm from the place, right, anterior, superior, ``(x, y, z, 3)``.
        tissue: on the score's grid.
        cell_ml: one cell of it.
    """

    fine: tuple[slice, ...]
    step: int
    at: torch.Tensor
    offset: torch.Tensor
    tissue: torch.Tensor
    cell_ml: float


class Canvas:
    """What lesions are drawn into: a head's tissue, the same on coarse cells, and one stream of random numbers.

    Attributes:
        placed, generator: as given.
        mimics: how much is drawn of what is no lesion; 1: as much as is usual.
        step: voxels of the head along a coarse cell's side.
    """

    def __init__(self, placed: PlacedTissue, generator: torch.Generator, mimics: float = 1.0) -> None:
        self.placed, self.generator, self.mimics = placed, generator, mimics
        self.shape = tuple(placed.ventricle.shape)
        self.step = max(1, min(round(COARSE_MM / placed.spacing), *self.shape))

    @property
    def coarse_mm(self) -> float:
        return self.step * self.placed.spacing

    @cached_property
    def tissue(self) -> torch.Tensor:
        return F.avg_pool3d(self.placed.tissue[None], self.step)[0] if self.step > 1 else self.placed.tissue

    @cached_property
    def ventricle(self) -> torch.Tensor:
        if self.step == 1:
            return self.placed.ventricle
        return F.avg_pool3d(self.placed.ventricle[None, None], self.step)[0, 0]

    @cached_property
    def at(self) -> torch.Tensor:
        """Places of the coarse cells, ``(x, y, z, 3)``."""
        first, (a, b, c) = self.step // 2, self.ventricle.shape
        return self.placed.at[first :: self.step, first :: self.step, first :: self.step][:a, :b, :c]

    @cached_property
    def _axes(self) -> torch.Tensor:
        """`at`, the coordinate first."""
        return self.at.movedim(-1, 0).contiguous()

    def empty(self) -> torch.Tensor:
        return torch.zeros(self.shape)

    def near(self, point: Sequence[float], spread_mm: float | Sequence[float]) -> torch.Tensor:
        """Gaussian weight around a place (as `PlacedTissue.at` counts) on the coarse grid."""
        spreads = [spread_mm] * 3 if isinstance(spread_mm, int | float) else spread_mm
        away = zip(self._axes, point, spreads, strict=True)
        # numbers too small to be normal are slow; so far away none is needed
        far = sum(((axis - middle) / spread).square() for axis, middle, spread in away).clamp_max(80.0)
        return torch.exp(-0.5 * far)

    def places(self, weight: torch.Tensor, count: int) -> torch.Tensor:
        """Voxels ``(k, 3)`` that follow a weight on the coarse grid; none where it is zero everywhere."""
        if count < 1 or not bool(weight.sum() > 1e-6):
            return torch.zeros(0, 3)
        upto = weight.flatten().cumsum(0, dtype=torch.float64)
        drawn = torch.rand(count, generator=self.generator, dtype=torch.float64) * upto[-1]
        flat = torch.searchsorted(upto, drawn, right=True).clamp_max(len(upto) - 1)
        cell = torch.stack(torch.unravel_index(flat, weight.shape), -1)
        return cell * self.step + uniform(self.generator, 0.0, self.step, (count, 3)) - 0.5

    def head(self, place: torch.Tensor) -> torch.Tensor:
        """Where a voxel ``(3,)`` lies in the head, mm."""
        last = torch.tensor(self.shape) - 1
        return self.placed.at[tuple(torch.minimum(place.round().long().clamp_min(0), last).tolist())]

    def window(self, place: torch.Tensor, reach_mm: float) -> Window:
        """What lies within ``reach_mm`` of a voxel ``(3,)`` along each axis."""
        spacing = self.placed.spacing
        step = max(1, int(SCORE_MM / spacing + 0.01)) if reach_mm > 12 else 1
        fine = []
        for middle, n in zip(place.tolist(), self.shape, strict=True):
            low = min(max(int(middle - reach_mm / spacing), 0), n - 1)
            high = min(max(int(middle + reach_mm / spacing) + 2, low + 1), n)
            fine.append(slice(low, low + (high - low - 1) // step * step + 1))
        strided = tuple(slice(s.start, s.stop, step) for s in fine)
        at = self.placed.at[strided]
        return Window(
            tuple(fine),
            step,
            at,
            at - self.head(place),
            self.placed.tissue[(slice(None), *strided)],
            (step * spacing) ** 3 / 1000,
        )

    def noise(self, window: Window, wave_mm: float) -> torch.Tensor:
        """Smooth noise on the score's grid that changes over ``wave_mm``, of spread about 1, in two octaves."""
        shape = window.offset.shape[:3]
        side = max(shape) * window.step * self.placed.spacing
        nodes = min(max(2, round(side / wave_mm) + 1), 64)
        rough = smooth_field(self.generator, shape, nodes, 1.4)[0]
        return rough + smooth_field(self.generator, shape, min(2 * nodes, 96), 0.6)[0]

    def level(self, window: Window, score: torch.Tensor, volume_ml: float, allowed: torch.Tensor) -> float:
        """Above which level of the score the volume is ``volume_ml``, or nearly all that is allowed if that is less."""
        volume_ml = min(volume_ml, 0.95 * float(allowed.sum()) * window.cell_ml)
        low, high = float(score.amin()) - 1, float(score.amax()) + 1
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            filled = float((self._edge(score, middle) * allowed).sum()) * window.cell_ml
            low, high = (middle, high) if filled > volume_ml else (low, middle)
        return (low + high) / 2

    def _edge(self, score: torch.Tensor, level: float, soft_mm: float = 0.0) -> torch.Tensor:
        return ((score - level) / max(soft_mm, self.placed.spacing) + 0.5).clamp(0, 1)

    def fill(
        self, window: Window, score: torch.Tensor, level: float, allowed: Allowed = brain, soft_mm: float = 0.0
    ) -> torch.Tensor:
        """Share of each voxel of the whole head where the score is above the level."""
        tissue = self.placed.tissue[(slice(None), *window.fine)]
        fine = F.interpolate(score[None, None], size=tissue.shape[1:], mode="trilinear", align_corners=True)[0, 0]
        share = self.empty()
        share[window.fine] = self._edge(fine, level, soft_mm) * allowed(tissue)
        return share

    def grow(
        self, window: Window, score: torch.Tensor, volume_ml: float, allowed: Allowed = brain, soft_mm: float = 0.0
    ) -> torch.Tensor:
        """As `fill`, at the level that gives the volume."""
        level = self.level(window, score, volume_ml, allowed(window.tissue))
        return self.fill(window, score, level, allowed, soft_mm)

    def blobs(
        self,
        places: torch.Tensor,
        volume_ml: torch.Tensor,
        allowed: Allowed = brain,
        along: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Share that bent blobs fill, ``(x, y, z)``.

        Args:
            places, volume_ml: voxels ``(k, 3)`` and volumes ``(k,)``, up to about 8 ml.
            allowed: what they can fill.
            along: directions in voxels ``(k, 3)`` in which they are drawn out; 0 for those that are not.
        """
        share = self.empty()
        if not len(places):
            return share
        made = bent_blobs(places, _without_edge(volume_ml, self.placed.spacing), self.generator)
        if along is not None:
            made = _drawn_out(made, along)
        widest = made.axes.amax(1)
        for low, high in ((0.0, 3.0), (3.0, 6.0), (6.0, WINDOW_MM * 2)):
            which = (widest > low) & (widest <= high)
            if bool(which.any()):
                some = Blobs(*(part[which] for part in vars(made).values()))
                _, voxel, filled = filled_voxels(some, self.shape, self.placed.spacing)
                filled = filled * allowed(self.placed.tissue.flatten(1)[:, voxel])
                share.view(-1).scatter_reduce_(0, voxel, filled, "amax")
        return share

    def stamp(
        self, mask: torch.Tensor, place: torch.Tensor, volume_ml: float, allowed: Allowed = brain
    ) -> torch.Tensor:
        """Share that a real mask (`load`) fills around a voxel, turned, perhaps mirrored, and scaled to a volume."""
        scale = float(volume_ml * 1000 / max(int(mask.sum()), 1)) ** (1 / 3)
        turn = rotation(normal(self.generator, 0.3, (3,)).clamp(-0.6, 0.6))
        mirror = torch.tensor([-1.0 if chance(self.generator, 0.5) else 1.0, 1.0, 1.0])
        smooth = F.avg_pool3d(F.pad(mask[None, None].float(), (2,) * 6), 3, stride=1)[0]
        window = self.window(place, min(max(smooth.shape[1:]) / 2 * scale * 1.5, 100.0))
        turned = (window.offset @ turn) * mirror
        got = float((self._read(smooth, turned / scale) * allowed(window.tissue)).sum()) * window.cell_ml
        # what falls outside the brain is made up for
        scale *= min(max(volume_ml / max(got, 1e-6), 0.8), 2.0) ** (1 / 3)
        score = self._read(smooth, turned / scale)
        tissue = self.placed.tissue[(slice(None), *window.fine)]
        fine = F.interpolate(score[None, None], size=tissue.shape[1:], mode="trilinear", align_corners=True)[0, 0]
        share = self.empty()
        share[window.fine] = fine * allowed(tissue)
        return share

    @staticmethod
    def _read(mask: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """A smoothed mask at places in mm from its middle, 0 beyond its edge, sharpened."""
        beyond = (at.abs() > torch.tensor([(n - 1) / 2 for n in mask.shape[1:]])).any(-1)
        return ((read(mask, at, 1.0)[0] - 0.5) * 2 + 0.5).clamp(0, 1).masked_fill(beyond, 0.0)


def _without_edge(volume_ml: torch.Tensor, spacing: float) -> torch.Tensor:
    """Volume of a sharp ball that, with an edge one voxel wide, holds ``volume_ml``: ``r³ + r spacing² / 4`` is what
    the edge makes of ``r³``, and the waves of a bent blob add a twentieth."""
    wanted = volume_ml * 1000 * 3 / (4 * np.pi) / 1.05
    low, high = torch.zeros_like(wanted), wanted ** (1 / 3)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = middle**3 + middle * spacing**2 / 4 > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high**3 * 4 * np.pi / 3 / 1000


def _drawn_out(blobs: Blobs, along: torch.Tensor) -> Blobs:
    """Blobs of the same volume, half again as long in a direction as they would be."""
    length = along.norm(dim=1, keepdim=True)
    first = along / length.clamp_min(1e-6)
    other = torch.where(first[:, :1].abs() < 0.8, torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]))
    second = torch.linalg.cross(first, other)
    second = second / second.norm(dim=1, keepdim=True).clamp_min(1e-6)
    turn = torch.stack([first, second, torch.linalg.cross(first, second)], 1)
    stretch = torch.tensor([1.5, 1.5**-0.5, 1.5**-0.5])
    has = length > 1e-6
    return replace(
        blobs,
        axes=torch.where(has, blobs.axes * stretch, blobs.axes),
        turn=torch.where(has[..., None], turn, blobs.turn),
    )
