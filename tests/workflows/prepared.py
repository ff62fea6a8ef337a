"""Sessions that cost next to nothing: small images that a recipe takes as they are, and nothing is predicted."""

from __future__ import annotations

import json
from pathlib import Path

from bids_app.recipes.recipe import Recipe
from bids_app.recipes.write import recipe_to_toml
from tests.phantoms import tiny_dataset


def prepared_dataset(root: Path, labels: list[str]) -> Path:
    """``root/bids`` with a T1w of 32³ voxels each, and ``root/taken.toml``; returns ``root``."""
    bids = tiny_dataset(root / "bids", [f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in labels])
    rows = ["participant_id\tage", *(f"sub-{label}\t{30 + i}" for i, label in enumerate(labels))]
    (bids / "participants.tsv").write_text("\n".join(rows) + "\n")
    recipe = {
        "name": "taken",
        "title": "Images taken as they are",
        "reference": "T1w",
        "sequences": [{"name": "T1w", "suffix": "T1w", "required": True}],
        "grid": {"kind": "image", "spacing_mm": 5.0},
        "preprocessing": {"bias": False},
    }
    (root / "taken.toml").write_text(recipe_to_toml(Recipe.model_validate(recipe)))
    return root


def command(root: Path, *more: str) -> list[str]:
    """The words of ``tandem`` that run it."""
    folders = [str(root / "bids"), str(root / "out"), "participant", "-w", str(root / "work")]
    return [*folders, "--recipe", str(root / "taken.toml"), *more]


def outputs(root: Path) -> dict[str, bytes]:
    """All that is the same in two runs that nothing disturbed: everything but logs and pages."""
    out = root / "out"
    found = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith("logs/") and path.suffix != ".html"
    }


def state_of(root: Path, key: str) -> dict:
    return json.loads((root / "out" / "logs" / key / "status.json").read_text())
