"""The network: a residual U-Net whose bottleneck is open, so that more than one head can read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from bids_app.errors import BundleError
from bids_app.networks.finest import widen
from bids_app.networks.folding import fold, unfold
from bids_app.networks.heads import Head, LinearHead
from bids_app.networks.monai_parts import SegResNetDS
from bids_app.networks.reading import LEVELS, amounts, measured_columns, read
from bids_app.networks.temporal import TemporalUnit, as_frames, in_windows, picture, vote

#: Voxels from the middle at which `aside` is 1: about half a head at 2 mm.
ASIDE = 48.0


@dataclass(frozen=True)
class HeadShape:
    """One target's head: its name, ``binary``, ``categorical``, ``ordinal`` or ``continuous``, and how many outputs.

    Outputs: one per level (binary has two), one per step between levels (ordinal), or one (continuous). ``hidden``:
    positions of the covariates that it does not read.
    """

    name: str
    kind: str
    outputs: int
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class NetworkShape:
    """What `network.json` of a bundle holds.

    Attributes:
        sequences: of the input; its channels where ``slices`` is 1.
        classes: regions and background; 0 for a network that answers targets only.
        filters: of the first level; doubled at each deeper one.
        blocks: residual blocks per level on the way down.
        deep_supervision: scales with an output of their own in training.
        fold: voxels per axis that are folded into channels before the first convolution, and unfolded in every output:
            with 2, a 0.5 mm grid costs what a 1 mm grid would, and no voxel is lost.
        dimensions: 3, or 2 for single slices.
        heads: one per target.
        covariates: numbers per participant that the heads read beside the image.
        dropout: before a head's last layer.
        reads_regions: the heads also read how much of every region the network's own mask holds. From the bottleneck
            alone, which small lesions hardly reach, heads learned their training participants by heart.
        reads_features: in place of that, the heads are linear and read all that `reading.read` gives of every region.
        gradient: with ``reads_features``, what of a target's gradient reaches the network: ``all``, mask and features;
            ``features``, what is pooled, but not the mask that it is pooled in; ``none``.
        sided: one more channel says how far along the first axis (left to right) a voxel lies from the middle. Both
            halves of a brain look alike: without it, a network of a whole head learned for long which is which.
        partners: of every class (background first) the class of the same structure on the other side, or its own
            number. Where given, the network says of a voxel what it is and, once for all structures, on which side:
            the probability of a class is the product, and both sides of a structure are learned together.
        slices: of two dimensions, how many neighbouring slices of every sequence are channels of the input; the answer
            is for the middle one.
        frames: of a window of a series, which is the last sequence and has a channel per frame; 1 where there is none.
            See `bids_app.networks.temporal`.
        finest: channels of the finest level, in times of ``filters``; the other levels stay as they are.
    """

    sequences: int
    classes: int
    filters: int = 16
    blocks: tuple[int, ...] = (1, 2, 2)
    deep_supervision: int = 2
    fold: int = 1
    dimensions: int = 3
    heads: tuple[HeadShape, ...] = ()
    covariates: int = 0
    dropout: float = 0.3
    reads_regions: bool = False
    sided: bool = False
    partners: tuple[int, ...] = ()
    reads_features: bool = False
    gradient: str = "all"
    slices: int = 1
    cells: int = 0
    frames: int = 1
    finest: int = 1

    def to_plain(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("blocks", "partners")}
        heads = [{**asdict(head), "hidden": list(head.hidden)} for head in self.heads]
        return {**asdict(self), **lists, "heads": heads}

    @property
    def widths(self) -> list[int]:
        """Channels of every level, finest first."""
        first, *deeper = (self.filters * 2**level for level in range(len(self.blocks)))
        return [first * self.finest, *deeper]

    @property
    def groups(self) -> int:
        """Groups of channels that are normalised together."""
        return math.gcd(8, self.filters)

    @property
    def still(self) -> int:
        """Of a network of a series: channels before the series."""
        return self.sequences - 1

    @property
    def outputs(self) -> int:
        """Channels of a voxel's answer: one per class, or one per class of either side and one for the side."""
        return len(self.shared_channels) + 1 if self.partners else max(self.classes, 1)

    @property
    def late(self) -> int:
        """Numbers that join a head beside the image: sequence flags, covariates and whether they are known."""
        return self.sequences + 2 * self.covariates

    def late_read(self, name: str) -> list[float]:
        """Of what joins beside the image, 1 for what the head of this name reads, 0 for what is hidden from it."""
        hidden = next(head.hidden for head in self.heads if head.name == name)
        read = [float(place not in hidden) for place in range(self.covariates)]
        return [*[1.0] * self.sequences, *read, *read]

    @property
    def blocks_read(self) -> dict[str, slice]:
        """With ``reads_features``: which columns of what a head reads of the image are of which kind."""
        columns = measured_columns(self.classes - 1, self.dimensions, self.sequences, self.cells)
        measured = max(block.stop for block in columns.values())
        widths = self.widths[: min(LEVELS, len(self.blocks) - 1)]
        return {**columns, "features": slice(measured, measured + (self.classes - 1) * sum(widths))}

    @property
    def readings(self) -> int:
        """With ``reads_features``: how many columns a head reads of the image."""
        return self.blocks_read["features"].stop

    @property
    def shared_channels(self) -> list[int]:
        """With ``partners``: the first class of every pair, and every class without one, in order."""
        return [own for own, partner in enumerate(self.partners) if own <= partner]


class Answer(NamedTuple):
    """What the network says of a batch.

    Attributes:
        logits: ``(n, classes, ...)`` at full size, then (in training) at every coarser supervised scale; empty where
            the network has no decoder.
        targets: per target ``(n, outputs)``.
        bottleneck: the features that decoder and heads share, ``(n, bottleneck_channels, ...)``.
    """

    logits: list[torch.Tensor]
    targets: dict[str, torch.Tensor]
    bottleneck: torch.Tensor


class MultiTaskNet(nn.Module):
    """MONAI's SegResNetDS with group normalisation, taken apart at its bottleneck, which the heads read too.

    Args:
        shape: widths and depths; see `NetworkShape`.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        norm = ("group", {"num_groups": shape.groups, "affine": True})
        self.unet = SegResNetDS(
            spatial_dims=shape.dimensions,
            init_filters=shape.filters,
            in_channels=shape.sequences * shape.slices * shape.fold**shape.dimensions + shape.sided,
            out_channels=shape.outputs * shape.fold**shape.dimensions,
            norm=norm,
            blocks_down=tuple(shape.blocks),
            dsdepth=shape.deep_supervision,
        )
        if not shape.classes:
            self.unet.up_layers = nn.ModuleList()
        if shape.finest > 1:
            widen(self.unet, shape.dimensions, shape.finest, norm)
        if shape.frames > 1:
            self.temporal = nn.ModuleList(TemporalUnit(width) for width in shape.widths)
        late = shape.late + (shape.classes - 1 if shape.reads_regions else 0)
        self.heads = nn.ModuleDict({head.name: self._head(head, late) for head in shape.heads})

    def _head(self, head: HeadShape, late: int) -> nn.Module:
        if self.shape.reads_features:
            return LinearHead(self.shape.readings, late, head.outputs)
        return Head(self.bottleneck_channels, late, head.outputs, self.shape.dropout)

    @property
    def factor(self) -> int:
        """Sides of the input must be multiples of this many voxels."""
        return self.shape.fold * 2 ** (len(self.shape.blocks) - 1)

    @property
    def bottleneck_channels(self) -> int:
        return self.shape.widths[-1]

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features per level, finest first; the last is the bottleneck, ``(n, bottleneck_channels, ...)``.

        Args:
            x: standardised stack, ``(n, sequences * slices, x, y, z)``, or one window of a series,
                ``(n, still + frames, x, y, z)``; sides multiples of `factor`.
        """
        frames = self.shape.frames
        x = fold(as_frames(x, self.shape.still) if frames > 1 else x, self.shape.fold)
        features = self.unet.encoder(torch.cat([x, aside(x, self.shape.fold)], 1) if self.shape.sided else x)
        if frames == 1:
            return features
        return [unit(level, frames) for unit, level in zip(self.temporal, features, strict=True)]

    def ascend(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Features of every level of the decoder, the finest last."""
        *skips, x = features
        found = []
        for level, skip in zip(self.unet.up_layers, reversed(skips), strict=True):
            x = level["blocks"](level["upsample"](x) + skip)
            found.append(x)
        return found

    def decode(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits ``(n, classes, ...)`` at full size, then at every coarser supervised scale."""
        return self.logits_of(self.ascend(features))

    def logits_of(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """As `decode`, from `ascend`."""
        heads = [level["head"] for level in self.unet.up_layers]
        outputs = [
            self.sides(unfold(head(x), self.shape.fold))
            for head, x in zip(heads, levels, strict=True)
            if not isinstance(head, nn.Identity)
        ]
        return outputs[::-1]

    def logits_at(self, x: torch.Tensor, offset: Sequence[int], step: int | None = None) -> torch.Tensor:
        """Logits of one voxel out of every block of ``step`` voxels a side, ``(n, classes, x/step, y/step, z/step)``.

        In training with many classes the finest logits cost more than the network; any one voxel of a block stands for
        all of them.

        Args:
            x: as in `encode`.
            offset: of the voxel in its block, one number from 0 to ``step - 1`` per axis.
            step: a multiple of the network's fold; the fold itself where not given.
        """
        return self.logits_from(self.ascend(self.encode(x))[-1], offset, step)

    def logits_from(self, features: torch.Tensor, offset: Sequence[int], step: int | None = None) -> torch.Tensor:
        """As `logits_at`, from the decoder's finest features."""
        k, head = self.shape.fold, self.unet.up_layers[-1]["head"]
        every = (step or k) // k
        features = features[(..., *(slice(int(o) // k, None, every) for o in offset))]
        place = 0
        for part in offset:
            place = place * k + int(part) % k
        own = slice(place, None, k**self.shape.dimensions)
        convolve = F.conv3d if self.shape.dimensions == 3 else F.conv2d
        return self.sides(convolve(features, head.weight[own], None if head.bias is None else head.bias[own]))

    def sides(self, answers: torch.Tensor) -> torch.Tensor:
        """Logits of every class from what a voxel is (all channels but the last) and its side (the last).

        With ``s`` the last channel, ``log sigmoid(s)`` is added to the first class of a pair and ``log sigmoid(-s)`` to
        the second; a softmax then gives the products, for both add up to the structure's own share.
        """
        partners = self.shape.partners
        if not partners:
            return answers
        place = {own: channel for channel, own in enumerate(self.shape.shared_channels)}
        what = answers[:, [place[min(own, partner)] for own, partner in enumerate(partners)]]
        sign = answers.new_tensor([(partner > own) - (partner < own) for own, partner in enumerate(partners)])
        sign = sign.reshape(-1, *[1] * (answers.ndim - 2))
        return what + sign.abs() * F.logsigmoid(sign * answers[:, -1:])

    def conclude(
        self,
        bottleneck: torch.Tensor,
        present: torch.Tensor | None = None,
        covariates: torch.Tensor | None = None,
        logits: torch.Tensor | None = None,
        readings: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Every target's outputs.

        Args:
            bottleneck: last of `encode`.
            present: which sequences are there, ``(n, sequences)``; all where None.
            covariates: ``(n, covariates)``, NaN where not known; all unknown where None.
            logits: of the regions at full size, where the heads read how much there is. Targets do not bend the mask:
                no gradient goes this way.
            readings: see `readings`; where the heads read them.
        """
        if self.shape.reads_features:
            if readings is None:
                raise ValueError("heads that read features of the regions need them")
            late = self.known_late(readings, present, covariates)
            return {name: head(readings, self._late_of(name, late)) for name, head in self.heads.items()}
        axes = tuple(range(2, bottleneck.ndim))
        pooled = torch.cat([bottleneck.mean(axes), bottleneck.amax(axes)], 1)
        late, more = self.known_late(pooled, present, covariates), []
        if self.shape.reads_regions:
            if logits is None:
                raise ValueError("heads that read the regions need their logits")
            more = [amounts(logits.detach())]
        return {
            name: head(pooled, torch.cat([self._late_of(name, late), *more], 1)) for name, head in self.heads.items()
        }

    def _late_of(self, name: str, late: torch.Tensor) -> torch.Tensor:
        """What joins beside the image for one head, zero where it is hidden from it."""
        return late * late.new_tensor(self.shape.late_read(name))

    def known_late(
        self, like: torch.Tensor, present: torch.Tensor | None, covariates: torch.Tensor | None
    ) -> torch.Tensor:
        """What joins beside the image, ``(n, late)``; see `conclude` for the arguments."""
        n = len(like)
        flags = like.new_ones(n, self.shape.sequences) if present is None else present.to(like)
        if covariates is None:
            covariates = like.new_full((n, self.shape.covariates), float("nan"))
        known = torch.isfinite(covariates)
        return torch.cat([flags, torch.where(known, covariates, 0).to(like), known.to(like)], 1)

    def readings(self, x: torch.Tensor, levels: list[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        """What linear heads read, ``(n, readings)``, float32; how much of their gradient comes back says the shape.

        Args:
            x: as in `encode`.
            levels: of `ascend`.
            logits: of the regions at full size.
        """
        if self.shape.gradient != "all":
            logits = logits.detach()
        if self.shape.gradient == "none":
            levels = [level.detach() for level in levels]
        slices = self.shape.slices
        image = picture(x, self.shape.still) if self.shape.frames > 1 else x[:, slices // 2 :: slices]
        return read(logits, levels, image, self.shape.cells)

    def look(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None]:
        """Bottleneck, logits per scale, and what linear heads read, where there are any.

        Of a series that comes with several windows, their vote: the mean of features and readings, and, at full size
        alone, logits whose softmax is the mean of the windows' probabilities.

        Args:
            x: as in `encode`; of a series with any number of windows in a row.
        """
        frames = self.shape.frames
        parts = [self._look(window) for window in (in_windows(x, self.shape.still, frames) if frames > 1 else [x])]
        if len(parts) == 1:
            return parts[0]
        bottlenecks, logits, readings = zip(*parts, strict=True)
        voted = [vote([one[0] for one in logits])] if logits[0] else []
        together = None if readings[0] is None else torch.stack(readings).mean(0)
        return torch.stack(bottlenecks).mean(0), voted, together

    def _look(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None]:
        features = self.encode(x)
        levels = self.ascend(features) if self.shape.classes else []
        logits = self.logits_of(levels) if levels else []
        readings = self.readings(x, levels, logits[0]) if self.shape.reads_features and self.heads else None
        return features[-1], logits, readings

    def forward(
        self, x: torch.Tensor, present: torch.Tensor | None = None, covariates: torch.Tensor | None = None
    ) -> Answer:
        """Logits per scale in training, of the full size alone otherwise, and every target's outputs."""
        bottleneck, logits, readings = self.look(x)
        targets = self.conclude(bottleneck, present, covariates, logits[0] if logits else None, readings)
        return Answer(logits if self.training else logits[:1], targets, bottleneck)


def aside(x: torch.Tensor, k: int) -> torch.Tensor:
    """Place along the first axis in units of `ASIDE` voxels, 0 in the middle: ``(n, 1, ...)`` for a folded ``x``."""
    n, _, length, *others = x.shape
    place = (torch.arange(length, device=x.device, dtype=x.dtype) - (length - 1) / 2) * (k / ASIDE)
    return place.reshape(1, 1, length, *[1] * len(others)).expand(n, 1, length, *others)


def build_network(plain: Mapping[str, Any]) -> MultiTaskNet:
    """A network from the content of ``network.json``.

    Raises:
        BundleError: fields that `NetworkShape` does not have, or that are missing.
    """
    try:
        blocks = tuple(plain.get("blocks", NetworkShape.blocks))
        heads = tuple(HeadShape(**{**head, "hidden": tuple(head.get("hidden", ()))}) for head in plain.get("heads", ()))
        partners = tuple(plain.get("partners", ()))
        return MultiTaskNet(NetworkShape(**{**plain, "blocks": blocks, "heads": heads, "partners": partners}))
    except (TypeError, ValueError) as error:
        raise BundleError(f"network.json does not describe a network: {error}") from error
