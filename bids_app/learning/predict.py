"""From a stack to probabilities: tiles, mirrored passes, and a second look centred on what the first one found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.learning.bundle import Bundle
from bids_app.learning.measure import main_piece
from bids_app.learning.prepare import lay, place_grid

if TYPE_CHECKING:
    import torch

#: Part of a tile that it shares with the next one.
OVERLAP = 0.5
#: Width of a tile's Gaussian weight, as a part of its side (nnU-Net's value).
TILE_SIGMA = 0.125
#: A first answer this close to the middle of the grid needs no second look, mm.
CLOSE_MM = 0.5
#: Where nothing is found in the region, one this much larger on every side is searched, mm.
SEARCH_MM = 10.0
#: Further than this from the template's place is worth a warning, mm.
FAR_MM = 9.0
#: Side of a tile of a recipe for the whole brain, voxels.
WHOLE_TILE = 96


@dataclass(frozen=True)
class RegionPrediction:
    """What a recipe's network found in one session.

    Attributes:
        probability: shape ``(regions, x, y, z)``.
        grid: of ``probability`` and ``stack``, in the reference's world.
        stack: shape ``(sequences, x, y, z)``, as the network saw it before standardisation.
        shift_mm: from the template's place to what was found, in the reference's world, shape ``(3,)``.
        warnings: sentences for the report.
    """

    probability: np.ndarray
    grid: Grid
    stack: np.ndarray
    shift_mm: np.ndarray
    warnings: list[str] = field(default_factory=list)


def resolve_device(name: str = "auto") -> str:
    """``cpu`` or ``cuda:N``. ``auto`` takes a GPU where there is one.

    Raises:
        UsageError: a GPU was asked for and is not there; nothing falls back in silence.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if name == "cpu":
        return "cpu"
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number.isdigit() or not number):
        raise UsageError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N")
    if int(number or 0) >= count:
        raise UsageError(f"--device {name} was asked for, but {count} CUDA devices can be used here; try --device cpu")
    return f"cuda:{int(number or 0)}"


def predict(
    bundle: Bundle, stacked: np.ndarray, present: np.ndarray | None = None, *, device: str = "cpu", tta: bool = False,
    low_mem: bool = False, threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Probability of every region.

    Args:
        stacked: shape ``(sequences, x, y, z)``; zero where there is no image.
        present: one flag per sequence.
        device: as `resolve_device` gives it.
        tta: average with the prediction of the mirror image, its sides named back.
        low_mem: one pass at a time.
        threads: of torch on the CPU; None leaves them as they are.

    Returns:
        float32, shape ``(regions, x, y, z)``.

    Raises:
        ImageError: the stack has another number of sequences than the recipe, or a required one is missing.
    """
    import torch

    from bids_app.networks.standardise import standardise

    _check_stack(bundle, stacked, present)
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        network = bundle.network.to(device)
        image = standardise(torch.from_numpy(np.ascontiguousarray(stacked, dtype=np.float32))).to(device)
        padded, box = _pad(image, network.factor)
        with torch.inference_mode():
            probability = _tiled(bundle, network, padded, tta=tta, low_mem=low_mem)
        return probability[(slice(None), *box)].cpu().numpy()
    finally:
        torch.set_num_threads(before)


def locate_and_predict(
    bundle: Bundle, images: Mapping[str, Path], to_images: Mapping[str, np.ndarray],
    reference_to_template: np.ndarray | None, *, mask: Path | None = None, device: str = "cpu", tta: bool = False,
    low_mem: bool = False, threads: int | None = None,
) -> RegionPrediction:  # fmt: skip
    """Predict on the recipe's grid; where that is a place of the template, again centred on where the regions are.

    Args:
        images: file of every sequence that is there, by the recipe's names.
        to_images: reference world to each image's world, ``(4, 4)``.
        reference_to_template: affine, reference world to template world, ``(4, 4)``; None for a grid of kind
            ``image``.
        mask: brain mask in the reference's world; see `bids_app.learning.prepare.lay`.
        device, tta, low_mem, threads: as in `predict`.
    """
    grid_of, recipe = bundle.recipe.grid, bundle.recipe

    def look(grid: Grid | None = None) -> tuple[np.ndarray, np.ndarray, Grid]:
        stacked, present, grid = lay(recipe, images, to_images, reference_to_template, mask, grid=grid)
        options = {"device": device, "tta": tta, "low_mem": low_mem, "threads": threads}
        return stacked, predict(bundle, stacked, present, **options), grid

    stacked, probability, start = look()
    if grid_of.kind != "region":
        return RegionPrediction(probability, start, stacked, np.zeros(3))
    grid, warnings = start, []
    centre = _found_centre(bundle, probability, grid)
    if centre is None:
        wide = place_grid(recipe, images[recipe.reference], reference_to_template, mask, margin_mm=SEARCH_MM)
        centre = _found_centre(bundle, look(wide)[1], wide)
        warnings.append(f"{recipe.title}: nothing at the template's place; searched {SEARCH_MM:g} mm around it")
    if centre is not None and np.linalg.norm(centre - grid.centre) > CLOSE_MM:
        grid = start.moved(centre - start.centre)
        stacked, probability, _ = look(grid)
    shift = grid.centre - start.centre
    if np.linalg.norm(shift) > FAR_MM:
        far = np.linalg.norm(shift)
        warnings.append(f"{recipe.title}: found {far:.1f} mm from the template's place; check the registration")
    return RegionPrediction(probability, grid, stacked, shift, warnings)


def _found_centre(bundle: Bundle, probability: np.ndarray, grid: Grid) -> np.ndarray | None:
    """Mean of the centres of the regions that were found, world mm; each region's main piece counts once."""
    centres = []
    for values in probability:
        piece = main_piece(values, bundle.calibration["threshold"])
        if piece.any():
            index, weight = np.argwhere(piece), values[piece]
            centres.append((index * weight[:, None]).sum(0) / weight.sum())
    return transform_points(grid.affine, np.mean(centres, axis=0)) if centres else None


def _check_stack(bundle: Bundle, stacked: np.ndarray, present: np.ndarray | None) -> None:
    sequences = bundle.recipe.sequences
    if stacked.ndim != 4 or stacked.shape[0] != len(sequences):
        raise ImageError(
            f"the recipe {bundle.recipe.name} needs {len(sequences)} sequences; the stack is {stacked.shape}"
        )
    if present is not None:
        lacking = [s.name for s, there in zip(sequences, present, strict=True) if s.required and not there]
        if lacking:
            raise ImageError(f"the recipe {bundle.recipe.name} cannot be used without {', '.join(lacking)}")


def _pad(image: torch.Tensor, factor: int) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Zeros behind the last voxels up to a multiple of ``factor``, and where the image lies in the result."""
    import torch.nn.functional as F

    missing = [-n % factor for n in image.shape[1:]]
    box = tuple(slice(0, n) for n in image.shape[1:])
    return F.pad(image, [side for n in reversed(missing) for side in (0, n)]), box


def _tiled(bundle: Bundle, network: Any, image: torch.Tensor, *, tta: bool, low_mem: bool) -> torch.Tensor:
    """Weighted mean of the tiles' probabilities, regions first, background left out."""
    import torch

    grid = bundle.recipe.grid
    side = round(grid.size_mm / grid.spacing_mm) if grid.kind == "region" else WHOLE_TILE
    sides = [min(-(-side // network.factor) * network.factor, n) for n in image.shape[1:]]
    total = image.new_zeros((len(bundle.recipe.regions), *image.shape[1:]))
    weights, weight = image.new_zeros(image.shape[1:]), _gaussian(sides).to(image)
    for corner in corners(image.shape[1:], sides):
        box = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
        total[(slice(None), *box)] += weight * _tile(bundle, network, image[(slice(None), *box)], tta, low_mem)
        weights[box] += weight
    return torch.clamp(total / weights, 0, 1)


def corners(shape: tuple[int, ...], sides: list[int]) -> Iterator[tuple[int, ...]]:
    """First voxels of tiles that cover ``shape``, evenly spread, neighbours overlapping by at least `OVERLAP`."""
    starts = []
    for n, side in zip(shape, sides, strict=True):
        count = 1 + int(np.ceil((n - side) / (side * (1 - OVERLAP))))
        starts.append(np.rint(np.linspace(0, n - side, count)).astype(int).tolist())
    return itertools.product(*starts)


def _gaussian(sides: list[int]) -> torch.Tensor:
    import torch

    weight = torch.ones(())
    for n in sides:
        away = (torch.arange(n) - (n - 1) / 2) / (TILE_SIGMA * n)
        weight = weight[..., None] * torch.exp(-0.5 * away**2).clamp_min(1e-4)
    return weight


def _tile(bundle: Bundle, network: Any, tile: torch.Tensor, tta: bool, low_mem: bool) -> torch.Tensor:
    """Probabilities of one tile; with ``tta`` the mean with its mirror image's, left and right swapped back."""
    import torch

    temperature = float(bundle.calibration.get("temperature", 1.0))

    def run(batch: torch.Tensor) -> torch.Tensor:
        return (network(batch).logits[0] / temperature).softmax(1)[:, 1:]

    if not tta:
        return run(tile[None])[0]
    mirrored = tile.flip(1)
    plain, other = (run(t[None])[0] for t in (tile, mirrored)) if low_mem else run(torch.stack([tile, mirrored]))
    return (plain + other.flip(1)[bundle.recipe.swap()]) / 2
