"""The splits of a training: drawn once, kept in its folder, and checked every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bids_app.bids.files import write_text
from bids_app.cohort.cohort import Cohort
from bids_app.cohort.split import Split, check_split, draw_folds, leave_one_site_out, read_split
from bids_app.errors import DataError
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings

FOLDS, SITES = "folds", "sites"


def training_folder(settings: Settings, recipe: Recipe) -> Path:
    """Where everything about the training of a recipe goes."""
    return settings.output_dir / "training" / recipe.name


def split_cohort(
    settings: Settings, cohort: Cohort, folder: Path, say: Callable[[str], None], *, keep: bool = True
) -> dict[str, Split]:
    """Folds and, with two sites, one fold per site: drawn once, kept, and checked every time.

    Args:
        keep: write a split that was drawn into ``folder``.

    Raises:
        DataError: the kept split is of other people.
        LeakageError: see `check_split`.
    """
    members, splits = cohort.members(), {}
    wanted: dict[str, Callable[[], Split | None]] = {
        FOLDS: lambda: draw_folds(members, settings.folds, seed=settings.random_seed, repeats=settings.repeats),
        SITES: lambda: leave_one_site_out(members, seed=settings.random_seed),
    }
    for name, make in wanted.items():
        path = folder / f"split_{name}.json"
        try:
            split = read_split(path) if path.is_file() else make()
        except DataError as error:
            if name == FOLDS or path.is_file():
                raise
            say(f"no site is left out: {error}")
            continue
        if split is None:
            continue
        people = {p for fold in split.folds for p in fold.all_training + fold.test}
        asked = {m.participant for m in members}
        if name == FOLDS and (people != asked or (fresh := make()) is None or split.how != fresh.how):
            raise DataError(
                f"{path} was drawn for other people or with other options; "
                f"delete {folder} to begin anew, or choose another output folder"
            )
        check_split(split, members)
        if keep:
            write_text(path, json.dumps(split.to_plain(), indent=1) + "\n")
        say(f"split {name}: {len(split.folds)} folds, digest {split.digest}")
        splits[name] = split
    return splits
