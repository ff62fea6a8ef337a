"""What recipes answered for the targets, one row per session and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_app.bids.record import SessionRecord
from bids_app.errors import DataError
from bids_app.group.participants import Participants
from bids_app.recipes.recipe import Target
from bids_app.text import TextError, parse_number

COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that has the target.",
    "target": "Participant-level quantity. A score for research, no diagnosis.",
    "kind": "binary, categorical, ordinal or continuous.",
    "answer": "The likeliest level, or the value in its unit; n/a where the network abstained.",
    "probability": "Calibrated probability of the answer; n/a of a value.",
    "levels": "Probability of every level.",
    "set": "Levels that may be true: the set held the truth of 95 % of participants out of fold.",
    "low": "Lower end of the interval of a value.",
    "high": "Upper end.",
    "abstained": "Why there is no answer.",
    "truth": "The value of the target's column in participants.tsv or sessions.tsv.",
    "quality": "rated bad where a person rated the session's recipe bad: not counted in group_performance.tsv.",
}


@dataclass(frozen=True)
class Given:
    """One recipe's answer for one target of one session, as `bids_app.predict.targets` gives it."""

    key: str
    participant_id: str
    session_id: str
    recipe: str
    target: str
    answer: dict[str, Any]
    bad: bool = False

    @property
    def abstained(self) -> bool:
        """Whether there is neither a value nor a probability."""
        return bool(self.answer.get("abstained")) or not (
            self.answer.get("levels") or self.answer.get("value") is not None
        )

    @property
    def column(self) -> str:
        """Where its truth stands; records of an earlier version have the target's name."""
        return str(self.answer.get("column") or self.target)


def given_scores(record: SessionRecord, identity: tuple[str, str], bad: set[str]) -> list[Given]:
    """All answers of a session."""
    return [
        Given(record.key, *identity, part.recipe, name, answer, part.recipe in bad)
        for part in record.done()
        if part.scores is not None
        for name, answer in part.scores.targets.items()
    ]


def target_of(answers: list[Given]) -> Target | None:
    """The target that answers belong to, as far as they tell; None where all abstained."""
    told = next((one for one in answers if not one.abstained), None)
    if told is None:
        return None
    levels = tuple(told.answer.get("levels") or ())
    return Target(
        name=told.target,
        kind=told.answer["kind"],
        levels=levels,
        unit=told.answer.get("unit") or "",
        column=told.column,
    )


def truth_of(one: Given, target: Target, participants: Participants) -> float:
    """Position of the true level, or the true value; NaN where it is not known or no level.

    Raises:
        DataError: a cell of a value's column is no number.
    """
    text = participants.value(one.participant_id, one.session_id, one.column)
    if text == "n/a":
        return float("nan")
    if target.behaviour.has_levels:
        return float(target.levels.index(text)) if text in target.levels else float("nan")
    try:
        return parse_number(text)
    except TextError as error:
        raise DataError(f"the column {one.column} of {one.participant_id}: {error}") from error


def prediction_table(scores: list[Given], participants: Participants) -> pd.DataFrame:
    """A row per answer; columns of `COLUMNS`."""
    rows = []
    for one in scores:
        a, levels = one.answer, one.answer.get("levels") or {}
        likely = max(levels, key=lambda name: levels[name]) if levels else None
        value = a.get("value")
        truth = participants.value(one.participant_id, one.session_id, one.column)
        rows.append(
            {
                "participant_id": one.participant_id, "session_id": one.session_id, "recipe": one.recipe,
                "target": one.target, "kind": a.get("kind"),
                "answer": None if one.abstained else likely if levels else f"{value:.6g}",
                "probability": levels.get(likely) if levels and not one.abstained else None,
                "levels": ", ".join(f"{name} {p:.3f}" for name, p in levels.items()) if not one.abstained else None,
                "set": ", ".join(a["set"]) if a.get("set") and not one.abstained else None,
                "low": a.get("low"), "high": a.get("high"),
                "abstained": (a.get("reason") or "no answer") if one.abstained else None,
                "truth": None if truth == "n/a" else truth, "quality": "rated bad" if one.bad else "ok",
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("probability", "low", "high")})
