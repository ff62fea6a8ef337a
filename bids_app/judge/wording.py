"""What a comparison showed, in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bids_app.judge.rows import TITLES, ComparisonRow
from bids_app.train.arms import FROZEN, MULTI, SEGMENTATION_ONLY, TARGET_ONLY

NAMES = {
    MULTI: "multi-task learning",
    SEGMENTATION_ONLY: "segmentation alone",
    TARGET_ONLY: "the target alone",
    FROZEN: "a frozen encoder",
    "volumes": "volumes with a linear model",
    "covariates": "covariates alone",
    "volumes-and-covariates": "volumes and covariates with a linear model",
    "lesion-places": "places and volumes of lesions and covariates with a linear model",
    "connectivity": "correlations between regions with a linear model",
    "connectivity-tangent": "connectivity in tangent space with a linear model",
    "age-sex-site": "age, sex and site with a linear model",
    "age-sex-motion": "age, sex and motion with a linear model",
}


def sentences(rows: Iterable[ComparisonRow]) -> list[str]:
    """A sentence for each difference that was shown, and one per arm for those that were not.

    Multi-task learning, where it takes part, is the one that is spoken of.
    """
    by_arm: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, []).append(row)
    found = []
    for mine in by_arm.values():
        shown = [row for row in mine if row.shown]
        unshown = [row for row in mine if not row.shown and np.isfinite(row.difference)]
        undefined = [row for row in mine if not np.isfinite(row.difference)]
        turned = mine[0].reference == MULTI
        subject, other = (called(n) for n in _turn(turned, mine[0].arm, mine[0].reference))
        for row in shown:
            found.append(f"{subject[0].upper()}{subject[1:]} {_shown(row, turned)}, against {other}.")
        if len(unshown) == 1:
            text = f"{unshown[0].title} ({_figures(unshown[0], turned)})"
            found.append(f"Between {subject} and {other} no difference was shown in {text}.")
        elif unshown:
            text = ", ".join(row.title for row in unshown)
            found.append(
                f"Between {subject} and {other} no difference was shown in {text} (intervals under Comparison)."
            )
        if undefined:
            found.append(f"Not defined for {subject} and {other}: {', '.join(row.title for row in undefined)}.")
    if any(not row.shown for mine in by_arm.values() for row in mine):
        found.append(
            "That no difference was shown does not say that there is none: the intervals say how large it may be."
        )
    return found


def called(arm: str) -> str:
    """What an arm is called in a sentence."""
    return NAMES.get(arm, f"the arm {arm}")


def number(value: float) -> str:
    """Two decimals, three where that leaves nothing; whole from a hundred on; with a true minus."""
    size = abs(value)
    text = f"{size:.0f}" if size >= 100 else f"{size:.2f}" if size >= 0.095 or size == 0 else f"{size:.3f}"
    return ("−" if value < 0 and float(text) else "") + text


def _shown(row: ComparisonRow, turned: bool) -> str:
    difference = -row.difference if turned else row.difference
    verb = "raised" if difference > 0 else "lowered"
    worse = "" if (difference > 0) == row.better else ", which is worse"
    noun = TITLES[row.measure][0] + (" of " if row.kind == "region" else " for ") + row.what
    return f"{verb} the {noun} by {number(abs(difference))} ({_figures(row, turned, value=False)}){worse}"


def _figures(row: ComparisonRow, turned: bool, *, value: bool = True) -> str:
    """Interval in the direction of the sentence; of an amount that was lowered, as an amount."""
    sign = -1 if turned else 1
    if not value:  # "lowered by 0.08 (0.02 to 0.14)": sizes, not signed differences
        sign = 1 if row.difference > 0 else -1
    low, high = sorted((sign * row.low, sign * row.high))
    parts = [number(sign * row.difference)] if value else []
    parts.append(f"95 % interval {number(low)} to {number(high)}" if np.isfinite(low) else "no interval")
    if np.isfinite(row.p_holm):
        shown = "p < 0.001" if row.p_holm < 0.001 else f"p {number(row.p_holm)}"
        parts.append(f"{shown} after Holm's correction")
    else:
        parts.append("no test")
    return ", ".join([*parts, f"{row.participants} participants"])


def _turn(turned: bool, one: str, other: str) -> tuple[str, str]:
    return (other, one) if turned else (one, other)
