"""Tables of the training page: a column per measure, each number with its interval and whom it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bids_app.report.render import number
from bids_app.report.training_figures import LONG_MM3, is_number
from bids_app.targets.kinds import kind_names, kind_of

#: Measure -> heading, digits, factor.
COLUMNS = {
    "dice": ("Dice", 3, 1),
    "nsd": ("NSD", 3, 1),
    "hd95_mm": ("HD95, mm", 2, 1),
    "volume_error_mm3": ("Volume error, mm³", 1, 1),
    "absolute_volume_error_mm3": ("Absolute, mm³", 1, 1),
    "relative_volume_error": ("Relative, %", 1, 100),
    "f1": ("Lesion F1", 3, 1),
    "auc": ("AUC", 3, 1),
    "balanced_accuracy": ("Balanced accuracy", 3, 1),
    "sensitivity": ("Sensitivity", 3, 1),
    "specificity": ("Specificity", 3, 1),
    "brier": ("Brier score", 3, 1),
    "log_loss": ("Log loss", 3, 1),
    "calibration_slope": ("Calibration slope", 2, 1),
    "calibration_intercept": ("Intercept", 2, 1),
    "ece": ("ECE", 3, 1),
    "mae": ("Mean absolute error", 2, 1),
    "kappa": ("Weighted kappa", 3, 1),
    "r2": ("R²", 3, 1),
    "correlation": ("Correlation", 3, 1),
    "bias": ("Bias", 2, 1),
}
HEADINGS = {name: column[0] for name, column in COLUMNS.items()}
OF_REGIONS = (
    "dice",
    "nsd",
    "hd95_mm",
    "volume_error_mm3",
    "absolute_volume_error_mm3",
    "relative_volume_error",
    "f1",
)
NOT_KNOWN = "not known"

Entry = tuple[str, Mapping[str, Any]]


def cell(row: Any, measure: str, beside: Any = None, *, ml: bool = False) -> dict[str, Any]:
    """One number for people: ``value``, ``interval``, and ``of`` participants where these are not ``beside``'s; a
    volume in ml where that is asked for."""
    row = row if isinstance(row, Mapping) else {}
    _, digits, usual = COLUMNS.get(measure, (measure, 3, 1))
    digits, factor = (2, 1e-3) if ml else (digits, usual)
    value, low, high = (row[k] * factor if is_number(row.get(k)) else None for k in ("value", "low", "high"))
    people = row.get("participants")
    return {
        "value": number(value, digits),
        "of": people if is_number(people) and people != beside else None,
        "interval": "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}",
    }


def region_table(entries: Iterable[Entry], columns: Sequence[str] = OF_REGIONS) -> dict[str, Any]:
    """A row per entry (an arm, a site) and region; columns that nobody has are left out."""
    rows = []
    for label, summary in entries:
        for name, facts in part(summary, "regions").items():
            people = next((p for c in columns if is_number(p := part(facts, c).get("participants"))), None)
            rows.append({"label": label, "what": name, "people": people, "facts": facts})
    return table(rows, columns)


def target_tables(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """A table per kind of target: a row per entry and target."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for label, summary in entries:
        for name, facts in part(summary, "targets").items():
            row = {"label": label, "what": name, "people": facts.get("participants"), "facts": part(facts, "measures")}
            by_kind.setdefault(str(facts.get("kind") or "other"), []).append(row)
    return [{"kind": kind, **table(rows, columns_of(kind))} for kind, rows in by_kind.items()]


def columns_of(kind: str) -> Sequence[str]:
    """Measures of a kind of target; all of them for a kind that this program does not know."""
    return kind_of(kind).columns if kind in kind_names() else tuple(COLUMNS)


def foremost_of(kind: str) -> str:
    """What a target is named by in one number."""
    return kind_of(kind).foremost if kind in kind_names() else "balanced_accuracy"


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """Headings, and cells in their order; rows of one region or target beside each other."""
    order = list(dict.fromkeys(row["what"] for row in rows))
    rows = sorted(rows, key=lambda row: order.index(row["what"]))
    shown = [c for c in columns if any(is_number(part(row["facts"], c).get("value")) for row in rows)]
    long = {c for c in shown if any(_is_long(part(row["facts"], c), c) for row in rows)}

    def cells(row: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [cell(row["facts"].get(c), c, row["people"], ml=c in long) for c in shown]

    return {
        "head": [HEADINGS[c].replace("mm³", "ml") if c in long else HEADINGS[c] for c in shown],
        "rows": [{**row, "cells": cells(row)} for row in rows],
    }


def _is_long(facts: Mapping[str, Any], column: str) -> bool:
    """Whether a volume, or an end of its interval, is too long a number in mm³."""
    ends = [facts.get(name) for name in ("value", "low", "high")]
    return column.endswith("_mm3") and any(is_number(end) and abs(end) >= LONG_MM3 for end in ends)


def divided(summary: Mapping[str, Any], column: str) -> list[Entry]:
    """A summary per site or sex, as if it were an arm; empty where only one is known."""
    found: dict[str, dict[str, Any]] = {}
    for kind in ("regions", "targets"):
        for name, facts in part(summary, kind).items():
            for value, mine in part(facts, f"by_{column}").items():
                entry = found.setdefault(str(value), {"regions": {}, "targets": {}})
                entry[kind][name] = {"kind": facts.get("kind"), **mine}
    return list(found.items())


def compact(entries: Sequence[Entry]) -> dict[str, Any]:
    """A row per entry, and a column per region (Dice, F1 of lesions) and target (its foremost measure)."""
    columns: dict[str, tuple[str, str, str]] = {}
    for _, summary in entries:
        for name, facts in part(summary, "regions").items():
            for measure in [m for m in ("dice", "f1") if m in facts]:
                columns.setdefault(f"{HEADINGS[measure]}, {name}", ("regions", name, measure))
        for name, facts in part(summary, "targets").items():
            measure = foremost_of(str(facts.get("kind")))
            columns.setdefault(f"{HEADINGS[measure]}, {name}", ("targets", name, measure))
    rows = [
        {
            "label": label,
            "people": summary.get("participants"),
            "cells": [
                cell(found(summary, *where), where[2], summary.get("participants")) for where in columns.values()
            ],
        }
        for label, summary in entries
    ]
    return {"head": list(columns), "rows": rows}


def found(summary: Mapping[str, Any], kind: str, name: str, measure: str) -> Mapping[str, Any]:
    """One number of a summary with its interval; empty where it has none."""
    facts = part(part(summary, kind), name)
    return part(facts if kind == "regions" else part(facts, "measures"), measure)


def detection_table(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per lesion region and size: counts, and precision, recall and F1 with intervals."""
    rows = []
    for name, facts in part(summary, "regions").items():
        for size, counts in part(facts, "detection").items():
            if isinstance(counts, Mapping) and "lesions" in counts:
                cells = [
                    cell(counts.get(m), "f1", part(counts, m).get("participants"))
                    for m in ("precision", "recall", "f1")
                ]
                rows.append({"region": name, "size": size, **{k: counts.get(k) for k in COUNTS}, "cells": cells})
    return rows


COUNTS = ("lesions", "found", "answers", "right")


def part(mapping: Any, key: str) -> Mapping[str, Any]:
    """A mapping inside a mapping; empty where it is not there."""
    inside = mapping.get(key) if isinstance(mapping, Mapping) else None
    return inside if isinstance(inside, Mapping) else {}


def facts_of(mapping: Any, before: str = "") -> list[tuple[str, str]]:
    """Names and values of whatever a record holds, nested names joined; long lists are counted."""
    rows: list[tuple[str, str]] = []
    for name, value in (mapping if isinstance(mapping, Mapping) else {}).items():
        label = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += facts_of(value, f"{label}, ")
        elif name != "notes":
            rows.append((label, said(value)))
    return rows


def said(value: Any) -> str:
    """A value in words."""
    if value is None or value == "" or value == []:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, list | tuple):
        return f"{len(value)} values" if len(value) > 12 else ", ".join(said(v) for v in value)
    return str(value)
