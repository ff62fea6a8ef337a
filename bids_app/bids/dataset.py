"""Files that describe a whole dataset: those of the input are checked, those of the output written.

Every process of a run may write the output's at the same time: each file is a function of the settings and of what is
already there, is written whole, and is left alone when it says the same.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bids_app import __version__
from bids_app.bids.files import write_bytes, write_text
from bids_app.bids.listing import list_participants
from bids_app.bids.naming import LABEL
from bids_app.bids.provenance import container
from bids_app.errors import CannotWrite, InputMissing, ValidationFailed
from bids_app.settings import Settings
from bids_app.text import TextError, read_json

PROGRAM = "tandem"
BIDS_VERSION = "1.10.0"
#: Names without a rule in BIDS yet. `figures`, never `figures/`: bids-validator 3 does not understand the slash.
BIDSIGNORE = (
    "*_xfm.*",
    "*_volumes.*",
    "*_lesions.*",
    "*_alff.*",
    "*_falff.*",
    "*_reho.*",
    "*_seedmap.*",
    "*_networkmap.*",
    "*_statmap.*",
    "*_timeseries.*",
    "*_prediction.json",
    "*.html",
    "CITATION.md",
    "CITATION.bib",
    "group_*",
    "figures",
    "logs",
    "ratings",
    "training",
    "evaluation",
)
DESCRIPTIONS = {
    "preproc": "Image after conforming, optional denoising and correction of the intensity bias; grid not resampled",
    "uncorrected": "As preproc, without correction of the intensity bias: for recipes that learned such images",
    "brain": "Mask of the brain",
    "modulated": "Grey matter in the template's space, ml per ml: its amount kept, smoothed",
    "atrophy": "Less grey matter than a normative model expects: z (statmap) and where it is low (mask)",
    "carpet": "Picture of a resting-state series: a row per place in the brain, a column per volume",
    "cubes": "Mean courses of a resting-state series in cubes of the template's world",
}
README = """\
# Derivatives made by Tandem {version}

One folder per participant and session, one report per session ({example}.html, opens offline), how each session ended
in logs/*/status.json.

* `desc-preproc`, `desc-uncorrected`: the images as the networks saw them, before they were put on a network's grid,
  with and without correction of the intensity bias. Several recipes may share them.
* `CITATION.md`, `CITATION.bib`: the methods text of what ran, for a manuscript.
* `space-T1w` and so on: the grid of the sequence that a session is aligned to: T1w, or what stood for it.
* `seg-*_dseg`, `seg-*_probseg`: regions and their probabilities; names and colours in `seg-*_dseg.tsv`. Recipes for
  whole heads, and those of more than 12 regions, leave no probabilities: a voxel belongs to its likeliest region.
* `*_volumes.tsv`: volumes in mm³, soft (integral of the probability) and hard (voxels above the threshold).
* `label-L_*_mask`, `*_lesions.tsv`: all lesions of a recipe as one mask, and a row for each of them.
* `desc-modulated_probseg`, `desc-atrophy_statmap`, `desc-atrophy_mask`: grey matter in the template's space, z of it by
  a normative model of the group level, and where that is low.
* `*_xfm.h5`, `*_xfm.txt`: transforms, as ITK and ANTs read them.
* `ratings/`: put here what the sessions' pages save; the group level leaves out what is rated bad.
* `docs/`: the model card of every bundle that was used.

For research use only: these are measurements and scores, not diagnoses.
"""


class RegionLike(Protocol):
    """What a look-up table needs of a region."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def abbreviation(self) -> str: ...
    @property
    def color(self) -> Any: ...


class RecipeLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def regions(self) -> Sequence[RegionLike]: ...


class BundleLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def recipe(self) -> RecipeLike: ...


def check_dataset(settings: Settings) -> list[str]:
    """Cheap checks of the input dataset; no image is opened.

    Returns:
        What a person should know and what stops nothing.

    Raises:
        InputMissing: the folder is not there or may not be read.
        ValidationFailed: it is no BIDS dataset, and ``--skip-bids-validation`` was not given.
    """
    bids_dir = Path(settings.bids_dir)
    if not bids_dir.is_dir():
        raise InputMissing(f"the BIDS dataset {bids_dir} is not a folder that can be read")
    participants = list_participants(bids_dir)
    trouble = [] if participants else [f"{bids_dir} has no sub-* folder: is it the right folder?"]
    description, wrong, told = read_description(bids_dir)
    trouble += wrong
    if trouble and not settings.skip_bids_validation:
        raise ValidationFailed(f"{'; '.join(trouble)}. Mend it, or go on with --skip-bids-validation")
    trouble += told
    if description.get("DatasetType") == "derivative":
        trouble.append(f"{bids_dir} says it is a derivative dataset; Tandem reads raw images")
    odd = [label for label in participants if not LABEL.fullmatch(label)]
    if odd:
        shown = ", ".join(f"sub-{label}" for label in odd[:5])
        trouble.append(f"{shown}: no BIDS names (letters and digits only); these participants will fail")
    return trouble


def read_description(folder: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """``dataset_description.json`` of a dataset, ``{}`` where it cannot be used; what is wrong with it; what is odd."""
    path = Path(folder) / "dataset_description.json"
    try:
        content, told = read_json(path)
    except FileNotFoundError:
        return {}, [f"{path} is missing: every BIDS dataset has one, with Name and BIDSVersion"], []
    except OSError as error:
        return {}, [f"{path} cannot be read: {error.strerror}"], []
    except TextError as error:
        return {}, [str(error)], []
    if not isinstance(content, dict):
        return {}, [f"{path} must hold an object with Name and BIDSVersion"], []
    lacking = [name for name in ("Name", "BIDSVersion") if not content.get(name)]
    return content, [f"{path} lacks {' and '.join(lacking)}"] if lacking else [], told


def write_dataset_files(
    output_dir: Path,
    settings: Settings,
    bundles: Iterable[BundleLike] = (),
    *,
    recipes: Iterable[RecipeLike] = (),
    cards: Iterable[BundleLike] = (),
    descriptions: dict[str, str] | None = None,
    links: dict[str, Path] | None = None,
) -> list[str]:
    """Write what makes a folder a BIDS derivative dataset; safe to call from many processes, any number of times.

    Args:
        output_dir: the dataset's root.
        settings: of the run; the input dataset and ``-d`` folders become ``DatasetLinks``.
        bundles: trained bundles that are used: their regions, and their model cards into ``docs/``.
        recipes: recipes without a bundle, for their look-up tables.
        cards: bundles that are used for something else than regions: their model cards.
        descriptions: more ``desc-`` labels and what they mean.
        links: more datasets that ``Sources`` may name.

    Returns:
        Warnings, for example that an older version wrote here before.

    Raises:
        CannotWrite: the folder holds another program's dataset, or may not be written.
        IOFailure: no space, or the device failed.
    """
    output_dir, bundles = Path(output_dir), list(bundles)
    told = check_owner(output_dir, settings)
    known = [*(bundle.recipe for bundle in bundles), *recipes]
    described = _describe_dataset(output_dir, settings, dataset_links(output_dir, settings, links))
    write_text(output_dir / ".bidsignore", "\n".join(BIDSIGNORE) + "\n")
    write_text(output_dir / "README.md", README.format(version=__version__, example="sub-01_ses-01"))
    labels = DESCRIPTIONS | {r.name: f"Recipe {r.name}: {r.title}" for r in known} | (descriptions or {})
    _write_descriptions(output_dir / "descriptions.tsv", labels)
    for recipe in known:
        if recipe.regions and not getattr(recipe, "locate", None):  # else each session's image decides what they are
            write_text(output_dir / f"seg-{recipe.name}_dseg.tsv", lookup_table(recipe.regions))
    for bundle in [*bundles, *cards]:
        card = Path(bundle.path) / "MODEL_CARD.md"
        if card.is_file():
            write_bytes(output_dir / "docs" / f"model_card-{bundle.name}.md", card.read_bytes())
    # last: a folder with this file is complete
    write_text(output_dir / "dataset_description.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    return told


def lookup_table(regions: Sequence[RegionLike]) -> str:
    """The look-up table of a segmentation: index, name, abbreviation, colour as ``#rrggbb``."""
    rows = [("index", "name", "abbreviation", "color")]
    rows += [(str(r.index), r.name, r.abbreviation or "n/a", _hexadecimal(r.color)) for r in regions]
    return "".join("\t".join(row) + "\n" for row in rows)


def dataset_links(output_dir: Path, settings: Settings, more: dict[str, Path] | None = None) -> dict[str, Path]:
    """Datasets that ``Sources`` may name: ``raw``, every ``-d NAME=PATH``, and ``more``."""
    return {"raw": Path(settings.bids_dir), **settings.derivatives, **(more or {})}


def check_owner(output_dir: Path, settings: Settings) -> list[str]:
    """See that an output folder is nobody else's dataset; nothing is written.

    Returns:
        What a person should know: files of another version, an unusual folder name.

    Raises:
        CannotWrite: the folder holds another program's dataset.
    """
    found, wrong, _ = read_description(output_dir)
    there = os.path.lexists(output_dir / "dataset_description.json")
    if not found and there:  # another process may have written it since it was looked for
        found, wrong, _ = read_description(output_dir)
    if not found and there:
        raise CannotWrite(
            f"{output_dir} may hold another program's dataset, for its description cannot be used "
            f"({'; '.join(wrong)}): mend or delete that file, or choose another output folder"
        )
    makers = found.get("GeneratedBy")
    makers = [one for one in makers if isinstance(one, dict)] if isinstance(makers, list) else []
    made_by = [str(one.get("Name")) for one in makers]
    if found and PROGRAM not in [name.lower() for name in made_by]:
        whose = f"made by {', '.join(made_by)}" if made_by else f"{found.get('Name', 'without a name')!r}"
        raise CannotWrite(f"{output_dir} already holds another dataset, {whose}: choose another output folder")
    told = []
    versions = {str(one.get("Version")) for one in makers}
    if versions - {__version__}:
        older = ", ".join(sorted(versions - {__version__}))
        told.append(f"{output_dir} has files of version {older}; finished sessions of it are kept as they are")
    derivatives = (Path(settings.bids_dir) / "derivatives").resolve()
    if output_dir.resolve().parent == derivatives and PROGRAM not in output_dir.name:
        told.append(
            f"BIDS asks that a folder in derivatives/ is named after its program: {PROGRAM}, not {output_dir.name}"
        )
    return told


def _describe_dataset(output_dir: Path, settings: Settings, links: dict[str, Path]) -> dict[str, Any]:
    raw, _, _ = read_description(settings.bids_dir)
    generated: dict[str, Any] = {"Name": PROGRAM, "Version": __version__}
    generated["Description"] = "Segments brain MRI and learns participant-level targets in tandem; research use only"
    if box := container():
        generated["Container"] = box
    described: dict[str, Any] = {
        "Name": f"Tandem derivatives of {raw.get('Name') or Path(settings.bids_dir).resolve().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated],
    }
    if isinstance(raw.get("License"), str):
        described["License"] = raw["License"]
    source = _source_dataset(raw)
    described["SourceDatasets"] = [source or {"URL": Path(settings.bids_dir).resolve().as_uri()}]
    described["DatasetLinks"] = {name: _link(path, output_dir) for name, path in sorted(links.items())}
    return described


def _source_dataset(raw: dict[str, Any]) -> dict[str, str]:
    doi = raw.get("DatasetDOI")
    return {"DOI": doi.removeprefix("doi:")} if isinstance(doi, str) and doi else {}


def _link(path: Path, output_dir: Path) -> str:
    """Relative where the two lie close together, so that they can be moved as one; else a file URI."""
    target, here = os.path.realpath(path), os.path.realpath(output_dir)
    relative = os.path.relpath(target, here)
    steps = relative.split(os.sep)
    return "/".join(steps) if steps.count(os.pardir) <= 3 and len(steps) <= 5 else Path(target).as_uri()


def _write_descriptions(path: Path, labels: dict[str, str]) -> None:
    """Add labels to ``descriptions.tsv``, keeping those of other runs; looks again, for another run may write too."""
    for _ in range(3):
        rows = _read_descriptions(path)
        if all(rows.get(label) == text for label, text in labels.items()):
            return
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerows([("desc_id", "description"), *((f"desc-{k}", v) for k, v in sorted((rows | labels).items()))])
        write_text(path, text.getvalue())


def _read_descriptions(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    rows = list(csv.reader(lines[1:], delimiter="\t"))
    return {row[0].removeprefix("desc-"): row[1] for row in rows if len(row) == 2}


def _hexadecimal(color: Any) -> str:
    if isinstance(color, str):
        return color
    return "#" + "".join(f"{int(part):02x}" for part in color)
