"""How good the masks are where somebody labelled the same sessions: `-d manual=PATH` at the group level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.bids.preflight import check_image
from bids_app.bids.record import RecipePart, SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.cohort.labels import check_labels, find_labels
from bids_app.errors import InputMissing, TandemError
from bids_app.group.collect import Collection, identity_of
from bids_app.group.plan import GroupPlan
from bids_app.group.ratings import RATINGS
from bids_app.group.results import Answers, with_none
from bids_app.imaging.stacking import Grid
from bids_app.judge.answers import EMPTY_RULE, OVERLAP, summarise_region
from bids_app.judge.external import TOLERANCE_MM, region_rows
from bids_app.recipes.recipe import Recipe, load_recipe

WHAT = {
    "dice": "Dice.",
    "nsd": f"Share of both surfaces within {TOLERANCE_MM:g} mm of the other (normalised surface distance).",
    "hd95_mm": "95th percentile of the distance between the surfaces, mm.",
    "truth_mm3": "Volume that was labelled, mm3.",
    "answer_mm3": "Volume of the mask, mm3.",
    "volume_error_mm3": "Mask less label, mm3.",
    "false_positive_mm3": "Volume of the mask where nothing was labelled, mm3; n/a where something was.",
    "outcome": "true or false positive or negative: is anything there, was anything found.",
    "f1": "Of lesions: F1 of single lesions, found by any overlap.",
}
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe that made the mask.",
    "region": "Region.",
    **WHAT,
    "quality": "rated bad where a person rated the session's recipe bad: not counted in the summary.",
}
SUMMARY = {
    "recipe": "Recipe.",
    "region": "Region.",
    "who": "everybody, or one site or sex.",
    "measure": "As in group_segmentation.tsv; a mean over participants of each one's mean over sessions.",
    "participants": "Participants that it rests on.",
    "value": "The mean.",
    "low": "Lower end of its 95 % interval (bootstrap over participants).",
    "high": "Upper end.",
}


@dataclass(frozen=True)
class _Whose:
    """What the rows of `bids_app.judge` say of a session."""

    key: str
    participant: str
    site: str | None
    sex: str | None
    age: float = float("nan")


def answer_segmentation(found: Collection, output_dir: Path, plan: GroupPlan, answers: Answers) -> None:
    """Compare every mask with the label of its recipe, where one is given; nothing without ``plan.truth``.

    Args:
        output_dir: the derivatives folder.
        plan: ``truth``: folders by the names that recipes' ``[labels]`` have; ``recipes``: those that do not ship.

    Raises:
        InputMissing: a folder is not there.
    """
    for name, folder in plan.truth.items():
        if not folder.is_dir():
            raise InputMissing(f"-d {name}={folder}: there is no such folder")
    if not plan.truth:
        return
    recipes = _recipes(plan)
    bad = {(one.key, one.recipe) for one in found.sessions if one.rating == RATINGS[-1]}
    rows: list[dict[str, Any]] = []
    for key in sorted({one.key for one in found.sessions if one.reached}):
        record = read_session(output_dir, key)
        for part in record.done():
            if part.recipe not in recipes:
                recipes[part.recipe] = _shipped(part.recipe)
            recipe = recipes[part.recipe]
            if recipe is not None and part.files.dseg and recipe.labels.derivative in plan.truth:
                own = _session_rows(found, output_dir, record, part, recipe, plan, answers.warnings)
                rows += [row | {"quality": "rated bad"} for row in own] if (key, part.recipe) in bad else own
    if not rows:
        answers.warnings.append(f"-d {' '.join(plan.truth)}: no finished session has a label of its recipe there.")
        return
    table = pd.DataFrame(rows).reindex(columns=[*COLUMNS, "key", "participant", "site", "sex", "age"])
    answers.add("group_segmentation", table[list(COLUMNS)], COLUMNS)
    summary = _summary([row for row in rows if row["quality"] == "ok"], plan.seed)
    answers.add("group_segmentation_summary", summary, SUMMARY)
    answers.shown["segmentation"] = {"rows": with_none(summary), "rule": EMPTY_RULE}
    answers.methods.append(
        "Masks were compared with given labels on the reference image's own grid (Dice, normalised surface distance at "
        f"{TOLERANCE_MM:g} mm, HD95, volumes), with 95 % intervals by a bootstrap over participants."
    )


def _recipes(plan: GroupPlan) -> dict[str, Recipe | None]:
    """Recipes of files that were given, by name."""
    return {recipe.name: recipe for recipe in (load_recipe(one) for one in plan.recipes if one.endswith(".toml"))}


def _shipped(name: str) -> Recipe | None:
    try:
        return load_recipe(name)
    except TandemError:
        return None


def _session_rows(
    found: Collection, output_dir: Path, record: SessionRecord, part: RecipePart, recipe: Recipe, plan: GroupPlan,
    warnings: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of one recipe of one session; a sentence where its label or mask cannot be used."""
    label, wrong = find_labels(recipe, plan.truth[recipe.labels.derivative], record.participant, record.session)
    if wrong:
        warnings.append(f"{record.key}: {wrong}.")
    if label is None or part.files.dseg is None:
        return []
    identity = identity_of(record)
    known = {c.lower(): c for c in reversed(found.participants.columns)}

    def of(name: str) -> str | None:
        cell = found.participants.value(*identity, known.get(name, ""))
        return None if cell == "n/a" else cell

    whose = _Whose(record.key, identity[0], of((plan.site or "site").lower()), of("sex"))
    about = part.prediction.slice if part.prediction else None
    mask = output_dir / part.files.dseg
    try:
        check_image(mask, head=False, constant=True)
        trouble, told, _ = check_labels(label, recipe, Grid.of(mask))
    except TandemError as error:
        trouble, told = [str(error)], []
    warnings += [f"{record.key}: {text}." for text in told]
    if trouble:
        warnings.append(f"{record.key} was not compared with its label: {'; '.join(trouble)}.")
        return []
    measured = region_rows(whose, label, mask, recipe, about)
    head = {"participant_id": identity[0], "session_id": identity[1], "recipe": part.recipe}
    return [{**head, **row, "quality": "ok"} for row in measured]


def _summary(rows: Sequence[dict[str, Any]], seed: int) -> pd.DataFrame:
    """A row per recipe, region, part of the people and measure."""
    told = []
    for recipe, region in dict.fromkeys((row["recipe"], row["region"]) for row in rows):
        own = [row for row in rows if (row["recipe"], row["region"]) == (recipe, region)]
        found = summarise_region(own, seed)
        parts = {"everybody": found}
        for column in ("site", "sex"):
            parts |= {f"{column} {value}": part for value, part in found.get(f"by_{column}", {}).items()}
        for who, part in parts.items():
            for measure in (*OVERLAP, "f1"):
                one = part.get(measure)
                if one and one["value"] is not None and np.isfinite(one["value"]):
                    numbers = {name: one[name] for name in ("participants", "value", "low", "high")}
                    told.append({"recipe": recipe, "region": region, "who": who, "measure": measure, **numbers})
    return pd.DataFrame(told, columns=list(SUMMARY))
