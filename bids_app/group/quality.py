"""Which sessions to look at before their numbers are believed, and what the answers are without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_app.errors import DataError
from bids_app.group.collect import Collection, Session
from bids_app.group.results import Answers
from bids_app.group.volumes import FAR, NOT_FOUND, OUTLIER, PRIMARY, scores

PASS, WARN, FAIL = "pass", "warn", "fail"
#: A rating that keeps a session in, and makes it one to look at.
DOUBTFUL = "usable"
COLUMNS = {
    "participant_id": "Participant, as in participants.tsv.",
    "session_id": "Session; n/a for a participant without session folders.",
    "recipe": "Recipe.",
    "verdict": f"fail: the recipe did not finish, a person rated it bad, or a soft volume's modified z-score is beyond "
    f"{FAR:g}; warn: one is beyond {OUTLIER:g}, a region was not found, a person rated it usable, or the session has "
    f"warnings; else pass. Modified z-score: 0.6745 (value - median) / MAD over all sessions, from five on.",
    "reasons": "Why it is not pass.",
    "worst_z": "Modified z-score farthest from zero.",
    "worst_region": "The region that has it.",
    "outliers": f"Regions beyond {OUTLIER:g}.",
    "regions": "Regions with a number.",
    "not_found": "Regions that were looked for and not found.",
    "rating": "What a person thought of it, from ratings/.",
    "warnings": "How many warnings the session has; they stand in group_attrition.tsv.",
}
SENSITIVITY = {
    "measure": "Column of group_volumes_wide.tsv, or the asymmetry of two of them.",
    "kind": "As in group_contrasts.tsv.",
    "contrast": "What is compared.",
    "n": "Sessions in the model.",
    "n_without": "Sessions without those that have an outlier or are rated usable.",
    "estimate": "With all of them.",
    "estimate_without": "Without.",
    "p": "With all of them.",
    "p_without": "Without.",
    "changes": "What is another answer without them: significance (at 0.05, not corrected), direction; n/a: none.",
}
SIGNIFICANT = 0.05


def quality_table(found: Collection) -> pd.DataFrame:
    """A row per session and recipe; columns of `COLUMNS`."""
    primary = found.long[found.long["measure"] == PRIMARY].reset_index(drop=True)
    measured = _by_session(primary.assign(z=scores(primary)))
    rows = []
    for one in found.sessions:
        if one.reached == 0:
            continue  # listed in participants.tsv alone
        numbers = measured.get((one.key, one.recipe), {})
        verdict, reasons = judge(one, numbers)
        identity = {"participant_id": one.participant_id, "session_id": one.session_id, "recipe": one.recipe}
        told = len([text for text in one.warnings.split("; ") if text])
        rows.append(
            identity
            | {"verdict": verdict, "reasons": "; ".join(reasons) or None}
            | {name: numbers.get(name) for name in ("worst_z", "worst_region", "outliers", "regions", "not_found")}
            | {"rating": None if one.rating == "n/a" else one.rating, "warnings": told}
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numeric = ("worst_z", "outliers", "regions", "not_found", "warnings")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numeric})


def judge(session: Session, numbers: dict[str, Any]) -> tuple[str, list[str]]:
    """Verdict of one recipe on one session, and why.

    Args:
        numbers: ``worst_z``, ``worst_region``, ``outliers``, ``not_found``; empty where there are none.
    """
    failed: list[str] = []
    doubtful: list[str] = []
    if session.state != "done":
        failed.append(session.reason or session.state)
    if session.rating == "bad":
        failed.append("rated bad")
    z = numbers.get("worst_z")
    if z is not None and np.isfinite(z) and abs(z) > OUTLIER:
        (failed if abs(z) > FAR else doubtful).append(f"{numbers['worst_region']}: z {z:.1f}")
    if numbers.get("not_found"):
        doubtful.append(f"{numbers['not_found']} not found")
    if session.rating == DOUBTFUL:
        doubtful.append(f"rated {DOUBTFUL}")
    if session.warnings and session.state == "done":
        doubtful.append("warnings")
    return (FAIL if failed else WARN if doubtful else PASS), failed + doubtful


def _by_session(primary: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Numbers of each session and recipe, from rows with their ``z``."""
    keys = pd.MultiIndex.from_arrays([primary["key"].astype(str), primary["recipe"].astype(str)])
    codes, pairs = keys.factorize()
    if not len(pairs):
        return {}
    count = len(pairs)
    far = primary["z"].abs().fillna(-1).to_numpy()
    order = np.lexsort((-far, codes))
    first = order[np.concatenate([[True], np.diff(codes[order]) > 0])]
    regions = primary["region"].astype(str).to_numpy()
    missing = (primary["qc"] == NOT_FOUND).to_numpy()
    outliers = np.bincount(codes[far > OUTLIER], minlength=count)
    there = np.bincount(codes[primary["value"].notna().to_numpy()], minlength=count)
    lacking = np.bincount(codes[missing], minlength=count)
    z = primary["z"].to_numpy()[first]
    return {
        pair: {
            "worst_z": float(z[i]) if np.isfinite(z[i]) else None,
            "worst_region": regions[first[i]] if np.isfinite(z[i]) and z[i] else None,
            "outliers": int(outliers[i]), "regions": int(there[i]), "not_found": int(lacking[i]),
        }
        for i, pair in enumerate(pairs)
    }  # fmt: skip


def in_doubt(found: Collection, wide: pd.DataFrame) -> set[str]:
    """Keys of sessions with an outlier, or that a person rated usable.

    Args:
        wide: a row per session, its key as index, with the number of its ``outliers``.
    """
    outlying = wide.index[wide["outliers"] > 0]
    return set(outlying.astype(str)) | {one.key for one in found.sessions if one.rating == DOUBTFUL}


def answer_quality(found: Collection, answers: Answers) -> None:
    """The table, and how many passed."""
    table = quality_table(found)
    answers.add("group_quality", table, COLUMNS)
    counts = table["verdict"].value_counts()
    answers.shown["quality"] = {word: int(counts.get(word, 0)) for word in (PASS, WARN, FAIL)}


def sensitivity(
    contrasts: pd.DataFrame, doubtful: Sequence[str] | set[str], table: pd.DataFrame,
    again: Callable[[pd.DataFrame], pd.DataFrame], answers: Answers,
) -> None:  # fmt: skip
    """Ask again without the sessions in doubt, and say what changes.

    Args:
        contrasts: of all sessions, columns of `bids_app.group.contrasts.COLUMNS`.
        doubtful: keys of the sessions in doubt.
        table: a row per session, index its key.
        again: the contrasts of a part of it.
        answers: gets ``group_sensitivity.tsv``, and a sentence.
    """
    out = table.index.astype(str).isin(list(doubtful))
    if not out.any() or contrasts.empty:
        return
    names = ["measure", "kind", "contrast"]
    try:
        without = again(table[~out])
    except DataError as error:
        answers.warnings.append(f"Contrasts without the {int(out.sum())} sessions in doubt: {error}.")
        return
    both = contrasts.merge(without, on=names, how="left", suffixes=("", "_without"))
    crosses = (both["p"] < SIGNIFICANT) != (both["p_without"] < SIGNIFICANT)
    turns = np.sign(both["estimate"]) != np.sign(both["estimate_without"])
    known = both["p"].notna() & both["p_without"].notna()
    words = [
        ", ".join(word for word, hit in (("significance", c), ("direction", t)) if hit and k) or None
        for c, t, k in zip(crosses, turns & both["estimate_without"].notna(), known, strict=True)
    ]
    both["changes"] = pd.Series(words, dtype=object)
    answers.add("group_sensitivity", both[list(SENSITIVITY)], SENSITIVITY)
    changed = int((crosses & known).sum())
    answers.shown["sensitivity"] = {"sessions": int(out.sum()), "rows": int(known.sum()), "changed": changed}
    answers.methods.append(
        f"Contrasts were computed again without the {int(out.sum())} session{'s' * (int(out.sum()) != 1)} that had an "
        f"outlier (modified z-score beyond {OUTLIER:g}) [@outliers] or were rated {DOUBTFUL}."
    )
