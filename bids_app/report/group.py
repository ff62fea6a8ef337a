"""The group page: where every session ended, and the distribution of every region. It is handed plain data."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report import charts
from bids_app.report.methods import text_methods
from bids_app.report.render import figures, render, write_page

#: Rows of a table of results that the page shows; the files hold all.
MOST_ROWS = 400
#: Dots of one chart, of the whole page, and of one chart at least; of more sessions a part is drawn.
MOST_DOTS, PAGE_DOTS, FEWEST_DOTS = 300, 4000, 60
#: Parts of the page that answers fill, in their order.
SECTIONS = {
    "table1": "Groups", "contrasts": "Contrasts", "harmonisation": "Sites", "normative": "Normative",
    "reliability": "Repeated sessions", "performance": "Scores", "segmentation": "Masks", "maps": "Maps",
}  # fmt: skip
SIDE = re.compile(r"(?<![a-z])(left|right|l|r|lh|rh)(?![a-z])", re.IGNORECASE)


def write_group_page(output_dir: Path, data: Mapping[str, Any]) -> Path:
    """Write ``group.html``.

    Args:
        output_dir: where it goes; links to sessions' pages are relative to it.
        data: ``group_column``, ``warnings``, ``stages`` (name, count), ``listed``, ``sessions`` (one mapping each),
            ``values`` (the primary measure: key, recipe, region, value, unit, group, page, qc), ``filters`` (title, and
            value by participant), ``answers`` (see `bids_app.group.answers`) and ``methods`` (sentences).

    Raises:
        CannotWrite: the page cannot be written.
    """
    values = data["values"]
    groups = group_order([v["group"] for v in values])
    regions = list(dict.fromkeys((v["recipe"], v["region"]) for v in values))
    by_region: dict[tuple[str, str], list[Mapping[str, Any]]] = {region: [] for region in regions}
    for v in values:
        by_region[v["recipe"], v["region"]].append(v)
    pairs = side_pairs(regions)
    tops = _tops(by_region, pairs)
    filters, about = _filters(data.get("filters") or {})
    most = max(FEWEST_DOTS, min(MOST_DOTS, PAGE_DOTS // max(1, len(regions) + len(pairs))))
    drawn = {region: _drawn(found, most) for region, found in by_region.items()}
    answers = data.get("answers") or {}
    for v in values:
        v["about"], v["tone_group"] = about(v["participant_id"]), groups.index(v["group"])
    page = render(
        "group.html.j2",
        scripts=("page.js", "group.js"),
        title="Group",
        data=data,
        groups=groups,
        flow=flow(data["stages"], data["sessions"]),
        regions=[
            {"recipe": r, "name": n, "chart": charts.distribution(by_region[r, n], groups, tops[r, n], drawn[r, n])}
            for r, n in regions
        ],
        thinned=max((len(v) for v in by_region.values()), default=0)
        if any(d is not None for d in drawn.values())
        else 0,
        pairs=[_pair(by_region, left, right, groups, drawn[left]) for left, right in pairs],
        answers=answers,
        forest=forest(answers.get("contrasts") or []),
        sections=[(name, title) for name, title in SECTIONS.items() if answers.get(name)],
        methods=text_methods(data.get("methods") or []),
        most=MOST_ROWS,
        pages={s["key"]: s["page"] for s in data["sessions"]},
        filters=filters,
        about=about,
        outliers=sorted(
            (v for v in values if "outlier" in v["qc"]), key=lambda v: (v["recipe"], v["region"], v["key"])
        ),
        bad=[s for s in data["sessions"] if s.get("rating") == "bad"],
        geometry=charts.geometry(),
    )
    return write_page(Path(output_dir) / "group.html", page)


def _tops(by_region: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], pairs: Sequence) -> dict:
    """Highest value of each region's axis; both sides of a pair share one, so that they can be compared by eye."""
    tops = {region: max(v["value"] for v in values) for region, values in by_region.items()}
    for left, right in pairs:
        tops[left] = tops[right] = max(tops[left], tops[right])
    return tops


def group_order(groups: Sequence[str]) -> list[str]:
    """Each group once, sorted, with participants of unknown group last."""
    return sorted(set(groups) - {"n/a"}) + (["n/a"] if "n/a" in groups else [])


def flow(stages: Sequence[tuple[str, int]], sessions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Boxes of the attrition flow; each says how many were lost before it and why."""
    boxes: list[dict[str, Any]] = []
    for position, (name, count) in enumerate(stages):
        lost = boxes[-1]["count"] - count if boxes else 0
        reasons = sorted({s["reason"] or s["state"] for s in sessions if position and s["reached"] == position})
        boxes.append({"name": name, "count": count, "lost": lost, "reasons": reasons})
    return boxes


def side_pairs(regions: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Regions of one recipe whose names differ in left and right only, left first."""
    sides: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for recipe, name in regions:
        match = SIDE.search(name.replace("_", " "))
        if match:
            rest = (name[: match.start()] + name[match.end() :]).strip(" _-").lower()
            sides.setdefault((recipe, rest), {})[match.group(1)[0].lower()] = (recipe, name)
    return [(found["l"], found["r"]) for found in sides.values() if set(found) == {"l", "r"}]


def _pair(
    by_region: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    left: tuple[str, str],
    right: tuple[str, str],
    groups: Sequence[str],
    drawn: set[str] | None,
) -> dict[str, Any]:
    def side(region: tuple[str, str]) -> dict[str, Mapping[str, Any]]:
        return {v["key"]: v for v in by_region[region] if drawn is None or v["key"] in drawn}

    chart = charts.pair(side(left), side(right), groups)
    return {"left": left[1], "right": right[1], "chart": chart}


def _filters(filters: Mapping[str, Mapping[str, str]]) -> tuple[list[dict[str, Any]], Any]:
    """What can be chosen on the page, and a function from a participant to the codes of its values."""
    made, codes = [], {}
    for place, (name, values) in enumerate(filters.items()):
        levels = sorted(set(values.values()))
        number = {level: str(i) for i, level in enumerate(levels)}
        made.append({"id": f"f{place}", "name": name, "levels": [(number[level], level) for level in levels]})
        codes[f"f{place}"] = {person: number[level] for person, level in values.items()}
    return made, lambda person: {key: found[person] for key, found in codes.items() if person in found}


def _drawn(values: Sequence[Mapping[str, Any]], most: int) -> set[str] | None:
    """Sessions that are drawn as dots of more than ``most``: outliers, and others by chance; None for all."""
    if len(values) <= most:
        return None
    far = [v["key"] for v in values if "outlier" in v["qc"]][:MOST_DOTS]
    return set(far) | set(random.Random(0).sample([v["key"] for v in values], most))


def forest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A figure per contrast of two groups: Hedges' g of every measure with its interval; at most 60 measures."""
    made = []
    for contrast in dict.fromkeys(r["contrast"] for r in rows if r["kind"] == "difference"):
        own = [r for r in rows if r["kind"] == "difference" and r["contrast"] == contrast]
        own = [r for r in own if r["g_low"] is not None and r["g_high"] is not None][:60]
        if not own:
            continue
        marks = charts.ticks(min(0, *(r["g_low"] for r in own)), max(0, *(r["g_high"] for r in own)), 6)
        width, left, top, step = 860.0, 300.0, 8.0, 20.0
        bottom = top + step * len(own) + 4
        x = charts.axis(marks[0], marks[-1], left, width - 16)
        made.append(
            {
                "title": contrast, "width": width, "height": bottom + 22, "left": left, "top": top, "bottom": bottom,
                "zero": x(0), "ticks": [(f"{v:g}".replace("-", "−"), x(v)) for v in marks],
                "rows": [
                    {
                        "measure": r["measure"], "y": top + step * (i + 0.6), "x": x(r["hedges_g"]),
                        "low": x(r["g_low"]), "high": x(r["g_high"]),
                        "sure": r["p_fdr"] is not None and r["p_fdr"] < 0.05,
                        "text": f"{r['measure']}: g {figures(r['hedges_g'])}, {figures(r['g_low'])} to "
                        f"{figures(r['g_high'])}, corrected p {figures(r['p_fdr'], 2)}",
                    }
                    for i, r in enumerate(own)
                ],
            }
        )  # fmt: skip
    return made
