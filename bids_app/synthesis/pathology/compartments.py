"""What a pathology is made of: compartments of tissue, each with its relaxation and its share of every voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bids_app.synthesis.scanner.physics import Tissue, tissues


@dataclass(frozen=True)
class Relaxation:
    """A pathological tissue at 3 T.

    Attributes:
        t1_ms, t2_ms, density, diffusivity, gadolinium_mM: as in `physics.Tissue`.
        like: the healthy tissue with which T1 and T2 change in proportion when the field does.
    """

    t1_ms: float
    t2_ms: float
    density: float
    diffusivity: float
    gadolinium_mM: float = 0.0
    like: str = "grey"

    def at(self, field_tesla: float) -> Tissue:
        here, reference = tissues(field_tesla)[self.like], tissues(3.0)[self.like]
        return Tissue(
            t1_ms=self.t1_ms * here.t1_ms / reference.t1_ms,
            t2_ms=self.t2_ms * here.t2_ms / reference.t2_ms,
            density=self.density,
            diffusivity=self.diffusivity,
            gadolinium_mM=self.gadolinium_mM,
        )


@dataclass(frozen=True)
class Compartment:
    """One kind of pathological tissue.

    Attributes:
        name: of the tissue.
        share: of each voxel, in [0, 1], ``(x, y, z)``; later compartments lie over earlier ones.
        region: position, from 1, of the region in `REGIONS` that it belongs to; 0: not labelled.
        tissue: its relaxation at 3 T.
    """

    name: str
    share: torch.Tensor
    region: int
    tissue: Relaxation

    def relaxation(self, field_tesla: float) -> Tissue:
        return self.tissue.at(field_tesla)


@dataclass(frozen=True)
class Pathology:
    """What one participant has.

    Attributes:
        compartments: from the lowest layer to the uppermost.
        latents: what is known of it: ``lesion_ml`` (labelled), ``count``, ``side`` (-1 left, 1 right, 0 both or none),
            and what belongs to the kind.
        shape: of the grid.
    """

    compartments: tuple[Compartment, ...]
    latents: dict[str, float]
    shape: tuple[int, int, int]

    def region_share(self, index: int) -> torch.Tensor:
        """Share of each voxel that belongs to region ``index``, after later compartments have covered earlier ones."""
        total = torch.zeros(self.shape)
        self._cover(total, lambda region: region == index)
        return total

    def labelled(self) -> torch.Tensor:
        """As `region_share`, of all regions together."""
        total = torch.zeros(self.shape)
        self._cover(total, lambda region: region > 0)
        return total

    def _cover(self, total: torch.Tensor, counts: Callable[[int], bool]) -> None:
        begun = False
        for part in self.compartments:
            begun = begun or counts(part.region)
            if begun:
                total.lerp_(torch.tensor(float(counts(part.region))), part.share)


#: What is drawn of one kind of pathology: its compartments, and what is known of it.
Lesions = tuple[list[Compartment], dict[str, float]]
