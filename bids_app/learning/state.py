"""All that a training is at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class State:
    """All that a training is at one moment; a checkpoint is this."""

    network: torch.nn.Module
    mean: torch.nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    drawn: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        import torch

        plain = {
            "network": self.network.state_dict(), "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step, "drawn": self.drawn, "seconds": self.seconds,
        }  # fmt: skip
        partial = path.with_suffix(".part")
        torch.save(plain, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        import torch

        plain = torch.load(path, weights_only=True)
        for name in ("network", "mean", "optimiser"):
            getattr(self, name).load_state_dict(plain[name])
        self.step, self.drawn, self.seconds = plain["step"], plain["drawn"], plain["seconds"]
