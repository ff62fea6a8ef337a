"""A record as the rows, facts and sentences that a page shows. No files are read here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

PALETTE = ("#4da3ff", "#ff6b5e", "#ffd166", "#5ad19a", "#c58bff", "#ff9f43", "#7bdff2", "#f78fb3")
HEX = re.compile(r"#[0-9a-fA-F]{6}")
STATE_WORDS = {"done": "Done", "failed": "Failed", "running": "Not finished"}


def region_color(region: Mapping[str, Any], position: int) -> str:
    """The region's own colour, where it is one; else the next of the palette."""
    color = region.get("color")
    return color if isinstance(color, str) and HEX.fullmatch(color) else PALETTE[position % len(PALETTE)]


def glance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts a reader looks for first."""
    used = [s["sequence"] for s in sequence_rows(record) if s["file"]]
    facts = [("Sequences used", ", ".join(used) or "none")]
    for prediction in record.get("predictions") or []:
        regions = [r for r in prediction.get("regions") or [] if r.get("kind") != "total"]
        found = sum(bool(r.get("found", True)) for r in regions)
        facts.append(
            (str(prediction.get("title") or prediction.get("recipe")), f"{found} of {len(regions)} regions found")
        )
    for scores in record.get("scores") or []:
        facts += [(f"{name} (score)", text) for name, text, _ in (score_text(*s) for s in score_items(scores))]
    preprocessing = record.get("preprocessing") or {}
    if _is_number(preprocessing.get("brain_ml")):
        facts.append(("Brain mask", f"{preprocessing['brain_ml']:.0f} ml"))
    if total_seconds(record):
        facts.append(("Time", duration_of(record)))
    facts.append(("Warnings", str(len(all_warnings(record))) if all_warnings(record) else "none"))
    return facts


def sequence_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per sequence of the recipe, with what preflight measured of its file."""
    selection = record.get("selection") or {}
    facts = {f.get("file"): f for f in record.get("preflight") or []}
    rows = []
    for item in selection.get("sequences") or []:
        fact = facts.get(item.get("file")) or {}
        size = " × ".join(str(n) for n in fact.get("shape") or [])
        zooms = " × ".join(f"{z:.3g}" for z in fact.get("zooms") or [])
        rows.append(
            {
                "sequence": str(item.get("sequence")),
                "file": item.get("file"),
                "reference": item.get("sequence") == selection.get("reference"),
                "reason": item.get("reason") or "",
                "rejected": item.get("rejected") or [],
                "grid": f"{size} voxels of {zooms} mm" if size and zooms else "",
                "orientation": fact.get("orientation") or "",
                "computed": bool(item.get("computed")),
            }
        )
    return rows


def all_warnings(record: Mapping[str, Any]) -> list[str]:
    """Of the session, of its files and of its predictions, each once."""
    found = [str(w) for w in record.get("warnings") or []]
    for fact in record.get("preflight") or []:
        name = PurePosixPath(str(fact.get("file"))).name
        found += [w if name in w else f"{name}: {w}" for w in map(str, fact.get("warnings") or [])]
    for prediction in record.get("predictions") or []:
        found += [str(w) for w in prediction.get("warnings") or []]
    return list(dict.fromkeys(found))


def score_items(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Targets of one recipe with their answers."""
    return [(str(n), a) for n, a in (scores.get("targets") or {}).items() if isinstance(a, Mapping)]


def score_text(name: str, answer: Mapping[str, Any]) -> tuple[str, str, str]:
    """A target's name, its answer in words, and how much its members disagree."""
    if answer.get("abstained"):
        return name, f"no score: {answer.get('reason') or 'the bundle abstained'}", "–"
    members = answer.get("members") or 1
    if "value" in answer:
        value, unit = answer.get("value"), f" {answer['unit']}" if answer.get("unit") else ""
        text = f"{value:.3g}{unit}" if _is_number(value) else "–"
        if _is_number(answer.get("low")) and _is_number(answer.get("high")):
            text += f" ({answer['low']:.3g} to {answer['high']:.3g})"
        spread = answer.get("members_sd")
        return name, text, f"SD {spread:.2g} of {members}" if members > 1 and _is_number(spread) else "one member"
    levels = answer.get("levels") or {}
    text = ", ".join(f"{level} {p:.2f}" for level, p in levels.items() if _is_number(p))
    shared = answer.get("mutual_information")
    return name, text or "–", f"{shared:.3f} nats of {members}" if members > 1 and _is_number(shared) else "one member"


def score_tables(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per recipe: title, one row per target, and what the answers depend on."""
    tables = []
    for scores in record.get("scores") or []:
        rows = []
        for item in score_items(scores):
            name, text, disagreement = score_text(*item)
            heat = item[1].get("temperature")
            calibrated = f"temperature {heat:g}" if _is_number(heat) else "–"
            if _is_number(item[1].get("coverage")):
                calibrated = f"{100 * item[1]['coverage']:.0f} % of participants lay in the range out of fold"
            strange = bool(item[1].get("abstained"))
            rows.append(
                {"name": name, "text": text, "disagreement": disagreement, "how": calibrated, "abstained": strange}
            )
        used = [name for name, there in (scores.get("sequences") or {}).items() if there]
        late = [f"{n} {'not known' if v is None else v}" for n, v in (scores.get("covariates") or {}).items()]
        tables.append(
            {
                "title": str(scores.get("title") or scores.get("recipe")),
                "rows": rows,
                "from": ", ".join([*used, *late]),
                "bundle": str(scores.get("bundle") or scores.get("recipe")),
            }
        )
    return tables


def volume_tables(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per recipe: title, rows with their place on a common scale, and the definition of each number."""
    tables = []
    for prediction in record.get("predictions") or []:
        regions = prediction.get("regions") or []
        single = [r for r in regions if r.get("kind") != "total"]  # a sum would make all others small
        values = [r.get(k) for r in single for k in ("soft_mm3", "soft_high_mm3", "hard_mm3")]
        top = max([float(v) for v in values if _is_number(v)], default=0.0) * 1.08 or 1.0
        rows = [_volume_row(r, i, top) for i, r in enumerate(regions)]
        tables.append(
            {
                "title": str(prediction.get("title") or prediction.get("recipe")),
                "rows": rows,
                "top": top,
                "definition": definition(prediction, record),
                "unit": "mm³",
            }
        )
    return tables


def _volume_row(region: Mapping[str, Any], position: int, top: float) -> dict[str, Any]:
    soft, low, high, hard = (region.get(k) for k in ("soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3"))
    centre = region.get("centre_mm")
    return {
        "name": str(region.get("name")),
        "color": region_color(region, position),
        "soft": soft if region.get("found", True) else None,
        "low": low,
        "high": high,
        "hard": hard if region.get("found", True) else None,
        "centre": ", ".join(f"{c:.1f}".replace("-", "−") for c in centre) if _is_point(centre) else "–",
        "found": bool(region.get("found", True)),
        "at": {
            n: 100 * float(v) / top
            for n, v in (("soft", soft), ("low", low), ("high", high), ("hard", hard))
            if _is_number(v) and region.get("kind") != "total"
        },
    }


def definition(prediction: Mapping[str, Any], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each column of the volumes table means, with the values it depends on."""
    reference = (record.get("selection") or {}).get("reference") or "the reference"
    grid = prediction.get("grid") or {}
    spacing = grid.get("spacing")
    spacing = " × ".join(f"{float(s):g}" for s in spacing) if isinstance(spacing, list | tuple) else spacing
    on_grid = f"the prediction grid ({spacing} mm)" if spacing else "the prediction grid"
    threshold = prediction.get("threshold")
    reaching = f"at or above {threshold:g}" if _is_number(threshold) else "at or above the bundle's threshold"
    rule = f"the dseg image has the same threshold in {reference}'s own grid"
    if "threshold" in prediction and threshold is None:
        reaching = "whose likeliest region it is"
        rule = f"the dseg image has the likeliest region of each voxel of {reference}'s own grid"
    soft = f"calibrated probability, integrated over {on_grid} in and around the region's main piece; no threshold"
    interval = "95 % of repeated scans of the same brain are expected in it; it says nothing about a bias of the method"
    hard = f"voxels of that piece {reaching}; {rule}"
    centre = f"centre of mass in {reference}'s world coordinates: mm to the right, to the front, upwards"
    return [("Soft", soft), ("Range", interval), ("Hard", hard), ("Centre", centre)]


def registration_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each registration with its size; what is not rigid with its scaling."""
    done = record.get("preprocessing") or {}
    rows = [dict(r) for r in done.get("registrations") or []]
    for row in rows:
        scales = row.get("scales") if row.get("kind") != "rigid" else None
        row["scales"] = " × ".join(f"{s:.2f}" for s in scales) if scales else ""
    return rows


def diffusion_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was computed from a raw series, the unit of the ADC map, and how it lies on its trace image."""
    done = record.get("preprocessing") or {}
    made, adc, pair = (done.get(name) or {} for name in ("diffusion", "adc", "pair"))
    facts = []
    if made:
        shells = [f"{made.get('unweighted')} at b = 0"]
        shells += [f"{s['volumes']} at b = {s['b']:g}" for s in made.get("shells") or []]
        left = made.get("left_out_b")
        facts = [
            ("Computed from", f"{made.get('series')}: volumes {', '.join(shells)} s/mm²"),
            ("Trace image", f"{made.get('trace_mean')} mean over directions at b = {made.get('trace_b', 0):g} s/mm²"),
            ("ADC", "slope of the logarithm over b, in 1e-3 mm²/s; movement and eddy currents are not corrected"),
        ]
        if left:
            facts.append(("Left out", f"b = {', '.join(f'{b:g}' for b in left)} s/mm², where the decay is no line"))
    if adc:
        unit, median = str(adc.get("came_in")).replace("mm2", "mm²"), adc.get("tissue_median")
        facts.append(("ADC unit", f"came in {unit}, used in 1e-3 mm²/s; median of brain tissue {median:.2f}"))
    if pair:
        agree = pair.get("correlation")
        text = f"grids up to {pair.get('grids_apart_mm', 0):g} mm apart, {100 * pair.get('covered', 0):.0f} % covered"
        facts.append(("ADC on trace", text + (f", correlation {agree:.2f}" if _is_number(agree) else "")))
    return facts


def as_matrix(value: Any) -> np.ndarray | None:
    """A 4 × 4 invertible matrix, or None."""
    try:
        matrix = np.asarray(value, float)
    except (TypeError, ValueError):
        return None
    usable = matrix.shape == (4, 4) and np.all(np.isfinite(matrix)) and abs(np.linalg.det(matrix)) > 1e-6
    return matrix if usable else None


def stage_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stages with their share of the longest one."""
    stages = [s for s in record.get("stages") or [] if isinstance(s, Mapping)]
    longest = max([s["seconds"] for s in stages if _is_number(s.get("seconds"))], default=0) or 1
    return [
        {
            "name": str(s.get("name")).replace("_", " "),
            "seconds": s.get("seconds"),
            "memory": s.get("peak_rss_mb"),
            "share": 100 * s["seconds"] / longest if _is_number(s.get("seconds")) else 0,
        }
        for s in stages
    ]


def total_seconds(record: Mapping[str, Any]) -> float:
    """Wall time of the session; the sum of its stages where the whole was not noted."""
    if _is_number(record.get("seconds")):
        return float(record["seconds"])
    return float(sum(s["seconds"] for s in record.get("stages") or [] if _is_number(s.get("seconds"))))


def peak_memory(record: Mapping[str, Any]) -> float | None:
    """Highest resident memory, MB."""
    values = [record.get("peak_rss_mb"), *[s.get("peak_rss_mb") for s in record.get("stages") or []]]
    return max([float(v) for v in values if _is_number(v)], default=None)


def duration_of(record: Mapping[str, Any]) -> str:
    """Time, and memory where it is known."""
    from bids_app.report.render import duration

    memory = peak_memory(record)
    return duration(total_seconds(record)) + (f", {memory / 1024:.1f} GB at most" if memory else "")


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) pairs."""
    if isinstance(value, Mapping):
        return [pair for k, v in value.items() for pair in flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(v, Mapping) for v in value):
        return [pair for i, v in enumerate(value) for pair in flatten(v, f"{prefix}.{i}")]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(prefix, ", ".join(str(v) for v in value))]
    return [(prefix, "" if value is None else str(value))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_point(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(_is_number(v) for v in value)
