"""A record as the rows, facts and sentences that a page shows. No files are read here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bids_app.bids.record import Images, Lesion, Prediction, RecipePart, Region, Scores, SessionRecord
from bids_app.report.values import is_number, is_point
from bids_app.scans.slices import slice_words

PALETTE = ("#4da3ff", "#ff6b5e", "#ffd166", "#5ad19a", "#c58bff", "#ff9f43", "#7bdff2", "#f78fb3")
HEX = re.compile(r"#[0-9a-fA-F]{6}")
#: Rows of the page's table of lesions; the file has them all.
MOST_LESIONS = 20
#: From here on volumes of a table are shown in ml, mm³.
LONG_MM3 = 20_000.0
#: z-scores are drawn between minus and plus the first; beyond the second they are marked (5 % of healthy people's).
MOST_Z, FAR_Z = 4.0, 1.96
STATE_WORDS = {"done": "Done", "failed": "Failed", "running": "Not finished"}


def region_color(region: Region, position: int) -> str:
    """The region's own colour, where it is one; else the next of the palette."""
    return region.color if HEX.fullmatch(region.color) else PALETTE[position % len(PALETTE)]


def shown(record: SessionRecord) -> Iterator[RecipePart]:
    """Finished parts that have answers."""
    return (part for part in record.done() if part.prediction is not None or part.scores is not None)


def state_word(state: str) -> str:
    """A state for people."""
    return STATE_WORDS.get(state, state)


def recipe_rows(record: SessionRecord) -> list[dict[str, str]]:
    """One row per recipe: how it ended, and why."""
    return [
        {
            "name": name,
            "title": part.title,
            "state": part.state,
            "word": state_word(part.state),
            "reason": part.reason,
            "finished": part.finished,
        }
        for name, part in record.recipes.items()
    ]


def glance(record: SessionRecord) -> list[tuple[str, str]]:
    """The facts a reader looks for first."""
    used = list(dict.fromkeys(name for images in record.images.values() for name in images.selection.used()))
    facts = [("Sequences used", ", ".join(used) or "none")]
    for part in shown(record):
        facts += _glance_at(part)
    volumes = dict.fromkeys(one.preprocessing.brain_ml for one in record.images.values())
    if measured := [f"{ml:.0f} ml" for ml in volumes if ml is not None]:
        facts.append(("Brain mask", ", ".join(measured)))
    if total_seconds(record):
        facts.append(("Time", duration_of(record)))
    count = len(record.all_warnings())
    return [*facts, ("Warnings", str(count) if count else "none")]


def _glance_at(part: RecipePart) -> list[tuple[str, str]]:
    facts = []
    if part.prediction is not None:
        regions = [region for region in part.prediction.regions if region.kind != "total"]
        found = sum(region.found for region in regions)
        facts.append((part.prediction.title or part.recipe, f"{found} of {len(regions)} regions found"))
        if part.prediction.lesions is not None:
            facts.append(("Lesions", lesion_words(part.prediction.lesions)))
    if part.scores is not None:
        facts += [(f"{name} (score)", text) for name, text, _ in (score_text(*s) for s in score_items(part.scores))]
    return facts


def sequence_rows(images: Images) -> list[dict[str, Any]]:
    """One row per sequence that was looked for, with what preflight measured of its file."""
    facts = {one.file: one for one in images.preflight}
    rows = []
    for item in images.selection.sequences:
        fact = facts.get(item.file or "")
        size = " × ".join(str(n) for n in fact.shape) if fact else ""
        zooms = " × ".join(f"{z:.3g}" for z in fact.zooms) if fact else ""
        rows.append(
            {
                "sequence": item.sequence,
                "file": item.file,
                "reference": item.sequence == images.selection.reference,
                "reason": item.reason,
                "rejected": item.rejected,
                "grid": f"{size} voxels of {zooms} mm" if size and zooms else "",
                "orientation": fact.orientation if fact else "",
                "computed": item.computed,
            }
        )
    return rows


def profile_rows(record: SessionRecord) -> list[dict[str, Any]]:
    """Numbers of a session among people of the same age; ``at``: place of z from -4 to 4, per cent of the width."""
    if record.profile is None:
        return []
    return [
        {
            "name": row.region if row.region not in ("", "n/a") else row.measure,
            "recipe": row.recipe if row.recipe != "n/a" else "",
            "value": row.value, "expected": row.expected, "unit": row.unit, "z": row.z, "centile": row.centile,
            "at": 50 + 12.5 * max(-MOST_Z, min(MOST_Z, row.z)), "far": abs(row.z) > FAR_Z,
        }
        for row in record.profile.rows
    ]  # fmt: skip


def score_items(scores: Scores) -> list[tuple[str, Mapping[str, Any]]]:
    """Targets of one recipe with their answers."""
    return list(scores.targets.items())


def score_text(name: str, answer: Mapping[str, Any]) -> tuple[str, str, str]:
    """A target's name, its answer in words, and how much its members disagree."""
    if answer.get("abstained"):
        return name, f"no score: {answer.get('reason') or 'the bundle abstained'}", "–"
    members = answer.get("members") or 1
    if "value" in answer:
        value, unit = answer.get("value"), f" {answer['unit']}" if answer.get("unit") else ""
        text = f"{value:.3g}{unit}" if is_number(value) else "–"
        if is_number(answer.get("low")) and is_number(answer.get("high")):
            text += f" ({answer['low']:.3g} to {answer['high']:.3g})"
        spread = answer.get("members_sd")
        return name, text, f"SD {spread:.2g} of {members}" if members > 1 and is_number(spread) else "one member"
    levels = answer.get("levels") or {}
    text = ", ".join(f"{level} {p:.2f}" for level, p in levels.items() if is_number(p))
    if (may := answer.get("set")) and is_number(answer.get("coverage")):
        text += f"; {100 * answer['coverage']:.0f} % set: {' or '.join(map(str, may))}"
    shared = answer.get("mutual_information")
    return name, text or "–", f"{shared:.3f} nats of {members}" if members > 1 and is_number(shared) else "one member"


def score_tables(record: SessionRecord) -> list[dict[str, Any]]:
    """Per recipe: title, one row per target, and what the answers depend on."""
    return [_score_table(part.scores) for part in shown(record) if part.scores is not None]


def _score_table(scores: Scores) -> dict[str, Any]:
    rows = []
    for item in score_items(scores):
        name, text, disagreement = score_text(*item)
        heat = item[1].get("temperature")
        calibrated = f"temperature {heat:g}" if is_number(heat) else "–"
        if is_number(item[1].get("coverage")):
            told = f"{100 * item[1]['coverage']:.0f} % of participants"
            inside = f"{told} lay in the range out of fold"
            calibrated = f"{calibrated}; {told} had their level in the set" if "levels" in item[1] else inside
        strange = bool(item[1].get("abstained"))
        rows.append({"name": name, "text": text, "disagreement": disagreement, "how": calibrated, "abstained": strange})
    used = [name for name, there in scores.sequences.items() if there]
    late = [f"{n} {'not known' if v is None else v}" for n, v in scores.covariates.items()]
    return {
        "title": scores.title or scores.recipe,
        "rows": rows,
        "from": ", ".join([*used, *late, *([slice_words(scores.slice)] if scores.slice else [])]),
        "bundle": scores.bundle or scores.recipe,
    }


def volume_tables(record: SessionRecord) -> list[dict[str, Any]]:
    """Per recipe: title, rows with their place on a common scale, and the definition of each number."""
    return [_volume_table(part.prediction, part.reference) for part in shown(record) if part.prediction is not None]


def volume_words(record: SessionRecord, most: int = 6) -> list[tuple[str, str, str]]:
    """Name, soft volume in words and colour of the first regions of every recipe."""
    found = []
    for prediction, reference in ((part.prediction, part.reference) for part in shown(record)):
        if prediction is None:
            continue
        table, count = _volume_table(prediction, reference, most), len(prediction.regions)
        for row in table["rows"]:
            soft = row["soft"]
            text = "–" if soft is None else f"{soft:.{table['digits']}f} {table['unit']}"
            found.append((row["name"], text, row["color"]))
        if count > most:
            found.append((f"and {count - most} more of {table['title']}", "", "transparent"))
    return found


def _volume_table(prediction: Prediction, reference: str | None, most: int | None = None) -> dict[str, Any]:
    """The first ``most`` rows, or all, on a scale that holds all."""
    single = [r for r in prediction.regions if r.kind != "total"]  # a sum would make all others small
    values = [v for r in single for v in (r.soft_mm3, r.soft_high_mm3, r.hard_mm3) if is_number(v)]
    top = max(values, default=0.0) * 1.08 or 1.0
    unit, factor, digits = ("ml", 1e-3, 2) if top > LONG_MM3 else ("mm³", 1.0, 1)
    return {
        "title": (prediction.title or prediction.recipe) + (", in one slice" if prediction.slice else ""),
        "rows": [_volume_row(region, i, top, factor) for i, region in enumerate(prediction.regions[:most])],
        "top": top * factor,
        "definition": definition(prediction, reference or "the reference"),
        "unit": unit,
        "digits": digits,
    }


def _volume_row(region: Region, position: int, top: float, factor: float) -> dict[str, Any]:
    """A region's numbers, times ``factor``; ``top`` is the end of the common scale, mm³."""
    numbers = (
        ("soft", region.soft_mm3),
        ("low", region.soft_low_mm3),
        ("high", region.soft_high_mm3),
        ("hard", region.hard_mm3),
    )
    return {
        "name": region.name,
        "color": region_color(region, position),
        **{name: value * factor if is_number(value) else None for name, value in numbers},
        **({} if region.found else {"soft": None, "hard": None}),
        "centre": point_words(region.centre_mm),
        "found": region.found,
        "at": {n: 100 * float(v) / top for n, v in numbers if is_number(v) and region.kind != "total"},
    }


def lesion_words(lesions: Sequence[Lesion]) -> str:
    """How many, and how much together."""
    if not lesions:
        return "none"
    load = sum(lesion.volume_mm3 for lesion in lesions)
    return f"{len(lesions)} of together {load / 1000:.2f} ml"


def lesion_tables(record: SessionRecord) -> list[dict[str, Any]]:
    """Per recipe that looks for lesions: title, the largest of them as rows, and how many there are."""
    tables = []
    for part in shown(record):
        if part.prediction is None or part.prediction.lesions is None:
            continue
        lesions = part.prediction.lesions
        tables.append(
            {
                "title": part.prediction.title or part.recipe,
                "words": lesion_words(lesions),
                "rows": [_lesion_row(lesion) for lesion in lesions[:MOST_LESIONS]],
                "more": max(0, len(lesions) - MOST_LESIONS),
                "file": part.files.lesions or "",
            }
        )
    return tables


def _lesion_row(lesion: Lesion) -> dict[str, str | int]:
    return {
        "index": lesion.index,
        "volume": f"{lesion.volume_mm3:.0f}" if lesion.volume_mm3 >= 10 else f"{lesion.volume_mm3:.1f}",
        "centre": point_words(lesion.centre_mm),
        "template": point_words(lesion.template_mm),
        "region": lesion.region or "–",
        "side": lesion.side or "–",
        "probability": "–" if lesion.probability is None else f"{lesion.probability:.2f}",
        "contains": ", ".join(lesion.contains),
    }


def point_words(point: Sequence[float] | None) -> str:
    """Three coordinates, mm, or a dash."""
    return ", ".join(f"{c:.1f}".replace("-", "−") for c in point) if is_point(point) else "–"


def definition(prediction: Prediction, reference: str) -> list[tuple[str, str]]:
    """What each column of the volumes table means, with the values it depends on."""
    spacing = prediction.grid.spacing
    size = " × ".join(f"{s:g}" for s in spacing) if isinstance(spacing, list) else spacing
    on_grid = f"the prediction grid ({size} mm)" if size else "the prediction grid"
    threshold = prediction.threshold
    if threshold is None:
        reaching = "whose likeliest region it is"
        rule = f"the dseg image has the likeliest region of each voxel of {reference}'s own grid"
    else:
        reaching = f"at or above {threshold:g}"
        rule = f"the dseg image has the same threshold in {reference}'s own grid"
    soft = f"calibrated probability, integrated over {on_grid} in and around the region's main piece; no threshold"
    interval = "95 % of repeated scans of the same brain are expected in it; it says nothing about a bias of the method"
    hard = f"voxels of that piece {reaching}; {rule}"
    centre = f"centre of mass in {reference}'s world coordinates: mm to the right, to the front, upwards"
    meant = [("Soft", soft), ("Range", interval), ("Hard", hard), ("Centre", centre)]
    return meant if prediction.slice is None else [*_of_slice(prediction, prediction.slice, reference), *meant]


def _of_slice(prediction: Prediction, about: Mapping[str, Any], reference: str) -> list[tuple[str, str]]:
    """What a recipe of one slice looked at, and what its numbers are."""
    seen, of = about.get("looked_at") or [], about.get("of", 0)
    numbers = f"{seen[0]} to {seen[-1]}" if len(seen) > 1 else ", ".join(map(str, seen)) or "none"
    areas = [f"{one.name} {one.area_mm2:.0f} mm²" for one in prediction.regions if one.area_mm2 is not None]
    axis = f"of {of} along its axis {about.get('axis')}, counted from 0"
    return [
        ("Looked at", slice_words(about)),
        ("Not looked at", f"all slices of {reference} but {numbers} ({axis}): nothing is known of them"),
        ("Area", f"volume in the slice divided by its thickness: {', '.join(areas) or 'nothing was found'}"),
        ("Volume", "of a region in the slice alone, as thick as the slice: not the region's volume"),
    ]


def registration_rows(images: Images) -> list[dict[str, Any]]:
    """Each registration with its size; what is not rigid with its scaling."""
    rows = []
    for item in images.preprocessing.registrations:
        scales = item.scales if item.kind != "rigid" and item.scales else []
        rows.append({**item.model_dump(), "scales": " × ".join(f"{s:.2f}" for s in scales)})
    return rows


def diffusion_facts(images: Images) -> list[tuple[str, str]]:
    """What was computed from a raw series, the unit of the ADC map, and how it lies on its trace image."""
    made, adc, pair = images.preprocessing.diffusion, images.preprocessing.adc, images.preprocessing.pair
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
        facts.append(("ADC on trace", text + (f", correlation {agree:.2f}" if is_number(agree) else "")))
    return facts


def stage_rows(record: SessionRecord) -> list[dict[str, Any]]:
    """Stages with their share of the longest one."""
    longest = max([stage.seconds for stage in record.stages if stage.seconds is not None], default=0) or 1
    return [
        {
            "name": stage.name.replace("_", " "),
            "seconds": stage.seconds,
            "memory": stage.peak_rss_mb,
            "share": 100 * stage.seconds / longest if stage.seconds is not None else 0,
        }
        for stage in record.stages
    ]


def total_seconds(record: SessionRecord) -> float:
    """Wall time of the last run; the sum of its stages where the whole was not noted."""
    if record.seconds is not None:
        return record.seconds
    return float(sum(stage.seconds for stage in record.stages if stage.seconds is not None))


def peak_memory(record: SessionRecord) -> float | None:
    """Highest resident memory, MB."""
    values = [record.peak_rss_mb, *[stage.peak_rss_mb for stage in record.stages]]
    return max([value for value in values if value is not None], default=None)


def duration_of(record: SessionRecord) -> str:
    """Time, and memory where it is known."""
    from bids_app.report.render import duration

    memory = peak_memory(record)
    return duration(total_seconds(record)) + (f", {memory / 1024:.1f} GB at most" if memory else "")
