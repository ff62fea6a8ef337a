"""Scans as they might have been: a batch is changed on its device by numbers that were drawn before.

`draw` chooses every number, `apply` does what they say; one drawing applied twice gives the same batch twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F

from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Batch
from bids_app.train.smooth import along, smooth_field

#: A smooth field is a cubic B-spline over so many cells per axis: deformation, bias.
CELLS = 5
BIAS_CELLS = 2


@dataclass(frozen=True)
class Augmentation:
    """How much is changed, and how often: probabilities ``p_*`` are per scan, or per scan and sequence for brightness.

    The numbers are nnU-Net's (``nnUNetTrainer.get_training_transforms``, version 2) unless a source or reason is given.

    Attributes:
        p_rotation, rotation: largest turn about each axis, degrees.
        p_scaling, scaling: smallest and largest size relative to the scan's own, the same for all axes.
        p_shift, shift: largest shift, as a part of the patch's side. nnU-Net cuts its patches at random places instead.
        p_elastic, elastic: largest move of a control point of the deformation, in cells. nnU-Net has none; below 0.40
            no deformation folds (Choi and Lee 2000, Graphical Models 62:411).
        p_bias, bias: largest standard deviation of the logarithm at the bias field's control points. nnU-Net has none;
            images here are bias-corrected, so this is what a correction leaves.
        p_noise, noise: largest variance of the noise, where the brain's is 1.
        p_blur, blur: smallest and largest standard deviation of the Gaussian, voxels.
        p_brightness, brightness: smallest and largest factor.
        p_contrast, contrast: smallest and largest factor about the mean; the range stays.
        p_low_resolution, low_resolution: smallest and largest resolution relative to the scan's own, of all axes (as
            nnU-Net) or, in half of the cases, of one axis, as thick slices have it.
        p_gamma, p_inverted_gamma, gamma: smallest and largest exponent, of the brightness or of its negative.
        p_mirror: how often left and right are swapped. nnU-Net mirrors every axis.
        other_flips: how often each other axis is turned round; brains are not found upside down, so never.
        sequence_dropout: how often a sequence that is there is left out.
        swap: position of each region's partner, as `Recipe.swap` gives it; empty where no region has one.
        quantitative: one flag per sequence; a map with a physical scale keeps its brightness. Empty for none.
        always: positions of sequences that are never left out.
    """

    p_rotation: float = 0.2
    rotation: float = 30.0
    p_scaling: float = 0.2
    scaling: tuple[float, float] = (0.7, 1.4)
    p_shift: float = 0.2
    shift: float = 0.05
    p_elastic: float = 0.25
    elastic: float = 0.25
    p_bias: float = 0.2
    bias: float = 0.3
    p_noise: float = 0.1
    noise: float = 0.1
    p_blur: float = 0.2
    blur: tuple[float, float] = (0.5, 1.0)
    p_brightness: float = 0.15
    brightness: tuple[float, float] = (0.75, 1.25)
    p_contrast: float = 0.15
    contrast: tuple[float, float] = (0.75, 1.25)
    p_low_resolution: float = 0.25
    low_resolution: tuple[float, float] = (0.5, 1.0)
    p_gamma: float = 0.3
    p_inverted_gamma: float = 0.1
    gamma: tuple[float, float] = (0.7, 1.5)
    p_mirror: float = 0.5
    other_flips: float = 0.0
    sequence_dropout: float = 0.0
    swap: tuple[int, ...] = ()
    quantitative: tuple[bool, ...] = ()
    always: tuple[int, ...] = ()

    def at(self, probability: float) -> Augmentation:
        """The same with every ``p_*`` set to ``probability``; 0 changes nothing but what sequence dropout does."""
        chances: dict[str, Any] = {f.name: probability for f in fields(self) if f.name.startswith("p_")}
        return replace(self, **chances)


def augmentation_of(recipe: Recipe, *, sequence_dropout: float | None = None) -> Augmentation:
    """What suits a recipe: its partner regions, its quantitative sequences, its mirror and its sequence dropout."""
    how = recipe.learning
    return Augmentation(
        p_mirror=0.5 if how.mirror else 0.0,
        sequence_dropout=how.sequence_dropout if sequence_dropout is None else sequence_dropout,
        swap=tuple(recipe.swap()),
        quantitative=tuple(sequence.quantitative for sequence in recipe.sequences),
    )


@dataclass(frozen=True)
class Drawn:
    """Every number of one batch's changes, on the CPU; the first axis of every tensor is the scan.

    Attributes:
        matrix: from a voxel's place relative to the patch's centre to where it is read, ``(n, d, d)``, voxels.
        shift: added to that, as a part of the patch's sides, ``(n, d)``.
        elastic: moves of the control points in cells, ``(n, *cells + 3, d)``; added to that.
        moved: whether a scan is resampled at all, ``(n,)``.
        bias: logarithm of the bias at its control points, ``(n, c, *cells + 3)``; zeros for none.
        noise: standard deviation, ``(n, c)``; 0 for none.
        noise_seed: of a scan's noise, ``(n,)``.
        blur: standard deviation in voxels, ``(n, c)``; 0 for none.
        brightness, contrast, gamma, inverted_gamma: factors and exponents, ``(n, c)``; 1 for none.
        resolution: relative to the scan's own, ``(n, c, d)``; 1 for none.
        flips: axes that are turned round, ``(n, d)``.
        kept: sequences that are not left out, ``(n, c)``.
        swap: as in `Augmentation`.
    """

    matrix: torch.Tensor
    shift: torch.Tensor
    elastic: torch.Tensor
    moved: torch.Tensor
    bias: torch.Tensor
    noise: torch.Tensor
    noise_seed: torch.Tensor
    blur: torch.Tensor
    brightness: torch.Tensor
    contrast: torch.Tensor
    gamma: torch.Tensor
    inverted_gamma: torch.Tensor
    resolution: torch.Tensor
    flips: torch.Tensor
    kept: torch.Tensor
    swap: tuple[int, ...] = ()


def draw(batch: Batch, how: Augmentation, generator: torch.Generator) -> Drawn:
    """Numbers for one batch; how many are drawn depends on its shape alone.

    Args:
        batch: of scans that are standardised.
        generator: on the CPU, so that a batch on a GPU gets the same numbers.
    """
    (n, c), d = batch.present.shape, batch.images.ndim - 2
    present = batch.present.cpu() > 0

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    def happens(p: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) < p

    def factor(p: float, limits: tuple[float, float], *, scale: bool = True) -> torch.Tensor:
        value = torch.where(happens(p, n, c), uniform(*limits, n, c), 1.0)
        return torch.where(scaleless, value, 1.0) if scale else value

    scaleless = ~torch.tensor(how.quantitative or (False,) * c)
    turned, scaled, shifted, bent = (happens(p, n) for p in (how.p_rotation, how.p_scaling, how.p_shift, how.p_elastic))
    angles = uniform(-how.rotation, how.rotation, n, 3 if d == 3 else 1).deg2rad() * turned[:, None]
    sizes = uniform(*(torch.tensor(how.scaling).log().tolist()), n).exp()
    sizes = torch.where(scaled, sizes, 1.0)
    bends = uniform(-how.elastic, how.elastic, n, *[CELLS + 3] * d, d) * uniform(0, 1, n, *[1] * (d + 1))
    biased = happens(how.p_bias, n, c) & scaleless
    fields_ = torch.randn(n, c, *[BIAS_CELLS + 3] * d, generator=generator) * uniform(0, how.bias, n, c, *[1] * d)
    thick = happens(0.5, n, c, 1) & (torch.arange(d) != torch.randint(d, (n, c, 1), generator=generator))
    coarse = happens(how.p_low_resolution, n, c, 1) & ~thick
    flips = torch.rand(n, d, generator=generator) < torch.tensor([how.p_mirror] + [how.other_flips] * (d - 1))
    return Drawn(
        matrix=rotations(angles) / sizes[:, None, None],
        shift=uniform(-how.shift, how.shift, n, d) * shifted[:, None],
        elastic=bends * bent.reshape(n, *[1] * (d + 1)),
        moved=turned | scaled | shifted | bent,
        bias=fields_ * biased.reshape(n, c, *[1] * d),
        noise=uniform(0, how.noise, n, c).sqrt() * happens(how.p_noise, n, c),
        noise_seed=torch.randint(2**62, (n,), generator=generator),
        blur=uniform(*how.blur, n, c) * happens(how.p_blur, n, c),
        brightness=factor(how.p_brightness, how.brightness),
        contrast=factor(how.p_contrast, how.contrast),
        gamma=factor(how.p_gamma, how.gamma),
        inverted_gamma=factor(how.p_inverted_gamma, how.gamma),
        resolution=torch.where(coarse, uniform(*how.low_resolution, n, c, 1), 1.0),
        flips=flips,
        kept=_kept(present, how, generator),
        swap=how.swap,
    )


def _kept(present: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Which sequences stay, ``(n, c)``: each is left out with its probability, but one that is there always stays."""
    chance = torch.rand(present.shape, generator=generator)
    kept = chance >= how.sequence_dropout
    kept[:, list(how.always)] = True
    lost = ~(kept & present).any(1)
    last = torch.where(present, chance, -1.0).argmax(1)
    kept[lost, last[lost]] = True
    return kept


def rotations(angles: torch.Tensor) -> torch.Tensor:
    """Matrices ``(n, d, d)`` of turns about the axes one after another.

    Args:
        angles: radians; ``(n, 3)`` about x, then y, then z, or ``(n, 1)`` in the plane.
    """
    d = 3 if angles.shape[1] == 3 else 2
    total = torch.eye(d).expand(len(angles), d, d)
    planes = ((1, 2), (2, 0), (0, 1)) if d == 3 else ((0, 1),)
    for angle, (i, j) in zip(angles.T, planes, strict=True):
        turn = torch.eye(d).repeat(len(angles), 1, 1)
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin(), angle.sin()
        total = turn @ total
    return total


@torch.no_grad()
def apply(batch: Batch, drawn: Drawn) -> Batch:
    """The batch as ``drawn`` changes it, on the batch's own device; the batch that came is left as it was.

    Space first, in one interpolation of images and labels; then brightness where the image is not exactly zero, so
    that what lies outside the brain and what is absent stay zero; then flips. Where neighbouring slices or frames are
    channels, all of a sequence's are changed alike.
    """
    images, labels = _move(batch.images, batch.labels, drawn)
    stay = drawn.kept & (batch.present.cpu() > 0)
    repeats = _channels(images, stay.shape[1])
    drawn = _for_channels(drawn, repeats)
    kept = stay.repeat_interleave(repeats, 1)
    there = kept.to(images).reshape(*kept.shape, *[1] * (images.ndim - 2))
    images = images.mul_(there)
    for change, chosen in _changes(drawn, images.shape):
        scan, sequence = (chosen & kept).nonzero(as_tuple=True)
        if len(scan):
            before = images[scan, sequence]
            images[scan, sequence] = change(before, scan, sequence).mul_(before != 0)
    order = [0, *(1 + position for position in drawn.swap)] if drawn.swap else list(range(labels.shape[1]))
    for axis in range(images.ndim - 2):
        turned = drawn.flips[:, axis].nonzero()[:, 0]
        if len(turned):
            images[turned] = images[turned].flip(2 + axis)
            mirrored = labels[turned].flip(2 + axis)
            labels[turned] = mirrored[:, order] if axis == 0 else mirrored
    return batch._replace(images=images, labels=labels, present=batch.present * stay.to(batch.present))


def _channels(images: torch.Tensor, sequences: int) -> torch.Tensor:
    """How many channels each sequence has: in two dimensions as many slices each; in three, all but a series one."""
    if images.ndim == 4:
        return torch.full((sequences,), images.shape[1] // sequences)
    return torch.tensor([1] * (sequences - 1) + [images.shape[1] - sequences + 1])


def _for_channels(drawn: Drawn, repeats: torch.Tensor) -> Drawn:
    """What was drawn for every sequence, for each of its channels alike; of noise only its strength."""
    if bool((repeats == 1).all()):
        return drawn
    names = ("bias", "noise", "blur", "brightness", "contrast", "gamma", "inverted_gamma", "resolution")
    return replace(drawn, **{name: getattr(drawn, name).repeat_interleave(repeats, 1) for name in names})


def _move(images: torch.Tensor, labels: torch.Tensor, drawn: Drawn) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of the scans that move, read at their new places; copies of the others.

    Background is not read but is what the regions leave, so that parts sum to one outside the patch too.
    """
    images, labels = images.clone(), labels.clone()
    chosen = drawn.moved.nonzero()[:, 0]
    if len(chosen):
        grid = _places(drawn, chosen, images.shape[2:]).to(images)
        c = images.shape[1]
        both = torch.cat([images[chosen], labels[chosen, 1:]], 1)
        read = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        images[chosen] = read[:, :c]
        labels[chosen] = torch.cat([1 - read[:, c:].sum(1, keepdim=True), read[:, c:]], 1)
    return images, labels


def _places(drawn: Drawn, chosen: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Where every voxel is read, as `grid_sample` wants it: from -1 to 1, last axis first, ``(n, *shape, d)``."""
    sides = torch.tensor(shape, dtype=torch.float32)
    matrix = drawn.matrix[chosen] * sides / sides[:, None]  # from voxels to the unit cube
    theta = torch.cat([matrix.flip(1, 2), 2 * drawn.shift[chosen].flip(1)[..., None]], 2)
    grid = F.affine_grid(theta, [len(chosen), 1, *shape], align_corners=False)
    bent = drawn.elastic[chosen].flatten(1).any(1).nonzero()[:, 0]
    if len(bent):
        bends = drawn.elastic[chosen[bent]].flip(-1).movedim(-1, 1) * (2 / CELLS)
        grid[bent] += smooth_field(bends, shape).movedim(1, -1)
    return grid


Change = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _changes(drawn: Drawn, shape: Sequence[int]) -> list[tuple[Change, torch.Tensor]]:
    """What is done to brightness, in order, and to which scans and sequences, ``(n, c)``.

    A change takes single sequences ``(m, *patch)`` and, for each, its scan and sequence. Noise comes after the bias
    field, as in a scanner; the rest is in nnU-Net's order.
    """

    def value(name: str, x: torch.Tensor, *where: torch.Tensor) -> torch.Tensor:
        numbers = getattr(drawn, name)[where].to(x)
        return numbers.reshape(*numbers.shape, *[1] * (x.ndim - 1))

    def brighten(x: torch.Tensor, *where: torch.Tensor) -> torch.Tensor:
        return x * value("brightness", x, *where)

    return [
        (lambda x, *w: _bias(x, drawn.bias[w].to(x)), drawn.bias.flatten(2).any(2)),
        (lambda x, *w: _noise(x, value("noise", x, *w), drawn.noise_seed[w[0]], w[1]), drawn.noise > 0),
        (lambda x, *w: _blur(x, drawn.blur[w].to(x)), drawn.blur > 0),
        (brighten, drawn.brightness != 1),
        (lambda x, *w: _contrast(x, value("contrast", x, *w)), drawn.contrast != 1),
        (lambda x, *w: _coarsen(x, drawn.resolution[w]), (drawn.resolution != 1).any(2)),
        (lambda x, *w: -_gamma(-x, value("inverted_gamma", x, *w)), drawn.inverted_gamma != 1),
        (lambda x, *w: _gamma(x, value("gamma", x, *w)), drawn.gamma != 1),
    ]


def _statistics(x: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each sequence, which is zero outside ``inside``."""
    axes = tuple(range(1, x.ndim))
    count = inside.sum(axes, keepdim=True).clamp_min(1)
    mean = x.sum(axes, keepdim=True) / count
    return mean, (x.square().sum(axes, keepdim=True) / count - mean.square()).clamp_min(1e-12).sqrt()


def _restored(x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """``x`` with the mean and spread of ``before``: standardisation would undo a change of either in a real scan."""
    inside = before != 0
    (mean, spread), (wanted, width) = _statistics(x.mul_(inside), inside), _statistics(before, inside)
    return (x - mean).mul_(width / spread).add_(wanted)


def _lowest(x: torch.Tensor) -> torch.Tensor:
    return x.amin(tuple(range(1, x.ndim)), keepdim=True)


def _bias(x: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Brightness above the lowest, which stands for no signal, times the exponential of a smooth field."""
    lowest = _lowest(x)
    return _restored((x - lowest).mul_(smooth_field(coarse, x.shape[1:]).exp_()).add_(lowest), x)


def _noise(x: torch.Tensor, spread: torch.Tensor, seeds: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
    """Gaussian noise; drawn on the device, where a field as large as the images is cheap."""
    noise = torch.empty_like(x)
    for field, seed, number in zip(noise, seeds.tolist(), sequence.tolist(), strict=True):
        field.normal_(generator=torch.Generator(x.device).manual_seed(seed + number))
    return noise.mul_(spread).add_(x)


def _blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian along every axis, each row's weights summing to one at the patch's border too."""
    for axis in range(1, x.ndim):
        place = torch.arange(x.shape[axis], device=x.device)
        away = (place[:, None] - place)[None] / sigma[:, None, None]
        weights = torch.exp(-0.5 * away**2)
        x = along(x, weights / weights.sum(2, keepdim=True), axis - x.ndim)
    return x


def _contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    mean, _ = _statistics(x, x != 0)
    highest = x.amax(tuple(range(1, x.ndim)), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, factor).clamp(_lowest(x), highest)


def _coarsen(x: torch.Tensor, resolution: torch.Tensor) -> torch.Tensor:
    """Thick slices: voxels are averaged over slabs, and read between the slabs' centres.

    Args:
        resolution: ``(m, d)``, on the CPU; 1 for an axis that stays.
    """
    for axis in range(1, x.ndim):
        if not (resolution[:, axis - 1] != 1).any():
            continue
        size, width = x.shape[axis], 1 / resolution[:, axis - 1, None, None].to(x)
        place = torch.arange(size, device=x.device, dtype=x.dtype)
        slab = place[:, None] * width
        inside = torch.minimum(slab + width, place + 1) - torch.maximum(slab, place)
        total = inside.clamp_(0).sum(2, keepdim=True)
        averages = inside / total.clamp_min(1e-6)
        reading = (1 - ((place[:, None] + 0.5) - (slab + width / 2).mT).abs() / width).clamp_min(0) * (total > 0).mT
        x = along(x, reading / reading.sum(2, keepdim=True) @ averages, axis - x.ndim)
    return x


def _gamma(x: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Brightness between its lowest and highest raised to a power; mean and spread stay."""
    lowest = _lowest(x)
    width = (x.amax(tuple(range(1, x.ndim)), keepdim=True) - lowest).clamp_min(1e-6)
    return _restored(((x - lowest) / width).pow_(exponent), x)
