"""How a recipe is learned: steps and losses, the shape of the network, what happens to intensities before it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bids_app.recipes.grid import Part


class Learning(Part):
    """How the recipe is learned; the command line can say otherwise.

    ``covariates``, ``site``, ``sex``, ``age``: columns of participants.tsv; a covariate that is a target's own column
    is hidden from that target's head. ``sequence_dropout``: how often a sequence
    is left out of a training scan. ``balance``: of the losses. ``target_gradient``: what of a target's gradient reaches
    the network below its head, where that reads regions: ``all``, ``features`` (what is pooled in a mask, but not the
    mask) or ``none``. ``mirror``: left and right are swapped in half of the
    scans (never where a target depends on the side).
    """

    steps: int = Field(default=2000, ge=1)
    rate: float = Field(default=2e-3, gt=0, lt=1)
    batch: int | None = Field(default=None, ge=1, le=256)
    covariates: tuple[str, ...] = ()
    site: str = "site"
    sex: str = "sex"
    age: str = "age"
    sequence_dropout: float = Field(default=0.0, ge=0, lt=1)
    balance: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    target_gradient: Literal["all", "features", "none"] = "none"
    mirror: bool = True


class NetworkSpec(Part):
    """Shape of the residual U-Net: filters at full resolution, blocks per level, scales with a loss of their own.

    ``fold``: voxels per axis that are folded into channels before the first convolution. ``dropout``: before a
    target's head. ``head``: what a target's head reads: ``regions`` (amount, place, brightness of each, features pooled
    in it, and where all are lesions how much lies in each cell of the field of view), linear and solved exactly at the
    end; or the ``bottleneck`` as a whole, by steps. ``sided``: the
    network is told where left and right are, and learns both sides of a structure as one; for a grid that shows a
    whole head at once. ``slices``: how many slices of every sequence a network of two dimensions sees; it answers for
    the middle one, and the others lie above and below it at the grid's spacing. ``frames``: of the windows in which the
    last sequence, a series, is seen; 1 where there is none. ``finest``: channels of the finest level in times of
    ``filters``, for many classes on a folded grid.
    """

    dimensions: Literal[2, 3] = 3
    slices: int = Field(default=1, ge=1, le=9)
    frames: int = Field(default=1, ge=1, le=200)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    head: Literal["regions", "bottleneck"] = "regions"

    filters: int = Field(default=12, ge=4, le=64)
    blocks: tuple[int, ...] = (1, 2, 2)
    deep_supervision: int = Field(default=2, ge=1, le=4)
    fold: int = Field(default=1, ge=1, le=4)
    sided: bool = False
    finest: int = Field(default=1, ge=1, le=4)


class Preprocessing(Part):
    """What happens to intensities before the network sees them."""

    bias: bool = True
    normalisation: Literal["zscore", "percentile"] = "zscore"
