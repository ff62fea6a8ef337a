"""From scans in memory to batches of patches; what a step sees depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_app.errors import TrainingError
from bids_app.scans.frames import channels_of, taken, voting
from bids_app.scans.scan import Batch, Scan, pad_to
from bids_app.scans.slices import as_channels

if TYPE_CHECKING:
    import torch

#: Part of the patches that are centred on a region where a patch is smaller than the scan (nnU-Net's share).
FOREGROUND = 1 / 3


class Patches:
    """Batches without end.

    Args:
        scans: of the training side, in memory.
        patch: voxels; where a scan is smaller, zeros lie around it.
        batch: scans per step, over all processes together.
        seed: of order, places and everything else that is drawn.
        regions: how many there are.
        normalise: a raw stack ``(sequences, x, y, z)`` as the network wants it.
        channels: positions of the sequences that the network has; all where None.
        flat: scans are slices: batches have no third axis, and neighbouring slices are channels.
        frames: of a window of a series, which is the stack's last channels: a window at a random place where something
            is drawn, else all that vote; 1 where there is no series.
        strata: which targets (columns) are categorical: every batch holds each of their levels, if it is large enough.
        targets, covariates: as `Scan` names them; in place of the scans' own (a permuted target, standardised ages).

    Raises:
        TrainingError: no scans.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        patch: Sequence[int],
        batch: int,
        seed: int,
        *,
        regions: int,
        normalise: Callable[[torch.Tensor], torch.Tensor],
        channels: Sequence[int] | None = None,
        flat: bool = False,
        frames: int = 1,
        strata: Sequence[int] = (),
        targets: np.ndarray | None = None,
        covariates: np.ndarray | None = None,
    ) -> None:
        import torch

        if not scans:
            raise TrainingError("there are no scans to train with; look at the cohort's labels and at the split")
        self.patch, self.batch_size, self.seed, self.regions, self.flat = tuple(patch), batch, seed, regions, flat
        rows = list(channels) if channels is not None else list(range(len(scans[0].present)))
        stacks = [
            normalise(torch.from_numpy(scan.stack[channels_of(rows, len(scan.present), len(scan.stack))]))
            for scan in scans
        ]
        self.stacks = [as_channels(stack) for stack in stacks] if flat else stacks
        self.frames, self.still = frames, len(rows) - 1
        if frames > 1:  # a series is large
            self.stacks = [stack.half() for stack in self.stacks]
        self.present = torch.tensor(np.stack([np.asarray(scan.present, np.float32)[rows] for scan in scans]))
        self.labels = [scan.labels for scan in scans]
        self.places = [np.argwhere(labels)[::7] if labels is not None else np.zeros((0, 3)) for labels in self.labels]
        targets = targets if targets is not None else np.stack([scan.targets for scan in scans])
        covariates = covariates if covariates is not None else np.stack([scan.covariates for scan in scans])
        self.targets = torch.tensor(targets, dtype=torch.float32)
        self.covariates = torch.tensor(covariates, dtype=torch.float32)
        self.strata = self._strata(targets, strata)

    def __len__(self) -> int:
        return len(self.stacks)

    def batch(self, step: int) -> Batch:
        """The batch of a step, on the CPU."""
        rng = np.random.default_rng([self.seed, 1, step])
        return self.collate(self.chosen(step), rng)

    def chosen(self, step: int) -> list[int]:
        """Which scans a step sees: each once per epoch, and no level or lesion absent that a batch has room for."""
        n, first = len(self), step * self.batch_size
        picked = [int(self._order(at // n)[at % n]) for at in range(first, first + self.batch_size)]
        rng = np.random.default_rng([self.seed, 2, step])
        for members in self.strata:
            if set(picked) & members:
                continue
            spare = [at for at, i in enumerate(picked) if self._is_spare(i, picked)]
            if spare:
                picked[spare[-1]] = int(rng.choice(sorted(members)))
        return picked

    def _is_spare(self, index: int, picked: list[int]) -> bool:
        """Whether a batch would lack nothing without this scan."""
        return all(len([i for i in picked if i in members]) > 1 for members in self.strata if index in members)

    def collate(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Patches of these scans at random places, or in their middle where nothing is drawn."""
        import torch
        import torch.nn.functional as F

        images, labels = [], []
        for index in indices:
            stack, label = self.seen(index, rng), self.labels[index]
            known = label if label is not None else np.zeros(stack.shape[1:], np.uint8)
            box = self._box(index, rng)
            image = pad_to(stack[(slice(None), *box)].numpy(), self.patch)
            images.append(torch.from_numpy(np.ascontiguousarray(image)))
            labels.append(torch.from_numpy(pad_to(known[box], self.patch).astype(np.int64)))
        parts = F.one_hot(torch.stack(labels), self.regions + 1).movedim(-1, 1).float()
        stacked = torch.stack(images)
        if self.flat:
            stacked, parts = stacked[..., 0], parts[..., 0]
        labelled = torch.tensor([float(self.labels[index] is not None) for index in indices])
        rows = torch.as_tensor(list(indices))
        return Batch(stacked, self.present[rows], parts, labelled, self.targets[rows], self.covariates[rows])

    def seen(self, index: int, rng: np.random.Generator | None = None) -> torch.Tensor:
        """A scan's channels as the network sees them: of a series a window drawn, or those that vote."""
        stack = self.stacks[index]
        if self.frames == 1:
            return stack
        if rng is None:
            return voting(stack, self.still, self.frames).float()
        start = int(rng.integers(0, len(stack) - self.still - self.frames + 1))
        return taken(stack, self.still, [start], self.frames).float()

    def _box(self, index: int, rng: np.random.Generator | None) -> tuple[slice, ...]:
        """Where a patch lies in its scan."""
        shape = self.stacks[index].shape[1:]
        room = [max(n - side, 0) for n, side in zip(shape, self.patch, strict=True)]
        if rng is None:
            corner = [extra // 2 for extra in room]
        else:
            corner = [int(rng.integers(0, extra + 1)) for extra in room]
            if any(room) and len(self.places[index]) and rng.random() < FOREGROUND:
                centre = self.places[index][rng.integers(len(self.places[index]))]
                corner = [
                    int(np.clip(c - side // 2, 0, extra))
                    for c, side, extra in zip(centre, self.patch, room, strict=True)
                ]
        return tuple(slice(a, a + side) for a, side in zip(corner, self.patch, strict=True))

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(len(self))

    def _strata(self, targets: np.ndarray, columns: Sequence[int]) -> list[set[int]]:
        """Scans of which no batch may lack one: of each level of each target, and with a region that may be absent."""
        found = []
        for column in columns:
            values = targets[:, column]
            found += [set(np.flatnonzero(values == level)) for level in np.unique(values[np.isfinite(values)])]
        some = {i for i, labels in enumerate(self.labels) if labels is not None and labels.any()}
        if 0 < len(some) < len(self):
            found.append(some)
        return [set(map(int, members)) for members in found]


def permute(targets: np.ndarray, participants: Sequence[str], seed: int) -> np.ndarray:
    """Targets dealt anew among participants, each column for itself; the unknown stay unknown.

    Sessions of one participant keep one answer, as they had.
    """
    rng = np.random.default_rng(seed)
    people = np.array(participants)
    permuted = targets.copy()
    for column in range(targets.shape[1]):
        known = [person for person in dict.fromkeys(people) if np.isfinite(targets[people == person, column]).any()]
        first = {person: targets[people == person, column] for person in known}
        values = np.array([first[p][np.isfinite(first[p])][0] for p in known])
        for person, value in zip(known, rng.permutation(values), strict=True):
            rows = (people == person) & np.isfinite(targets[:, column])
            permuted[rows, column] = value
    return permuted
