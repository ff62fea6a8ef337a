"""What everybody asks of a kind of target: the interface of its object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bids_app.measure.scores import Scores

if TYPE_CHECKING:
    import torch

#: Bootstrap weights ``(draws, rows)`` -> one number per draw.
Statistic = Callable[[np.ndarray], np.ndarray]


class TargetKind(ABC):
    """A kind of target: how it is learned, answered, calibrated, judged and shown.

    Nobody outside `bids_app.targets` compares kinds by their names: a caller asks the target's object
    (`bids_app.recipes.recipe.Target.behaviour`). A kind with levels stems from `bids_app.targets.levelled.Levelled`,
    one with a value in a unit from `bids_app.targets.valued.Valued`.

    Attributes:
        name: as recipes write it.
        has_levels: its answer is a probability per level; otherwise a value in a unit.
        level_count: exactly so many levels; None for any number.
        gaussian: its loss is the likelihood of a normal distribution, for weighing tasks by their uncertainty.
        columns: measures of a table on the page, in order; names as in `scores`.
        foremost: the measure that stands for it where there is room for one.
        tested: measures that arms are compared by: few, for every test makes Holm's correction harder on all.
        controlled: measures that a negative control is judged by.
        figure: what is drawn of it on the page.
    """

    name: ClassVar[str]
    has_levels: ClassVar[bool]
    level_count: ClassVar[int | None] = None
    gaussian: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]]
    foremost: ClassVar[str]
    tested: ClassVar[tuple[str, ...]]
    controlled: ClassVar[tuple[str, ...]]
    figure: ClassVar[Literal["", "reliability", "agreement"]] = ""

    # what a recipe and a cohort say of it

    @abstractmethod
    def levels_trouble(self, levels: Sequence[str]) -> str | None:
        """Why a recipe may not give these levels; None where it may. No levels: they are to come from the table."""

    @abstractmethod
    def outputs(self, levels: int) -> int:
        """Outputs of a network's head for so many levels."""

    @abstractmethod
    def strata(self, values: Sequence[float]) -> list[str]:
        """What participants are spread evenly over folds by; ``unknown`` for NaN."""

    @abstractmethod
    def describe(self, values: np.ndarray, levels: Sequence[str]) -> dict[str, Any]:
        """Known values of a cohort, for its description; ``values`` is not empty."""

    # training

    @abstractmethod
    def fit(self, values: np.ndarray, levels: int) -> dict[str, Any]:
        """What the training side of a fold decides: the plan's entry for this target.

        Args:
            values: known ones, ``(n,)``, two different ones at least.
            levels: how many; 0 for a value.
        """

    @abstractmethod
    def loss(
        self, logits: torch.Tensor, truth: torch.Tensor, scaling: Mapping[str, Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses over participants, and the weight that they sum over.

        Args:
            logits: ``(n, outputs)``, ``n`` above 0.
            truth: ``(n,)``, position of the level, or the value in its own unit; known all.
            scaling: from `fit`.
        """

    @abstractmethod
    def codes(self, values: np.ndarray, levels: int, scaling: Mapping[str, Any]) -> np.ndarray:
        """Columns that a linear model learns in place of known values ``(n,)``: ``(n, codes)``.

        Args:
            levels: how many; 0 for a value.
            scaling: from `fit`.
        """

    @abstractmethod
    def from_codes(self, said: np.ndarray, values: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        """How a head's outputs follow from what a linear model says of the codes: ``said @ matrix + shift``.

        Args:
            said: of people who were not in the model, ``(n, codes)``: how sure an output may be is learned from them.
            values: what is true of them, ``(n,)``.

        Returns:
            ``(codes, outputs)`` and ``(outputs,)``.
        """

    # answers

    @abstractmethod
    def in_unit(self, outputs: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
        """A network's outputs ``(outputs,)`` as they are kept: logits, or the value in its own unit ``(1,)``."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Probability of every level, ``(..., levels)``, from logits ``(..., outputs)``; rows sum to one.

        Args:
            temperature: logits are divided by it.

        Raises:
            DataError: a kind with a value has none.
        """

    @abstractmethod
    def decide(self, probability: np.ndarray) -> np.ndarray:
        """Position of the level that is answered, ``(...)``, from ``(..., levels)``.

        Raises:
            DataError: a kind with a value has none.
        """

    @staticmethod
    @abstractmethod
    def link(logits: torch.Tensor, how: Mapping[str, Any]) -> torch.Tensor:
        """The answer ``(n, levels or 1)`` in torch, for bundles that are handed on.

        Its source is written into the exported bundle: it may use ``torch`` and its arguments, nothing else.

        Args:
            logits: ``(n, outputs)``.
            how: ``temperature``, and the member's entry from `fit`.
        """

    @abstractmethod
    def calibrate(self, outputs: np.ndarray, truth: np.ndarray, participants: int) -> dict[str, Any]:
        """What is fitted on answers for people whom the network never saw; with a ``note`` where it could not be.

        Args:
            outputs: as `in_unit` gives them, ``(n, outputs)``.
            truth: ``(n,)``, known all.
            participants: how many people the rows are of.
        """

    # judging

    @abstractmethod
    def scores(
        self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None, levels: Sequence[str] = ()
    ) -> Scores:
        """Every measure.

        Args:
            truth: ``(n,)``; NaN is left out.
            value: ``(n,)``, the value, or the position of the level decided on.
            probability: ``(n, levels)``; None for a kind with a value.
            levels: names for the sentences.
        """

    @abstractmethod
    def statistics(self, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None) -> dict[str, Statistic]:
        """Measure -> what a bootstrap needs; the truth is known of all."""

    @abstractmethod
    def shares(
        self, measure: str, truth: np.ndarray, value: np.ndarray, probability: np.ndarray | None
    ) -> np.ndarray | None:
        """Each row's part of a measure: the measure is their sum, and a constant; None where it is not such a sum.

        Truths being the same in two arms, a permutation test of the difference flips signs of these.
        """

    @abstractmethod
    def chance(self, measure: str, truth: np.ndarray) -> float:
        """What guessing reaches in a measure of `controlled`."""

    @abstractmethod
    def baseline(self, x: np.ndarray, y: np.ndarray, new: np.ndarray, levels: int) -> np.ndarray:
        """Outputs of a linear model for new rows, as `in_unit` keeps a network's.

        Args:
            x: ``(n, columns)`` of the training side, NaN where not known.
            y: ``(n,)``, known all.
            new: ``(m, columns)``.

        Returns:
            ``(m, outputs)``. A level that nobody in training has gets the logit of half a participant.
        """
