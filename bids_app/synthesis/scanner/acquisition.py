"""What a scanner does to an image: resolution, grid, coil shading, noise, ghost and gain, for everything simulated.

Each effect is a frozen *step* that holds its settings and its random numbers; called with an image, it returns it
changed. An acquisition is a list of steps in the order in which they happen: noise comes after the shading of the coil,
but in training scans, which follow SynthSeg, before it. Drawing and applying are apart: functions named ``draw_`` take
a random generator and no image; `acquire` takes no generator, so that the same acquisition can be applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bids_app.synthesis.fields import blur, normal, read

#: Standard deviation of a Gaussian of full width at half maximum 1.
SIGMA_PER_FWHM = 0.4247

#: One effect: image ``(x, y, z)`` to image.
ScannerStep = Callable[[torch.Tensor], torch.Tensor]


def acquire(image: torch.Tensor, steps: Iterable[ScannerStep]) -> torch.Tensor:
    """The image ``(x, y, z)`` after all steps, in order."""
    for step in steps:
        image = step(image)
    return image


@dataclass(frozen=True)
class PointSpread:
    """Gaussian blur; ``widths`` is the full width at half maximum along each axis, in voxels."""

    widths: tuple[float, ...]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return blur(image, [width * SIGMA_PER_FWHM for width in self.widths])


@dataclass(frozen=True)
class Resized:
    """The same field of view with ``shape`` voxels, by linear interpolation."""

    shape: tuple[int, ...]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if self.shape == tuple(image.shape):
            return image
        return F.interpolate(image[None, None], size=self.shape, mode="trilinear", align_corners=False)[0, 0]


@dataclass(frozen=True)
class Placed:
    """The image read on another grid, or after a movement, by linear interpolation.

    Attributes:
        at: where each voxel of the new grid lies, mm from the middle of the image, ``(x, y, z, 3)``.
        spacing: of the image, mm.
    """

    at: torch.Tensor
    spacing: float

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return read(image[None], self.at, self.spacing)[0]


@dataclass(frozen=True)
class Shading:
    """Receive field of a coil: a factor whose logarithm is given at nodes ``(1, 1, a, b, c)`` and linear in between."""

    nodes: torch.Tensor

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        nodes = self.nodes.to(image.device)
        return image * F.interpolate(nodes, size=image.shape, mode="trilinear", align_corners=True)[0, 0].exp_()


@dataclass(frozen=True)
class Noise:
    """Noise of a real image (one field), or of the magnitude of a complex one (two fields: Rician).

    Attributes:
        level: standard deviation.
        fields: of unit spread, in the shape of the image.
        of_range: ``level`` is a share of the image's range.
        folded: negative values become positive.
    """

    level: float
    fields: tuple[torch.Tensor, ...]
    of_range: bool = False
    folded: bool = False

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        level = self.level * float(image.max() - image.min()) if self.of_range else self.level
        parts = [level * field.to(image.device) for field in self.fields]
        image = image + parts[0]
        if len(parts) == 2:
            return torch.hypot(image, parts[1])
        return image.abs() if self.folded else image


@dataclass(frozen=True)
class Ghost:
    """A share of the image comes back ``voxels`` further along an axis, as when a head moved."""

    axis: int
    voxels: int
    share: float

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return (1 - self.share) * image + self.share * image.roll(self.voxels, self.axis)


@dataclass(frozen=True)
class Gain:
    """All values times a factor."""

    factor: float

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.factor


@dataclass(frozen=True)
class Stretched:
    """Values brought to [0, 1] and raised to a power, which keeps their order.

    ``keep`` is what stripping leaves, bool ``(x, y, z)``: values above 0 there and exactly 0 elsewhere.
    """

    exponent: float
    keep: torch.Tensor | None = None

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if self.keep is None:
            low, high = image.amin(), image.amax()
        else:
            image = torch.where(self.keep, image, 0.0)
            low, high = image.new_zeros(()), image.amax()
        image = ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1) ** self.exponent
        return image if self.keep is None else torch.where(self.keep, image.clamp_min(1e-4), 0.0)


def draw_shading(generator: torch.Generator, nodes: int, spread: float) -> Shading:
    """Shading whose logarithm has a standard deviation of ``spread`` at ``nodes`` nodes along each axis."""
    return Shading(normal(generator, spread, (1, 1, nodes, nodes, nodes)))


def draw_noise(
    generator: torch.Generator, shape: Sequence[int], level: float, *, rician: bool = False, **how: bool
) -> Noise:
    """Noise for an image of a shape, real or ``rician``; ``how``: ``of_range`` and ``folded`` of `Noise`."""
    fields = tuple(torch.randn(tuple(shape), generator=generator) for _ in range(2 if rician else 1))
    return Noise(level, fields, **how)


def draw_exponent(generator: torch.Generator, spread: float) -> float:
    """Exponent of a `Stretched`: log-normal, one half to two."""
    return float(torch.exp(normal(generator, spread)).clamp(0.5, 2.0))
