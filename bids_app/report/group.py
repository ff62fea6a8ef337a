"""The group page: where every session ended, and the distribution of every region. It is handed plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report import charts
from bids_app.report.render import render, write_page

SIDE = re.compile(r"(?<![a-z])(left|right|l|r|lh|rh)(?![a-z])", re.IGNORECASE)


def write_group_page(output_dir: Path, data: Mapping[str, Any]) -> Path:
    """Write ``group.html``.

    Args:
        output_dir: where it goes; links to sessions' pages are relative to it.
        data: ``group_column``, ``warnings``, ``stages`` (name, count), ``listed``, ``sessions`` (one mapping each) and
            ``values`` (the primary measure: key, recipe, region, value, unit, group, page, qc).

    Raises:
        CannotWrite: the page cannot be written.
    """
    values = data["values"]
    groups = group_order([v["group"] for v in values])
    regions = list(dict.fromkeys((v["recipe"], v["region"]) for v in values))
    by_region = {r: [v for v in values if (v["recipe"], v["region"]) == r] for r in regions}
    pairs = side_pairs(regions)
    tops = _tops(by_region, pairs)
    page = render(
        "group.html.j2",
        title="Group",
        data=data,
        groups=groups,
        flow=flow(data["stages"], data["sessions"]),
        regions=[
            {"recipe": r, "name": n, "chart": charts.distribution(by_region[r, n], groups, tops[r, n])}
            for r, n in regions
        ],
        pairs=[_pair(by_region, left, right, groups) for left, right in pairs],
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
) -> dict[str, Any]:
    chart = charts.pair({v["key"]: v for v in by_region[left]}, {v["key"]: v for v in by_region[right]}, groups)
    return {"left": left[1], "right": right[1], "chart": chart}
