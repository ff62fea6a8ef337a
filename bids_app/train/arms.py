"""The arms of a comparison: what is learned together, from which sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from bids_app.errors import UsageError
from bids_app.recipes.recipe import Recipe

MULTI, SEGMENTATION_ONLY, TARGET_ONLY, FROZEN = "multi-task", "segmentation-only", "target-only", "frozen-encoder"
PERMUTED = "permuted"
DROPOUT = "sequence-dropout"
#: How often a sequence is left out where an arm drops sequences and the recipe does not say (Feng 2023 drops about
#: half; with three sequences 0.3 leaves all of them in a third of the scans).
DROP = 0.3


@dataclass(frozen=True)
class Arm:
    """One configuration in a comparison.

    Attributes:
        name: in tables and folders.
        segmentation: the regions are learned.
        targets: the targets are learned.
        frozen: the encoder is that of ``segmentation-only``, and stays as it is.
        sequences: those the network has; empty for all.
        sequence_dropout: how often each is left out in training.
        permuted: targets are dealt anew among the training participants: a negative control.
        target_weight: of every target's loss, in place of the recipe's.
    """

    name: str
    segmentation: bool = True
    targets: bool = True
    frozen: bool = False
    sequences: tuple[str, ...] = ()
    sequence_dropout: float = 0.0
    permuted: bool = False
    target_weight: float | None = None

    def to_plain(self) -> dict[str, Any]:
        return {**asdict(self), "sequences": list(self.sequences)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Arm:
        return cls(**{**plain, "sequences": tuple(plain.get("sequences", ()))})


def base_arm(recipe: Recipe) -> Arm:
    """What the recipe itself says: everything it names is learned."""
    name = MULTI if recipe.regions and recipe.targets else SEGMENTATION_ONLY if recipe.regions else TARGET_ONLY
    return Arm(name, bool(recipe.regions), bool(recipe.targets), sequence_dropout=recipe.learning.sequence_dropout)


def arms_of(recipe: Recipe, compare: Sequence[str] = (), *, controls: bool = False) -> list[Arm]:
    """Every arm that is to be trained, the recipe's own first.

    Args:
        compare: ``tasks``, ``sequences``, both or neither.
        controls: with the arm whose targets are permuted.

    Raises:
        UsageError: a comparison that the recipe has nothing for.
    """
    base = base_arm(recipe)
    arms = [base]
    if "tasks" in compare:
        if base.name != MULTI:
            raise UsageError(
                f"--compare tasks needs regions and targets; the recipe {recipe.name} has "
                f"{len(recipe.regions)} regions and {len(recipe.targets)} targets"
            )
        dropout = base.sequence_dropout
        arms += [
            Arm(SEGMENTATION_ONLY, targets=False, sequence_dropout=dropout),
            Arm(TARGET_ONLY, segmentation=False, sequence_dropout=dropout),
            Arm(FROZEN, segmentation=False, frozen=True, sequence_dropout=dropout),
        ]
    if "sequences" in compare:
        names = [sequence.name for sequence in recipe.sequences]
        if len(names) < 2:
            raise UsageError(f"--compare sequences needs two or more; the recipe {recipe.name} has only {names[0]}")
        learned = (base.segmentation, base.targets)
        arms += [Arm(f"only-{_word(name)}", *learned, sequences=(name,)) for name in names]
        other = 0.0 if base.sequence_dropout else DROP
        arms.append(Arm(DROPOUT if other else "no-dropout", *learned, sequence_dropout=other))
    if controls:
        if not recipe.targets:
            raise UsageError(f"--controls permutes targets; the recipe {recipe.name} has none")
        arms.append(Arm(PERMUTED, base.segmentation, True, sequence_dropout=base.sequence_dropout, permuted=True))
    return arms


def check_nested(recipe: Recipe) -> None:
    """See that ``--nested`` has something to choose.

    Raises:
        UsageError: a recipe without both regions and targets has nothing to weigh.
    """
    if not (recipe.regions and recipe.targets):
        raise UsageError(f"--nested chooses the weight of targets beside regions; {recipe.name} has not both")


def subsets_of(recipe: Recipe, arm: Arm) -> list[tuple[str, ...]]:
    """Every smaller choice of sequences that an arm's network can be asked about, larger ones first."""
    names = list(arm.sequences) or [sequence.name for sequence in recipe.sequences]
    return [some for count in range(len(names) - 1, 0, -1) for some in combinations(names, count)]


def _word(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
