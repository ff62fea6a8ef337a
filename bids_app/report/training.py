"""The training page: what was learned, how well it holds, what helped, and what was not shown. Plain data goes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report import training_figures as figures
from bids_app.report.render import render, write_page
from bids_app.report.training_tables import (
    HEADINGS,
    Entry,
    cell,
    compact,
    detection_table,
    divided,
    facts_of,
    found,
    part,
    region_table,
    target_tables,
)

SITES, FOLDS = "sites", "folds"
#: Splits in the order in which they are shown: whoever reads one figure only shall read the harder one.
SPLITS = {SITES: "Each site left out once", FOLDS: "Folds at random"}
WHY_THEY_DIFFER = (
    "With each site left out, a network answers for a scanner and a hospital it has never seen, as it will wherever it "
    "is used next. With folds at random it has seen others from the same scanner; that figure is usually higher, and "
    "holds for these sites only."
)
ONE_SITE = (
    "No site was left out: participants of the same sites were in training, and whether the figures hold at another "
    "scanner or hospital is not known."
)
NO_CONTROL = (
    "This comparison has no negative control (--controls): an answer that leaks from test to training would not have "
    "been noticed."
)
HEADLINE = ("dice", "f1", "auc", "balanced_accuracy", "mae", "r2")


def write_training_report(results: dict[str, Any], path: Path, *, logs: dict[str, list[Path]]) -> Path:
    """Write the page of a training.

    Args:
        results: what was found, ready for JSON: ``recipe``, ``cohort``, ``splits``, ``plan``, ``arms``, ``baselines``,
            ``comparison``, ``controls``, ``suspicions``, ``nested``, ``calibration``, ``bundle``, ``failed``,
            ``sentences``, ``command``, ``versions``, ``notes``. Any may be missing or None, and any number None.
        path: of the page.
        logs: ``log.csv`` of each arm's folds; those that are not there are passed over.

    Raises:
        CannotWrite, IOFailure: as `write_page`.
    """
    return write_page(Path(path), render("training.html.j2", **view(results, logs)))


def view(results: Mapping[str, Any], logs: Mapping[str, Sequence[Path]] | None) -> dict[str, Any]:
    """Everything that the template shows, in its order."""
    recipe, arms = part(results, "recipe"), part(results, "arms")
    own = next(iter(arms), None)
    names = [s for s in SPLITS if any(s in part(arm, "splits") for arm in arms.values())]
    names += [s for s in part(results, "splits") if s in SPLITS and s not in names]
    sections = [split_section(name, results, own) for name in names]
    diaries = {arm: read_logs(paths) for arm, paths in (logs or {}).items()}
    return {
        "title": f"Training of {recipe.get('title') or recipe.get('name') or 'a recipe'}",
        "recipe": recipe,
        "own": own,
        "glance": glance(results),
        "learned": learned(results),
        "suspicions": texts(results, "suspicions"),
        "sentences": texts(results, "sentences"),
        "headline": headline(part(arms, own or "")),
        "why": WHY_THEY_DIFFER if len(names) > 1 else None,
        "one_site": None if SITES in names else ONE_SITE,
        "sections": sections,
        "arms": arms,
        "controls": controls(results),
        "baselines": [s for s in sections if s["baselines"]],
        "curves": [f for arm, found in diaries.items() for f in figures.curves(arm, found)],
        "cosines": [f for arm, found in diaries.items() for f in figures.cosines(arm, found)],
        "cohort": cohort(part(results, "cohort"), texts(results, "notes")),
        "drawn": drawn(part(results, "splits")),
        "plan": part(results, "plan"),
        "plan_facts": plan_facts(part(results, "plan")),
        "nested": [(fold, part(results["nested"], fold)) for fold in part(results, "nested")],
        "calibration": facts_of(part(results, "calibration")),
        "calibration_notes": texts(part(results, "calibration"), "notes"),
        "bundle": part(results, "bundle"),
        "failed": texts(results, "failed"),
        "command": results.get("command"),
        "versions": part(results, "versions"),
    }


def split_section(name: str, results: Mapping[str, Any], own: str | None) -> dict[str, Any]:
    """Everything that was measured on one split; figures are of the recipe's own arm."""
    arms = part(results, "arms")
    summaries: list[Entry] = [
        (arm, part(part(part(facts, "splits"), name), "summary"))
        for arm, facts in arms.items()
        if part(part(part(facts, "splits"), name), "summary")
    ]
    mine = dict(summaries).get(own or "", {})
    other: list[Entry] = [
        (baseline, part(part(part(facts, "splits"), name), "summary"))
        for baseline, facts in part(results, "baselines").items()
    ]
    beside = target_tables([e for e in ((own or "", mine), *other) if e[1]]) if any(s for _, s in other) else []
    comparison = part(part(results, "comparison"), name)
    own_split = part(part(part(arms, own or ""), "splits"), name)
    repeats = [(label, summary) for label, summary in part(own_split, "repeats").items() if summary]
    return {
        "name": name,
        "title": SPLITS[name],
        "regions": region_table(summaries),
        "targets": target_tables(summaries),
        "rules": mine.get("rules"),
        "tolerance": mine.get("tolerance_mm"),
        "unanswered": texts(mine, "unanswered"),
        "notes": _target_notes(summaries),
        "detection": detection_table(mine),
        "repeats": compact(repeats) if repeats else None,
        "forest": figures.forest([r for r in comparison.get("rows") or [] if isinstance(r, Mapping)], HEADINGS),
        "reference": comparison.get("reference"),
        "turned": comparison.get("reference") == figures.SPOKEN_OF,
        "subsets": subsets(arms, name),
        "baselines": beside,
        "agreement": [
            f
            for f in (
                figures.agreement(region, part(facts, "bland_altman"))
                for region, facts in part(mine, "regions").items()
            )
            if f
        ],
        "targets_drawn": [f for target, facts in part(mine, "targets").items() for f in target_figures(target, facts)],
        "divided": [
            {"by": word, "regions": region_table(entries), "targets": target_tables(entries)}
            for column, word in (("site", "Site"), ("sex", "Sex"))
            if (entries := divided(mine, column))
        ],
        "folds": [
            (arm, fold)
            for arm, facts in arms.items()
            for fold in part(part(facts, "splits"), name).get("folds") or []
            if isinstance(fold, Mapping)
        ],
    }


def _target_notes(summaries: list[Entry]) -> list[str]:
    """What was noticed about targets, each remark once."""
    said = (
        f"{arm}, {target}: {note}"
        for arm, summary in summaries
        for target, facts in part(summary, "targets").items()
        for note in texts(facts, "notes")
    )
    return list(dict.fromkeys(said))


def target_figures(name: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Reliability of a binary target; answer over truth of a continuous one, where each participant's are there."""
    measures = part(facts, "measures")

    def note(*wanted: str) -> str:
        rows = [(HEADINGS[m], cell(measures[m], m)["value"]) for m in wanted if m in measures]
        return ", ".join(f"{heading} {value}" for heading, value in rows)

    pairs = part(facts, "scatter") or part(facts, "bland_altman")
    drawn = [
        figures.reliability(
            f"{name}: reliability",
            facts.get("reliability") or [],
            note("calibration_slope", "calibration_intercept", "ece"),
        ),
        figures.scatter(f"{name}: truth and answer", pairs.get("truth"), pairs.get("answer"), note("mae", "r2")),
    ]
    return [figure for figure in drawn if figure]


def subsets(arms: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """Per arm that was asked without some of its sequences: a table with which were there."""
    tables = []
    for arm, facts in arms.items():
        mine = part(part(facts, "splits"), split)
        rows = [(label.replace("+", ", "), part(part(mine, "subsets"), label)) for label in part(mine, "subsets")]
        if rows:
            tables.append({"arm": arm, **compact(rows)})
    return tables


def headline(arm: Mapping[str, Any]) -> dict[str, Any] | None:
    """The own arm's foremost numbers, a column per split, the left-out site first."""
    summaries = {s: part(part(part(arm, "splits"), s), "summary") for s in SPLITS}
    summaries = {s: summary for s, summary in summaries.items() if summary}
    wanted: dict[tuple[str, str, str], None] = {}
    for summary in summaries.values():
        for name, facts in part(summary, "regions").items():
            wanted |= dict.fromkeys(("regions", name, m) for m in HEADLINE if m in facts)
        for name, facts in part(summary, "targets").items():
            wanted |= dict.fromkeys(("targets", name, m) for m in HEADLINE if m in part(facts, "measures"))
    rows = [
        {"what": f"{HEADINGS[m]}, {name}", "cells": [cell(found(s, kind, name, m), m) for s in summaries.values()]}
        for kind, name, m in wanted
    ]
    return {"head": [SPLITS[s] for s in summaries], "rows": rows} if rows else None


def glance(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The cohort and the course in a few numbers."""
    people, arms = part(results, "cohort"), part(results, "arms")
    names = (("Participants", "participants"), ("Sessions", "sessions"), ("With labels", "labelled"))
    rows: list[tuple[str, Any]] = [(title, people.get(name, "not known")) for title, name in names]
    if people.get("with_lesion"):
        rows.append(("With a lesion", people["with_lesion"]))
    sites = part(people, "sites")
    rows.append(("Sites", len(sites) or "not known"))
    rows.append(("Arms", len(arms)))
    seconds = [
        fold.get("seconds")
        for arm in arms.values()
        for split in part(arm, "splits").values()
        for fold in (split or {}).get("folds") or []
        if figures.is_number((fold or {}).get("seconds"))
    ]
    return [*rows, ("Folds trained", len(seconds))] if seconds else rows


def learned(results: Mapping[str, Any]) -> str:
    """Regions and targets, in a sentence."""
    regions: dict[str, None] = {}
    facts = dict(part(part(results, "cohort"), "targets"))
    for arm in part(results, "arms").values():
        for split in part(arm, "splits").values():
            summary = part(split, "summary")
            regions |= dict.fromkeys(r for r in part(summary, "regions") if r != "all regions")
            facts = {**part(summary, "targets"), **facts}
    targets = [f"{name} ({part(facts, name).get('kind') or 'kind not known'})" for name in facts]
    parts = [f"{word} {', '.join(names)}" for word, names in (("regions", regions), ("targets", targets)) if names]
    return f"Learned: {'; '.join(parts)}." if parts else "What was learned is not known."


def controls(results: Mapping[str, Any]) -> dict[str, Any]:
    """The negative control's verdict, or that there is none."""
    plain = part(results, "controls")
    if not plain:
        return {"sentences": [NO_CONTROL], "rows": [], "passed": None}
    sentences = texts(plain, "sentences") or texts(plain, "text") or ["The negative control's verdict is not known."]
    rows = [
        {
            **row,
            "heading": HEADINGS.get(str(row.get("measure")), row.get("measure")),
            "cell": cell(row, str(row.get("measure"))),
        }
        for row in plain.get("rows") or []
        if isinstance(row, Mapping)
    ]
    return {"sentences": sentences, "rows": rows, "passed": plain.get("passed")}


def cohort(facts: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """Counts as tables of two columns, and every note once."""
    targets = [
        {"name": name, **one, "classes": part(one, "classes")}
        for name, one in part(facts, "targets").items()
        if isinstance(one, Mapping)
    ]
    counts = [(t, part(facts, k)) for t, k in (("Sites", "sites"), ("Sexes", "sexes"), ("Sequences", "sequences"))]
    return {
        "facts": facts,
        "targets": targets,
        "counts": [(title, rows) for title, rows in counts if rows],
        "notes": list(dict.fromkeys([*texts(facts, "notes"), *notes])),
    }


def drawn(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How each split was drawn."""
    return [
        {
            "title": SPLITS[name],
            "digest": part(splits, name).get("digest"),
            "how": facts_of(part(splits, name).get("how")),
            "folds": part(splits, name).get("folds") or [],
        }
        for name in SPLITS
        if part(splits, name)
    ]


def plan_facts(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every decision but the reasons, which stand above."""
    return facts_of({name: value for name, value in plan.items() if name != "why"})


def read_logs(paths: Sequence[Path]) -> dict[str, Any]:
    """Folds' logs by their folder's name; a name that comes twice is counted on."""
    logs: dict[str, Any] = {}
    for path in paths or []:
        name, columns = Path(path).parent.name, figures.read_log(Path(path))
        if columns:
            logs[name if name not in logs else f"{name} ({len(logs) + 1})"] = columns
    return logs


def texts(mapping: Mapping[str, Any], key: str) -> list[str]:
    """A list of sentences; one alone, or none, is a list too."""
    value = mapping.get(key) or []
    return [value] if isinstance(value, str) else [str(one) for one in value if one]
