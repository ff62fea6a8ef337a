"""All that a training is at one moment."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bids.files import write_whole
from bids_app.errors import TrainingError

if TYPE_CHECKING:
    import torch

PARTS = ("network", "mean", "optimiser", "balance")
NUMBERS = ("step", "drawn", "stages", "seconds", "history", "best", "digest")


@dataclass
class State:
    """All that a training is at one moment; a checkpoint is this.

    Attributes:
        network: whose weights are learned.
        mean: the running mean of its weights, which is what predicts.
        optimiser: with its moments.
        balance: weights between tasks, and what they are fitted from.
        step: steps taken. Whatever is random in a step depends on the seed and this number alone, so that order,
            augmentation and dropout go on where they stopped.
        drawn: scans drawn, where a generator draws them.
        stages: step and scans drawn at the beginning of each stage that has begun, of a training in stages.
        seconds: time spent in steps.
        history: what was logged.
        best: per task, lowest validation loss and its step.
        digest: of plan, arm, split and seed: a checkpoint is not taken up by another training.
    """

    network: torch.nn.Module
    mean: torch.nn.Module
    optimiser: torch.optim.Optimizer
    balance: torch.nn.Module | None = None
    step: int = 0
    drawn: int = 0
    stages: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    digest: str = ""

    @property
    def needed_balance(self) -> torch.nn.Module:
        """``balance``, without which several tasks cannot be learned.

        Raises:
            TrainingError: there is none.
        """
        if self.balance is None:
            raise TrainingError("a training of several tasks needs a balance between them")
        return self.balance

    def save(self, path: Path) -> None:
        """Write a checkpoint whole; the one before it is kept beside it as ``*.previous``.

        Raises:
            CannotWrite, IOFailure: it could not be written; earlier checkpoints are as they were.
        """
        import torch

        plain = {name: part.state_dict() for name in PARTS if (part := getattr(self, name)) is not None}
        plain |= {name: getattr(self, name) for name in NUMBERS}
        stream = io.BytesIO()
        torch.save(plain, stream)
        write_whole(path, lambda out: out.write(stream.getbuffer()), keep=previous_of(path))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: it is cut short, or belongs to another training.
        """
        try:
            plain = read_tensors(path)
            numbers = {name: plain[name] for name in NUMBERS if name in plain}
            if self.digest and numbers.get("digest", self.digest) != self.digest:
                raise TrainingError(
                    f"the checkpoint {path} belongs to a training with another plan, split, seed or arm; "
                    f"delete it, or choose another output folder"
                )
            for name in PARTS:
                if (part := getattr(self, name)) is not None:
                    part.load_state_dict(plain[name])
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            older = previous_of(path)
            way_out = f"rename {older} to {path.name} to go on from the one before" if older.is_file() else "delete it"
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrainingError(f"the checkpoint {path} cannot be read ({first}); {way_out}") from error
        except Exception as error:  # torch raises pickle's own error for a file that is none of its own
            if isinstance(error, TrainingError):
                raise
            raise TrainingError(f"{path} is not a checkpoint ({type(error).__name__}); delete it") from error
        for name, value in numbers.items():
            setattr(self, name, value)
        self.best = {name: (float(loss), int(step)) for name, (loss, step) in self.best.items()}


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, after the checksum of every part of the file, which torch does not look at.

    Raises:
        ValueError: naming the part that has changed.
        OSError, zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError: it cannot be read at all.
    """
    import torch

    with zipfile.ZipFile(path) as parts:
        if (spoilt := parts.testzip()) is not None:
            raise ValueError(f"the checksum of {spoilt} is wrong: some bytes have changed")
    return torch.load(path, weights_only=True, map_location="cpu")


def read_weights(path: Path) -> Any:
    """`read_tensors` of a network's weights.

    Raises:
        TrainingError: they are gone or damaged.
    """
    try:
        return read_tensors(path)
    except Exception as error:  # torch raises pickle's own errors, which have no common base
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"the weights {path} cannot be read ({first}); delete its folder, train again") from error


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_name(path.name + ".previous")


def track(mean: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Move a running mean of weights a step towards the network's."""
    import torch

    with torch.no_grad():
        for average, now in zip(mean.parameters(), network.parameters(), strict=True):
            average.lerp_(now.detach(), 1 - keep)
