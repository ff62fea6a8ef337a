"""A phantom cohort as a BIDS dataset that ``train`` can be run on, and the recipe that goes with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_app import __version__
from bids_app.bids.files import whole_folder, write_text
from bids_app.errors import UsageError
from bids_app.recipes.recipe import (
    GridSpec,
    Labels,
    Learning,
    NetworkSpec,
    Preprocessing,
    Recipe,
    Region,
    SequenceSpec,
    Target,
)
from bids_app.recipes.write import recipe_to_toml
from bids_app.scans.scan import Scan
from bids_app.synthesis.datasets.cohorts import LEVELS, SEQUENCES, SPACING_MM, Drawn
from bids_app.synthesis.datasets.phantom import save_image

TARGETS = {
    "outcome": Target(name="outcome", kind="binary", column="outcome", levels=LEVELS),
    "score": Target(name="score", kind="continuous", column="score", unit="points"),
}
COLUMNS = {
    "age": {"Description": "Simulated age", "Units": "years"},
    "sex": {"Description": "Simulated sex", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "Simulated scanner"},
    "outcome": {
        "Description": "Simulated outcome: score above the cohort's median or not",
        "Levels": {"good": "score not above the median", "poor": "score above the median"},
    },
    "score": {"Description": "Simulated score, of which the dial says how much depends on the lesions"},
}
LATENTS = ("lesions", "lesion_ml", "territory_ml", "burden", "latent")
README = """Phantom cohort
==============

Synthetic brain MRI made by Tandem {version}. No person was scanned: not for clinical or scientific conclusions.

Lesions look as those of multiple sclerosis do; `outcome` and `score` depend on them as the dial says (0: not, 1:
wholly). `derivatives/manual` holds the lesion masks as they were drawn, and `latents.tsv` what the target was made of.

Made with: {how}.
"""


def phantom_recipe(
    sequences: Sequence[str] = SEQUENCES,
    *,
    targets: Sequence[str] = ("outcome", "score"),
    regions: bool = True,
    spacing: float = SPACING_MM,
    mirror: bool = True,
    steps: int = 600,
    rate: float = 2e-3,
    batch: int | None = None,
    sequence_dropout: float = 0.0,
    filters: int = 8,
    blocks: Sequence[int] = (1, 1, 1, 1),
    fold: int = 1,
    dropout: float = 0.3,
) -> Recipe:
    """The recipe of phantom cohorts: lesions, outcome and score, from images that are prepared already.

    Args:
        sequences: the first is the reference.
        targets: of ``outcome`` and ``score``.
        regions: with lesions.
        mirror: False where the target depends on the side (``truth="left"``).
        steps, rate, batch, sequence_dropout: of `Learning`.
        filters, blocks, fold, dropout: of the network.
    """
    if unknown := set(targets) - set(TARGETS):
        raise UsageError(f"phantoms have the targets {', '.join(TARGETS)}, not {', '.join(sorted(unknown))}")
    return Recipe(
        name="phantom",
        title="Phantom cohort",
        description="Lesions in synthetic brains, and an outcome that depends on them as a dial says.",
        reference=sequences[0],
        sequences=tuple(
            SequenceSpec(name=name, suffix=name, required=place == 0) for place, name in enumerate(sequences)
        ),
        grid=GridSpec(kind="image", spacing_mm=spacing),
        regions=(Region(index=1, name="lesion", abbreviation="L", color="#d95f02", kind="lesion"),) if regions else (),
        targets=tuple(TARGETS[name] for name in targets),
        labels=Labels(derivative="manual", suffix="mask", entities={"label": "L", "space": "orig"}),
        learning=Learning(steps=steps, rate=rate, batch=batch, mirror=mirror, sequence_dropout=sequence_dropout),
        network=NetworkSpec(filters=filters, blocks=tuple(blocks), fold=fold, dropout=dropout),
        preprocessing=Preprocessing(bias=False),
    )


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """The recipe as a TOML file that ``--recipe`` takes."""
    return write_text(path, recipe_to_toml(recipe))


def scans_for(drawn: Drawn, recipe: Recipe) -> list[Scan]:
    """The cohort's scans with the recipe's sequences and targets, in its order.

    Raises:
        UsageError: the cohort was drawn without one of them.
    """
    names = [sequence.name for sequence in recipe.sequences]
    wanted = [target.name for target in recipe.targets]
    lacking = [name for name in names if name not in drawn.sequences] + [n for n in wanted if n not in drawn.latents]
    if lacking:
        raise UsageError(f"the cohort was drawn without {', '.join(lacking)}")
    channels = [drawn.sequences.index(name) for name in names]
    targets = np.array([drawn.latents[name] for name in wanted]).reshape(len(wanted), len(drawn.scans))
    return [
        replace(scan, stack=scan.stack[channels], present=scan.present[channels], targets=targets[:, place].copy())
        for place, scan in enumerate(drawn.scans)
    ]


def write_cohort(drawn: Drawn, directory: str | Path) -> Path:
    """Write a BIDS dataset, lesion masks in ``derivatives/manual``; whole or not at all.

    Brightness is rounded to whole numbers. The same cohort gives the same bytes.

    Raises:
        CannotWrite: the folder is not empty, or cannot be made.
    """
    directory = Path(directory)
    with whole_folder(directory) as staging:
        _write_top(staging, drawn)
        for scan in drawn.scans:
            _write_scan(staging, scan, drawn.sequences)
    return directory


def _write_scan(root: Path, scan: Scan, sequences: Sequence[str]) -> None:
    affine = np.diag([scan.spacing] * 3 + [1.0])
    affine[:3, 3] = -scan.spacing * (np.array(scan.stack.shape[1:]) - 1) / 2
    folder = Path(scan.key) / "anat"
    for name, image in zip(sequences, scan.stack, strict=True):
        whole = np.where(image > 0, np.maximum(np.round(image), 1), 0).astype(np.int16)
        save_image(root / folder / f"{scan.key}_{name}.nii.gz", whole, affine)
        write_json(root / folder / f"{scan.key}_{name}.json", {"SkullStripped": True})
    mask = root / "derivatives" / "manual" / folder / f"{scan.key}_space-orig_label-L_mask.nii.gz"
    save_image(mask, scan.labels, affine)
    source = f"bids:raw:{(folder / f'{scan.key}_{sequences[0]}.nii.gz').as_posix()}"
    sidecar = {"Type": "Lesion", "Sources": [source], "SpatialReference": source}
    write_json(mask.with_name(mask.name.replace(".nii.gz", ".json")), sidecar)


def _write_top(root: Path, drawn: Drawn) -> None:
    generated = [{"Name": "Tandem", "Version": __version__, "Description": "Synthetic images; no person was scanned"}]
    common = {"BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["The Tandem developers"], "GeneratedBy": generated}
    write_json(root / "dataset_description.json", {"Name": "Tandem phantom cohort", "DatasetType": "raw", **common})
    how = ", ".join(f"{name} {value}" for name, value in drawn.how.items())
    write_text(root / "README", README.format(version=__version__, how=how))
    facts = drawn.latents
    people = [f"sub-{participant}" for participant in facts["participant"]]
    table = {
        "participant_id": people,
        "age": facts["age"],
        "sex": facts["sex"],
        "site": facts["site"],
        "outcome": [LEVELS[int(level)] for level in facts["outcome"]],
        "score": facts["score"].round(4),
    }
    write_table(root / "participants.tsv", table)
    write_json(root / "participants.json", COLUMNS)
    manual = root / "derivatives" / "manual"
    links = {"SourceDatasets": [{"URL": "../../"}], "DatasetLinks": {"raw": "../../"}}
    description = {"Name": "Truth of the phantom cohort", "DatasetType": "derivative", **common, **links}
    write_json(manual / "dataset_description.json", description)
    write_text(manual / "README", "Lesions of the phantom cohort two folders up, as they were drawn.\n")
    write_text(manual / ".bidsignore", "latents.tsv\n")
    write_table(manual / "latents.tsv", {"participant_id": people, **{n: facts[n].round(5) for n in LATENTS}})


def write_table(path: Path, columns: dict[str, Sequence]) -> None:
    rows = zip(*columns.values(), strict=True)
    write_text(path, "\n".join("\t".join(str(cell) for cell in row) for row in [tuple(columns), *rows]) + "\n")


def write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
