"""One session's page: what was used, pictures to judge it by, volumes with their definitions, methods, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.record import read_session
from bids_app.errors import TandemError
from bids_app.report import planes, view
from bids_app.report.advice import what_to_do
from bids_app.report.figures import (
    Figure,
    Pictures,
    brain_figure,
    labels_figure,
    region_figure,
    registration_figure,
    sequences_figure,
)
from bids_app.report.methods import record_methods
from bids_app.report.planes import Volume, load_volume
from bids_app.report.render import render, write_page

#: More regions than these are shown all together.
MOST_ONE_BY_ONE = 12


def write_session_report(output_dir: Path, key: str) -> Path:
    """Write ``<key>.html`` from ``logs/<key>/record.json``, ``status.json`` and the derivatives they name.

    A picture whose files are missing or damaged becomes a sentence that says so; a failed session gets a page too.

    Args:
        output_dir: the derivatives folder; nothing outside it is read, but for the template.
        key: ``sub-01_ses-01``, or ``sub-01`` where there are no session folders.

    Returns:
        The page's path.

    Raises:
        InputMissing: the session left neither record nor status.
        CannotWrite: the page cannot be written.
    """
    output_dir = Path(output_dir)
    record = read_session(output_dir, key)
    problems: list[str] = []
    figures = _figures(output_dir, record, problems)
    page = render("session.html.j2", **_context(record, figures, problems))
    return write_page(output_dir / f"{key}.html", page)


def _context(record: Mapping[str, Any], figures: list[Figure], problems: list[str]) -> dict[str, Any]:
    methods = record_methods(record)
    return {
        "title": record["key"],
        "record": record,
        "state_word": view.STATE_WORDS.get(record["state"], record["state"]),
        "advice": what_to_do(record),
        "glance": view.glance(record),
        "sequences": view.sequence_rows(record),
        "diffusion": view.diffusion_facts(record),
        "warnings": view.all_warnings(record) + problems,
        "figures": figures,
        "volumes": view.volume_tables(record),
        "scores": view.score_tables(record),
        "registrations": view.registration_rows(record),
        "preprocessing": record.get("preprocessing") or {},
        "stages": view.stage_rows(record),
        "total": view.total_seconds(record),
        "memory": view.peak_memory(record),
        "paragraphs": methods.get("paragraphs") or [],
        "references": [split_doi(text) for text in methods.get("references") or []],
        "provenance": view.flatten(record.get("provenance") or {}),
        "bundles": [
            (str(p.get("bundle") or p.get("recipe")), str(p.get("weights_sha256") or "–"), str(p.get("device") or "–"))
            for p in [*(record.get("predictions") or []), *_scored_alone(record)]
        ],
        "files": view.flatten(record.get("files") or {}),
        "crash": record.get("crash") or "",
    }


def _scored_alone(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Scores of recipes that have no regions, whose bundle no prediction names."""
    named = {p.get("recipe") for p in record.get("predictions") or []}
    return [s for s in record.get("scores") or [] if s.get("recipe") not in named]


def split_doi(reference: str) -> tuple[str, str]:
    """A reference's text and its DOI, empty where it has none."""
    text, mark, doi = reference.rpartition("doi:")
    return (text.rstrip(), doi.strip()) if mark else (reference, "")


def _figures(output_dir: Path, record: Mapping[str, Any], problems: list[str]) -> list[Figure]:
    """All figures of the session; each problem met on the way becomes a sentence in ``problems``."""
    files = record.get("files") or {}
    reference = _volume(output_dir, files.get("reference"), "the reference image", problems)
    if reference is None:
        return []
    pictures = _pictures(output_dir, record, reference, problems)
    template = ((record.get("preprocessing") or {}).get("template") or {}).get("name") or "template"
    name = str((record.get("selection") or {}).get("reference") or "reference")
    drawn = [
        _regions(output_dir, record, prediction, pictures, problems) for prediction in record.get("predictions") or []
    ]
    prepared = (record.get("preprocessing") or {}).get("prepared")  # then neither mask nor template was looked for
    brain = [] if prepared else [brain_figure(pictures), registration_figure(pictures, template)]
    return [*drawn, *brain, sequences_figure(pictures, name)]


def _pictures(output_dir: Path, record: Mapping[str, Any], reference: Volume, problems: list[str]) -> Pictures:
    files, done = record.get("files") or {}, record.get("preprocessing") or {}
    matrix = view.as_matrix(done.get("to_template"))
    template, template_mask = _template(done, problems) if matrix is not None else (None, None)
    sequences = {}
    for sequence, path in (files.get("sequences") or {}).items():
        if path == files.get("reference"):
            continue
        volume = _volume(output_dir, path, f"the image of {sequence}", problems)
        if volume is not None:
            sequences[str(sequence)] = volume
    return Pictures(
        reference=reference,
        mask=_volume(output_dir, files.get("brain_mask"), "the brain mask", problems),
        to_template=matrix,
        template=template,
        template_mask=template_mask,
        sequences=sequences,
    )


def _template(done: Mapping[str, Any], problems: list[str]) -> tuple[Volume | None, Volume | None]:
    """Image and mask of the template that was used; None where this machine does not have it."""
    name = (done.get("template") or {}).get("name")
    try:
        from bids_app.imaging.templates import find_template

        found = find_template()
        if name and found.name != name:
            found = find_template(name)
        if name and found.name != name:
            problems.append(
                f"The template {name} is not on this machine (only {found.name} is); its outline is not drawn."
            )
            return None, None
        return load_volume(Path(found.image)), load_volume(Path(found.mask)) if found.mask else None
    except (ImportError, TandemError) as error:
        problems.append(f"The template could not be read for the pictures ({error}).")
        return None, None


def _volume(output_dir: Path, relative: Any, what: str, problems: list[str], index: int | None = None) -> Volume | None:
    if not relative:
        return None
    path = output_dir / str(relative)
    if not path.is_file():
        problems.append(f"Pictures: {what} ({relative}) is not in the output folder.")
        return None
    try:
        return load_volume(path, index)
    except TandemError as error:
        problems.append(f"Pictures: {what} cannot be shown: {error}.")
        return None


def _regions(
    output_dir: Path, record: Mapping[str, Any], prediction: Mapping[str, Any], pictures: Pictures, problems: list[str]
) -> Figure:
    """Outlines from the probabilities at the threshold; from the label image at 0.5 where there are none; all together
    where there are many."""
    recipe = str(prediction.get("recipe"))
    files = record.get("files") or {}
    probseg, dseg = ((files.get(kind) or {}).get(recipe) for kind in ("probseg", "dseg"))
    threshold = prediction.get("threshold")
    level = float(threshold) if isinstance(threshold, int | float) and 0 < threshold < 1 else 0.5
    labels = None if probseg else _volume(output_dir, dseg, f"the segmentation of {recipe}", problems)
    title = f"Regions: {prediction.get('title') or recipe}"
    structures = [
        {"name": str(region.get("name")), "color": view.region_color(region, position), "index": region["index"]}
        for position, region in enumerate(prediction.get("regions") or [])
        if region.get("index") is not None  # sums of regions have none
    ]
    if labels is not None and len(structures) > MOST_ONE_BY_ONE:
        return labels_figure(f"regions-{recipe}", title, pictures, labels, structures)
    regions = []
    for position, region in enumerate(prediction.get("regions") or []):
        if probseg:
            volume = _volume(output_dir, probseg, f"the probability of {region.get('name')}", problems, position)
        else:
            volume = labels and Volume(
                (labels.data == region.get("index", position + 1)).astype(np.float32), labels.affine
            )
        regions.append(_region(region, position, volume, level if probseg else 0.5))
    return region_figure(f"regions-{recipe}", title, pictures, regions, level if probseg else 0.5)


def _region(region: Mapping[str, Any], position: int, volume: Volume | None, level: float) -> dict[str, Any]:
    centre = region.get("centre_mm")
    usable = (
        isinstance(centre, list | tuple)
        and len(centre) == 3
        and all(isinstance(c, int | float) and c == c for c in centre)
    )
    soft = region.get("soft_mm3")
    if region.get("found", True):
        note = f"{soft:.1f} mm³" if isinstance(soft, int | float) else ""
    else:
        note = "not found: nothing reached the threshold"
    return {
        "name": str(region.get("name")),
        "color": view.region_color(region, position),
        "centre": np.asarray(centre, float) if usable else volume and planes.middle(volume, level),
        "volume": volume,
        "note": note,
    }
