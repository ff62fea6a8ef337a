"""One session's page: what was used, pictures to judge it by, volumes with their definitions, methods, provenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bids.record import Images, Prediction, Preprocessing, RecipePart, Region, SessionRecord
from bids_app.bids.record_file import read_session
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
from bids_app.report.functional import carpet_of, functional_facts
from bids_app.report.grey_matter import grey_matter_facts
from bids_app.report.methods import record_methods
from bids_app.report.planes import Volume, load_volume
from bids_app.report.render import render, write_page
from bids_app.report.values import as_matrix, flatten, is_point

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
    page = render("session.html.j2", **_context(output_dir, record, figures, problems))
    return write_page(output_dir / f"{key}.html", page)


def _context(output_dir: Path, record: SessionRecord, figures: list[Figure], problems: list[str]) -> dict[str, Any]:
    methods = record_methods(record)
    return {
        "title": record.key,
        "record": record,
        "state_word": view.state_word(record.state),
        "advice": what_to_do(record.state, record.exit_code, record.reason),
        "recipes": view.recipe_rows(record),
        "glance": view.glance(record),
        "inputs": [
            {
                "reference": images.reference,
                "sequences": view.sequence_rows(images),
                "diffusion": view.diffusion_facts(images),
                "functional": functional_facts(images, carpet_of(output_dir, images, problems)),
                "grey_matter": grey_matter_facts(output_dir, images, problems),
                "lesion_mask": images.selection.lesion_mask,
            }
            for images in record.images.values()
        ],
        "warnings": record.all_warnings() + problems,
        "figures": figures,
        "flickers": any(panel.other for figure in figures for row in figure.rows for panel in row.panels),
        "rated": [(part.recipe, part.title or part.recipe) for part in view.shown(record)],
        "volumes": view.volume_tables(record),
        "lesions": view.lesion_tables(record),
        "scores": view.score_tables(record),
        "profile": view.profile_rows(record),
        "images": {images.reference: images for images in record.images.values()},
        "registrations": {images.reference: view.registration_rows(images) for images in record.images.values()},
        "stages": view.stage_rows(record),
        "total": view.total_seconds(record),
        "memory": view.peak_memory(record),
        "paragraphs": methods.paragraphs,
        "references": [split_doi(text) for text in methods.references],
        "provenance": _provenance(record),
        "bundles": [
            (row.bundle or row.recipe, row.weights_sha256 or "–", row.device or "–")
            for part in record.done()
            if (row := part.prediction or part.scores)
        ],
        "files": _files(record),
        "crash": record.crash or "",
    }


def _provenance(record: SessionRecord) -> list[tuple[str, str]]:
    """What the results depend on; what is the same for all recipes once."""
    rows = []
    sources: list[Images | RecipePart] = [*record.images.values(), *record.done()]
    for source in sources:
        rows += flatten(source.provenance)
    return list(dict.fromkeys(rows))


def _files(record: SessionRecord) -> list[tuple[str, str]]:
    """Every derivative, by what it is."""
    rows = []
    for images in record.images.values():
        rows += flatten(images.files.model_dump(exclude_defaults=True), images.reference)
    for name, part in record.recipes.items():
        rows += flatten(part.files.model_dump(exclude_defaults=True), name)
    return rows


def split_doi(reference: str) -> tuple[str, str]:
    """A reference's text and its DOI, empty where it has none."""
    text, mark, doi = reference.rpartition("doi:")
    return (text.rstrip(), doi.strip()) if mark else (reference, "")


def _figures(output_dir: Path, record: SessionRecord, problems: list[str]) -> list[Figure]:
    """All figures of the session; each problem met on the way becomes a sentence in ``problems``."""
    drawn, shared = [], []
    for images in record.images.values():
        pictures: dict[str, Pictures | None] = {}
        for part in (one for one in record.done() if one.reference == images.reference):
            if part.way not in pictures:
                pictures[part.way] = _pictures(output_dir, images, part.way, problems)
            seen = pictures[part.way]
            if part.prediction is not None and seen is not None:
                drawn.append(_regions(output_dir, part, part.prediction, seen, problems))
        first = next((one for one in pictures.values() if one is not None), None)
        if first is None and images.files.reference:
            first = _pictures(output_dir, images, next(iter(images.files.reference)), problems)
        if first is not None:
            shared += _shared_figures(images, first, several=len(record.images) > 1)
    return drawn + shared


def _shared_figures(images: Images, pictures: Pictures, *, several: bool) -> list[Figure]:
    """Brain, registration and sequences of one reference."""
    template = images.preprocessing.template
    brain = [brain_figure(pictures), registration_figure(pictures, template.name if template else "template")]
    found = [] if images.preprocessing.prepared else brain  # then neither mask nor template was looked for
    found = [*found, sequences_figure(pictures, images.reference)]
    found = [replace(one, kind=one.name, of=images.reference) for one in found]
    if not several:
        return found
    name = images.reference
    return [replace(one, name=f"{one.name}-{name}", title=f"{one.title}: {name}") for one in found]


def _pictures(output_dir: Path, images: Images, way: str, problems: list[str]) -> Pictures | None:
    """What the figures of one reference are drawn from, in one way of preprocessing."""
    files, done = images.files, images.preprocessing
    reference = _volume(output_dir, files.reference.get(way), "the reference image", problems)
    if reference is None:
        return None
    matrix = as_matrix(done.to_template)
    template, template_mask = _template(done, problems) if matrix is not None else (None, None)
    sequences = {}
    for sequence, path in files.sequences.get(way, {}).items():
        if path == files.reference.get(way):
            continue
        volume = _volume(output_dir, path, f"the image of {sequence}", problems)
        if volume is not None:
            sequences[sequence] = volume
    return Pictures(
        reference=reference,
        mask=_volume(output_dir, files.brain_mask, "the brain mask", problems),
        to_template=matrix,
        template=template,
        template_mask=template_mask,
        sequences=sequences,
    )


def _template(done: Preprocessing, problems: list[str]) -> tuple[Volume | None, Volume | None]:
    """Image and mask of the template that was used; None where this machine does not have it."""
    name = done.template.name if done.template else ""
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
    output_dir: Path, part: RecipePart, prediction: Prediction, pictures: Pictures, problems: list[str]
) -> Figure:
    """Outlines from the probabilities at the threshold; from the label image at 0.5 where there are none; all together
    where there are many."""
    recipe, probseg, regions = part.recipe, part.files.probseg, prediction.regions
    threshold = prediction.threshold
    level = threshold if threshold is not None and 0 < threshold < 1 else 0.5
    labels = None if probseg else _volume(output_dir, part.files.dseg, f"the segmentation of {recipe}", problems)
    title = f"Regions: {prediction.title or recipe}"
    structures = [
        {"name": region.name, "color": view.region_color(region, position), "index": region.index}
        for position, region in enumerate(regions)
        if region.index is not None  # sums of regions have none
    ]
    if labels is not None and len(structures) > MOST_ONE_BY_ONE:
        return labels_figure(f"regions-{recipe}", title, pictures, labels, structures)
    drawn = []
    for position, region in enumerate(one for one in regions if one.kind != "total"):
        if probseg:
            volume = _volume(output_dir, probseg, f"the probability of {region.name}", problems, position)
        else:
            index = region.index or position + 1
            volume = labels and Volume((labels.data == index).astype(np.float32), labels.affine)
        drawn.append(_region(region, position, volume, level if probseg else 0.5))
    return region_figure(f"regions-{recipe}", title, pictures, drawn, level if probseg else 0.5)


def _region(region: Region, position: int, volume: Volume | None, level: float) -> dict[str, Any]:
    if region.found:
        note = f"{region.soft_mm3:.1f} mm³" if region.soft_mm3 is not None else ""
    else:
        note = "not found: nothing reached the threshold"
    usable = is_point(region.centre_mm)
    return {
        "name": region.name,
        "color": view.region_color(region, position),
        "centre": np.asarray(region.centre_mm, float) if usable else volume and planes.middle(volume, level),
        "volume": volume,
        "note": note,
    }
