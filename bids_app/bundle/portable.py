"""A bundle's members as one module of plain torch, which other programs can load: no part of Tandem is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bids_app.networks.multitask import build_network
from bids_app.networks.standardise import CUT, standardise
from bids_app.targets.kinds import kind_of


class Members(nn.Module):
    """Every member's network, their mean, and the calibration.

    Args:
        shape: content of ``network.json`` without the number of members.
        normalisation: per member and sequence, ``{"kind": "scan"}`` or ``{"kind": "cohort", "mean": m, "sd": s}``.
        temperature: of the segmentation.
        targets: per target ``{"kind": ..., "temperature": t, "scalings": [the plan's entry of each member]}``.
        covariates: per member and covariate ``[mean, sd]``.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        normalisation: Sequence[Sequence[Mapping[str, Any]]],
        temperature: float = 1.0,
        targets: Mapping[str, Mapping[str, Any]] | None = None,
        covariates: Sequence[Sequence[Sequence[float]]] = (),
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList([build_network(shape) for _ in normalisation])
        self.normalisation = [list(how) for how in normalisation]
        self.temperature, self.targets, self.covariates = temperature, dict(targets or {}), list(covariates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of background and regions, ``(n, classes, x, y, z)``; where there are no regions, `answer`'s
        targets side by side.

        Args:
            x: as `prepare` gives it, ``(n, sequences, x, y, z)``; sides multiples of the network's factor.
        """
        found = self.answer(x)
        return found[0] if self.members[0].shape.classes else torch.cat(found, 1)

    def answer(
        self, x: torch.Tensor, present: torch.Tensor | None = None, covariates: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The probabilities, where there are regions, then every target: ``(n, levels)``, or ``(n, 1)`` for a value.

        Args:
            present: ``(n, sequences)``, 1 or 0.
            covariates: ``(n, covariates)`` in their own units, NaN where not known.
        """
        found = []
        for number, network in enumerate(self.members):
            late = covariates
            if late is not None and self.covariates:
                mean, sd = torch.tensor(self.covariates[number], dtype=x.dtype, device=x.device).T
                late = (late - mean) / sd
            answer = network(self._scaled(x, self.normalisation[number]), present, late)
            parts = [(answer.logits[0] / self.temperature).softmax(1)] if answer.logits else []
            found.append([*parts, *(self._target(name, number, answer.targets[name]) for name in self.targets)])
        return tuple(torch.stack(some).mean(0) for some in zip(*found, strict=True))

    def _target(self, name: str, number: int, logits: torch.Tensor) -> torch.Tensor:
        how = self.targets[name]
        return kind_of(how["kind"]).link(logits, {"temperature": how["temperature"], **how["scalings"][number]})

    @staticmethod
    def _scaled(x: torch.Tensor, how: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Sequences with a physical scale as this member knows them; the others are standardised already."""
        parts = []
        for channel, one in zip(x.split(1, 1), how, strict=True):
            if one["kind"] == "cohort":
                channel = ((channel - one["mean"]) / one["sd"]).clamp(-CUT, CUT) * (channel != 0)
            parts.append(channel)
        return torch.cat(parts, 1)


class Prepare:
    """What is done to a whole image before any of it is cut out: sequences without a scale are standardised.

    Args:
        kinds: ``scan`` or ``cohort`` of every sequence.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = list(kinds)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """``(sequences, x, y, z)``, zero where nothing was measured."""
        parts = [standardise(c) if kind == "scan" else c for c, kind in zip(image, self.kinds, strict=True)]
        return torch.stack(parts)
