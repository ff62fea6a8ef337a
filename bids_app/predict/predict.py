"""From a stack to probabilities: tiles, mirrored passes, and a second look centred on what the first one found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.bundle.lacking import lacking_sequences
from bids_app.errors import BundleError, ImageError, UsageError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.predict.regions import main_piece, without_specks
from bids_app.predict.vote import Vote, check_finite, combine
from bids_app.scans.frames import check_length, voting
from bids_app.scans.lay import lay, place_grid
from bids_app.scans.slices import as_channels
from bids_app.scans.tiles import pad_around, sides_for, tiled

if TYPE_CHECKING:
    import torch

#: A stack and which of its sequences are there.
Seen = tuple[np.ndarray, np.ndarray]
#: A first answer this close to the middle of the grid needs no second look, mm.
CLOSE_MM = 0.5
#: Where nothing is found in the region, one this much larger on every side is searched, mm.
SEARCH_MM = 10.0
#: Further than this from the template's place is worth a warning, mm.
FAR_MM = 9.0


@dataclass(frozen=True)
class RegionPrediction:
    """What a recipe's network found in one session.

    Attributes:
        probability: shape ``(regions, x, y, z)``.
        grid: of ``probability`` and ``stack``, in the reference's world.
        stack: shape ``(sequences, x, y, z)``, as the network saw it before standardisation.
        shift_mm: from the template's place to what was found, in the reference's world, shape ``(3,)``.
        warnings: sentences for the report.
        disagreement: mutual information of the members per voxel, nats, shape ``(x, y, z)``; 0 where there is one.
        present: one flag per sequence.
    """

    probability: np.ndarray
    grid: Grid
    stack: np.ndarray
    shift_mm: np.ndarray
    warnings: list[str] = field(default_factory=list)
    disagreement: np.ndarray | None = None
    present: np.ndarray | None = None


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
    bundle: Bundle,
    stacked: np.ndarray,
    present: np.ndarray | None = None,
    *,
    device: str = "cpu",
    tta: bool = False,
    low_mem: bool = False,
    threads: int | None = None,
) -> np.ndarray:
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
    mean: np.ndarray | None = None
    with _answers(bundle, stacked, present, device, tta, low_mem, threads) as answers:
        for member, one in enumerate(answers):
            check_finite(one, member)
            mean = one if mean is None else np.add(mean, one, out=mean)
    if mean is None:
        raise BundleError("no member of the bundle gave an answer")
    return mean if len(bundle.networks) == 1 else np.divide(mean, len(bundle.networks), out=mean)


def predict_vote(
    bundle: Bundle,
    stacked: np.ndarray,
    present: np.ndarray | None = None,
    *,
    device: str = "cpu",
    tta: bool = False,
    low_mem: bool = False,
    threads: int | None = None,
) -> Vote:
    """`predict` with what the bundle's members disagree about; every one of them votes, or an error says why not."""
    with _answers(bundle, stacked, present, device, tta, low_mem, threads) as answers:
        return combine(answers, background=True)


@contextmanager
def _answers(
    bundle: Bundle,
    stacked: np.ndarray,
    present: np.ndarray | None,
    device: str,
    tta: bool,
    low_mem: bool,
    threads: int | None,
) -> Iterator[Iterator[np.ndarray]]:
    """Each member's probabilities, one at a time; torch has its threads back afterwards."""
    import torch

    _check_stack(bundle, stacked, present)
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)

    def answer(network: Any, plan: Mapping[str, Any]) -> np.ndarray:
        image = normalised(bundle, plan, stacked).to(device)
        padded, box = pad_around(image, network.factor, plan.get("patch"), flat=bundle.recipe.needed_grid.flat)
        sides = sides_for(bundle.recipe, plan, network.factor, padded.shape[1:], low_mem=low_mem)
        with torch.inference_mode():
            probability = _tiled(bundle, as_quick(network.to(device)), padded, sides, tta=tta, low_mem=low_mem)
        return probability[(slice(None), *box)].cpu().numpy()

    try:
        members = zip(bundle.networks, bundle.plans, strict=True)
        yield (answer(network, plan) for network, plan in members)
    finally:
        torch.set_num_threads(before)


def normalised(bundle: Bundle, plan: Mapping[str, Any], stacked: np.ndarray) -> torch.Tensor:
    """A stack as a member wants it: each sequence by itself, or by the scans that trained where its plan says so;
    neighbouring slices of a flat one as channels, and of a series the windows that vote."""
    import torch

    from bids_app.networks.standardise import normalise

    how = plan.get("normalisation", {})
    kinds = [how.get(sequence.name, {"kind": "scan"}) for sequence in bundle.recipe.sequences]
    raw, series = torch.from_numpy(np.ascontiguousarray(stacked, dtype=np.float32)), bundle.recipe.series is not None
    stack = normalise(raw, kinds, series=series)
    stack = voting(stack, len(kinds) - 1, bundle.recipe.network.frames) if series else stack
    return as_channels(stack) if bundle.recipe.flat else stack


def locate_and_predict(
    bundle: Bundle,
    images: Mapping[str, Path],
    to_images: Mapping[str, np.ndarray],
    reference_to_template: np.ndarray | None,
    *,
    mask: Path | None = None,
    device: str = "cpu",
    tta: bool = False,
    low_mem: bool = False,
    threads: int | None = None,
) -> RegionPrediction:
    """Predict on the recipe's grid; where that is a place of the template, again centred on where the regions are.

    Args:
        images: file of every sequence that is there, by the recipe's names.
        to_images: reference world to each image's world, ``(4, 4)``.
        reference_to_template: affine, reference world to template world, ``(4, 4)``; None for a grid of kind
            ``image``.
        mask: brain mask in the reference's world; see `bids_app.cohort.prepare.lay`.
        device, tta, low_mem, threads: as in `predict`.
    """
    grid_of, recipe = bundle.recipe.needed_grid, bundle.recipe

    def look(grid: Grid | None = None) -> tuple[Seen, Vote, Grid]:
        stacked, present, grid = lay(recipe, images, to_images, reference_to_template, mask, grid=grid)
        if not recipe.regions:
            return (stacked, present), Vote(np.zeros((0, *grid.shape)), np.zeros(grid.shape), 0), grid
        vote = predict_vote(bundle, stacked, present, device=device, tta=tta, low_mem=low_mem, threads=threads)
        return (stacked, present), vote, grid

    seen, vote, start = look()
    if grid_of.kind != "region" or all(region.kind == "lesion" for region in recipe.regions):
        # a lesion may be absent, or on one side: it says nothing of where the region is
        found = without_specks(bundle, vote.mean, start.voxel_volume)
        told = lacking_sequences(bundle, seen[1])
        return RegionPrediction(found, start, seen[0], np.zeros(3), told, vote.mutual_information, seen[1])
    grid, warnings = start, []
    centre = _found_centre(bundle, vote.mean, grid)
    if centre is None:
        wide = place_grid(recipe, images[recipe.reference], reference_to_template, mask, margin_mm=SEARCH_MM)
        centre = _found_centre(bundle, look(wide)[1].mean, wide)
        warnings.append(f"{recipe.title}: nothing at the template's place; searched {SEARCH_MM:g} mm around it")
    if centre is not None and np.linalg.norm(centre - grid.centre) > CLOSE_MM:
        grid = start.moved(centre - start.centre)
        seen, vote, _ = look(grid)
    shift = grid.centre - start.centre
    if np.linalg.norm(shift) > FAR_MM:
        far = np.linalg.norm(shift)
        warnings.append(f"{recipe.title}: found {far:.1f} mm from the template's place; check the registration")
    return RegionPrediction(vote.mean, grid, seen[0], shift, warnings, vote.mutual_information, seen[1])


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
    if bundle.recipe.series is not None and stacked.ndim == 4:
        check_length(bundle.recipe, stacked.shape[0] - len(sequences) + 1, "the stack")
    elif stacked.ndim != 4 or stacked.shape[0] != len(sequences):
        raise ImageError(
            f"the recipe {bundle.recipe.name} needs {len(sequences)} sequences; the stack is {stacked.shape}"
        )
    if present is not None:
        lacking = [s.name for s, there in zip(sequences, present, strict=True) if s.required and not there]
        if lacking:
            raise ImageError(f"the recipe {bundle.recipe.name} cannot be used without {', '.join(lacking)}")


def _tiled(
    bundle: Bundle, network: Any, image: torch.Tensor, sides: Sequence[int], *, tta: bool, low_mem: bool
) -> torch.Tensor:
    """Weighted mean of the tiles' probabilities, regions first, background left out.

    Two images go through the network at a time: of one alone, torch computes small convolutions far more slowly.
    """
    at_once = 1 if tta or low_mem else 2
    regions = len(bundle.recipe.regions)
    return tiled(lambda tiles: _answer(bundle, network, tiles, tta, low_mem), image, sides, regions, at_once=at_once)


def _answer(bundle: Bundle, network: Any, tiles: torch.Tensor, tta: bool, low_mem: bool) -> torch.Tensor:
    """Probabilities of tiles; with ``tta`` the mean with their mirror images', left and right swapped back."""
    import torch

    temperature, flat = float(bundle.calibration.get("temperature", 1.0)), bundle.recipe.needed_grid.flat

    def run(batch: torch.Tensor) -> torch.Tensor:
        logits = network(batch[..., 0] if flat else as_quick(batch)).logits[0]
        logits = logits if temperature == 1 else logits.div_(temperature)  # in place: many regions are large
        probability = logits.softmax(1)[:, 1:]
        return probability[..., None] if flat else probability

    if not tta:
        return run(tiles)
    both = [tiles, tiles.flip(2)]
    plain, other = map(run, both) if low_mem else run(torch.cat(both)).chunk(2)
    return (plain + other.flip(2)[:, bundle.recipe.swap()]) / 2


def as_quick(thing: Any) -> Any:
    """A network or a batch ``(n, c, x, y, z)`` in the order of memory in which the CPU convolves fastest.

    Channels last: 1.3 times as fast on a CPU (group normalisation has a kernel for it). On a GPU this depends on the
    device; there it stays as it is.
    """
    import torch

    if isinstance(thing, torch.Tensor):
        quick = not thing.is_cuda and thing.ndim == 5
        return thing.contiguous(memory_format=torch.channels_last_3d) if quick else thing
    parameter = next(thing.parameters(), None)
    if parameter is None or parameter.is_cuda or not any(p.ndim == 5 for p in thing.parameters()):
        return thing
    for one in thing.parameters():
        if one.ndim == 5:  # those of units over time have another order
            one.data = one.data.contiguous(memory_format=torch.channels_last_3d)
    return thing
