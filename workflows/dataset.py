"""What a run writes once, for the whole dataset: before the sessions, and after them."""

from __future__ import annotations

import os
from pathlib import Path

from bids_app.bids.dataset import write_dataset_files
from bids_app.bids.files import remove_abandoned, write_bytes
from bids_app.bundle.bundle import bundle_for
from bids_app.settings import Settings
from workflows.seeds import check_connections
from workflows.wanted import anatomy_of, load_recipes


def prepare_dataset(settings: Settings) -> list[str]:
    """Make the output folder a BIDS derivative dataset; safe beside other runs into the same folder.

    Returns:
        What a person should know (files of another version, an unusual folder name).

    Raises:
        UsageError, BundleError, InputMissing, ImageError: a recipe that no session could be run with.
    """
    for folder in (settings.output_dir, settings.output_dir / "logs"):
        remove_abandoned(folder)
    recipes = load_recipes(settings)
    bundles = [bundle_for(recipe, settings.bundle) for recipe in recipes if recipe.predicts]
    anatomy = anatomy_of(settings, recipes)
    check_connections(settings, recipes)
    told = write_dataset_files(
        settings.output_dir, settings, bundles, recipes=recipes, cards=[anatomy] if anatomy else []
    )
    (settings.output_dir / "logs").mkdir(parents=True, exist_ok=True)
    return told + _keep_participants(settings)


def _keep_participants(settings: Settings) -> list[str]:
    """Copies of participants.tsv and every sessions.tsv: the group level reads the output folder only."""
    told, bids_dir = [], Path(settings.bids_dir)
    sources = [bids_dir / "participants.tsv", bids_dir / "participants.json"]
    folders = [bids_dir / f"sub-{label.removeprefix('sub-')}" for label in settings.participant_label]
    if not folders or not all(folder.is_dir() for folder in folders):  # a file of labels, or another spelling
        folders = sorted(Path(one.path) for one in os.scandir(bids_dir) if one.name.startswith("sub-") and one.is_dir())
    sources += [folder / f"{folder.name}_sessions.{kind}" for folder in folders for kind in ("tsv", "json")]
    for source in sources:
        name = source.name
        try:
            write_bytes(settings.output_dir / "logs" / name, source.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            told.append(f"{source} cannot be read ({error.strerror}); the group level will not know its columns")
    return told


def finish_dataset(settings: Settings) -> Path:
    """The page that links every session's page, and the methods text with its references."""
    from bids_app.report.citation import write_citation
    from bids_app.report.index import write_index

    write_citation(settings.output_dir)
    return write_index(settings.output_dir)
